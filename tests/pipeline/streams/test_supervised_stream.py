from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from coloured import PHRASES, make_coloured
from dying_processes import DyingDetector

from groundstream.models.types import ModelInfo, Prompt
from groundstream.operators.errors import OutputError, Reason, SourceError
from groundstream.operators.frames import Frame, FrameResult, Position
from groundstream.operators.sinks.record_files import JsonlSink
from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.config.run import make_config
from groundstream.pipeline.detectors.messages import ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.detectors.restarts import RestartBudget
from groundstream.pipeline.observe.health import StreamHealth
from groundstream.pipeline.streams.base import StreamSpec, StreamView
from groundstream.pipeline.streams.host import LogLine, StreamHost, Updates
from groundstream.pipeline.streams.restarts import CircuitBreaker, StreamRestarts
from groundstream.pipeline.streams.supervised import SupervisedStream

PROMPT = Prompt.of(["red car"])
LOST = ProcessLost("it died")


def result(seq: int) -> FrameResult:
    frame = Frame("cam", 1, seq, seq / 10, 0.0, None, width=64, height=48)
    info = ModelInfo("fake", "fake", "0", "0", "phrase")
    return FrameResult(frame, PROMPT, info, ())


def updates(
    *seqs: int,
    ended: bool = False,
    live: bool = False,
    dropped: Mapping[str, int] | None = None,
    **values: Any,
) -> Updates:
    last = Position(1, seqs[-1], seqs[-1] / 10, tracks=3) if seqs else None
    view = StreamView(StreamHealth("cam"), live=live, results=len(seqs), dropped=dropped or {}, last=last)
    known = {"error": None, "detector_lost": False, "lines": ()} | values
    return Updates(view, tuple(result(seq) for seq in seqs), ended=ended, **known)


class Scripted:
    """A stream process that says what it was told to; an error in the script is raised."""

    def __init__(self, script: Sequence[Updates | Exception]) -> None:
        self.script = list(script)
        self.did: list[tuple[str, Any]] = []
        self.opened = threading.Event()

    def ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        return getattr(self, method.__name__)(*arguments)

    def tell(self, method: Callable[..., Any], *arguments: Any) -> None:
        self.ask(method, *arguments)

    def open(self, spec: StreamSpec) -> StreamView:
        self.did.append(("open", spec.resume))
        self.opened.set()
        if self.script and isinstance(self.script[0], SourceError):
            raise self.script[0]
        return StreamView(StreamHealth("cam"))

    def attach(self, facts: Any, link: Any) -> None:
        self.did.append(("attach", link))

    def start(self, with_results: bool) -> None:
        self.did.append(("start", with_results))

    def updates(self, wait_s: float) -> Updates:
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def set_prompt(self, prompt: Prompt) -> None:
        self.did.append(("set_prompt", prompt.phrases))

    def use_detector(self, link: Any) -> None:
        self.did.append(("use_detector", link))

    def give_up(self, reason: str) -> None:
        self.did.append(("give_up", reason))

    def owner_left(self) -> None:
        self.did.append(("owner_left", None))

    def stop(self) -> None:
        self.did.append(("stop", None))

    def kill(self) -> None:
        self.did.append(("kill", None))

    def of(self, what: str) -> list[Any]:
        return [value for did, value in self.did if did == what]


@pytest.fixture
def pool() -> Iterator[DetectorPool]:
    made = DetectorPool(DyingDetector, 2)
    made.begin()
    made.wait()
    yield made
    made.close()


@pytest.fixture
def make(pool: DetectorPool) -> Callable[..., SupervisedStream]:
    def build(*processes: Scripted, **values: Any) -> SupervisedStream:
        config = make_config({"streams": ["cam.mp4"], "phrases": PROMPT.phrases} | values)
        waiting = list(processes)
        budget = RestartBudget(1000, Backoff(0.001, 0.002))
        restarts = StreamRestarts(budget, CircuitBreaker(3, Backoff(0.001, 0.002)))
        stream = SupervisedStream(StreamSpec("cam", config, False), lambda: waiting.pop(0), pool, restarts)
        stream.open()
        stream.attach()
        return stream

    return build


def test_a_stream_is_followed_to_its_end(make: Callable[..., SupervisedStream]) -> None:
    process, seen = Scripted([updates(0, 1), updates(), updates(2, ended=True)]), []
    stream = make(process)
    stream.run(lambda each: seen.append(each.frame.seq))
    assert seen == [0, 1, 2]
    assert stream.error is None
    assert [did for did, _ in process.did] == ["open", "attach", "start", "kill"]


def test_a_process_that_dies_is_replaced_where_it_was(make: Callable[..., SupervisedStream]) -> None:
    first = Scripted([updates(0, 1, 2), LOST])
    second = Scripted([updates(2, 3), updates(4, ended=True)])
    stream, seen = make(first, second), []
    stream.run(lambda each: seen.append(each.frame.seq))
    assert seen == [0, 1, 2, 3, 4]
    (resume,) = second.of("open")
    assert (resume.last, resume.delivered, resume.live) == (Position(1, 2, 0.2, 3), 2, False)
    assert first.of("kill")
    assert stream.view.health.restarts == 1


def dies_in(method: str) -> Scripted:
    """Return a process that dies before it has begun."""
    process = Scripted([])

    def die(*arguments: Any) -> None:
        raise LOST

    setattr(process, method, die)
    return process


@pytest.mark.parametrize("method", ["open", "attach"])
def test_counts_and_place_of_a_camera_go_on_through_all_its_processes(
    make: Callable[..., SupervisedStream], method: str
) -> None:
    first = Scripted([updates(0, 1, live=True, dropped={"queue_full": 5, "fps": 1}), LOST])
    second = Scripted([updates(2, 3, 4, live=True, dropped={"queue_full": 2}, ended=True)])
    stream = make(first, dies_in(method), second)
    stream.run(None)
    assert (stream.view.results, stream.view.dropped) == (5, {"queue_full": 7, "fps": 1})
    (resume,) = second.of("open")
    assert resume.last == Position(1, 1, 0.1, tracks=3)


def test_a_file_that_always_dies_at_the_same_frame_is_given_up(make: Callable[..., SupervisedStream]) -> None:
    scripts = [[updates(0, 1), LOST], [LOST], [updates(1), LOST], [LOST], [LOST], [updates(2, ended=True)]]
    stream = make(*map(Scripted, scripts))
    results: list[int] = []

    stream.run(lambda result: results.append(result.frame.seq))

    assert results == [0, 1]
    assert isinstance(stream.error, SourceError)
    assert "died 4 times without getting beyond frame 1" in str(stream.error)


def test_a_camera_is_never_given_up(make: Callable[..., SupervisedStream]) -> None:
    scripts = [
        [updates(0, live=True), LOST],
        *[[updates(0, live=True), LOST]] * 6,
        [updates(1, ended=True, live=True)],
    ]
    stream = make(*map(Scripted, scripts))

    stream.run(None)

    assert stream.error is None


def test_without_a_reader_nobody_waits_for_what_was_delivered(make: Callable[..., SupervisedStream]) -> None:
    first, second = Scripted([updates(0), LOST]), Scripted([updates(ended=True)])
    make(first, second).run(None)
    assert first.of("start") == [False]
    assert second.of("open")[0].delivered is None


def test_a_new_process_is_asked_what_the_old_one_was(make: Callable[..., SupervisedStream]) -> None:
    first, second = Scripted([updates(0), LOST]), Scripted([updates(1, ended=True)])
    stream = make(first, second)
    stream.set_prompt(Prompt.of(["dog"]))
    stream.run(None)
    assert first.of("set_prompt") == second.of("set_prompt") == [("dog",)]


def test_a_stream_whose_detector_died_is_given_another(
    make: Callable[..., SupervisedStream], pool: DetectorPool
) -> None:
    process = Scripted([updates(0), updates(1, detector_lost=True), updates(2, ended=True)])
    stream = make(process)
    stream.run(None)
    assert process.of("use_detector") == process.of("attach")


def test_a_source_that_has_gone_when_the_process_is_replaced_ends_the_stream(
    make: Callable[..., SupervisedStream],
) -> None:
    gone = SourceError("cam.mp4: there is no such file", Reason.NOT_FOUND)
    stream = make(Scripted([updates(0), LOST]), Scripted([gone]))
    stream.run(None)
    assert stream.error is gone
    assert stream.view.health.state == "failed"


def test_what_fails_and_what_is_logged_in_the_process_is_known_here(
    make: Callable[..., SupervisedStream], caplog: pytest.LogCaptureFixture
) -> None:
    error = OutputError("the disk is full")
    line = LogLine(logging.WARNING, "groundstream.stream.cam", "a damaged frame")
    stream = make(Scripted([updates(0, lines=(line,)), updates(ended=True, error=error)]))
    stream.run(None)
    assert stream.error is error
    assert ("groundstream.stream.cam", logging.WARNING, "a damaged frame") in caplog.record_tuples


def test_stopping_does_not_wait_for_a_process_that_is_to_come(
    make: Callable[..., SupervisedStream], pool: DetectorPool
) -> None:
    config = make_config({"streams": ["cam.mp4"], "phrases": PROMPT.phrases})
    waiting = [Scripted([LOST]), Scripted([])]
    restarts = StreamRestarts(breaker=CircuitBreaker(1, Backoff(1000, 1000)))
    stream = SupervisedStream(StreamSpec("cam", config, False), lambda: waiting.pop(0), pool, restarts)
    stream.open()
    stream.attach()
    thread = threading.Thread(target=stream.run, args=(None,))
    thread.start()
    stream.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert len(waiting) == 1


def test_standard_output_is_written_here_and_once(
    make: Callable[..., SupervisedStream], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, second = Scripted([updates(0, 1), LOST]), Scripted([updates(1, 2), updates(ended=True)])
    make(first, second, output={"sinks": ["csv:-", f"csv:{tmp_path}/x.csv"]}).run(None)
    assert first.of("start") == [True]
    assert capfd.readouterr().out.startswith("x_min,")


@pytest.mark.parametrize(
    ("elsewhere", "has_reader", "told"),
    [(False, False, ["stop"]), (True, False, ["owner_left"]), (False, True, []), (True, True, [])],
)
def test_a_stream_whose_standard_output_fails_runs_on_for_whoever_is_left(
    make: Callable[..., SupervisedStream],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    elsewhere: bool,
    has_reader: bool,
    told: list[str],
) -> None:
    def fail(sink: JsonlSink, result: FrameResult) -> None:
        raise OutputError("the pipe is closed")

    monkeypatch.setattr(JsonlSink, "write", fail)
    process = Scripted([updates(0, 1), updates(2, ended=True)])
    sinks = ["jsonl:-", f"csv:{tmp_path}/x.csv"] if elsewhere else ["jsonl:-"]
    stream = make(process, output={"sinks": sinks})
    answer = process.updates

    def updates_after_the_failure(wait_s: float) -> Updates:
        if len(process.script) == 1:
            # The worker's thread tells the stream of it, which ends while nobody asks.
            assert failed.wait(60)
        return answer(wait_s)

    failed = threading.Event()
    note = stream._output_failed

    def failed_and_noted(sink: str, error: Exception) -> None:
        note(sink, error)
        failed.set()

    monkeypatch.setattr(stream._standard_output._workers[0], "_on_error", failed_and_noted)
    monkeypatch.setattr(process, "updates", updates_after_the_failure)
    stream.run((lambda each: None) if has_reader else None)
    assert isinstance(stream.error, OutputError)
    assert [did for did, _ in process.did if did in ("stop", "owner_left")] == told


class HereProcess:
    """A real host of a stream, in this process."""

    def __init__(self) -> None:
        self.host = StreamHost()

    def ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        return method(self.host, *arguments)

    tell = ask

    def kill(self) -> None:
        """Nothing is left to end: these streams come to their end."""


@pytest.mark.parametrize("reads_standard_output", [False, True])
def test_a_stream_whose_disk_is_full_goes_on_only_for_standard_output(
    pool: DetectorPool, tmp_path: Path, capfd: pytest.CaptureFixture[str], reads_standard_output: bool
) -> None:
    frames = 400
    clip = make_coloured(tmp_path / "clip.mp4", frames)
    sinks = ["jsonl:/dev/full", "jsonl:-"] if reads_standard_output else ["jsonl:/dev/full"]
    config = make_config({"streams": [str(clip)], "phrases": PHRASES, "output": {"sinks": sinks}})
    stream = SupervisedStream(StreamSpec("cam", config, False), HereProcess, pool)
    stream.open()
    stream.attach()
    stream.run(None)
    assert isinstance(stream.error, OutputError)
    assert "the disk is full" in str(stream.error)
    written = capfd.readouterr().out.splitlines()
    if reads_standard_output:
        assert len(written) == stream.view.results == frames
    else:
        assert written == []
        assert stream.view.results < frames
