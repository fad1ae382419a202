"""What becomes of events in each output, and in the queue before it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from event_factory import count_event, event
from redis_server import RedisServer
from result_factory import result

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import event_record, record
from groundstream.operators.records.event import delivery_id
from groundstream.operators.sinks import SinkWorker, open_sink, writes_file
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.record_files import JsonlSink
from groundstream.operators.sinks.redis import RedisAddress, RedisStreamSink
from groundstream.operators.sinks.video import VideoSink


class Both(Sink):
    """Keeps what it is given, in order; waits while `gate` is shut."""

    name = "both"

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.taken: list[FrameResult | Event] = []

    def write(self, result: FrameResult) -> None:
        self._take(result)

    def write_event(self, event: Event) -> None:
        self._take(event)

    def close(self) -> None:
        pass

    def _take(self, item: FrameResult | Event) -> None:
        self.entered.release()
        assert self.gate.wait(60)
        self.taken.append(item)

    @property
    def seqs(self) -> list[str]:
        return [
            f"e{item.after.seq}" if isinstance(item, Event) else f"r{item.frame.seq}" for item in self.taken
        ]


def never(name: str, error: OutputError) -> None:
    raise AssertionError(f"{name}: {error}")


def test_results_and_events_keep_their_order() -> None:
    sink = Both()
    sink.gate.set()
    worker = SinkWorker(sink, capacity=3, when_full="block", on_error=never)
    for seq in range(50):
        worker.put(result(0, seq=seq))
        worker.put_event(event("update", seq))
    worker.close()
    assert sink.seqs == [f"{kind}{seq}" for seq in range(50) for kind in "re"]
    assert worker.counters.written == 100


def test_a_full_queue_gives_up_results_before_events_and_says_so_in_the_next_result() -> None:
    sink = Both()
    worker = SinkWorker(sink, capacity=3, when_full="drop_oldest", on_error=never)
    worker.put(result(0, seq=0))
    assert sink.entered.acquire(timeout=60)  # the sink is busy with the first one
    for seq in (1, 2, 3, 4):
        worker.put_event(event("update", seq))
        worker.put(result(0, seq=seq))
    assert worker.counters.dropped == 5
    sink.gate.set()
    worker.close()
    assert sink.seqs == ["r0", "e3", "e4", "r4"]
    last = sink.taken[-1]
    assert isinstance(last, FrameResult)
    assert last.frame.dropped == {"both_full": 5}


def test_events_after_close_are_dropped() -> None:
    sink = Both()
    sink.gate.set()
    worker = SinkWorker(sink, capacity=1, when_full="block", on_error=never)
    worker.close()
    worker.put_event(event())
    assert (sink.taken, worker.counters.dropped) == ([], 1)


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        (None, ["detection", "event", "event"]),
        ("detections", ["detection"]),
        ("events", ["event", "event"]),
    ],
)
def test_a_jsonl_file_is_for_both_or_for_one_kind(only: Any, kinds: list[str], tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "out.jsonl", only=only)
    sink.write(result(1))
    sink.write_event(event())
    sink.write_event(count_event("end", 3))
    sink.close()
    made = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [each["schema"] for each in made] == [f"groundstream.{kind}/1" for kind in kinds]
    if only != "detections":
        assert made[-1] == event_record(count_event("end", 3))


@pytest.mark.parametrize("kind", ["csv", "mot", "coco"])
def test_formats_of_detections_pass_events_over(kind: str, tmp_path: Path) -> None:
    contents = []
    for events in ([], [event(), event("end", 3)]):
        sink = open_sink(f"{kind}:{tmp_path}/{len(contents)}", "cam")
        sink.write(result(4))
        for made in events:
            sink.write_event(made)
        sink.close()
        contents.append((tmp_path / str(len(contents))).read_bytes())
    assert contents[0] == contents[1]


def test_a_video_passes_events_over(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4")
    sink.write_event(event())
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *[("jsonl:a", True), ("csv:a", True), ("mot:a", True), ("coco:a", True)],
        *[("redis://h", False), ("mqtts://h", False), ("webhook+http://h", False)],
    ],
)
def test_which_outputs_are_files(url: str, expected: bool) -> None:
    assert writes_file(url) == expected


@pytest.mark.server
def test_events_are_entries_of_redis_and_losses_are_told_by_frames(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        sink = RedisStreamSink(RedisAddress(server.url, "key"))
        sink.write_event(event())
        sink.write(result(1))
        sink.close()
        with server.client() as client:
            first, second = (fields for _, fields in client.xrange("key"))
        assert first[b"id"].decode() == delivery_id(event())
        assert json.loads(first[b"record"]) == event_record(event())
        assert json.loads(second[b"record"]) == record(result(1))
        assert (sink.pending, sink.dropped) == (0, 0)
    finally:
        server.kill()


@pytest.mark.server
def test_what_redis_lost_is_told_by_the_next_frame_also_behind_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.redis._FIRST_WAIT_S", 0.02)
    server = RedisServer(tmp_path)
    try:
        server.kill()
        size = len(json.dumps(event_record(event()), separators=(",", ":"), ensure_ascii=False).encode())
        sink = RedisStreamSink(RedisAddress(server.url, "key"), spool_bytes=4 * size)
        for seq in range(20):
            sink.write_event(event("update", seq))
        sink.write(result(0, seq=20))
        server.start()
        sink.close()
        with server.client() as client:
            made = [json.loads(fields[b"record"]) for _, fields in client.xrange("key")]
        assert made[0]["schema"] == "groundstream.event/1"
        assert made[-1]["dropped_since_last"] == {"redis_spool_full": sink.dropped}
        assert len(made) + sink.dropped == 21
    finally:
        server.kill()
