"""What is told of a stream, and what is recorded of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from groundstream.operators.events.event import EventKind
from groundstream.operators.events.rules import Cooled, CountRule, StreamRules
from groundstream.operators.events.zones import CountLine, Direction, Zone
from groundstream.pipeline.config.base import Score, Seconds, Strict

Point = tuple[float, float]


class ZoneConfig(Strict):
    """An area of the picture, in parts of its width and height; see `operators.zones.Zone`."""

    polygon: tuple[Point, ...]
    phrases: tuple[str, ...] = ()
    score: Score | None = None
    dwell_s: Annotated[float, Field(gt=0)] | None = None


class LineConfig(Strict):
    """A line that objects cross; see `operators.zones.CountLine`."""

    start: Point
    end: Point
    phrases: tuple[str, ...] = ()
    score: Score | None = None
    direction: Direction | None = None


class CountConfig(Strict):
    """A number of objects that is told while it is passed; see `operators.rules.CountRule`."""

    above: int | None = None
    below: int | None = None
    zone: str | None = None
    phrases: tuple[str, ...] = ()
    score: Score | None = None


class RulesConfig(Strict):
    """What is told of a stream, by name; see `operators.rules.StreamRules`."""

    zones: dict[str, ZoneConfig] = Field(default_factory=dict)
    lines: dict[str, LineConfig] = Field(default_factory=dict)
    counts: dict[str, CountConfig] = Field(default_factory=dict)
    events: tuple[EventKind, ...] | None = None
    phrases: tuple[str, ...] = ()
    score: Score | None = None
    settle_s: Seconds = 0.3
    cooldown_s: Seconds = 0.0
    cooldown_of: Cooled = "track"

    @model_validator(mode="after")
    def _hold_together(self) -> RulesConfig:
        self.build()
        return self

    def build(self) -> StreamRules:
        """Return the rules as a stream takes them.

        Raises:
            ValueError: they do not hold together; says which one and why.
        """
        return StreamRules(
            zones=tuple(Zone(name, **zone.model_dump()) for name, zone in self.zones.items()),
            lines=tuple(CountLine(name, **line.model_dump()) for name, line in self.lines.items()),
            counts=tuple(CountRule(name, **count.model_dump()) for name, count in self.counts.items()),
            **self.model_dump(exclude={"zones", "lines", "counts"}),
        )


class ClipsConfig(Strict):
    """Which clips are made, and how much of a stream they hold. Times in seconds."""

    mode: Literal["events", "always", "none"] = "none"
    pre_s: Seconds = 5.0
    post_s: Seconds = 5.0
    longest_s: Annotated[float, Field(gt=0)] = 300.0
    pre_mb: Annotated[float, Field(gt=0)] = 64.0


class RecordConfig(Strict):
    """Recording without a break, in segments."""

    on: bool = False
    segment_s: Annotated[float, Field(gt=0)] = 60.0


class KeepConfig(Strict):
    """How much of recordings and clips is kept, for each stream; the oldest goes first."""

    gb: Annotated[float, Field(gt=0)] | None = None
    days: Annotated[float, Field(gt=0)] | None = None
