"""Events, and records of frames where they are asked for, to an MQTT broker."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from groundstream.operators.errors import ConfigError, OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.records.detection import json_bytes
from groundstream.operators.records.event import delivery_id
from groundstream.operators.records.frigate import event_to_frigate
from groundstream.operators.sinks.delivery import Unavailable
from groundstream.operators.sinks.server import ServerSink
from groundstream.operators.sinks.spool import MemorySpool, Message
from groundstream.operators.utils.backoff import Backoff
from groundstream.operators.utils.files import explain

SPOOL_BYTES = 64 * 2**20
_CONNECT_S, _ACK_S, _POLL_S = 5.0, 10.0, 0.1
_KEEPALIVE_S = 15
_LONGEST_WAIT_S = 30
# Answers to a first connection that no waiting will change.
_REFUSALS = ("Not authorized", "Bad user name or password", "Client identifier not valid")
_EXPECTED = (
    "expected mqtt://USER:PASSWORD@HOST:PORT/TOPIC?format=groundstream|frigate&qos=0|1&detections=1, or "
    "mqtts://... for TLS (&ca_certs=FILE for your own authority), with special characters percent-encoded"
)


@dataclass(frozen=True)
class MqttAddress:
    """Where a broker is, and what it gets.

    Attributes:
        host: name or address.
        port: of the broker.
        topic: what all topics begin with.
        user: where the broker wants one.
        password: of the user; never shown.
        tls: whether the connection is encrypted.
        ca_certs: file of the authority that signed the broker's certificate; the system's where empty.
        layout: events as our records, or in Frigate's shape.
        qos: 1 to repeat what was not confirmed, 0 to send once.
        detections: whether frames are sent too.
    """

    host: str
    port: int
    topic: str
    user: str
    password: str
    tls: bool
    ca_certs: str
    layout: Literal["groundstream", "frigate"]
    qos: Literal[0, 1]
    detections: bool

    def __repr__(self) -> str:
        return f"MqttAddress({self.host}:{self.port}, topic={self.topic!r})"


def mqtt_address(url: str, stream_id: str) -> MqttAddress:
    """Read `mqtt://USER:PASSWORD@HOST:PORT/TOPIC?...`; `{stream}` in TOPIC stands for `stream_id`.

    Raises:
        ConfigError: `url` cannot be read; the message holds no part of it.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        tls = parts.scheme == "mqtts"
        layout, qos = options.pop("format", "groundstream"), options.pop("qos", "1")
        detections, ca_certs = options.pop("detections", "0"), options.pop("ca_certs", "")
        topic = unquote(parts.path).strip("/").replace("{stream}", level(stream_id)) or "groundstream"
        if options or not parts.hostname or parts.fragment or any(sign in topic for sign in "+#\0"):
            raise ValueError
        return MqttAddress(
            host=parts.hostname,
            port=parts.port or (8883 if tls else 1883),
            topic=topic,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            tls=tls,
            ca_certs=ca_certs,
            layout=_chosen(layout, {"groundstream": "groundstream", "frigate": "frigate"}),
            qos=_chosen(qos, {"0": 0, "1": 1}),
            detections=_chosen(detections, {"0": False, "1": True}),
        )
    except ValueError:
        # Its own words could quote the password.
        raise ConfigError(f"the MQTT URL of an output cannot be read; {_EXPECTED}") from None


def level(name: str) -> str:
    """Return `name` as one level of a topic, without the signs that have a meaning there."""
    return "".join("-" if sign in "/+#\0" else sign for sign in name)


class MqttSink(ServerSink):
    """Publishes events to `TOPIC/events`, and frames to `TOPIC/detections/STREAM` where they are asked for.

    `TOPIC/available/STREAM` is retained: `online`, and `offline` once the sink is closed or the broker has
    not heard of it for a while (last will). Each stream has its own, because each may end alone. While the
    broker is away, messages wait in memory, the oldest are given up when it is full; with `qos` 1 what was
    not confirmed is sent again.

    Args:
        address: where the broker is, and what it gets.
        stream_id: the stream that is written.
        spool_bytes: bound of what waits.
    """

    name = "mqtt"

    def __init__(self, address: MqttAddress, stream_id: str, spool_bytes: int = SPOOL_BYTES) -> None:
        self._frigate = address.layout == "frigate"
        transport = MqttTransport(
            address,
            topics={
                "event": f"{address.topic}/events",
                "detection": f"{address.topic}/detections/{level(stream_id)}",
            },
            available=f"{address.topic}/available/{level(stream_id)}",
        )
        super().__init__(transport, MemorySpool(spool_bytes), Backoff(), detections=address.detections)

    def write_event(self, event: Event) -> None:
        """Publish one message about an event.

        Raises:
            OutputError: the broker lets nobody in with this user and password.
        """
        if not self._frigate:
            super().write_event(event)
        elif event.after.box is not None:  # Frigate knows no event without an object
            body = json_bytes(event_to_frigate(event))
            self._delivery.put(Message("event", delivery_id(event), body))


class MqttTransport:
    """The connection to a broker, which comes back by itself.

    Args:
        address: where the broker is.
        topics: where messages go, by their kind.
        available: topic that says whether we are there.
    """

    most = 20  # sent before the first is confirmed

    def __init__(self, address: MqttAddress, topics: Mapping[str, str], available: str) -> None:
        self.place = f"MQTT broker {address.host}:{address.port}"
        self.reason = "it does not answer"
        self._topics, self._available, self._qos = topics, available, address.qos
        self._connected = threading.Event()
        self._connections = 0
        self._refusal: OutputError | None = None
        self._client = self._make_client(address)
        self._client.connect_async(address.host, address.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def deliver(self, messages: Sequence[Message]) -> int:
        """Publish messages and wait until the broker has confirmed them; see `Transport.deliver`."""
        if not self._connected.wait(1.0):
            if self._refusal is not None:
                raise self._refusal
            raise Unavailable(self.reason, wait_s=0.0)
        connection, deadline, count = self._connections, monotonic() + _ACK_S, 0
        sent = [self._client.publish(self._topics[each.kind], each.body, self._qos) for each in messages]
        for info in sent:
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            while not info.is_published() and self._is_up(connection) and monotonic() < deadline:
                info.wait_for_publish(_POLL_S)
            if not info.is_published():
                break
            count += 1
        if not count:
            raise Unavailable("it does not confirm in time" if self._is_up(connection) else self.reason)
        return count

    def close(self) -> None:
        """Say that we are gone, and end the connection."""
        if self._connected.is_set():
            info = self._client.publish(self._available, "offline", qos=1, retain=True)
            if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                info.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self, address: MqttAddress) -> Client:
        client = Client(CallbackAPIVersion.VERSION2)
        if address.user:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            try:
                client.tls_set_context(ssl.create_default_context(cafile=address.ca_certs or None))
            except OSError as error:
                what = f"cannot read the certificates {address.ca_certs!r} of an MQTT output"
                raise ConfigError(f"{what}: {explain(error)}") from None
        client.will_set(self._available, "offline", qos=1, retain=True)
        client.connect_timeout = _CONNECT_S
        client.reconnect_delay_set(1, _LONGEST_WAIT_S)
        client.max_inflight_messages_set(0)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        return client

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        self._refusal = OutputError(f"cannot write to {self.place}: {reason}")

    def _is_up(self, connection: int) -> bool:
        return self._connected.is_set() and self._connections == connection

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self.reason = str(code)
            if self.reason in _REFUSALS and not self._connections:
                self._refuse(self.reason)
            return
        client.drop_out_messages()  # the delivery offers again what was not confirmed, in its order
        client.publish(self._available, "online", qos=1, retain=True)
        self._connections += 1
        self._connected.set()

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: Any, code: ReasonCode, properties: Any
    ) -> None:
        self._connected.clear()
        if not code.is_failure:
            return
        self.reason = f"the connection was lost ({code})" if self._connections else self.reason

    def _on_connect_fail(self, client: Client, userdata: Any) -> None:
        error = sys.exception()  # called while paho handles it
        self.reason = str(getattr(error, "strerror", None) or error or "it cannot be reached")
        if isinstance(error, ssl.SSLCertVerificationError) and not self._connections:
            self._refuse("its certificate is signed by nobody that is known here, see ca_certs=")


def _chosen(value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise ValueError
    return choices[value]
