"""Pipelines on Ray: the same records as in one process, streams that come and go, clear errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from coloured import PHRASES, ids_by_phrase, make_coloured, records_of
from ray_runs import FAKE, frames_in, plain, processes, ray_here, ray_pipeline, wait_until

from groundstream.models.types import Prompt, RawDetections, SizeRule
from groundstream.operators.detector import DetectionRequest, FrameTime, ModelPicture
from groundstream.operators.errors import (
    ClusterError,
    DetectorUnavailable,
    ModelError,
    OutputError,
    SourceError,
)
from groundstream.pipeline.api import open_pipeline
from groundstream.pipeline.detectors.messages import SequenceNumber
from groundstream.pipeline.executors.ray_processes import RayLink

FRAMES = 60
#: `benchmarks/ray_memory.py` measures 253 MB; pages of libraries that are mapped make 40 MB more or less.
STREAM_MIB = 310

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("clips")
    with ray_here():
        yield [str(make_coloured(folder / f"{name}.mp4", frames=FRAMES)) for name in ("one", "two")]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_coloured(tmp_path_factory.mktemp("long") / "long.mp4", frames=2000, fps=25))


def test_files_become_the_same_records_as_in_one_process(clips: list[str], tmp_path: Path) -> None:
    with ray_pipeline(clips, out=tmp_path / "ray", detectors=2) as pipeline:
        pipeline.run()
        health = pipeline.health()
    with open_pipeline(clips, PHRASES, executor="local", out=tmp_path / "local", **FAKE) as pipeline:
        pipeline.run()
    for name in ("one", "two"):
        records = plain(tmp_path / "ray" / name / "detections.jsonl")
        assert records == plain(tmp_path / "local" / name / "detections.jsonl")
        assert len(records) == frames_in(tmp_path / "ray" / name) == FRAMES
    assert [stream.detected for stream in health.streams] == [FRAMES, FRAMES]
    assert [stream.state for stream in health.streams] == ["ended", "ended"]
    assert sum(detector.pictures for detector in health.detectors) <= 2 * FRAMES


def test_a_reader_gets_results_and_phrases_change_for_one_stream(clips: list[str], long_clip: str) -> None:
    streams = [{"source": long_clip, "id": "asked"}, {"source": clips[0], "phrases": ["blue bus"]}]
    asked: dict[str, list[tuple[str, ...]]] = {"asked": [], "one": []}
    with ray_pipeline(streams) as pipeline:
        for result in pipeline:
            asked[result.frame.stream_id].append(result.prompt.phrases)
            if len(asked["asked"]) == 10:
                pipeline.set_phrases(["white truck"], "asked")
            if asked["asked"].count(("white truck",)) >= 10 and len(asked["one"]) == FRAMES:
                break
        assert result.frame.width == 160
    assert set(asked["one"]) == {("blue bus",)}
    changes = list(dict.fromkeys(asked["asked"]))
    assert changes == [PHRASES, ("white truck",)]


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_streams_come_and_go_while_the_pipeline_runs(
    clips: list[str], long_clip: str, tmp_path: Path, executor: str
) -> None:
    streams = [{"source": long_clip, "id": "first", "semantics": "live"}]
    folder = tmp_path / "one"
    with open_pipeline([], PHRASES, executor=executor, streams=streams, out=tmp_path, **FAKE) as pipeline:
        added = None
        for result in pipeline:
            # Not at one number: of a live stream any frame may be missing, on a busy machine.
            if added is None and result.frame.seq >= 5:
                added = pipeline.add(clips[0], ["red car"])
                with pytest.raises(ValueError, match="given twice"):
                    pipeline.add(clips[1], id="first")
                with pytest.raises(SourceError, match="no such file"):
                    pipeline.add("nowhere.mp4")
            if result.frame.stream_id == "one" and result.frame.seq == FRAMES - 1:
                break
        assert added is not None
        wait_until(lambda: added.view.health.state == "ended", "the end of the added stream")
        pipeline.remove("one")
        with pytest.raises(ValueError, match="there are: first"):
            pipeline.remove("one")
        assert [stream.id for stream in pipeline.streams] == ["first"]
    records = records_of(folder / "detections.jsonl")
    assert [record["seq"] for record in records] == list(range(FRAMES))
    assert set(ids_by_phrase(records)) == {"red car"}
    assert len(records_of(tmp_path / "detections.jsonl")) > 5


def test_removing_a_stream_ends_its_process_and_finishes_its_files(
    clips: list[str], long_clip: str, tmp_path: Path
) -> None:
    streams = [{"source": long_clip, "id": name, "semantics": "live"} for name in ("stays", "goes")]
    with ray_pipeline(streams, out=tmp_path) as pipeline:
        seen = dict.fromkeys(("stays", "goes"), 0)
        for result in pipeline:
            seen[result.frame.stream_id] += 1
            if min(seen.values()) == 5 and len(pipeline.streams) == 2:
                # Those of a pipeline before this one may still be on their way out.
                wait_until(lambda: len(processes("StreamActor")) == 2, "two processes, one for each stream")
                for process in processes("StreamActor"):
                    assert process.memory_info().rss < STREAM_MIB * 2**20
                pipeline.remove("goes")
                wait_until(lambda: len(processes("StreamActor")) == 1, "the end of the process")
                before = seen["stays"]
            if len(pipeline.streams) == 1 and seen["stays"] > before + 10:
                break
    assert frames_in(tmp_path / "goes") == len(records_of(tmp_path / "goes" / "detections.jsonl")) > 0


def test_one_bad_stream_hinders_no_other(
    clips: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ray_pipeline([clips[0], "nowhere.mp4"], out=tmp_path) as pipeline:
        with pytest.raises(SourceError, match=r"nowhere\.mp4: there is no such file"):
            pipeline.run()
        assert [stream.state for stream in pipeline.health().streams] == ["ended", "failed"]
    assert len(records_of(tmp_path / "one" / "detections.jsonl")) == FRAMES
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_errors_are_those_of_the_one_process(clips: list[str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean fake"):
        ray_pipeline(clips, model="fale")
    with pytest.raises(SourceError, match="no such file"):
        ray_pipeline(["nowhere.mp4", "neither.mp4"])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "detections.jsonl").touch()
    with pytest.raises(OutputError, match="exists already"):
        ray_pipeline(clips, out=tmp_path)
    with pytest.raises(ClusterError, match="need 21 CPU"):
        ray_pipeline(clips, ray={"cpus_per_stream": 10})
    wait_until(lambda: not processes("StreamActor") and not processes("DetectorActor"), "processes to end")


def test_why_a_detector_has_no_answer_comes_through_the_cluster(clips: list[str]) -> None:
    class Detector:
        async def ask(self, request: DetectionRequest, number: SequenceNumber) -> RawDetections:
            if request.picture.pixels.any():
                return RawDetections(np.full((1, 4), number.value, np.float32), np.ones((1, 1), np.float32))
            raise DetectorUnavailable("the model failed: RuntimeError: out of memory")

    def request(value: int) -> DetectionRequest:
        picture = ModelPicture(np.full((32, 32, 3), value, np.uint8), SizeRule("fit", 32, 32).plan(32, 32))
        return DetectionRequest(picture, Prompt.of(["dog"]), FrameTime("cam", 1, 0.0))

    link = RayLink(ray.remote(Detector).remote())
    assert link.ask(request(1), SequenceNumber("session", 7)).result(60).boxes_model.tolist() == [[7.0] * 4]
    with pytest.raises(DetectorUnavailable, match=r"^the model failed: RuntimeError: out of memory$"):
        link.ask(request(0), SequenceNumber("session", 8)).result(60)
