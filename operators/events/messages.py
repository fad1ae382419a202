"""From what happens to the messages that tell it: new, update, end."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping

from groundstream.operators.events.event import Event, EventKind, EventType, Sighting
from groundstream.operators.events.latch import TOLERANCE_S

#: An event is updated at most once in so many seconds.
UPDATE_S = 1.0
_NEWS_SCORE = 0.01  # a better best score is news from this step on

Values = Mapping[str, str | float | int]
NO_VALUES: Values = {}


def new_id(wall_time: float) -> str:
    """Return an id as Frigate makes them, `1700000000.25-k3x9ap1q`: seconds since 1970 and chance."""
    return f"{wall_time:.6f}-{secrets.token_hex(4)}"


class OpenEvent:
    """An event from its first message to its last.

    Args:
        stream_id: where it happens.
        kind: what happens.
        rule: name of the rule that it comes from.
        start_s: media time at which it began.
        seen: the state at its beginning.
    """

    def __init__(self, stream_id: str, kind: EventKind, rule: str, start_s: float, seen: Sighting) -> None:
        self.start_s = start_s
        self._id = new_id(seen.wall_time)
        self._stream_id, self._kind, self._rule = stream_id, kind, rule
        self._seen = seen
        self._best = seen if seen.box is not None else None
        self._told: Sighting | None = None
        self._told_score = 0.0

    def begin(self, values: Values = NO_VALUES) -> Event:
        """Return the first message."""
        return self._message("new", values)

    def see(self, seen: Sighting, values: Values = NO_VALUES) -> Event | None:
        """Take the state now; return a message when it holds news and the last one is old enough."""
        self._seen = seen
        if self._best is not None and seen.score > self._best.score:
            self._best = seen
        told = self._told
        assert told is not None, "see before begin"
        # Compared with what was told last, not seen last: slow changes add up to news.
        if seen.time_s - told.time_s < UPDATE_S - TOLERANCE_S or not self._has_news(told, values):
            return None
        return self._message("update", values)

    def end(self, end_s: float, seen: Sighting, values: Values = NO_VALUES) -> Event:
        """Return the last message, of an event that is over."""
        self._seen = seen
        return self._message("end", values, end_s=max(end_s, self.start_s))

    def truncate(self, end_s: float, reason: str) -> Event:
        """Return the last message of an event that nobody can follow to its end, with the state seen last."""
        told = self._told
        assert told is not None, "truncate before begin"
        # With the values told last: what they would be at the end (how long, how many) nobody has seen.
        return self._message("end", told.values, end_s=max(end_s, self.start_s), truncated=reason)

    def _has_news(self, told: Sighting, values: Values) -> bool:
        seen = self._seen
        if (seen.phrase, seen.zones) != (told.phrase, told.zones):
            return True
        if values.get("count") != told.values.get("count"):
            return True
        return self._best is not None and self._best.score >= self._told_score + _NEWS_SCORE

    def _message(
        self, kind: EventType, values: Values, end_s: float | None = None, truncated: str | None = None
    ) -> Event:
        before, after = self._told, dataclasses.replace(self._seen, values=values)
        self._told = after
        self._told_score = self._best.score if self._best is not None else 0.0
        return Event(
            id=self._id,
            stream_id=self._stream_id,
            kind=self._kind,
            type=kind,
            rule=self._rule,
            before=before,
            after=after,
            start_s=self.start_s,
            end_s=end_s,
            best=self._best,
            truncated=truncated,
        )


def moment(
    stream_id: str, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Values = NO_VALUES
) -> tuple[Event, Event]:
    """Return both messages of an event that has no duration."""
    event = OpenEvent(stream_id, kind, rule, at_s, seen)
    return event.begin(values), event.end(at_s, seen, values)
