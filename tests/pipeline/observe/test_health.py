import pickle
import subprocess
import sys
import time
from collections import Counter

import av
import pytest

from groundstream.models.types import ModelInfo, Prompt
from groundstream.operators.detector.batcher import BatcherCounters
from groundstream.operators.errors import DetectorUnavailable, OutputError, Reason, SourceError
from groundstream.operators.frames import Frame, FrameResult, SeenObject
from groundstream.operators.sources import SourceCounters, SourceStatus
from groundstream.pipeline.observe.health import PipelineHealth, StreamMeter, detector_health, stream_health


def result(
    states: list[str], *, read_ago_s: float = 0.0, time_s: float = 1.0, stale: bool = False
) -> FrameResult:
    """Return a result whose frame was read `read_ago_s` ago, with one object for each of `states`."""
    frame = Frame("cam", 1, 0, time_s, time.time() - read_ago_s, av.VideoFrame(64, 64, "yuv420p"))
    found = tuple(SeenObject("", "dog", 0.5, (10, 10, 50, 50), state) for state in states)
    return FrameResult(
        frame, Prompt.of(["dog"]), ModelInfo("fake", "fake", "0", "f", "phrase"), found, stale=stale
    )


def test_a_meter_counts_answers_objects_and_the_way_from_read_to_sinks() -> None:
    meter = StreamMeter()
    meter.note(result(["confirmed", "lost", "tentative"], read_ago_s=0.2, time_s=3.5))
    meter.note(result([], time_s=3.6, stale=True, read_ago_s=-5.0))
    assert (meter.detected, meter.stale, meter.objects, meter.time_s) == (1, 1, 0, 3.6)
    latency = meter.latency_ms.read()
    assert latency.count == 2
    assert latency.p50 == 0.0  # the clock was set back
    assert 200 <= latency.p99 < 5000


def test_a_stream_that_has_not_begun() -> None:
    health = stream_health("cam", None, None, StreamMeter())
    assert (health.state, health.reason, health.read, health.latency_ms.count) == ("starting", None, 0, 0)


def test_a_stream_says_what_its_source_says() -> None:
    status = SourceStatus("reconnecting", Reason.REFUSED, "cam: refused", 3)
    counters = SourceCounters(frames_read=50, frames_dropped=Counter({"newer_frame": 7}))
    health = stream_health("cam", status, counters, StreamMeter())
    assert (health.state, health.reason, health.message) == ("reconnecting", "refused", "cam: refused")
    assert (health.epoch, health.read, health.dropped) == (3, 50, {"newer_frame": 7})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SourceError("a.mp4: there is no such file", Reason.NOT_FOUND), "not_found"),
        (DetectorUnavailable("the model failed"), "detector_unavailable"),
        (OutputError("disk full"), "output"),
        (RuntimeError("boom"), "unexpected"),
    ],
)
def test_an_error_is_the_last_word(error: Exception, reason: str) -> None:
    status = SourceStatus("ended", None, "the file has ended", 1)
    health = stream_health("cam", status, None, StreamMeter(), error=error)
    assert (health.state, health.reason, health.message) == ("failed", reason, str(error))


def test_a_detector_is_a_snapshot_of_its_counters() -> None:
    counters = BatcherCounters()
    counters.note([0.010, 0.030], 0.100)
    health = detector_health("detector-0", "cpu", counters)
    counters.note([0.5], 0.5)
    assert (health.pictures, health.batches, health.sizes) == (2, 1, {2: 1})
    assert (health.queue_wait_ms.p50, health.queue_wait_ms.p99) == pytest.approx((10, 30))
    assert health.inference_ms.p50 == pytest.approx(100)
    assert (health.streams, health.restarts, health.device) == (0, 0, "cpu")


def test_health_crosses_process_borders() -> None:
    meter = StreamMeter()
    meter.note(result(["confirmed"]))
    counters = SourceCounters(frames_dropped=Counter(newer_frame=1))
    whole = PipelineHealth(
        (stream_health("cam", None, counters, meter),), (detector_health("d", "cpu", BatcherCounters()),)
    )
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_health_needs_no_torch() -> None:
    code = "import sys, groundstream.pipeline.observe.health; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
