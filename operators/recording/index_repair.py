"""Brings an index in line with what lies on the disk: a run was killed, or somebody took files away."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from groundstream.operators.clips.job import PENDING
from groundstream.operators.events.event import Event
from groundstream.operators.recording.files import is_recording
from groundstream.operators.recording.index import IndexedClip, IndexWriter
from groundstream.operators.recording.index_tables import read_index
from groundstream.operators.recording.recover import finished_file
from groundstream.operators.records.event import event_from_record
from groundstream.operators.utils.times import from_rfc3339

KILLED = "the run was killed"


def repair(index: IndexWriter, recordings: Path, clips: Path) -> None:
    """Tell `index` what the last second of a killed run did not get there; no clip may be in the making.

    Recordings and clips that it does not know are entered, those that are gone are taken out, and events
    that nobody ended have ended where they were seen last.

    Args:
        index: which has told nothing of its own run yet.
        recordings: folder of the recordings.
        clips: folder of the clips.

    Raises:
        OutputError: the index cannot be read.
    """
    with contextlib.closing(read_index(index.path)) as connection:
        _repair_recordings(connection, index, recordings)
        for event in _open_events(connection):  # before their clips are looked at
            index.add_event(event)
        _repair_clips(connection, index, clips)


def _repair_recordings(connection: sqlite3.Connection, index: IndexWriter, folder: Path) -> None:
    known = _last_parts(connection.execute("SELECT path FROM recordings"))
    there = set(filter(is_recording, _names(folder)))
    for name in sorted(there - known):
        if (file := finished_file(folder / name)) is not None:
            index.add_file(file, recovered=True)
    for name in known - there:
        index.forget_file(folder / name)


def _repair_clips(connection: sqlite3.Connection, index: IndexWriter, folder: Path) -> None:
    known, there = _last_parts(connection.execute("SELECT path FROM clips")), _names(folder)
    for name in sorted(there - known):
        if name.endswith(".json") and (clip := _clip_of(folder / name, known)) is not None:
            index.add_clip(clip)
    for name in known - there:
        index.forget_clip(folder / name)
    pending = {f"{name}.mp4" for name in _names(folder / PENDING)}
    rows = connection.execute("SELECT DISTINCT record ->> 'clip' FROM events WHERE record ->> 'clip' NOTNULL")
    for (name,) in rows.fetchall():
        if name not in there | pending | known:
            index.unname_clip(name)


def _clip_of(facts_path: Path, known: set[str]) -> IndexedClip | None:
    """Return the clip of a file of facts; None where it is known already, or no file of facts."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        name = str(facts["files"]["annotated"])
        if name not in known and facts_path.with_name(name).exists():
            return clip_from_facts(facts_path.with_name(name), facts)
    return None


def clip_from_facts(path: Path, facts: dict[str, object]) -> IndexedClip:
    """Return what the index keeps of a clip.

    Raises:
        KeyError, TypeError, ValueError: `facts` are not those of a clip.
    """
    events, got = facts["events"], facts["got"]
    if not isinstance(got, dict) or not isinstance(events, Iterable):
        raise TypeError(f"{path}: expected the facts of a clip")
    return IndexedClip(
        path,
        int(str(facts["epoch"])),
        float(got["start_s"]),
        float(got["end_s"]),
        from_rfc3339(str(facts["start_wall"])),
        from_rfc3339(str(facts["end_wall"])),
        tuple(str(event["id"]) for event in events),
    )


def _open_events(connection: sqlite3.Connection) -> Iterator[Event]:
    for (record,) in connection.execute("SELECT record FROM events WHERE end_wall IS NULL").fetchall():
        event = event_from_record(json.loads(record))
        yield replace(event, type="end", end_s=event.after.time_s, truncated=KILLED)


def _last_parts(paths: sqlite3.Cursor) -> set[str]:
    return {Path(row[0]).name for row in paths}


def _names(folder: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return {path.name for path in folder.iterdir()}
    return set()
