"""Streams and detectors as processes of a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ray

from groundstream.models.types import Prompt
from groundstream.operators.errors import ClusterError, ConfigError, GroundstreamError, OutputError
from groundstream.pipeline.config.run import RunConfig
from groundstream.pipeline.detectors.messages import ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.executors.ray_cluster import RayCluster, starts_here
from groundstream.pipeline.executors.ray_processes import RayDetector, RayStreamProcess
from groundstream.pipeline.observe.health import DetectorHealth
from groundstream.pipeline.streams.base import Stream, StreamSpec, warn_unknown
from groundstream.pipeline.streams.build import build_outputs
from groundstream.pipeline.streams.supervised import SupervisedStream

AT_ONCE = 8  # streams that are opened at the same time
DETECTOR_CPUS = 1.0  # reserved where there is no GPU


class RayExecutor:
    """Runs every stream in a process of its own, and detectors in others.

    Args:
        config: the run.
        specs: streams that will be opened; where their files would lie here, they are looked for first.

    Raises:
        ClusterError: the Ray cluster cannot be had.
        OutputError: an output exists already.
    """

    def __init__(self, config: RunConfig, specs: Sequence[StreamSpec] = ()) -> None:
        if starts_here(config.ray):  # Ray takes many seconds to start; elsewhere each stream looks itself
            for spec in specs:
                build_outputs(spec).check_absent()
        self._config = config
        streams = len(config.streams) * config.ray.cpus_per_stream
        self._cluster = RayCluster(config.ray, streams + (config.ray.detectors or 1) * DETECTOR_CPUS)
        self._gpus = config.ray.gpus_per_detector if _total("GPU") else 0.0
        self._pool = DetectorPool(self._spawn_detector, self._detector_count())
        self._loaded = False

    def open(self, specs: Sequence[StreamSpec]) -> list[Stream]:
        """Open streams, each in a new process, while the model loads; see `Executor`."""
        self._check_room(len(specs))
        if not self._loaded:
            self._pool.begin()
        streams = [SupervisedStream(spec, partial(self._spawn_stream, spec), self._pool) for spec in specs]
        try:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(_try_to_open, streams))
                opened = [stream for stream in streams if stream.error is None]
                if not opened:
                    raise next(stream.error for stream in streams if stream.error is not None)
                self._prepare_for(opened)
                list(threads.map(_attach, opened))
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return list(streams)

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Have one detector encode `prompt`, and tell the others; see `Executor`."""
        return self._pool.prepare(prompt)

    def detectors(self) -> tuple[DetectorHealth, ...]:
        """Say how every detector does."""
        return self._pool.health()

    def close(self) -> None:
        """End all processes, and the cluster where it was started here; may be called twice."""
        self._pool.close()
        self._cluster.close()

    def _prepare_for(self, streams: Sequence[SupervisedStream]) -> None:
        """Have the prompts of `streams` encoded once the model is loaded."""
        try:
            self._pool.wait()
        except ProcessLost as lost:
            raise ClusterError(f"a detector died while it loaded the model: {lost}") from None
        self._loaded = True
        unknown: dict[str, tuple[str, ...]] = {}
        for stream in streams:
            prompt = stream.spec.prompt
            try:
                if prompt.id not in unknown:
                    unknown[prompt.id] = self.prepare(prompt)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            warn_unknown(stream.id, unknown[prompt.id])

    def _spawn_stream(self, spec: StreamSpec) -> RayStreamProcess:
        return RayStreamProcess(f"stream {spec.id}", self._config.ray.cpus_per_stream)

    def _spawn_detector(self, name: str) -> RayDetector:
        beside = math.ceil(self._pool.count / _machines())
        return RayDetector(self._config, name, 0.0 if self._gpus else DETECTOR_CPUS, self._gpus, beside)

    def _detector_count(self) -> int:
        if self._config.ray.detectors:
            return self._config.ray.detectors
        if self._gpus:
            return max(1, int(_total("GPU") // self._gpus))
        return _machines()

    def _check_room(self, streams: int) -> None:
        """Refuse what Ray would let wait for ever.

        Raises:
            ClusterError: the cluster has too few processors or GPUs.
        """
        count = self._pool.count
        cpus = streams * self._config.ray.cpus_per_stream + (0.0 if self._gpus else count * DETECTOR_CPUS)
        for name, needed in (("CPU", cpus), ("GPU", count * self._gpus)):
            if needed > _total(name) + 1e-6:
                raise ClusterError(
                    f"{streams} streams and {count} detectors need {needed:g} {name}, but the Ray cluster "
                    f"has {_total(name):g}; add machines, or lower ray.cpus_per_stream or ray.detectors"
                )


def _machines() -> int:
    return max(1, sum(bool(node["Alive"]) for node in ray.nodes()))  # type: ignore[no-untyped-call]


def _total(resource: str) -> float:
    return float(ray.cluster_resources().get(resource, 0.0))  # type: ignore[no-untyped-call]


def _try_to_open(stream: SupervisedStream) -> None:
    """Open the source of `stream`; keep what fails on it."""
    try:
        stream.open()
    except OutputError:
        raise
    except GroundstreamError as error:
        stream.note_error(error)
    except ProcessLost as lost:
        stream.note_error(ClusterError(f"the process of stream {stream.id} cannot be started: {lost}"))


def _attach(stream: SupervisedStream) -> None:
    try:
        stream.attach()
    except ProcessLost as lost:
        raise ClusterError(f"the process of stream {stream.id} died while it began: {lost}") from None
