"""Keeps recordings and clips within a size and an age: the oldest go first."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundstream.operators.recording.files import is_recording
from groundstream.operators.recording.index import IndexWriter
from groundstream.operators.utils.files import explain

_log = logging.getLogger("groundstream.disk")
#: Names of clips begin with their UTC time; their files share the name up to the first suffix of a kind.
_CLIP = re.compile(r"(?P<name>\d{8}T\d{6}\.\d{3}Z-.+?)\.(json|jpg|mp4|raw\.mp4|raw\.mkv)")


@dataclass(frozen=True)
class StreamFolders:
    """Where one stream's files lie.

    Attributes:
        recordings: folder of its recordings.
        clips: folder of its clips.
        index: hears of files that go; None where there is no index.
    """

    recordings: Path
    clips: Path
    index: IndexWriter | None = None


@dataclass(frozen=True)
class Deleted:
    """What was deleted to stay within the budget.

    Attributes:
        files: how many files.
        bytes: their size.
    """

    files: int
    bytes: int


@dataclass(frozen=True)
class _Item:
    """What goes together: a recording, or the files of a clip."""

    written: float
    size_bytes: int
    files: tuple[Path, ...]
    folders: StreamFolders
    is_clip: bool


class DiskBudget:
    """Deletes the oldest finished recordings and clips of some streams until they fit.

    Only files are touched that have a recording's or a clip's name, in the folder for them; those that are
    still being written (`.part`, pending clips) never.

    Args:
        streams: whose files count together.
        most_bytes: size of all files that may not be passed; None has no limit.
        most_age_s: files go this long after they were finished; None keeps them.
    """

    def __init__(
        self,
        streams: Sequence[StreamFolders],
        *,
        most_bytes: int | None = None,
        most_age_s: float | None = None,
    ) -> None:
        if (most_bytes is not None and most_bytes < 0) or (most_age_s is not None and most_age_s < 0):
            raise ValueError(f"expected limits of 0 or more, but got {most_bytes} bytes, {most_age_s} s")
        self._streams, self._most_bytes, self._most_age_s = streams, most_bytes, most_age_s
        self._lock = threading.Lock()

    def enforce(self) -> Deleted:
        """Delete what is too much or too old; from any thread, as a rule after a file was finished."""
        with self._lock:
            items = sorted(self._items(), key=lambda item: item.written)
            total, files, freed = sum(item.size_bytes for item in items), 0, 0
            oldest_kept = time.time() - self._most_age_s if self._most_age_s is not None else 0.0
            for item in items:
                too_much = self._most_bytes is not None and total - freed > self._most_bytes
                if (too_much or item.written < oldest_kept) and _delete(item):
                    files, freed = files + len(item.files), freed + item.size_bytes
            return Deleted(files, freed)

    def _items(self) -> Iterator[_Item]:
        for folders in self._streams:
            for path in _files_in(folders.recordings):
                if is_recording(path.name):
                    yield from _item(folders, (path,), is_clip=False)
            for files in _clips_in(folders.clips):
                yield from _item(folders, files, is_clip=True)


def _files_in(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    return []


def _clips_in(folder: Path) -> Iterator[tuple[Path, ...]]:
    """Yield the files of each finished clip: one that has its facts, which come into place last."""
    groups: dict[str, list[Path]] = {}
    for path in _files_in(folder):
        match = _CLIP.fullmatch(path.name)
        if match is not None:
            groups.setdefault(match["name"], []).append(path)
    yield from (tuple(group) for group in groups.values() if any(path.suffix == ".json" for path in group))


def _item(folders: StreamFolders, files: tuple[Path, ...], *, is_clip: bool) -> Iterator[_Item]:
    with contextlib.suppress(OSError):  # somebody else deleted it just now
        facts = [path.stat() for path in files]
        yield _Item(max(f.st_mtime for f in facts), sum(f.st_size for f in facts), files, folders, is_clip)


def _delete(item: _Item) -> bool:
    try:
        # The facts go last: a clip without them counts as unfinished and would never be deleted.
        for path in sorted(item.files, key=lambda path: path.suffix == ".json"):
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s cannot be deleted: %s", item.files[0], explain(error))
        return False
    for path in item.files:
        _forget(item, path)
    _log.info("deleted %s to stay within the disk budget", item.files[0])
    return True


def _forget(item: _Item, path: Path) -> None:
    if item.folders.index is None:
        return
    if not item.is_clip:
        item.folders.index.forget_file(path)
    elif path.suffix == ".mp4" and not path.name.endswith(".raw.mp4"):
        item.folders.index.forget_clip(path)
