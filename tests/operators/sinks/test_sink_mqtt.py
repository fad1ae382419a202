"""Events through a real MQTT broker."""

from __future__ import annotations

import gc
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from event_factory import count_event, event
from mosquitto_server import MosquittoServer
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from result_factory import result

from groundstream.operators.errors import ConfigError, OutputError
from groundstream.operators.records import event_record, record
from groundstream.operators.records.frigate import event_to_frigate
from groundstream.operators.sinks import Sink, SinkWorker, open_sink
from groundstream.operators.sinks.mqtt import MqttSink, mqtt_address


class Subscriber:
    """Somebody who hears all that is published; knows of a retained message whether it is one."""

    def __init__(self, server: MosquittoServer) -> None:
        self.heard: list[tuple[str, str]] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if server.user:
            self._client.username_pw_set(server.user, server.password)
        if server.certificate:
            self._client.tls_set(str(server.certificate))
        self._client.on_connect = lambda client, *rest: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *rest: self._ready.set()
        self._client.on_message = lambda client, data, got: self.heard.append(
            (got.topic, got.payload.decode())
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", server.port)
        self._client.loop_start()
        assert self._ready.wait(60)

    def on(self, topic: str) -> list[str]:
        return [payload for where, payload in list(self.heard) if where == topic]

    def records(self, topic: str) -> list[Any]:
        return [json.loads(payload) for payload in self.on(topic)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MosquittoServer]:
    running = MosquittoServer(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def ear(server: MosquittoServer) -> Iterator[Subscriber]:
    listening = Subscriber(server)
    yield listening
    listening.close()


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.mqtt._LONGEST_WAIT_S", 1)
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 60.0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def write_both(sink: Sink) -> None:
    sink.write(result(3))
    sink.write_event(event())
    sink.write_event(count_event())
    sink.close()
    sink.close()


@pytest.mark.server
def test_events_are_published_and_frames_where_they_are_asked_for(
    server: MosquittoServer, ear: Subscriber
) -> None:
    write_both(open_sink(f"{server.url}/site/a?detections=1", "cam#1"))
    wait_until(lambda: "offline" in ear.on("site/a/available/cam-1"))
    assert ear.records("site/a/events") == [event_record(event()), event_record(count_event())]
    assert ear.records("site/a/detections/cam-1") == [record(result(3))]
    assert ear.on("site/a/available/cam-1") == ["online", "offline"]


@pytest.mark.server
def test_frigates_shape_can_be_asked_for_and_leaves_out_what_has_no_object(
    server: MosquittoServer, ear: Subscriber
) -> None:
    write_both(open_sink(f"{server.url}/frigate?format=frigate&qos=0", "cam"))
    wait_until(lambda: "offline" in ear.on("frigate/available/cam"))
    assert ear.records("frigate/events") == [event_to_frigate(event())]
    assert {topic for topic, _ in ear.heard} == {"frigate/events", "frigate/available/cam"}


@pytest.mark.server
def test_a_broker_that_is_killed_and_comes_back_gets_everything_in_order(
    server: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    ear, again = Subscriber(server), None
    sink = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam")
    worker = SinkWorker(sink, capacity=16, when_full="block", on_error=lambda *why: pytest.fail(str(why)))
    for seq in range(300):
        if seq == 100:
            wait_until(lambda: len(ear.on("site/events")) == 100)
            server.kill()
            ear.close()
        if seq == 200:
            wait_until(lambda: bool(caplog.records))
            server.start()
            again = Subscriber(server)
        worker.put_event(event("update", seq))
    assert again is not None
    wait_until(lambda: len(again.on("site/events")) >= 200)
    worker.close()
    again.close()
    heard = ear.records("site/events") + again.records("site/events")
    seqs = [each["after"]["seq"] for each in heard]
    assert list(dict.fromkeys(seqs)) == list(range(300))
    assert (worker.counters.written, worker.counters.dropped) == (300, 0)
    assert [row.levelno for row in caplog.records] == [logging.WARNING] * 2
    assert "cannot be reached, messages wait until it can" in caplog.text


@pytest.mark.server
def test_a_broker_that_hangs_gets_everything_once_it_goes_on(
    server: MosquittoServer, ear: Subscriber
) -> None:
    sink = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam")
    sink.write_event(event())
    wait_until(lambda: sink.pending == 0)
    server.pause()
    for seq in range(1, 50):
        sink.write_event(event("update", seq))
    time.sleep(0.3)
    assert sink.pending == 49
    server.resume()
    wait_until(lambda: sink.pending == 0)
    sink.close()
    seqs = [each["after"]["seq"] for each in ear.records("site/events")]
    assert list(dict.fromkeys(seqs)) == list(range(50))


@pytest.mark.server
def test_a_sink_that_vanishes_is_offline_by_its_last_will(server: MosquittoServer, ear: Subscriber) -> None:
    sink = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam")
    wait_until(lambda: ear.on("site/available/cam") == ["online"])
    connection = sink._transport._client.socket()
    assert connection is not None
    sink._transport._client.loop_stop()
    connection.close()
    wait_until(lambda: ear.on("site/available/cam") == ["online", "offline"])
    sink.close()


@pytest.mark.server
def test_what_the_spool_cannot_hold_is_given_up_oldest_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = MosquittoServer(tmp_path)
    server.kill()
    size = len(
        json.dumps(event_record(event("update", 10)), separators=(",", ":"), ensure_ascii=False).encode()
    )
    sink = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam", spool_bytes=10 * size + size // 2)
    for seq in range(10, 40):
        sink.write_event(event("update", seq))
    wait_until(lambda: (sink.pending, sink.dropped) == (10, 20))
    assert "are given up: the spool is full" in caplog.text
    server.start()
    ear = Subscriber(server)
    wait_until(lambda: sink.pending == 0)
    sink.close()
    wait_until(lambda: len(ear.on("site/events")) >= 10)
    seqs = [each["after"]["seq"] for each in ear.records("site/events")]
    assert list(dict.fromkeys(seqs)) == list(range(30, 40))
    ear.close()
    server.kill()


@pytest.mark.server
def test_a_broker_that_stays_away_is_an_error_at_the_end(
    server: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundstream.operators.sinks.server.CLOSE_PATIENCE_S", 0.2)
    server.kill()
    errors: list[str] = []
    sink = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam")
    worker = SinkWorker(
        sink, capacity=4, when_full="block", on_error=lambda name, error: errors.append(f"{name}: {error}")
    )
    for seq in range(5):
        worker.put_event(event("update", seq))
    worker.close()
    place = f"MQTT broker 127.0.0.1:{server.port}"
    assert errors == [f"mqtt: 5 messages could not be delivered to {place}: Connection refused"]
    assert (worker.counters.written, worker.counters.dropped, worker.counters.waiting) == (0, 5, 0)


def refusal(sink: MqttSink) -> str:
    """Write until the sink says that it never will be able to; return its words."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            sink.write_event(event())
        except OutputError as error:
            with pytest.raises(OutputError, match=re.escape(str(error))):
                sink.close()
            return str(error)
        time.sleep(0.02)
    raise AssertionError("it was never refused")


# paho leaves a socket whose handshake failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.server
def test_tls_and_a_password_work_and_a_wrong_one_is_refused_and_stays_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = MosquittoServer(tmp_path, user="camera", password="correct-horse", tls=True)
    ear = Subscriber(server)
    place = f"cannot write to MQTT broker 127.0.0.1:{server.port}"
    try:
        write_both(open_sink(f"{server.url}/site?ca_certs={server.certificate}", "cam"))
        wait_until(lambda: len(ear.on("site/events")) == 2)
        wrong = f"{server.url}/site?ca_certs={server.certificate}".replace("correct-horse", "battery-staple")
        address = mqtt_address(wrong, "cam")
        assert refusal(MqttSink(address, "cam")) == f"{place}: Not authorized"
        stranger = MqttSink(mqtt_address(f"{server.url}/site", "cam"), "cam")
        assert refusal(stranger).startswith(
            f"{place}: its certificate is signed by nobody that is known here"
        )
        assert not re.search("staple|horse", caplog.text + repr(address))
    finally:
        ear.close()
        server.kill()
        gc.collect()


def test_addresses_are_read() -> None:
    address = mqtt_address("mqtts://me:p%40ss@host/a/{stream}?format=frigate&qos=0&detections=1", "cam/1")
    assert (address.host, address.port, address.topic, address.tls) == ("host", 8883, "a/cam-1", True)
    assert (address.user, address.password) == ("me", "p@ss")
    assert (address.layout, address.qos, address.detections) == ("frigate", 0, True)
    plain = mqtt_address("mqtt://[::1]:1999", "cam")
    assert (plain.host, plain.port, plain.topic) == ("::1", 1999, "groundstream")
    assert (plain.layout, plain.qos, plain.detections, plain.tls) == ("groundstream", 1, False, False)


@pytest.mark.parametrize(
    "url",
    [
        "mqtt:///topic",
        "mqtt://:secret@",
        "mqtt://me:se/cret@host",
        "mqtt://me:secret@host:port/topic",
        "mqtt://me:secret@host/topic?qos=2",
        "mqtt://me:secret@host/topic?format=xml",
        "mqtt://me:secret@host/topic?detections=yes",
        "mqtt://me:secret@host/topic?colour=red",
        "mqtt://me:secret@host/topic?colour",
        "mqtt://me:secret@host/a/%23",
        "mqtt://me:secret@host/topic#part",
    ],
)
def test_addresses_that_cannot_be_read_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(
        ConfigError, match="the MQTT URL of an output cannot be read; expected mqtt://"
    ) as caught:
        open_sink(url, "cam")
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_certificates_that_are_not_there_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the certificates '/nowhere.pem' of an MQTT output"):
        open_sink("mqtts://host/topic?ca_certs=/nowhere.pem", "cam")
