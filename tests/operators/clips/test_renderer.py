"""The process that makes clips, and what is left when one dies."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clip_stage import Happening, Stage, expected
from counter_video import make_counter, numbers

from groundstream.operators.clips import renderer as renderer_module
from groundstream.operators.clips.job import PENDING, JobFolder, left_behind
from groundstream.operators.clips.renderer import Renderer
from groundstream.operators.clips.renderer_main import render_job
from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.clips.spec import ClipFiles

SETTINGS = ClipSettings(late_s=3.0, pre_s=1.0, post_s=1.0)
PATIENT_S = 120.0


def jobs(tmp_path: Path, *happenings: Happening) -> Stage:
    """Return a stage whose jobs lie ready."""
    make_counter(tmp_path / "in.mp4", seconds=12.0, gop=15)
    stage = Stage(tmp_path / "clips", SETTINGS)
    stage.play(tmp_path / "in.mp4", happenings)
    stage.manager.end()
    stage.writer.close()
    return stage


class Listener:
    """A worker with what it told."""

    def __init__(self, **options: int) -> None:
        self.clips: list[ClipFiles] = []
        self.problems: list[str] = []
        self.worker = Renderer(self.clips.append, self.problems.append, **options)

    def child(self) -> int:
        """Return the process's number, once there is one."""
        wait_for(lambda: self.worker._process is not None)
        assert self.worker._process is not None
        return self.worker._process.pid


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.worker.close(0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_jobs_are_made_one_after_the_other_in_another_process(tmp_path: Path, listener: Listener) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0), Happening(8.0, 9.0))
    for job in stage.jobs:
        listener.worker.put(job)
    listener.worker.close(PATIENT_S)
    assert [clip.annotated.name for clip in listener.clips] == [stage.names["e0"], stage.names["e1"]]
    assert [(clip.start_s, clip.frames) for clip in listener.clips] == [(2.0, 46), (7.0, 46)]
    assert numbers(listener.clips[0].annotated) == expected(stage.times[1], 2.0, 5.0)
    assert listener.problems == []
    assert listener.worker.counters.made == 2
    assert left_behind(stage.folder) == ()


def test_a_renderer_that_dies_gets_the_job_once_more(tmp_path: Path, listener: Listener) -> None:
    (job,) = jobs(tmp_path, Happening(3.0, 4.0)).jobs
    listener.worker.put(job)
    os.kill(listener.child(), signal.SIGKILL)
    listener.worker.close(PATIENT_S)
    assert [clip.frames for clip in listener.clips] == [46]
    assert listener.worker.counters.retried == 1


def test_a_job_that_cannot_be_made_is_told_after_the_second_time_and_kept(
    tmp_path: Path, listener: Listener
) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0), Happening(8.0, 9.0))
    broken, fine = stage.jobs
    piece = sorted(broken.glob("*.mkv"))[1]
    whole = piece.read_bytes()
    piece.write_bytes(b"nonsense")
    listener.worker.put(broken)
    listener.worker.put(fine)
    listener.worker.close(PATIENT_S)
    assert len(listener.clips) == 1
    (problem,) = listener.problems
    assert "cannot make the clip" in problem
    assert "next start" in problem
    assert (listener.worker.counters.retried, listener.worker.counters.failed) == (1, 1)
    assert left_behind(stage.folder) == (broken,)
    piece.write_bytes(whole)
    assert [clip.frames for clip in render_job(broken)] == [46]


def test_a_full_line_leaves_jobs_for_the_next_start(tmp_path: Path) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0))
    listener = Listener(most_waiting=0)
    listener.worker.put(stage.jobs[0])
    listener.worker.close(PATIENT_S)
    assert listener.worker.counters.deferred == 1
    assert len(listener.problems) == 1
    assert left_behind(stage.folder) == (stage.jobs[0],)


def test_a_job_after_the_end_is_left_for_the_next_start(tmp_path: Path) -> None:
    listener = Listener()
    listener.worker.close(PATIENT_S)
    listener.worker.put(tmp_path / "clip")
    assert listener.worker.counters.deferred == 1
    assert listener.problems == ["clip: the run is over; this one is made at the next start"]


def test_a_process_that_cannot_be_started_is_a_failure_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(renderer_module, "_start", no_room)
    listener = Listener()
    listener.worker.put(tmp_path / "clip")
    listener.worker.close(PATIENT_S)
    assert (listener.worker.counters.retried, listener.worker.counters.failed) == (1, 1)
    (problem,) = listener.problems
    assert "cannot be started: Resource temporarily unavailable; it is tried again" in problem


def test_what_failed_is_tried_again_behind_the_others_also_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, closed = list[str](), threading.Event()

    def fail(_: Renderer, job: Path) -> dict[str, str]:
        asked.append(job.name)
        assert closed.wait(PATIENT_S)
        return {"failed": job.name}

    monkeypatch.setattr(Renderer, "_ask", fail)
    listener = Listener()
    for name in ("a", "b"):
        listener.worker.put(Path(name))
    closing = threading.Thread(target=listener.worker.close, args=(PATIENT_S,))
    closing.start()
    wait_for(lambda: listener.worker._worker._closing)
    closed.set()
    closing.join()
    assert asked == ["a", "b", "a", "b"]
    assert (listener.worker.counters.retried, listener.worker.counters.failed) == (2, 2)


def test_closing_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0))
    listener = Listener()
    listener.worker.put(stage.jobs[0])
    child = listener.child()
    listener.worker.close(0)
    assert listener.clips == []
    assert not Path(f"/proc/{child}").exists()
    assert left_behind(stage.folder) == (stage.jobs[0],)


def test_two_do_not_make_the_same_clip(tmp_path: Path) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0))
    lock = JobFolder.take(stage.jobs[0])
    assert lock is not None
    assert left_behind(stage.folder) == ()
    assert render_job(stage.jobs[0]) == ()
    lock.release()
    assert len(render_job(stage.jobs[0])) == 1
    assert render_job(stage.jobs[0]) == ()  # it is gone


_RUN = """
    import sys, threading, time
    from pathlib import Path
    sys.path.insert(0, {here!r})
    from clip_stage import *
    stage = Stage(Path({clips!r}), ClipSettings(late_s=3.0, pre_s=1.0, post_s=1.0{more}))
    happenings = [Happening(2.0, 3.0), Happening(8.0, 60.0)]
    def slowly(frame):
        if frame.seq % 15 == 0:
            print(frame.seq, flush=True)
        time.sleep(0.002)
        return False
    stage.play(Path({video!r}), happenings, until=slowly)
"""


def killed_run(tmp_path: Path, at: int, more: str = "") -> Stage:
    """Start a run in another process, kill it when it has come to frame `at`, and return what it left."""
    make_counter(tmp_path / "in.mp4", seconds=20.0, gop=15)
    code = textwrap.dedent(_RUN).format(
        here=str(Path(__file__).parents[1]),
        clips=str(tmp_path / "clips"),
        video=str(tmp_path / "in.mp4"),
        more=more,
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= at:
                os.kill(child.pid, signal.SIGKILL)
    return Stage(tmp_path / "clips", SETTINGS)


@pytest.mark.parametrize("at", [45, 130, 230])
def test_what_a_killed_run_left_is_made_at_the_next_start(tmp_path: Path, at: int) -> None:
    stage = killed_run(tmp_path, at)
    stage.jobs.extend(left_behind(stage.folder))
    clips = {facts["events"][0]["id"]: facts for facts in stage.render()}
    assert set(clips) == ({"e0"} if at < 120 else {"e0", "e1"})
    first = numbers(stage.file(clips["e0"], "annotated"))
    assert first[0] == 15
    if at >= 130:
        assert first == list(range(15, 61))
        assert clips["e0"]["truncated"] is None
    if "e1" in clips:
        second = numbers(stage.file(clips["e1"], "annotated"))
        assert second == list(range(105, second[-1] + 1))
        assert second[-1] >= at - 2 * 15
        assert clips["e1"]["truncated"] == "the run was killed"
    assert not list((stage.folder / PENDING).iterdir())


def test_a_run_killed_while_its_clip_moved_into_place_is_finished(tmp_path: Path) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0))
    (job,) = stage.jobs
    (job / f"{job.name}.mp4").write_bytes(b"written by the run that died")
    os.link(job / f"{job.name}.mp4", stage.folder / f"{job.name}.mp4")
    (facts,) = stage.render()
    assert numbers(stage.file(facts, "annotated")) == expected(stage.times[1], 2.0, 5.0)


def test_the_renderer_dies_with_its_parent(tmp_path: Path) -> None:
    stage = jobs(tmp_path, Happening(3.0, 4.0))
    code = f"""
import time
from pathlib import Path
from groundstream.operators.clips.renderer import Renderer
worker = Renderer(lambda clip: print(worker._process.pid, flush=True), print)
worker.put(Path({str(stage.jobs[0])!r}))
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_writer_that_is_full_drops_video_and_says_so_once(tmp_path: Path) -> None:
    make_counter(tmp_path / "in.mp4", seconds=10.0, gop=15)
    stage = Stage(tmp_path / "clips", SETTINGS, writer_bytes=10_000)
    disk = threading.Event()
    stage.writer._worker.put(lambda: disk.wait(PATIENT_S) and None)
    stage.play(tmp_path / "in.mp4", [Happening(2.0, 8.0)])
    disk.set()
    stage.finish()
    assert stage.writer.dropped > 2
    assert [problem.rpartition(": ")[2] for problem in stage.problems] == ["the disk is too slow"]


def test_the_live_path_does_not_wait_for_a_slow_disk(tmp_path: Path) -> None:
    make_counter(tmp_path / "in.mp4", seconds=6.0, gop=15)
    stage = Stage(tmp_path / "clips", SETTINGS)
    disk = threading.Event()
    stage.writer._worker.put(lambda: disk.wait(PATIENT_S) and None)
    stage.play(tmp_path / "in.mp4", [Happening(2.0, 3.0)])  # ends although nothing can be written
    assert stage.names == {"e0": stage.names["e0"]}
    disk.set()
    (facts,) = stage.finish()
    assert numbers(stage.file(facts, "annotated")) == expected(stage.times[1], 1.0, 4.0)
