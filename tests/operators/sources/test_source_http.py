"""HLS and files over HTTP, served by this process; and servers that misbehave."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from clip_maker import make_clip, make_image
from source_watcher import Watcher

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources import Source, SourceOptions, open_source
from groundstream.operators.sources import connection as source_connection

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


@pytest.mark.alone
def test_a_finished_recording_played_live_ends_and_is_paced(site: str) -> None:
    started = time.monotonic()
    with opened(f"{site}/clip.mp4", semantics="live") as source:
        frames = list(source)
    assert source.semantics == "live"
    assert 1.2 < time.monotonic() - started < 3.0
    assert len(frames) + source.counters.frames_dropped["newer_frame"] == 24


@pytest.mark.alone
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


@pytest.mark.slow
def test_a_live_playlist_in_order_to_its_end(site: str) -> None:
    with Watcher(f"{site}/live.m3u8", semantics="file") as camera:
        camera.wait_until(lambda: camera.ended, 15)
    assert {frame.epoch for frame in camera.frames} == {1}
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


def test_packets_without_pictures_are_decode_errors(
    site: str, monkeypatch: pytest.MonkeyPatch, recording: Path
) -> None:
    monkeypatch.setattr(source_connection, "NO_PICTURE_S", 0.3)
    monkeypatch.setattr(source_connection.FramePath, "_decode", lambda self, packet: [])
    # In real time: the clip's packets come slower than the patience with pictures.
    with Watcher(f"{site}/live.m3u8", semantics="live", reconnect=False) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason is Reason.DECODE
