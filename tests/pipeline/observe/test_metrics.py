import contextlib
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from coloured import ALL, call, make_coloured
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from groundstream.operators.errors import ConfigError
from groundstream.operators.utils.quantiles import Quantiles
from groundstream.pipeline.observe.health import DetectorHealth, PipelineHealth, StreamHealth
from groundstream.pipeline.observe.metrics import MetricsServer

CAMERA = StreamHealth(
    "entrance",
    state="reconnecting",
    reason="refused",
    message="entrance: rtsp://***@192.0.2.10/stream1: refused",
    epoch=3,
    read=120,
    detected=100,
    stale=2,
    dropped={"newer_frame": 17, "corrupt_packet": 1},
    restarts=1,
    objects=4,
    time_s=12.5,
    latency_ms=Quantiles(40.0, 80.0, 120.0, 102, 4500.0),
)
DETECTOR = DetectorHealth(
    "detector-0",
    "cuda:0",
    pictures=22,
    batches=5,
    failures=1,
    busy_s=1.5,
    sizes={1: 2, 4: 2, 12: 1},
    queue_wait_ms=Quantiles(5.0, 10.0, 20.0, 22, 150.0),
    inference_ms=Quantiles(30.0, 31.0, 32.0, 5, 150.0),
    streams=2,
    restarts=3,
)
HEALTH = PipelineHealth((CAMERA, StreamHealth("file", state="running")), (DETECTOR,))


EXPECTED = {
    "groundstream_stream_state{state=reconnecting,stream=entrance}": 1,
    "groundstream_stream_state{state=running,stream=entrance}": 0,
    "groundstream_stream_state{state=running,stream=file}": 1,
    "groundstream_stream_problem{reason=refused,stream=entrance}": 1,
    "groundstream_stream_frames_read_total{stream=entrance}": 120,
    "groundstream_stream_frames_detected_total{stream=entrance}": 100,
    "groundstream_stream_frames_stale_total{stream=entrance}": 2,
    "groundstream_stream_frames_dropped_total{reason=newer_frame,stream=entrance}": 17,
    "groundstream_stream_restarts_total{stream=entrance}": 1,
    "groundstream_stream_epoch{stream=entrance}": 3,
    "groundstream_stream_objects{stream=entrance}": 4,
    "groundstream_stream_media_time_seconds{stream=entrance}": 12.5,
    "groundstream_stream_latency_seconds{quantile=0.5,stream=entrance}": 0.04,
    "groundstream_stream_latency_seconds{quantile=0.99,stream=entrance}": 0.12,
    "groundstream_stream_latency_seconds_count{stream=entrance}": 102,
    "groundstream_stream_latency_seconds_sum{stream=entrance}": 4.5,
    "groundstream_stream_latency_seconds_count{stream=file}": 0,
    "groundstream_detector_info{detector=detector-0,device=cuda:0}": 1,
    "groundstream_detector_pictures_total{detector=detector-0}": 22,
    "groundstream_detector_failures_total{detector=detector-0}": 1,
    "groundstream_detector_busy_seconds_total{detector=detector-0}": 1.5,
    "groundstream_detector_streams{detector=detector-0}": 2,
    "groundstream_detector_restarts_total{detector=detector-0}": 3,
    "groundstream_detector_batch_size_bucket{detector=detector-0,le=1.0}": 2,
    "groundstream_detector_batch_size_bucket{detector=detector-0,le=8.0}": 4,
    "groundstream_detector_batch_size_bucket{detector=detector-0,le=+Inf}": 5,
    "groundstream_detector_batch_size_sum{detector=detector-0}": 22,
    "groundstream_detector_queue_wait_seconds{detector=detector-0,quantile=0.95}": 0.01,
    "groundstream_detector_inference_seconds_sum{detector=detector-0}": 0.15,
}


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def values(text: str) -> dict[str, float]:
    """Return every sample as Prometheus would name it."""
    families: list[Metric] = list(text_string_to_metric_families(text))
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
        for family in families
        for sample in family.samples
    }


def scraped(health: PipelineHealth) -> dict[str, float]:
    with MetricsServer(lambda: health, 0) as server:
        return values(fetch(server.port))


def test_names_labels_and_values_are_stable() -> None:
    found = scraped(HEALTH)
    assert {name: found.get(name) for name in EXPECTED} == pytest.approx(EXPECTED)


def test_a_stream_without_results_has_no_quantiles_and_no_problem() -> None:
    names = [name for name in scraped(HEALTH) if "stream=file" in name]
    assert not [name for name in names if "quantile" in name or "problem" in name]


def test_no_address_of_a_source_is_a_label() -> None:
    with MetricsServer(lambda: HEALTH, 0) as server:
        text = fetch(server.port)
    assert "rtsp" not in text
    assert "192.0.2" not in text


def test_an_empty_pipeline_has_all_names_already() -> None:
    with MetricsServer(lambda: PipelineHealth(), 0) as server:
        text = fetch(server.port)
    assert "# TYPE groundstream_stream_latency_seconds summary" in text
    assert "# TYPE groundstream_detector_batch_size histogram" in text


def test_every_scrape_asks_anew() -> None:
    answers = iter([PipelineHealth(), HEALTH])
    with MetricsServer(lambda: next(answers), 0) as server:
        assert not values(fetch(server.port))
        assert values(fetch(server.port))


def test_a_port_that_is_taken_is_told_in_one_sentence() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(
            ConfigError, match=r"127\.0\.0\.1:\d+: Address already in use; choose another --metrics"
        ),
    ):
        MetricsServer(lambda: HEALTH, taken.getsockname()[1])


def test_an_address_that_is_not_this_machines() -> None:
    with pytest.raises(ConfigError, match="cannot serve metrics on"):
        MetricsServer(lambda: HEALTH, 0, "192.0.2.1")


def test_after_close_the_port_is_free() -> None:
    server = MetricsServer(lambda: HEALTH, 0)
    server.close()
    server.close()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


def test_a_run_serves_its_metrics_until_it_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen: list[dict[str, float]] = []

    def scrape() -> None:
        ended = time.monotonic() + 60
        while time.monotonic() < ended and not done.wait(0.05):
            with contextlib.suppress(OSError):
                seen.append(values(fetch(port)))

    done = threading.Event()
    scraper = threading.Thread(target=scrape)
    scraper.start()
    clip = make_coloured(tmp_path / "a.mp4", 400)
    arguments = ("run", clip, *ALL, "--model", "fake", "--text-cache", "none", "--out", tmp_path / "out")
    ended = call(capsys, *arguments, "--no-video", "--metrics-port", port)
    done.set()
    scraper.join()
    assert ended.returncode == 0, ended.stderr
    answered = [each.get("groundstream_stream_frames_detected_total{stream=a}", 0) for each in seen]
    assert answered == sorted(answered)
    assert 0 < answered[-1] <= 400
    assert seen[-1]["groundstream_stream_objects{stream=a}"] == 3
    assert seen[-1]["groundstream_detector_info{detector=detector-1,device=cpu}"] == 1


def test_a_port_that_is_taken_ends_a_run_before_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        clip = make_coloured(tmp_path / "a.mp4", 5)
        ended = call(
            capsys, "run", clip, *ALL, "--model", "fake", "--out", tmp_path / "out", "--metrics-port", port
        )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "choose another --metrics-port" in ended.stderr
    assert not (tmp_path / "out").exists()
