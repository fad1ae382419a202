"""A pipeline's health as Prometheus metrics over HTTP; `docs/cluster.md` lists names and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from groundstream.operators.errors import ConfigError
from groundstream.operators.sources import State
from groundstream.operators.utils.quantiles import Quantiles
from groundstream.pipeline.observe.health import DetectorHealth, PipelineHealth, StreamHealth

#: Upper bounds of the batch sizes' histogram: those that the probe of `max_batch` tries.
_SIZES = (1, 2, 4, 8, 16, 32, 64)

_Plain = CounterMetricFamily | GaugeMetricFamily


class MetricsServer:
    """Serves the metrics of one pipeline until it is closed; every scrape asks for its health anew.

    Args:
        health: called once per scrape, in a thread of the server.
        port: TCP port; 0 takes a free one.
        bind: address that is listened on. There is no password: only trusted networks should reach it.

    Attributes:
        port: the port that is listened on.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, health: Callable[[], PipelineHealth], port: int, bind: str = "127.0.0.1") -> None:
        registry = CollectorRegistry()
        registry.register(HealthCollector(health))
        try:
            self._server, self._thread = start_http_server(port, bind, registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            where = f"cannot serve metrics on {bind}:{port}: {reason}"
            raise ConfigError(f"{where}; choose another --metrics-port or --metrics-bind") from None
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop listening and end the thread; may be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HealthCollector(Collector):
    """Turns a pipeline's health into families of metrics."""

    def __init__(self, health: Callable[[], PipelineHealth]) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those without samples, so that their names are always there."""
        health = self._health()
        yield from _stream_metrics(health.streams)
        yield from _detector_metrics(health.detectors)


_STREAM_VALUES: Sequence[tuple[type[_Plain], str, str, Callable[[StreamHealth], float]]] = (
    (CounterMetricFamily, "frames_read", "Frames decoded.", lambda stream: stream.read),
    (
        CounterMetricFamily,
        "frames_detected",
        "Frames that the detector answered.",
        lambda stream: stream.detected,
    ),
    (
        CounterMetricFamily,
        "frames_stale",
        "Frames that the detector did not answer.",
        lambda stream: stream.stale,
    ),
    (CounterMetricFamily, "restarts", "New processes for the stream.", lambda stream: stream.restarts),
    (GaugeMetricFamily, "epoch", "Connection of the source, from 1.", lambda stream: stream.epoch),
    (GaugeMetricFamily, "objects", "Objects seen in the last frame.", lambda stream: stream.objects),
    (GaugeMetricFamily, "media_time_seconds", "Media time of the last frame.", lambda stream: stream.time_s),
)
_DETECTOR_VALUES: Sequence[tuple[type[_Plain], str, str, Callable[[DetectorHealth], float]]] = (
    (CounterMetricFamily, "pictures", "Pictures answered.", lambda detector: detector.pictures),
    (
        CounterMetricFamily,
        "failures",
        "Batches that the model failed on.",
        lambda detector: detector.failures,
    ),
    (CounterMetricFamily, "busy_seconds", "Time that the model worked.", lambda detector: detector.busy_s),
    (CounterMetricFamily, "restarts", "New processes for the detector.", lambda detector: detector.restarts),
    (GaugeMetricFamily, "streams", "Streams that are placed on it.", lambda detector: detector.streams),
)


def _stream_metrics(streams: Sequence[StreamHealth]) -> Iterator[Metric]:
    for kind, name, text, value in _STREAM_VALUES:
        yield _plain(
            kind(f"groundstream_stream_{name}", text, labels=["stream"]),
            [((stream.stream_id,), value(stream)) for stream in streams],
        )
    yield _plain(
        GaugeMetricFamily(
            "groundstream_stream_state", "1 for the present state.", labels=["stream", "state"]
        ),
        [
            ((stream.stream_id, state), float(stream.state == state))
            for stream in streams
            for state in get_args(State)
        ],
    )
    yield _plain(
        GaugeMetricFamily(
            "groundstream_stream_problem", "1 while something is wrong.", labels=["stream", "reason"]
        ),
        [((stream.stream_id, stream.reason), 1.0) for stream in streams if stream.reason],
    )
    yield _plain(
        CounterMetricFamily(
            "groundstream_stream_frames_dropped", "Frames and results lost.", labels=["stream", "reason"]
        ),
        [
            ((stream.stream_id, reason), float(count))
            for stream in streams
            for reason, count in sorted(stream.dropped.items())
        ],
    )
    text = "From the reading of a frame to its result being with the outputs."
    latencies = [(stream.stream_id, stream.latency_ms) for stream in streams]
    yield _summary("groundstream_stream_latency_seconds", text, "stream", latencies)


def _detector_metrics(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    for kind, name, text, value in _DETECTOR_VALUES:
        yield _plain(
            kind(f"groundstream_detector_{name}", text, labels=["detector"]),
            [((detector.name,), value(detector)) for detector in detectors],
        )
    yield _plain(
        GaugeMetricFamily(
            "groundstream_detector_info", "What it computes on.", labels=["detector", "device"]
        ),
        [((detector.name, detector.device), 1.0) for detector in detectors],
    )
    sizes = HistogramMetricFamily(
        "groundstream_detector_batch_size", "Pictures in a batch.", labels=["detector"]
    )
    for detector in detectors:
        sizes.add_metric([detector.name], _buckets(detector.sizes), detector.pictures)
    yield sizes
    text = "From a picture's arrival to the start of its batch."
    waits = [(detector.name, detector.queue_wait_ms) for detector in detectors]
    yield _summary("groundstream_detector_queue_wait_seconds", text, "detector", waits)
    text = "From the start of a batch to its answers."
    inferences = [(detector.name, detector.inference_ms) for detector in detectors]
    yield _summary("groundstream_detector_inference_seconds", text, "detector", inferences)


def _plain(family: _Plain, samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _buckets(sizes: Mapping[int, int]) -> list[tuple[str, float]]:
    """Return how many batches were at most as large as each bound."""
    below = [
        (f"{bound}.0", float(sum(count for size, count in sizes.items() if size <= bound)))
        for bound in _SIZES
    ]
    return [*below, ("+Inf", float(sum(sizes.values())))]


def _summary(name: str, text: str, label: str, rows: Iterable[tuple[str, Quantiles]]) -> Metric:
    """Return quantiles of the last samples, with count and sum of all; milliseconds become seconds."""
    family = SummaryMetricFamily(name, text, labels=[label])
    for value, quantiles in rows:
        family.add_metric([value], quantiles.count, quantiles.total / 1e3)
        if quantiles.count:  # the family's own method knows no quantiles
            shown = {"0.5": quantiles.p50, "0.95": quantiles.p95, "0.99": quantiles.p99}
            for quantile, ms in shown.items():
                family.add_sample(name, {label: value, "quantile": quantile}, ms / 1e3)
    return family
