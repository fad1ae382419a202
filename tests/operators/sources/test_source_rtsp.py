"""Cameras against a real RTSP server: play, loss, return, hang, passwords."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from clip_maker import make_clip
from rtsp_server import ONCE, RtspServer
from source_watcher import Watcher

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.sources import open as source_open
from groundstream.operators.sources.camera import MAX_ABANDONED, CameraSource
from groundstream.operators.sources.open import rtsp_camera
from groundstream.operators.utils.backoff import Backoff

pytestmark = pytest.mark.server

ServerMaker = Callable[..., RtspServer]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "small": make_clip(folder / "small.ts", frames=60),
        "large": make_clip(folder / "large.ts", frames=60, width=160, height=96),
        "once": make_clip(folder / "once.mp4", frames=20),
    }


@pytest.fixture
def serve(clips: dict[str, Path]) -> Iterator[ServerMaker]:
    servers: list[RtspServer] = []

    def make(clip: str = "small", *, start: bool = True, **options: str) -> RtspServer:
        servers.append(RtspServer(clips[clip], **options))
        if start:
            servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


def hanging() -> int:
    """Return the number of threads that read a camera."""
    return sum(thread.name.startswith("read groundstream.") for thread in threading.enumerate())


@pytest.mark.alone
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_plays_in_real_time(serve: ServerMaker, transport: str) -> None:
    with Watcher(serve().url, transport=transport) as camera:
        # The default open of libav takes 2 s with this server.
        assert camera.wait_for_frames(1) < 1.5
        took_s = camera.wait_for_frames(16)
    assert 0.5 < took_s < 2.0
    frames = camera.frames
    assert camera.source.semantics == "live"
    assert frames[0].time_s == 0.0
    # A watcher that was late lost the frames that are counted, and those alone.
    gaps = [later.time_s - earlier.time_s for earlier, later in pairwise(frames)]
    due = [(1 + sum(later.dropped.values())) / 15 for later in frames[1:]]
    assert gaps == pytest.approx(due, abs=0.01)
    assert camera.states() == [("starting", None), ("running", None)]
    assert camera.source.info is not None
    assert (camera.source.info.width, camera.source.info.codec) == (96, "h264")
    assert camera.source.info.duration_s is None


def test_a_camera_that_is_down_at_the_start_joins_when_it_comes_up(serve: ServerMaker) -> None:
    server = serve(start=False)
    with Watcher(server.url) as camera:
        camera.wait_for_state("reconnecting", Reason.REFUSED)
        server.start()
        camera.wait_for_frames(3)
        assert {frame.epoch for frame in camera.frames} == {1}
        assert camera.source.counters.reconnects == 0
    assert camera.states() == [("starting", None), ("reconnecting", Reason.REFUSED), ("running", None)]


def test_a_killed_camera_comes_back_with_another_size(
    serve: ServerMaker, clips: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "groundstream")
    server = serve()
    with Watcher(server.url) as camera:
        camera.wait_for_frames(5)
        server.kill()
        camera.wait_for_state("reconnecting", Reason.REFUSED)
        server.start(clips["large"])
        camera.wait_for_frames(5, epoch=2)
    first, second = ([f for f in camera.frames if f.epoch == epoch] for epoch in (1, 2))
    assert {(f.width, f.height) for f in first} == {(96, 64)}
    assert {(f.width, f.height) for f in second} == {(160, 96)}
    assert second[0].time_s < 1.0
    seqs = [f.seq for f in camera.frames]
    assert seqs == sorted(set(seqs))
    assert camera.source.counters.reconnects == 1
    assert camera.source.info is not None
    assert camera.source.info.width == 160
    logged = [record.message for record in caplog.records if record.name == "groundstream.stream.cam"]
    assert len(logged) == len(set(logged)), "a state was logged more than once"


def test_a_camera_that_hangs_is_given_up_and_comes_back(serve: ServerMaker) -> None:
    server = serve()
    with Watcher(server.url) as camera:
        camera.wait_for_frames(20)
        server.pause()
        # 15 frames a second: ten distances are below the floor of 2 s.
        assert 1.0 < camera.wait_for_state("stalled", Reason.STALLED) < 6.0
        server.kill()
        server.start()
        camera.wait_for_frames(3, epoch=2, timeout_s=15)
        assert camera.source.counters.stalls >= 1


def test_the_end_of_a_connection_that_was_given_up_disturbs_nothing(serve: ServerMaker) -> None:
    server = serve()
    with Watcher(server.url, patience_s=1.0) as camera:
        camera.wait_for_frames(3)
        server.pause()
        camera.wait_for_state("reconnecting", Reason.STALLED)
        server.resume()
        camera.wait_for_frames(3, epoch=2)
        camera.wait_until(lambda: hanging() == 1)
        used_s = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used_s < 0.25, "somebody waits in a busy loop"
    assert [f.seq for f in camera.frames] == sorted({f.seq for f in camera.frames})
    assert [f.epoch for f in camera.frames] == sorted(f.epoch for f in camera.frames)


@pytest.mark.alone
def test_close_is_prompt_while_a_read_hangs(serve: ServerMaker) -> None:
    server = serve()
    camera = Watcher(server.url, patience_s=1.0)
    camera.wait_for_frames(3)
    server.pause()
    time.sleep(0.3)
    assert camera.close() < 1.0
    # The thread in the hanging read ends by libav's own limit, a second after the patience.
    camera.wait_until(lambda: hanging() == 0, 8)


@pytest.mark.alone
def test_threads_that_hang_are_bounded(serve: ServerMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_open, "_GRACE_S", 60.0)  # as if libav did not end its reads
    server = serve()
    camera = rtsp_camera(server.url, SourceOptions(patience_s=0.3))
    source = CameraSource("cam", camera, "live", SourceOptions(), None, Backoff(0.02, 0.05))
    frames = iter(source)
    next(frames)
    server.pause()
    deadline = time.monotonic() + 10
    while hanging() < MAX_ABANDONED and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.0)
    assert hanging() == MAX_ABANDONED
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 1.0
    server.kill()  # ends the hanging reads
    while hanging() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hanging() == 0


def test_a_wrong_password_is_named_and_shown_nowhere(
    serve: ServerMaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(user="bob", password="s3cret")
    with Watcher(server.url_as("bob", "wr0ng")) as camera:
        camera.wait_for_state("reconnecting", Reason.AUTHENTICATION)
        time.sleep(0.7)  # no quick second attempt, which could lock the user out
        assert len(camera.statuses) == 2
    with Watcher(server.url_as("bob", "wr0ng"), reconnect=False) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason is Reason.AUTHENTICATION
    assert camera.error.__cause__ is None
    assert "user name or password were refused" in str(camera.error)
    with Watcher(server.url) as camera:
        camera.wait_for_frames(1)
    written = f"{caplog.text} {camera.statuses} {camera.error!r} {camera.source!r} {camera.source.info}"
    written += " ".join(str(record.__dict__) for record in caplog.records)
    assert "***@127.0.0.1" in written
    assert not [word for word in ("s3cret", "wr0ng", "bob") if word in written]


def test_an_encrypted_camera(serve: ServerMaker, tmp_path: Path) -> None:
    pem = tmp_path / "camera.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cam"]
    subprocess.run([*command, "-keyout", pem, "-out", tmp_path / "crt"], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "crt").read_text())
    # The server wants a user before it speaks TLS.
    server = serve(user="bob", password="s3cret", certificate=str(pem))
    assert server.url.startswith("rtsps://")
    with Watcher(server.url) as camera:
        camera.wait_for_frames(3)
    with Watcher(server.url.replace("rtsps:", "rtsp:"), reconnect=False, patience_s=2.0) as camera:
        camera.wait_until(lambda: camera.ended)
    assert camera.error is not None
    assert camera.error.reason in (Reason.INVALID, Reason.TIMEOUT)


def test_an_unknown_path(serve: ServerMaker) -> None:
    url = serve().url.replace("/cam", "/nope")
    with (
        open_source(url, "cam", SourceOptions(reconnect=False)) as source,
        pytest.raises(SourceError, match="there is no such stream") as caught,
    ):
        list(source)
    assert caught.value.reason is Reason.NOT_FOUND


def test_with_file_semantics_every_frame_is_kept_in_order(serve: ServerMaker) -> None:
    url = serve("once", launch=ONCE).url
    with open_source(url, "cam", SourceOptions(semantics="file", reconnect=False)) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.1)  # slower than the camera
    assert source.semantics == "file"
    assert [frame.seq for frame in frames] == list(range(20))
    assert not source.counters.frames_dropped


def test_a_slow_consumer_gets_the_newest_frames(serve: ServerMaker) -> None:
    with open_source(serve().url, "cam", SourceOptions()) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.3)
            if len(frames) == 6:
                break
    gaps = [later.seq - earlier.seq for earlier, later in pairwise(frames[1:])]
    assert all(3 <= gap <= 7 for gap in gaps), gaps
    assert [frame.dropped.get("newer_frame", 0) for frame in frames[2:]] == [gap - 1 for gap in gaps]


def test_sampling_starts_anew_with_each_connection(serve: ServerMaker) -> None:
    with Watcher(serve().url, fps=5) as camera:
        camera.wait_for_frames(6)
    gaps = [
        later.time_s - earlier.time_s
        for earlier, later in zip(camera.frames, camera.frames[1:], strict=False)
    ]
    assert gaps == pytest.approx([0.2] * len(gaps), abs=0.01)
    assert camera.source.counters.frames_skipped >= 2 * 5


def test_the_interpreter_ends_while_a_read_hangs(serve: ServerMaker) -> None:
    server = serve()
    script = f"""
import os, signal, sys
from groundstream.operators.sources import SourceOptions, open_source
source = open_source({server.url!r}, "cam", SourceOptions())
for frame in source:
    if frame.seq == 3:
        print("ready", flush=True)
        sys.stdin.readline()
        break
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        server.pause()
        time.sleep(0.2)
        started = time.monotonic()
        child.communicate("go\n", timeout=10)
        assert child.returncode == 0
        assert time.monotonic() - started < 3.0
