"""The command against a real camera and a real Redis that fail in the middle."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import pytest
from coloured import ALL, command, ids_by_phrase, make_coloured, records_of
from redis_server import RedisServer
from rtsp_server import RtspServer

from groundstream.models.fake import FakeGrounder
from groundstream.models.types import Prompt, TextFeatures
from groundstream.operators.text import open_text_store
from groundstream.operators.text.cache import CachedTextEncoder, TextCache

pytestmark = pytest.mark.server

PASSWORD = "s3cr3t-camera"
PROMPT = Prompt.of(["red car", "white van", "blue bus"])


class CountingFake(FakeGrounder):
    """Counts the prompts that it encodes."""

    encoded = 0

    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        self.encoded += len(prompts)
        return super().encode_text(prompts)


def wait_until(is_reached: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_reached():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


class Run:
    """A `groundstream run` in its own process, and the records that it has written so far."""

    def __init__(self, out: Path, *arguments: object) -> None:
        self.out = out
        self._records = out / "detections.jsonl"
        self._process = subprocess.Popen(
            command("run", *arguments, *ALL, "--model", "fake", "--out", out, "--log-level", "info"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._words: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._words.extend(self._process.stdout)

    @property
    def records(self) -> list[dict[str, object]]:
        return records_of(self._records) if self._records.exists() else []

    @property
    def said(self) -> str:
        return "".join(self._words)

    def end(self) -> int:
        """End the run with SIGTERM (if it has not ended); return its exit code."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(60)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def kill(self) -> None:
        self._process.kill()
        self.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(*arguments: object) -> Run:
        runs.append(Run(tmp_path / f"out{len(runs)}", *arguments))
        return runs[-1]

    yield make
    for run in runs:
        run.kill()


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[RtspServer]:
    clip = make_coloured(tmp_path / "camera.ts", frames=80)
    server = RtspServer(clip, user="viewer", password=PASSWORD)
    yield server
    server.kill()


def test_a_camera_that_goes_away_and_comes_back_with_another_size(
    camera: RtspServer, tmp_path: Path, start: Callable[..., Run]
) -> None:
    camera.start()
    run = start(camera.url)
    wait_until(lambda: len(run.records) >= 15, "the first records")
    camera.kill()
    before = len(run.records)
    time.sleep(5)
    assert len(run.records) <= before + 12  # no more than what was on its way
    camera.start(make_coloured(tmp_path / "larger.ts", frames=80, width=320, height=240))
    wait_until(lambda: any(record["epoch"] == 2 for record in run.records[-10:]), "epoch 2")
    wait_until(lambda: sum(record["epoch"] == 2 for record in run.records) >= 15, "records of epoch 2")
    assert run.end() == 143, run.said

    records = run.records
    assert {(record["epoch"], record["width"]) for record in records} == {(1, 160), (2, 320)}
    assert [record["seq"] for record in records] == sorted({int(str(record["seq"])) for record in records})
    ids = ids_by_phrase(records)
    assert set(ids) == {"red car", "white van", "blue bus"}
    for uids in ids.values():
        assert {uid.rsplit(":", 2)[1] for uid in uids} == {"1", "2"}
    for name, epoch in (("annotated.mp4", 1), ("annotated.2.mp4", 2)):
        with av.open(str(run.out / name)) as video:
            frames = sum(1 for _ in video.decode(video=0))
        assert frames == sum(record["epoch"] == epoch for record in records)
    for path in run.out.iterdir():
        assert PASSWORD.encode() not in path.read_bytes(), path
        assert PASSWORD not in path.name
    assert PASSWORD not in run.said


def test_a_camera_that_is_down_at_the_start_joins(camera: RtspServer, start: Callable[..., Run]) -> None:
    run = start(camera.url)
    wait_until(lambda: "nothing listens there" in run.said, "the reason")
    camera.start()
    wait_until(lambda: len(run.records) >= 5, f"records; {run.said}")
    assert run.end() == 143, run.said
    assert PASSWORD not in run.said


def test_a_wrong_password_is_named(camera: RtspServer, start: Callable[..., Run]) -> None:
    camera.start()
    run = start(camera.url_as("viewer", "wr0ng-one"))
    wait_until(lambda: "authentication" in run.said.lower() or "password" in run.said.lower(), "the reason")
    assert run.end() == 143, run.said
    assert "wr0ng-one" not in run.said


def test_text_is_encoded_once_for_all_runs_that_share_a_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, password="p4ss")
    try:
        counts = []
        for _ in range(2):
            grounder = CountingFake()
            cache = TextCache(open_text_store(server.url))
            CachedTextEncoder(grounder, cache).encode(PROMPT)
            cache.close()
            counts.append(grounder.encoded)
        assert counts == [3, 0]
    finally:
        server.kill()


def test_redis_may_die_and_come_back_in_the_middle_of_a_run(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    server = RedisServer(tmp_path, password="p4ss", persistent=True)
    try:
        clip = make_coloured(tmp_path / "long.mp4", frames=80)
        sink = f"{server.url}?stream=found:{{stream}}&maxlen=1000"
        run = start(clip, "--semantics", "live", "--text-cache", server.url, "--sink", sink)
        wait_until(lambda: len(run.records) >= 10, "the first records")
        server.kill()
        wait_until(lambda: len(run.records) >= 35, "records without Redis")
        server.start()
        assert run.wait() == 0, run.said
        with server.client() as client:
            entries = client.xrange("found:long")
        # An entry whose delivery was not confirmed is sent again under the same id.
        deliveries = list(dict.fromkeys(fields[b"id"].decode() for _, fields in entries))
        assert deliveries == [f"long:{record['epoch']}:{record['seq']}" for record in run.records]
        dropped = sum(sum(dict(record["dropped_since_last"]).values()) for record in run.records)  # type: ignore[call-overload]
        assert len(run.records) + dropped >= 79
        assert "p4ss" not in run.said
        assert not any(b"p4ss" in path.read_bytes() for path in run.out.iterdir())
    finally:
        server.kill()
