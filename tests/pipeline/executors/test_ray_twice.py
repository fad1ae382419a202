"""Pipelines one after the other in one process, each with a cluster of its own, as in a notebook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray
from coloured import make_coloured, records_of
from ray_runs import ray_pipeline

from groundstream.operators.errors import OutputError
from groundstream.pipeline.executors import ray as executor

FRAMES = 10

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("users_token", [None, "a-token-of-the-users-own-" * 2])
def test_each_pipeline_of_a_process_starts_its_own_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users_token: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray would look for a token
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if users_token is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", users_token)
    clip = str(make_coloured(tmp_path / "clip.mp4", frames=FRAMES))
    tokens = []
    for out in (tmp_path / "first", tmp_path / "second"):
        with ray_pipeline([clip], out=out) as pipeline:
            tokens.append(os.environ["RAY_AUTH_TOKEN"])
            pipeline.run()
        assert not ray.is_initialized()
        assert [record["seq"] for record in records_of(out / "detections.jsonl")] == list(range(FRAMES))
    assert os.environ.get("RAY_AUTH_TOKEN") == users_token
    assert (len(set(tokens)) == 1) is (users_token is not None)


def test_an_output_that_exists_is_told_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(executor, "RayCluster", start)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    clips = [str(make_coloured(tmp_path / f"{name}.mp4", frames=FRAMES)) for name in ("one", "two")]
    (tmp_path / "out" / "two").mkdir(parents=True)
    (tmp_path / "out" / "two" / "detections.jsonl").touch()
    with pytest.raises(OutputError, match=r"two/detections\.jsonl exists already"):
        ray_pipeline(clips, out=tmp_path / "out")
    assert not (tmp_path / "out" / "one").exists()
