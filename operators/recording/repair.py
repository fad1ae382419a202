"""What a killed run left: `recover` finishes recordings, `repair` brings the index in line with the disk."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import av

from groundstream.operators.clips.job import PENDING
from groundstream.operators.events.event import Event
from groundstream.operators.recording.files import PART, RecordedFile, into_place, is_part, is_recording
from groundstream.operators.recording.index import IndexedClip, IndexWriter, read_index
from groundstream.operators.records.event import event_from_record
from groundstream.operators.utils.files import GuardedFile, cut_to_whole_boxes, explain, held
from groundstream.operators.utils.times import from_rfc3339
from groundstream.operators.video.joined_file import FileFacts, copy_joined

_log = logging.getLogger("groundstream.recording")
#: Ends the name of a copy that is not finished; one that a killed run left is thrown away, its origin is
#: still there. The word is older than `recover`; another one would leave copies of older versions lying.
_COPY = ".salvage"
KILLED = "the run was killed"


def recover(folder: Path) -> list[RecordedFile]:
    """Finish the recordings in `folder` that nobody is writing, and return them.

    They are copied into ordinary files, packet by packet; where there is no room for a copy, they are cut
    to what is whole and stay as they are. Those that hold nothing yet are removed.
    """
    if not folder.is_dir():
        return []
    parts = [part for part in sorted(folder.glob(f"*{PART}")) if is_part(part.name)]
    return [file for file in map(_if_left, parts) if file is not None]


def _if_left(part: Path) -> RecordedFile | None:
    """Finish `part` unless somebody is writing it; None where there is nothing to keep."""
    try:
        with held(part) as ours:
            return _finish(part) if ours else None
    except OSError as error:  # libav's errors about places are of this kind, too
        _log.warning("%s: cannot be finished now: %s", part, explain(error))
        return None


def _finish(part: Path) -> RecordedFile | None:
    try:
        facts = FileFacts.read(part)
    except av.InvalidDataError:
        part.unlink()  # the run was killed before the head of the file was written
        return None
    if facts is None:  # not made by a recording
        return None
    written = part.stat()
    length_s = _rewrite(part)
    if length_s == 0:
        part.unlink()
        return None
    # When it was written decides which run it is of, and its age; recovering it has made it no younger.
    os.utime(part, ns=(written.st_atime_ns, written.st_mtime_ns))
    path = into_place(part)
    _log.info("%s: saved %.1f s of a run that was killed", path, length_s)
    return finished_file(path)


def _rewrite(part: Path) -> float:
    """Make an ordinary file of `part`; return its length in seconds."""
    copy = part.with_name(part.name + _COPY)
    copy.unlink(missing_ok=True)
    file = GuardedFile(copy)
    try:
        length_s = copy_joined(part, cast(BinaryIO, file))
        file.sync()
        if length_s > 0:
            copy.replace(part)
    except (OSError, av.FFmpegError):
        if part.name.endswith(f".mp4{PART}"):
            cut_to_whole_boxes(part)
        return copy_joined(part, None)
    finally:
        file.close()
        copy.unlink(missing_ok=True)
    return length_s


def finished_file(path: Path) -> RecordedFile | None:
    """Return a finished recording as it describes itself; None where it is none."""
    try:
        facts = FileFacts.read(path)
        length_s = 0.0 if facts is None else copy_joined(path, None)
        size_bytes = path.stat().st_size
    except (OSError, av.FFmpegError):
        return None
    if facts is None or length_s == 0:
        return None
    end_s = facts.start_s + length_s
    return RecordedFile(
        path, facts.stream_id, facts.epoch, facts.start_s, end_s, facts.start_wall, size_bytes
    )


def repair(index: IndexWriter, recordings: Path, clips: Path) -> None:
    """Enter into `index` what a killed run's last second did not get there; no clip may be in the making.

    Recordings and clips that it does not know are entered, those that are gone are taken out, and events
    that nobody ended have ended where they were seen last.

    Args:
        index: in which nothing of its own run stands yet.
        recordings: folder of the recordings.
        clips: folder of the clips.

    Raises:
        OutputError: the index cannot be read.
    """
    with contextlib.closing(read_index(index.path)) as connection:
        _repair_recordings(connection, index, recordings)
        for event in _open_events(connection):  # before their clips are
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
