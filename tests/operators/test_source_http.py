"""HLS and files over HTTP, served by this process; and servers that misbehave."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from clip_maker import make_clip, make_image
from source_watcher import Watcher

from groundstream.operators import source_connection
from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.source import Source, SourceOptions, open_source
from groundstream.operators.source_addresses import webcam
from groundstream.operators.source_failures import live_failure

SEGMENT_S = 0.5
SEGMENTS = 8


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished HLS recording of 4 s in segments of 0.5 s, and an MP4."""
    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": str(SEGMENT_S), "hls_list_size": "0"}
    make_clip(folder / "vod.m3u8", fps=16, frames=64, gop=8, options=options)
    make_clip(folder / "clip.mp4", frames=24, options={"movflags": "faststart"})
    make_image(folder / "image.jpg")
    (folder / "page.html").write_text("<html>no video</html>")
    return folder


class Handler(BaseHTTPRequestHandler):
    """Serves the recording; `live.m3u8` shows it as if it were being recorded now."""

    folder: Path
    started: float | None = None

    def do_GET(self) -> None:
        name = self.path.split("?")[0].lstrip("/")
        if name == "private.mp4" and self.headers.get("Authorization") != self.expected():
            self.reply(b"", 401)
        elif name == "camera.mjpeg":
            self.stream_images()
        elif name == "live.m3u8":
            self.reply(self.live_playlist())
        elif (self.folder / name.replace("private", "clip")).is_file():
            self.reply((self.folder / name.replace("private", "clip")).read_bytes())
        else:
            self.reply(b"", 404)

    def expected(self) -> str:
        return "Basic " + base64.b64encode(b"bob:s3cret").decode()

    def reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream_images(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        image = (self.folder / "image.jpg").read_bytes()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n%b\r\n" % (len(image), image))
                time.sleep(0.1)

    def live_playlist(self) -> bytes:
        type(self).started = self.started or time.monotonic()
        assert self.started is not None
        text = (self.folder / "vod.m3u8").read_text()
        segments = re.findall(r"#EXTINF:.*\n.*\n", text)
        last = min(2 + int((time.monotonic() - self.started) / SEGMENT_S), len(segments))
        first = max(0, last - 3)
        lines = [f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"]
        lines += segments[first:last]
        if last == len(segments):
            lines.append("#EXT-X-ENDLIST\n")
        return "".join(lines).encode()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def site(recording: Path) -> Iterator[str]:
    """The address of a running server."""
    handler = type("Here", (Handler,), {"folder": recording})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(uri: str, **options: object) -> Source:
    return open_source(uri, "s", SourceOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "count"), [("vod.m3u8", 64), ("clip.mp4", 24)])
def test_a_finished_recording_is_read_like_a_file(site: str, name: str, count: int) -> None:
    with opened(f"{site}/{name}") as source:
        frames = list(source)
    assert source.semantics == "file"
    assert [frame.seq for frame in frames] == list(range(count))
    assert frames[0].time_s == pytest.approx(0.0, abs=1e-3)


def test_a_range_of_a_recording(site: str) -> None:
    with opened(f"{site}/vod.m3u8", start_s=1.2, end_s=2.0) as source:
        times = [frame.time_s for frame in source]
    assert times == pytest.approx([number / 16 for number in range(20, 32)], abs=1e-3)


def test_a_finished_recording_played_live_ends_and_is_paced(site: str) -> None:
    started = time.monotonic()
    with opened(f"{site}/clip.mp4", semantics="live") as source:
        frames = list(source)
    assert source.semantics == "live"
    assert 1.2 < time.monotonic() - started < 3.0
    assert len(frames) + source.counters.frames_dropped["newer_frame"] == 24


def test_a_live_playlist_is_followed_at_its_pace_until_it_is_finished(site: str) -> None:
    with Watcher(f"{site}/live.m3u8") as camera:
        assert camera.source.semantics == "live"
        camera.wait_for_frames(10)
        first, started = camera.frames[0].time_s, time.monotonic()
        camera.wait_until(lambda: camera.frames[-1].time_s - first > 1.2)
        assert time.monotonic() - started > 0.4  # a segment arrives at once but is not handed on at once
        camera.source.close()
    assert camera.error is None
    gaps = [later.time_s - earlier.time_s for earlier, later in pairwise(camera.frames)]
    assert all(1 / 17 < gap < 0.5 for gap in gaps), gaps


def test_a_live_playlist_in_order_to_its_end(site: str) -> None:
    with Watcher(f"{site}/live.m3u8", semantics="file", reconnect=False) as camera:
        camera.wait_until(lambda: camera.ended, 15)
    assert camera.states()[-1] == ("ended", None)
    # It begins with one of the segments that are there when it is opened, and misses nothing from then on.
    assert len(camera.frames) in (56, 64)
    gaps = [later.time_s - earlier.time_s for earlier, later in pairwise(camera.frames)]
    assert gaps == pytest.approx([1 / 16] * len(gaps), abs=1e-3)
    assert not camera.source.counters.frames_dropped


def test_motion_jpeg_is_a_camera_whose_time_is_that_of_arrival(site: str) -> None:
    with Watcher(f"{site}/camera.mjpeg") as camera:
        assert camera.source.semantics == "live"
        camera.wait_for_frames(9)
    gaps = [later.time_s - earlier.time_s for earlier, later in pairwise(camera.frames)]
    # libav reads three images ahead, and would make up 0.04 s between all of them.
    assert gaps[3:] == pytest.approx([0.1] * len(gaps[3:]), abs=0.05)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nope.m3u8", Reason.NOT_FOUND),
        ("/page.html", Reason.INVALID),
        ("/private.mp4", Reason.AUTHENTICATION),
    ],
)
def test_recordings_that_are_not_there_are_named(site: str, path: str, reason: Reason) -> None:
    with pytest.raises(SourceError) as caught:
        opened(f"{site}{path}?token=s3cret")
    assert caught.value.reason is reason
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_in_the_address(site: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with opened(site.replace("http://", "http://bob:s3cret@") + "/private.mp4") as source:
        assert len(list(source)) == 24
    assert "s3cret" not in caplog.text
    assert "***@127.0.0.1" in caplog.text


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


def test_packets_without_pictures_are_decode_errors(
    site: str, monkeypatch: pytest.MonkeyPatch, recording: Path
) -> None:
    monkeypatch.setattr(source_connection, "NO_PICTURE_S", 0.3)
    monkeypatch.setattr(source_connection.Decoder, "_decode", lambda self, packet: [])
    # In real time: the clip's packets come slower than the patience with pictures.
    with Watcher(f"{site}/live.m3u8", semantics="live", reconnect=False) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason is Reason.DECODE


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
