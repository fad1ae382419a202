"""Addresses that lead nowhere, servers that misbehave, webcams: each failure has its name."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest
from source_watcher import Watcher

from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.sources.failures import live_failure
from groundstream.operators.sources.open import webcam


def opened(uri: str, **options: object) -> None:
    open_source(uri, "s", SourceOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def talk() -> Iterator[Callable[[bytes | None], int]]:
    """Start servers that answer every request with the given bytes (None: with silence); give their ports."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(answer: bytes | None) -> int:
        class Talker(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(1000)
                if answer is None:
                    self.request.recv(1000)  # until the other side hangs up
                else:
                    self.request.sendall(answer)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talker)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("scheme", "answer", "reason"),
    [
        ("rtsp", b"SSH-2.0-OpenSSH\r\n", Reason.INVALID),
        ("rtsps", b"SSH-2.0-OpenSSH\r\n", Reason.TLS),
        ("https", b"SSH-2.0-OpenSSH\r\n", Reason.TLS),
        ("rtsp", None, Reason.TIMEOUT),
        ("http", None, Reason.TIMEOUT),
        ("rtsp", b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n", Reason.AUTHENTICATION),
        ("rtsp", b"RTSP/1.0 403 Forbidden\r\nCSeq: 1\r\n\r\n", Reason.AUTHENTICATION),
        ("rtsp", b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", Reason.NOT_FOUND),
    ],
)
def test_failures_of_addresses_are_named(
    talk: Callable[[bytes | None], int], scheme: str, answer: bytes | None, reason: Reason
) -> None:
    uri = f"{scheme}://bob:s3cret@127.0.0.1:{talk(answer)}/cam"
    with Watcher(uri, semantics="live", reconnect=False, patience_s=0.5) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason is reason
    assert camera.states() == [("starting", None), ("failed", reason)]
    assert "s3cret" not in f"{camera.error} {camera.statuses}"


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SourceError, match="nothing listens there") as caught:
        opened(f"http://127.0.0.1:{port}/a.m3u8")
    assert caught.value.reason is Reason.REFUSED


def test_an_unknown_host_is_told_from_other_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = live_failure("rtsp://a:b@cam.invalid/x", OSError(5, "Input/output error"), examine=True)
    assert error.reason is Reason.DNS
    assert str(error) == (
        "rtsp://***@cam.invalid/x: the host name is not known; check its spelling and the name server"
    )


@pytest.mark.parametrize("uri", ["rtsp://h/cam", "webcam:0"])
def test_a_camera_has_no_start(uri: str) -> None:
    with pytest.raises(ConfigError, match="start and end need a file"):
        opened(uri, start_s=1.0)


@pytest.mark.parametrize(
    ("device", "platform", "url", "form"),
    [
        ("0", "linux", "/dev/video0", "v4l2"),
        ("/dev/video2", "linux", "/dev/video2", "v4l2"),
    ],
)
def test_webcams(device: str, platform: str, url: str, form: str) -> None:
    address = webcam(f"webcam:{device}", device, SourceOptions(), platform).address
    assert (address.url, address.format) == (url, form)


def test_a_webcam_that_is_not_plugged_in_is_named() -> None:
    with Watcher("/dev/video99", reconnect=False) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason is Reason.NOT_FOUND
    with Watcher("99") as camera:
        camera.wait_for_state("reconnecting", Reason.NOT_FOUND)


@pytest.mark.parametrize(
    ("uri", "words"), [("rstp://a:b@h/x", "did you mean rtsp://"), ("ftp://h/x", "ftp://")]
)
def test_unknown_schemes(uri: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        opened(uri)
    assert "a:b" not in str(caught.value)
