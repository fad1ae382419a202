"""Records in a stream of a real Redis server."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from result_factory import result, results

from groundstream.operators.errors import OutputError
from groundstream.operators.records import record
from groundstream.operators.sinks import Sink, SinkWorker, open_sink
from groundstream.operators.sinks.redis import RedisAddress, RedisStreamSink

pytestmark = pytest.mark.server

KEY = "groundstream:cam"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.redis._FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("groundstream.operators.sinks.redis._LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 0.3)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def refusal(sink: Sink) -> OutputError:
    """Write until the sink says that it never will be able to; return its words."""
    refused: list[OutputError] = []

    def write() -> bool:
        try:
            sink.write(result())
        except OutputError as error:
            refused.append(error)
        return bool(refused)

    wait_until(write)
    with pytest.raises(OutputError, match=re.escape(str(refused[0]))):
        sink.close()
    return refused[0]


def never(name: str, error: OutputError) -> None:
    raise AssertionError(f"{name}: {error}")


def entries(server: RedisServer) -> list[tuple[str, dict[str, Any]]]:
    with server.client() as client:
        rows = client.xrange(KEY)
    return [(fields[b"id"].decode(), json.loads(fields[b"record"])) for _, fields in rows]


def test_every_frame_is_an_entry_with_its_delivery_id(server: RedisServer) -> None:
    sink = open_sink(server.url, "cam")
    for each in results([3, 0, 7]):
        sink.write(each)
    sink.close()
    sink.close()
    assert entries(server) == [
        (f"cam:1:{seq}", record(result(n, seq=seq))) for seq, n in enumerate([3, 0, 7])
    ]


def test_the_stream_is_trimmed(server: RedisServer) -> None:
    sink = open_sink(f"{server.url}?stream=groundstream:{{stream}}&maxlen=100", "cam")
    for each in results([0] * 1000):
        sink.write(each)
    sink.close()
    kept = entries(server)
    assert 100 <= len(kept) <= 250  # "about": the server trims whole nodes
    assert kept[-1][0] == "cam:1:999"


def test_what_waits_is_delivered_in_one_round_trip(server: RedisServer) -> None:
    sink = RedisStreamSink(RedisAddress(server.url, KEY))
    sink.write(result())
    wait_until(lambda: sink.pending == 0)
    server.kill()
    for each in results([1] * 152)[1:]:
        sink.write(each)
    assert sink.pending == 151
    server.start()
    wait_until(lambda: sink.pending == 0)
    with server.client() as client:
        reads = client.info("stats")["total_reads_processed"]
    sink.close()
    assert [name for name, _ in entries(server)] == [f"cam:1:{seq}" for seq in range(1, 152)]
    assert reads < 40  # 151 entries in pieces as large as the server reads at once, not one by one


def test_a_server_that_dies_and_comes_back_misses_no_record_and_keeps_the_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, persistent=True)
    worker = SinkWorker(
        RedisStreamSink(RedisAddress(server.url, KEY)), capacity=16, when_full="block", on_error=never
    )
    for each in results([2] * 400):
        if each.frame.seq == 100:
            server.kill()
        if each.frame.seq == 300:
            server.start()
        worker.put(each)
        time.sleep(0.001)
    worker.close()
    names = [name for name, _ in entries(server)]
    server.kill()
    assert list(dict.fromkeys(names)) == [f"cam:1:{seq}" for seq in range(400)]
    assert (worker.counters.written, worker.counters.dropped) == (400, 0)
    assert [row.levelno for row in caplog.records] == [logging.WARNING] * 2
    assert "cannot be reached, messages wait until it can" in caplog.records[0].getMessage()
    assert re.search("can be reached again; [0-9]+ messages wait", caplog.records[1].getMessage())


def test_what_the_spool_cannot_hold_is_reported_in_the_next_record(server: RedisServer) -> None:
    server.kill()
    size = len(json.dumps(record(result(2)), separators=(",", ":"), ensure_ascii=False).encode())
    sink = RedisStreamSink(RedisAddress(server.url, KEY), spool_bytes=10 * size + size // 2)
    worker = SinkWorker(sink, capacity=4, when_full="block", on_error=never)
    for seq in range(30):
        worker.put(result(2, seq=seq, dropped={"newer_frame": 1}))
    while worker.counters.waiting > 10:
        time.sleep(0.01)
    dropped = worker.counters.dropped
    assert 20 <= dropped <= 22
    assert (worker.counters.written, worker.counters.waiting) == (0, 30 - dropped)
    server.start()
    worker.close()
    arrived = entries(server)
    assert [name for name, _ in arrived] == [f"cam:1:{seq}" for seq in range(dropped, 30)]
    assert arrived[0][1]["dropped_since_last"] == {"redis_spool_full": dropped, "newer_frame": dropped + 1}
    assert arrived[1][1]["dropped_since_last"] == {"newer_frame": 1}
    assert (worker.counters.written, worker.counters.dropped) == (30 - dropped, dropped)


def test_a_server_that_stays_away_is_an_error_at_the_end(tmp_path: Path, server: RedisServer) -> None:
    server.kill()
    errors: list[str] = []
    worker = SinkWorker(
        RedisStreamSink(RedisAddress(server.url, KEY)),
        capacity=4,
        when_full="block",
        on_error=lambda name, error: errors.append(f"{name}: {error}"),
    )
    for each in results([1] * 5):
        worker.put(each)
    worker.close()
    assert len(errors) == 1
    assert errors[0].startswith(
        f"redis: 5 messages could not be delivered to stream {KEY} of Redis at 127.0.0.1:"
    )
    assert (worker.counters.written, worker.counters.dropped, worker.counters.waiting) == (0, 5, 0)


def test_a_key_of_another_kind_is_refused_at_once(server: RedisServer) -> None:
    with server.client() as client:
        client.set(KEY, "a string")
    said = str(refusal(RedisStreamSink(RedisAddress(server.url, KEY))))
    assert re.match(r"cannot write to stream groundstream:cam of Redis at .*WRONGTYPE", said)
    with_one = RedisStreamSink(RedisAddress(server.url, KEY))
    with_one.write(result())
    with pytest.raises(OutputError, match="WRONGTYPE"):  # also where nothing is written after it
        with_one.close()
    assert (with_one.pending, with_one.dropped) == (0, 1)


def test_a_full_server_is_waited_for(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1")
        sink = RedisStreamSink(RedisAddress(server.url, KEY))
        for each in results([1] * 3):
            sink.write(each)
        wait_until(lambda: "used memory > 'maxmemory'" in caplog.text)
        assert sink.pending == 3
        client.config_set("maxmemory", "0")
    sink.write(result(1, seq=3))
    sink.close()
    assert [name for name, _ in entries(server)] == [f"cam:1:{seq}" for seq in range(4)]


def test_tls_and_a_password_work_and_a_wrong_one_is_refused_and_stays_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, password="correct-horse", tls=True)
    try:
        sink = open_sink(server.url, "cam")
        sink.write(result())
        sink.close()
        assert len(entries(server)) == 1
        for wrong, said in (
            (server.url.replace("correct-horse", "battery-staple"), "invalid"),
            (server.url.replace(":correct-horse@", ""), "wants a password"),
        ):
            error = refusal(open_sink(wrong, "cam"))
            assert said in str(error)
            assert "staple" not in str(error)
            assert error.__cause__ is None
    finally:
        server.kill()
    assert caplog.records == []
