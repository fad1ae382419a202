from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coloured import call, make_coloured

from groundstream.operators.errors import ConfigError
from groundstream.pipeline.api import open_pipeline
from groundstream.pipeline.config.run import make_config
from groundstream.pipeline.pipeline import executor_of


@pytest.mark.parametrize(
    ("values", "environment", "executor"),
    [
        ({"streams": ["a.mp4"]}, "", "local"),
        ({"streams": ["a.mp4", "b.mp4"]}, "", "ray"),
        ({"streams": ["a.mp4"], "ray": {"address": "auto"}}, "", "ray"),
        ({"streams": ["a.mp4"]}, "10.0.0.1:6379", "ray"),
        ({"streams": ["a.mp4"], "executor": "ray"}, "", "ray"),
        ({"streams": ["a.mp4", "b.mp4"], "executor": "local"}, "10.0.0.1:6379", "local"),
    ],
)
def test_auto_takes_ray_for_several_streams_or_an_address(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], environment: str, executor: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", environment)
    assert executor_of(make_config({"phrases": ["dog"], **values})) == executor


def test_one_process_has_no_address() -> None:
    with pytest.raises(ConfigError, match=r"leave it or ray\.address out"):
        make_config({"streams": ["a"], "phrases": ["dog"], "executor": "local", "ray": {"address": "auto"}})


def test_one_source_starts_no_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", frames=3)
    arguments = ("-q", "red car", "--model", "fake", "--text-cache", "none", "--sink", "jsonl:-", "--quiet")
    done = call(capsys, "run", clip, *arguments)
    assert done.returncode == 0, done.stderr
    assert "ray::" not in done.stderr
    import ray

    assert not ray.is_initialized()


def test_a_stream_may_be_added_before_the_pipeline_runs(tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", frames=10)
    with open_pipeline(clip, ["red car"], model="fake", text_cache="none", executor="local") as pipeline:
        assert [pipeline.add(str(clip)).id, pipeline.add(str(clip), id="own").id] == ["clip-2", "own"]
        ids = [result.frame.stream_id for result in pipeline]
    assert {name: ids.count(name) for name in set(ids)} == {"clip": 10, "clip-2": 10, "own": 10}
    with pytest.raises(ValueError, match="has ended"):
        pipeline.add(str(clip))


def test_what_is_wrong_with_an_added_stream_is_said_in_one_sentence(tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", frames=3)
    with open_pipeline(clip, ["red car"], model="fake", text_cache="none", executor="local") as pipeline:
        with pytest.raises(ConfigError, match=r"^unknown key 'fsp'; did you mean 'fps'\?$"):
            pipeline.add(clip, fsp=2)
        with pytest.raises(ConfigError, match=r"^transport: input should be 'tcp' or 'udp', but got 'tpc'$"):
            pipeline.add(clip, transport="tpc")
        added = pipeline.add(
            clip, "blue bus", fps=5
        )  # one phrase alone, and a Path, as `open_pipeline` takes them
        assert (added.config.phrases, added.config.options.fps) == (("blue bus",), 5)
        assert len(pipeline.streams) == 2
