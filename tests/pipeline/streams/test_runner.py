"""One stream from its source to its outputs: when it ends before its source does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from coloured import PHRASES, make_coloured
from dying_processes import DyingDetector

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.pipeline.config.run import make_config
from groundstream.pipeline.detectors.remote import RemoteDetector
from groundstream.pipeline.streams.base import StreamSpec
from groundstream.pipeline.streams.host import OwnerSink
from groundstream.pipeline.streams.runner import StreamRunner

FRAMES = 400
PATIENCE_S = 60


class Owner:
    """The other process: takes nothing before an output has failed, so that much is still to come then."""

    def __init__(self) -> None:
        self.failed = threading.Event()
        #: Set to False where something later than the failure is to be waited for.
        self.takes_after_failure = True
        self.seen: list[FrameResult | Event] = []

    def note_failure(self, error: Exception) -> None:
        if self.takes_after_failure:
            self.failed.set()

    def keep(self, item: FrameResult | Event) -> None:
        assert self.failed.wait(PATIENCE_S)
        self.seen.append(item)


@pytest.fixture
def detector() -> Iterator[RemoteDetector]:
    process = DyingDetector("one")
    yield RemoteDetector(process.load(), process)
    process.kill()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def stream(tmp_path: Path, detector: RemoteDetector, owner: Owner) -> Iterator[StreamRunner]:
    """A stream whose only output is a disk that is full."""
    clip = make_coloured(tmp_path / "clip.mp4", FRAMES)
    values = {"streams": [str(clip)], "phrases": PHRASES, "output": {"sinks": ["jsonl:/dev/full"]}}
    runner = StreamRunner(StreamSpec("cam", make_config(values), False), owner.note_failure)
    runner.open()
    runner.attach(detector, OwnerSink(owner.keep))
    yield runner
    runner.close()


def test_a_stream_ends_when_all_its_outputs_have_failed_though_its_owner_never_does(
    stream: StreamRunner, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, owner.takes_after_failure = stream.stop, False

    def stop_and_let_the_owner_take() -> None:
        stop()
        owner.failed.set()

    monkeypatch.setattr(stream, "stop", stop_and_let_the_owner_take)
    stream.run()
    assert isinstance(stream.error, OutputError)
    assert stream.view.results == len(owner.seen) < FRAMES


def test_a_stream_goes_on_without_outputs_while_its_owner_takes_results(
    stream: StreamRunner, owner: Owner
) -> None:
    stream.run(owner_listens=True)
    assert isinstance(stream.error, OutputError)
    assert stream.view.results == len(owner.seen) == FRAMES


def test_a_stream_ends_when_its_owner_leaves_after_its_outputs(stream: StreamRunner, owner: Owner) -> None:
    def leave(result: FrameResult) -> None:
        if result.frame.seq == 100:
            assert owner.failed.wait(PATIENCE_S)
            stream.owner_left()

    stream.run(leave, owner_listens=True)
    assert 100 < stream.view.results < FRAMES


def test_events_stand_behind_their_frame_and_end_once_where_nothing_is_kept(
    tmp_path: Path, detector: RemoteDetector
) -> None:
    seen: list[FrameResult | Event] = []
    values = {"streams": [str(make_coloured(tmp_path / "clip.mp4", 30))], "phrases": PHRASES, "rules": {}}
    runner = StreamRunner(StreamSpec("cam", make_config(values), False))
    runner.open()
    runner.attach(detector, OwnerSink(seen.append))
    assert runner.worker is not None

    for _ in range(20):
        runner.step()
    runner.worker.interrupt("the camera is away")
    while runner.step() is not None:
        pass
    runner.close()
    runner.worker.interrupt("the camera is away again")
    runner.close()

    frames = [item.frame.seq for item in seen if isinstance(item, FrameResult)]
    new = [at for at, item in enumerate(seen) if isinstance(item, Event) and item.type == "new"]
    ends = [item.truncated for item in seen if isinstance(item, Event) and item.type == "end"]
    assert frames == list(range(30))  # what was on its way is answered, and begins nothing
    assert len(new) == len(PHRASES)
    for at in new:
        frame = next(item.frame for item in reversed(seen[:at]) if isinstance(item, FrameResult))
        event = seen[at]
        assert isinstance(event, Event)
        assert frame.seq == event.after.seq
    assert ends == ["the camera is away"] * len(PHRASES)
