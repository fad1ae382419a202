"""Events as HTTP requests to a real server."""

from __future__ import annotations

import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from event_factory import count_event, event
from ports import free_port
from redis_server import self_signed
from result_factory import result

from groundstream.operators.errors import ConfigError
from groundstream.operators.records import event_record, record
from groundstream.operators.records.event import delivery_id
from groundstream.operators.sinks import SinkWorker, open_sink
from groundstream.operators.sinks.webhook import WebhookSink, _seconds, webhook_address


class Receiver:
    """A server on a port of its own; `answers` are given first, then 204. It can go away and come back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.got: list[tuple[str, dict[str, str], Any, int]] = []
        self.connections = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def ids(self) -> list[str]:
        """Delivery ids of the requests that were answered well."""
        return [headers["Groundstream-Delivery"] for _, headers, _, status in list(self.got) if status < 300]

    def start(self, certificate: tuple[Path, Path] | None = None) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
                receiver.got.append((self.path, dict(self.headers), body, status))
                self.send_response(status)
                for name, value in ({"Content-Length": "0"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if headers.get("Connection") == "close":
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate[1], certificate[0])
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.webhook._FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("groundstream.operators.sinks.webhook._LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 60.0)


@pytest.fixture
def sink(receiver: Receiver, tmp_path: Path) -> Iterator[WebhookSink]:
    made = hook(receiver, tmp_path)
    yield made
    made.close()


def hook(receiver: Receiver, folder: Path, *, options: str = "", timeout_s: float = 30.0) -> WebhookSink:
    url = f"webhook+http://127.0.0.1:{receiver.port}/in?room=1#spool={folder}/spool{options}"
    return WebhookSink(webhook_address(url, "cam"), timeout_s)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def names(seqs: range) -> list[str]:
    return [delivery_id(event("update", seq)) for seq in seqs]


def test_every_event_is_a_request_on_one_connection(receiver: Receiver, sink: WebhookSink) -> None:
    made = [event(), event("update", 15), count_event("end", 30)]
    for each in made:
        sink.write_event(each)
    sink.write(result(3))  # frames were not asked for
    sink.close()
    sink.close()
    assert [body for _, _, body, _ in receiver.got] == [event_record(each) for each in made]
    assert receiver.ids == [delivery_id(each) for each in made]
    path, headers, *_ = receiver.got[0]
    assert (path, headers["Content-Type"], headers["User-Agent"]) == (
        "/in?room=1",
        "application/json",
        "groundstream",
    )
    assert "Authorization" not in headers
    assert (receiver.connections, sink.pending, sink.dropped) == (1, 0, 0)


def test_frames_can_be_asked_for_and_users_are_sent(receiver: Receiver, tmp_path: Path) -> None:
    url = (
        f"webhook+http://me:p%40ss@127.0.0.1:{receiver.port}/#detections=1&spool={tmp_path}/{{stream}}.spool"
    )
    made = open_sink(url, "cam")
    made.write(result(3))
    made.close()
    ((path, headers, body, _),) = receiver.got
    assert (path, headers["Authorization"]) == ("/", "Basic bWU6cEBzcw==")
    assert (headers["Groundstream-Delivery"], body) == ("cam:1:0", record(result(3)))
    assert (tmp_path / "cam.spool").exists()


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again_under_the_same_id(
    status: int, receiver: Receiver, sink: WebhookSink
) -> None:
    receiver.answers = [(status, {})] * 3
    for seq in range(3):
        sink.write_event(event("update", seq))
    sink.close()
    assert receiver.ids == names(range(3))
    assert [headers["Groundstream-Delivery"] for _, headers, _, _ in receiver.got] == [
        *[names(range(1))[0]] * 4,
        *names(range(1, 3)),
    ]
    assert sink.dropped == 0


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
def test_what_is_refused_is_not_tried_again_but_counted(
    status: int, receiver: Receiver, sink: WebhookSink, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [(status, {"Location": "/elsewhere"})] * 2
    for seq in range(4):
        sink.write_event(event("update", seq))
    sink.close()
    assert receiver.ids == names(range(2, 4))
    assert (len(receiver.got), sink.dropped, sink.pending) == (4, 2, 0)
    assert caplog.text.count(f"refuses messages, which are given up: it answers {status}") == 1


def test_a_receiver_that_says_when_to_come_back_is_heard(receiver: Receiver, sink: WebhookSink) -> None:
    receiver.answers = [(503, {"Retry-After": "1"})]
    started = time.monotonic()
    sink.write_event(event())
    wait_until(lambda: len(receiver.got) == 2)
    assert time.monotonic() - started >= 0.95


@pytest.mark.parametrize(
    ("text", "low_s", "high_s"),
    [("7", 7, 7), ("0", 0, 0), ("-5", 0, 0), ("999999", 3600, 3600), ("later", None, None), ("", None, None)],
)
def test_retry_after_as_a_number(text: str, low_s: float | None, high_s: float | None) -> None:
    assert _seconds(text) == low_s == high_s


def test_retry_after_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (_seconds(soon) or 0) <= 60
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_a_connection_that_the_receiver_closed_costs_nothing(
    receiver: Receiver, sink: WebhookSink, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [(204, {"Connection": "close"})] * 5
    for seq in range(5):
        sink.write_event(event("update", seq))
        wait_until(lambda: sink.pending == 0)
    assert receiver.ids == names(range(5))
    assert caplog.records == []


def test_a_receiver_that_is_silent_counts_as_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    with socket.create_server(("127.0.0.1", receiver.port)):
        sink = hook(receiver, tmp_path, timeout_s=0.1)
        sink.write_event(event())
        wait_until(lambda: bool(caplog.records))
    receiver.start()
    wait_until(lambda: sink.pending == 0)
    sink.close()
    receiver.stop()
    assert "cannot be reached, messages wait until it can: timed out" in caplog.text
    assert set(receiver.ids) == {delivery_id(event())}  # a slow machine may need more than one attempt


def test_a_receiver_that_was_away_gets_everything_in_order(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.stop()
    sink = hook(receiver, tmp_path)
    worker = SinkWorker(sink, capacity=4, when_full="block", on_error=lambda *why: pytest.fail(str(why)))
    for seq in range(300):
        worker.put_event(event("update", seq))
    wait_until(lambda: worker.counters.waiting == 300 and bool(caplog.records))
    receiver.start()
    wait_until(lambda: sink.pending == 0)
    worker.close()
    assert receiver.ids == names(range(300))
    assert (worker.counters.written, worker.counters.dropped) == (300, 0)
    assert [row.levelno for row in caplog.records] == [logging.WARNING] * 2


def test_what_is_not_delivered_goes_out_with_the_next_run(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 0.1)
    receiver.stop()
    first = hook(receiver, tmp_path)
    for seq in range(5):
        first.write_event(event("update", seq))
    first.close()
    assert f"5 messages for webhook 127.0.0.1:{receiver.port} wait in {tmp_path}/spool" in caplog.text
    receiver.start()
    second = hook(receiver, tmp_path)
    for seq in range(5, 8):
        second.write_event(event("update", seq))
    wait_until(lambda: len(receiver.ids) == 8)
    second.close()
    assert receiver.ids == names(range(8))


def test_a_full_spool_gives_up_the_oldest_and_says_so(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.stop()
    sink = hook(receiver, tmp_path, options="&spool_mb=0.01")
    for seq in range(100):
        sink.write_event(event("update", seq))
    kept = sink.pending
    assert 3 < kept < 30
    assert sink.dropped == 100 - kept
    assert caplog.text.count("are given up: the spool is full") == 1
    receiver.start()
    wait_until(lambda: sink.pending == 0)
    sink.close()
    assert receiver.ids == names(range(100 - kept, 100))


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from event_factory import event
from groundstream.operators.sinks import open_sink
sink = open_sink(sys.argv[2], "cam")
for seq in range(100_000):
    sink.write_event(event("update", seq))
    print(seq, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_loses_nothing_that_the_sink_took(receiver: Receiver, tmp_path: Path) -> None:
    url = f"webhook+http://127.0.0.1:{receiver.port}/#spool={tmp_path}/spool"
    taken: list[int] = []
    for _ in range(3):
        receiver.answers = [(503, {})] * 20  # busy for a while in each life
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parents[1]), url]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                if int(line) == 50:
                    child.send_signal(signal.SIGKILL)
                last = int(line)
        child.wait()
        taken.append(last)
    receiver.answers = []
    sink = hook(receiver, tmp_path)
    sink.write_event(event("end", 0, id="last"))
    wait_until(lambda: "last:end:0" in receiver.ids)
    sink.close()
    seqs = [int(each.rpartition(":")[2]) for each in receiver.ids]
    once = [
        seq for seq, before in zip(seqs, [-1, *seqs], strict=False) if seq != before
    ]  # at least once each
    starts = [at for at, seq in enumerate(once) if seq == 0]
    lives = [once[start:end] for start, end in pairwise(starts)]
    assert [life == list(range(len(life))) for life in lives] == [True] * 3
    assert all(len(life) > last for life, last in zip(lives, taken, strict=True))


def test_tls_works_and_a_stranger_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 0.1)
    receiver, pair = Receiver(), self_signed(tmp_path)
    receiver.start(pair)
    try:
        url = f"webhook+https://me:correct-horse@127.0.0.1:{receiver.port}/T0KEN?key=T0KEN#spool={tmp_path}/spool"
        strange = open_sink(url, "cam")
        strange.write_event(event())
        wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert receiver.ids == []
        strange.close()
        known = open_sink(f"{url}&ca_certs={pair[1]}", "cam")
        known.write_event(event("update", 1))
        wait_until(lambda: len(receiver.ids) == 2)
        known.close()
    finally:
        receiver.stop()
    assert receiver.ids == [delivery_id(event()), delivery_id(event("update", 1))]
    said = caplog.text + repr(webhook_address(url, "cam"))
    assert "horse" not in said
    assert "T0KEN" not in said


def test_the_spool_is_the_users_own_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one = webhook_address("webhook+https://me:secret@host/path?token=secret", "cam")
    same = webhook_address("webhook+https://you:other@host/path?token=other", "cam")
    others = [
        webhook_address("webhook+https://host/path", "cam-2"),
        webhook_address("webhook+https://host/b", "cam"),
    ]
    assert one.spool.parent == tmp_path / "groundstream" / "spool"
    assert one.spool == same.spool
    assert len({one.spool, *(each.spool for each in others)}) == 3
    monkeypatch.delenv("XDG_STATE_HOME")
    assert ".local/state/groundstream/spool/cam-" in str(webhook_address("webhook+http://host", "cam").spool)


@pytest.mark.parametrize(
    "url",
    [
        "webhook+https://",
        "webhook+https://me:se/cret@host",
        "webhook+http://me:secret@host:port/",
        "webhook+http://me:secret@host/#detections=yes",
        "webhook+http://me:secret@host/#colour=red",
        "webhook+http://me:secret@host/#colour",
        "webhook+http://me:secret@host/#spool_mb=0",
        "webhook+http://me:secret@host/#spool_mb=much",
    ],
)
def test_addresses_that_cannot_be_read_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(
        ConfigError, match="the webhook URL of an output cannot be read; expected webhook"
    ) as caught:
        open_sink(url, "cam")
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_certificates_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the certificates '/nowhere.pem' of a webhook"):
        open_sink(f"webhook+https://host/#ca_certs=/nowhere.pem&spool={tmp_path}/spool", "cam")
