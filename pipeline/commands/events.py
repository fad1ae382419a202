"""`groundstream events` and `export`: what was seen when, and its video."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import cast, get_args

from rich.console import Console
from rich.table import Table

from groundstream.operators.errors import ConfigError, OutputError
from groundstream.operators.events.event import EventKind
from groundstream.operators.recording.export import TimePoint, export_span, growing_files
from groundstream.operators.recording.index_reader import (
    IndexedEvent,
    IndexedTrack,
    find_indexes,
    query_events,
    query_tracks,
)
from groundstream.operators.records import event_record

_WIDEST = 10_000  # columns that no table reaches


def events_command(
    folder: Path,
    *,
    since: str | None,
    until: str | None,
    phrase: str | None,
    stream: str | None,
    kind: str | None,
    tracks: bool,
    as_json: bool,
) -> None:
    """Print the events, or the tracks, of a run's folder.

    Raises:
        ConfigError: a time cannot be read, or the folder holds no index.
        OutputError: an index cannot be read.
    """
    _check_folder(folder)
    if kind is not None and kind not in get_args(EventKind):
        raise ConfigError(
            f"no event is of the kind {kind!r}; expected one of {', '.join(get_args(EventKind))}"
        )
    if tracks and kind is not None:
        raise ConfigError("a track is of no kind; leave --kind or --tracks out")
    begin, end = _wall(since), _wall(until)
    if tracks:
        seen = query_tracks(folder, since=begin, until=end, phrase=phrase, stream=stream)
        _print_json([asdict(track) for track in seen]) if as_json else _print(_track_table(seen))
        return
    found = query_events(
        folder, since=begin, until=end, phrase=phrase, stream=stream, kind=cast("EventKind | None", kind)
    )
    if as_json:
        _print_json([dict(event_record(each.event)) for each in found])
    else:
        _print(_event_table(found))


def export_command(folder: Path, start: str, end: str, out: Path | None, stream: str | None) -> None:
    """Cut a range of a recording into annotated clips, and say where they are.

    Raises:
        ConfigError: a time cannot be read, or the folder holds no index.
        OutputError: nothing was recorded then, or a clip cannot be made.
    """
    _check_folder(folder)
    first, last = _moment(start), _moment(end)
    if (first.wall is None) != (last.wall is None):
        raise ConfigError("--from and --to are given by different clocks; give two times or two numbers")
    if (first.wall or first.media_s or 0.0) >= (last.wall or last.media_s or 0.0):
        raise ConfigError(f"--to must be later than --from, but got {start} and {end}")
    clips = export_span(folder, first, last, out or folder / "exports", stream)
    growing = growing_files(folder, last, stream)
    if not clips:
        hint = (
            f"{growing[0]} is still being recorded, wait for its end"
            if growing
            else "was it run with --recording?"
        )
        raise OutputError(f"nothing was recorded in {folder} between {start} and {end}; {hint}")
    for clip in clips:
        print(clip.annotated)
    for part in growing:
        print(f"not looked at, because it is still being recorded: {part}", file=sys.stderr)


def _check_folder(folder: Path) -> None:
    if not find_indexes(folder):
        wrong = "holds no index" if folder.exists() else "does not exist"
        raise ConfigError(
            f"{folder} {wrong}; give the --out folder of a run with --rules, --clips or --recording"
        )


def _moment(text: str) -> TimePoint:
    try:
        return TimePoint(media_s=float(text))
    except ValueError:
        return TimePoint(wall=_wall(text))


def _wall(text: str | None) -> float | None:
    """Return a time in seconds since 1970; without a zone it is a local one."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise ConfigError(
            f"expected a time such as 2026-05-01, 2026-05-01T14:30 or 2026-05-01T12:30:00Z, but got {text!r}"
        ) from None


def _event_table(found: Sequence[IndexedEvent]) -> Table:
    table = Table(
        "time",
        "media",
        "stream",
        "what",
        "where",
        "phrase",
        "score",
        "lasted",
        "clip",
        box=None,
        pad_edge=False,
    )
    for each in found:
        event, seen = each.event, each.event.best or each.event.after
        lasted = (
            ""
            if event.end_s is None or event.end_s == event.start_s
            else f"{event.end_s - event.start_s:.1f} s"
        )
        what = f"{event.kind} {event.after.values.get('direction', '')}".strip()
        score = f"{seen.score:.2f}" if seen.track_id else ""
        table.add_row(
            _local(each.start_wall), f"{event.start_s:.2f}", event.stream_id, what, event.rule,
            event.after.phrase, score, lasted, event.clip or "",
        )  # fmt: skip
    return table


def _track_table(found: Sequence[IndexedTrack]) -> Table:
    table = Table(
        "first seen", "media", "last seen", "stream", "track", "phrase", "score", box=None, pad_edge=False
    )
    for track in found:
        table.add_row(
            _local(track.first_wall), f"{track.first_s:.2f}-{track.last_s:.2f}", _local(track.last_wall),
            track.stream_id, track.track_id, track.phrase, f"{track.score:.2f}",
        )  # fmt: skip
    return table


def _local(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


def _print(table: Table) -> None:
    """Print every row on one line, however narrow the screen is: a name that is cut off names nothing."""
    wide = Console(highlight=False, width=_WIDEST)
    Console(highlight=False, width=wide.measure(table).maximum).print(table, soft_wrap=True)


def _print_json(rows: Sequence[dict[str, object]]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
