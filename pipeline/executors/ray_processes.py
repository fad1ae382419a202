"""Processes on a Ray cluster, as their owner and as streams see them. Ray's errors end here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import DetectionRequest
from groundstream.operators.errors import ClusterError
from groundstream.pipeline.config.run import RunConfig
from groundstream.pipeline.detectors.messages import (
    DetectorFacts,
    DetectorLink,
    Prepared,
    ProcessLost,
    SequenceNumber,
)
from groundstream.pipeline.executors.ray_actors import DetectorActor, StreamActor
from groundstream.pipeline.executors.ray_places import BEGIN_S, start_process
from groundstream.pipeline.observe.health import DetectorHealth
from groundstream.pipeline.streams.host import StreamHost

SILENT_S = 30.0  # patience with one that runs; that it has died is known much sooner
ANY_S = 1800.0  # patience with a model that is downloaded
CALLS = 10_000  # that a detector takes at once: every picture in flight is one
CALLS_OF_STREAM = 8  # its owner waits for updates and wants something else meanwhile
SLOW_CALLS = ("open", "attach")  # what may take a stream longer: a camera, a library, a server at the far end

P = ParamSpec("P")
R = TypeVar("R")


class RayLink:
    """A stream's way to a detector; it can be sent from process to process."""

    def __init__(self, actor: ActorHandle[Any]) -> None:
        self._actor = actor

    def ask(self, request: DetectionRequest, number: SequenceNumber) -> Future[RawDetections]:
        """Send a request; its pixels go through the memory that the machine's processes share."""
        answer: Future[RawDetections] = Future()
        sent: Future[RawDetections] = self._actor.ask.remote(request, number).future()
        sent.add_done_callback(lambda done: _pass_on(done, answer))
        return answer

    def end_stream(self, stream_id: str) -> None:
        """Tell the detector that a stream has ended."""
        self._actor.end_stream.remote(stream_id)


class RayProcess:
    """An actor whose methods are called and waited for."""

    def __init__(self, actor: ActorHandle[Any], name: str) -> None:
        self._actor, self._name = actor, name

    def call(self, method: str, *arguments: object, patience_s: float = SILENT_S, **named: object) -> Any:
        """Call `method` and return its answer.

        Raises:
            ProcessLost: the process has died, or says nothing.
        """
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments, **named), timeout=patience_s)
        except RayTaskError as error:
            raise _own(error) from None
        except GetTimeoutError:
            raise ProcessLost(f"{self._name} gave no answer within {patience_s:.0f} s") from None
        except RayError as error:
            raise ProcessLost(_short(error)) from None

    def kill(self) -> None:
        """End the process at once."""
        ray.kill(self._actor)


class RayDetector(RayProcess):
    """A detector process; see `pool.DetectorProcess`. About so many are `beside` it on its machine."""

    def __init__(self, config: RunConfig, name: str, cpus: float, gpus: float, beside: int) -> None:
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": CALLS}
        super().__init__(start_process(DetectorActor, **options), name)
        self.link: DetectorLink = RayLink(self._actor)
        self._config, self._beside = config, beside

    def load(self) -> DetectorFacts:
        """Load the model; with as many threads as this process was told to use, where it was."""
        told = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(told) if told.isdecimal() else None
        facts: DetectorFacts = self.call(
            "load", self._config, self._name, threads, self._beside, patience_s=ANY_S
        )
        return facts

    def prepare(self, prompt: Prompt) -> Prepared:
        """Encode a prompt."""
        prepared: Prepared = self.call("prepare", prompt, patience_s=ANY_S)
        return prepared

    def learn(self, texts: Mapping[str, bytes]) -> None:
        """Hand over what another detector has encoded."""
        self.call("learn", texts)

    def health(self) -> DetectorHealth:
        """Say how it does."""
        health: DetectorHealth = self.call("health")
        return health


class RayStreamProcess(RayProcess):
    """A stream process; see `supervised.StreamProcess`."""

    def __init__(self, name: str, cpus: float) -> None:
        level = logging.getLogger("groundstream").getEffectiveLevel()
        options = {"num_cpus": cpus, "max_concurrency": CALLS_OF_STREAM}
        super().__init__(start_process(StreamActor, level, **options), name)

    def ask(
        self, method: Callable[Concatenate[StreamHost, P], R], *arguments: P.args, **named: P.kwargs
    ) -> R:
        """Call `method` of the process's `StreamHost` and return its answer."""
        patience_s = BEGIN_S if method.__name__ in SLOW_CALLS else SILENT_S
        answer: R = self.call(method.__name__, *arguments, patience_s=patience_s, **named)
        return answer

    def tell(
        self, method: Callable[Concatenate[StreamHost, P], None], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Call `method` of the process's `StreamHost`; whoever follows the updates hears what comes of it."""
        getattr(self._actor, method.__name__).remote(*arguments, **named)


def _pass_on(done: Future[RawDetections], answer: Future[RawDetections]) -> None:
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    elif isinstance(error, RayTaskError):
        answer.set_exception(_own(error))
    else:
        answer.set_exception(ProcessLost(_short(error)))


def _own(error: RayTaskError) -> Exception:
    """Return the error that was raised in the other process, without Ray's wrapping."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else ClusterError(f"a process failed: {_short(error)}")


def _short(error: BaseException) -> str:
    if isinstance(error, ActorDiedError):
        return "it died"
    if isinstance(error, ActorUnavailableError):
        return "it cannot be reached"
    return str(error).partition("\n")[0].strip() or type(error).__name__
