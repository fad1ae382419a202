"""Where a clip's files are written and where they go: all of them or none, and never over another file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from groundstream.operators.errors import OutputError

#: Unfinished clips live in this folder inside the folder of clips.
PENDING = ".pending"
_KINDS = ("annotated", "raw", "thumbnail", "facts")  # the order in which they go into place


def names_of(name: str, raw_suffix: str) -> dict[str, str]:
    """Return the file names of the clip `name` by kind: `annotated`, `raw`, `thumbnail`, `facts`."""
    return dict(zip(_KINDS, (f"{name}.mp4", name + raw_suffix, f"{name}.jpg", f"{name}.json"), strict=True))


class ClipPlace:
    """The files of one clip while it is made; a context that leaves nothing of an unfinished clip behind.

    The facts go into place last: a clip that has them is complete. A dead run may have got halfway: what it
    had moved is one file with what it had written, is known by that, and is taken back.
    """

    def __init__(self, work: Path, folder: Path, names: Mapping[str, str]) -> None:
        """Take where files are written, where they go, and their names.

        Raises:
            OutputError: a file of such a name is there already.
            OSError: the folders cannot be written.
        """
        self.names = names
        self._work, self._folder = work, folder
        work.mkdir(parents=True, exist_ok=True)
        for name in names.values():
            _take_back(work / name, folder / name)
        self.annotated, self.raw, self.thumbnail, self.facts = (work / names[kind] for kind in _KINDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.names.values():
            (self._work / name).unlink(missing_ok=True)
        if not any(self._work.iterdir()):
            self._work.rmdir()

    @property
    def targets(self) -> tuple[Path, Path, Path, Path]:
        """Where the files go: annotated, raw, thumbnail, facts."""
        annotated, raw, thumbnail, facts = (self._folder / self.names[kind] for kind in _KINDS)
        return annotated, raw, thumbnail, facts

    def move(self) -> None:
        """Move the files into place.

        Raises:
            OSError: that cannot be done.
        """
        for target in self.targets:
            _flush(self._work / target.name)
        for target in self.targets:
            _link(self._work / target.name, target)


def _take_back(written: Path, target: Path) -> None:
    if not target.exists():
        return
    if not (written.exists() and written.samefile(target)):
        raise OutputError(f"{target} is there already; clips are never overwritten: move it away")
    target.unlink()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _link(written: Path, target: Path) -> None:
    """Give a file its place without ever taking another's; without links where the file system has none."""
    try:
        os.link(written, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(f"{target} is there already") from None
        written.rename(target)
