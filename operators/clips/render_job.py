"""Makes the clip of one job, and finds the jobs that a dead run left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from groundstream.operators.clips.job import ClipJob, JobLock, read_job, remove_job
from groundstream.operators.clips.order import ClipFiles
from groundstream.operators.clips.place import PENDING
from groundstream.operators.clips.render import render_span
from groundstream.operators.errors import OutputError
from groundstream.operators.utils.files import RESERVE_BYTES, check_room


def render_job(path: Path, on_frame: Callable[[], None] = lambda: None) -> tuple[ClipFiles, ...]:
    """Make the clip of the job in the folder `path`, then remove the job.

    A job that is gone, or on which another process works, gives nothing. One without video is removed.

    Raises:
        OutputError: the clip cannot be made; the job stays.
        ValueError: the folder holds no job.
    """
    lock = JobLock.of(path)
    if lock is None:
        return ()
    try:
        job, folder = read_job(path), path.parent.parent
        files: tuple[ClipFiles, ...] = ()
        if not (folder / f"{job.order.name}.json").exists():  # the facts come last: it was made already
            _check_room(job, folder)
            files = render_span(job.pieces, job.looks, job.order, folder, on_frame=on_frame)
        remove_job(path)
        return files
    finally:
        lock.release()


def _check_room(job: ClipJob, folder: Path) -> None:
    """Leave room to those that write records: a clip takes its video twice, as it came and annotated.

    Raises:
        OutputError: there is too little.
    """
    try:
        check_room(
            folder, RESERVE_BYTES, sum(2 * piece.path.stat().st_size for piece in job.pieces), times=0.5
        )
    except OSError as error:
        words = error.strerror or str(error)
        raise OutputError(f"cannot make the clip {job.order.name} in {folder}: {words}") from error


def left_behind(folder: Path) -> tuple[Path, ...]:
    """Return the jobs in a folder of clips on which no living process works, the oldest first.

    What a dead run did not finish is as long as what it had by then, and is marked truncated. A folder in
    which no order was written yet holds nothing that could be made, and is removed.
    """
    found = list[Path]()
    for path in sorted((folder / PENDING).glob("*/")):
        lock = JobLock.of(path)
        if lock is None:
            continue
        try:
            if read_job(path).pieces:
                found.append(path)
            else:
                remove_job(path)
        except ValueError:
            remove_job(path)
        finally:
            lock.release()
    return tuple(found)
