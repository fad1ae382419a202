"""Keeps detectors alive and says which stream asks which; a thread per detector, in the owner's process."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from groundstream.models.types import Prompt
from groundstream.operators.errors import DetectorUnavailable, GroundstreamError
from groundstream.pipeline.detectors.messages import DetectorFacts, DetectorLink, Prepared, ProcessLost
from groundstream.pipeline.detectors.restarts import RestartBudget
from groundstream.pipeline.observe.health import DetectorHealth

log = logging.getLogger("groundstream.supervisor")

WATCH_S = 0.5
MOST_LOADS = 5  # a detector that could not be loaded so often in a row is given up


class DetectorProcess(Protocol):
    """A detector process as its owner sees it. Every method waits, and raises `ProcessLost` where it died.

    Attributes:
        link: the way in which streams ask it.
    """

    link: DetectorLink

    def load(self) -> DetectorFacts:
        """Load the model."""

    def prepare(self, prompt: Prompt) -> Prepared:
        """Encode a prompt."""

    def learn(self, texts: Mapping[str, bytes]) -> None:
        """Hand over what another detector has encoded."""

    def health(self) -> DetectorHealth:
        """Say how it does."""

    def kill(self) -> None:
        """End it at once; never fails."""


class DetectorSlot:
    """A place for one detector, which outlives the processes in it."""

    def __init__(self, name: str, budget: RestartBudget) -> None:
        self.name, self.budget = name, budget
        self.process: DetectorProcess | None = None
        self.up = self.given_up = False
        self.streams: set[str] = set()
        self.health = DetectorHealth(name, "")


class DetectorPool:
    """Detectors that are started again when they die, and the placement of streams on them.

    A stream stays with one detector; those of one that died move to the others at once, and back into
    balance when it is there again.

    Args:
        spawn: starts a detector process under a name.
        count: how many detectors there are.
        budget: makes the restart budget of one detector.
    """

    def __init__(
        self,
        spawn: Callable[[str], DetectorProcess],
        count: int,
        budget: Callable[[], RestartBudget] = RestartBudget,
    ) -> None:
        self._spawn = spawn
        self._slots = [DetectorSlot(f"detector-{number + 1}", budget()) for number in range(count)]
        self._texts: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._preparing = threading.Lock()
        self._closing = threading.Event()
        self._facts: DetectorFacts | None = None
        self._failure = ""
        self._loads: list[Future[None]] = []

    @property
    def facts(self) -> DetectorFacts:
        """What streams have to know of the model."""
        assert self._facts is not None, "wait comes first"
        return self._facts

    @property
    def count(self) -> int:
        """How many detectors there are."""
        return len(self._slots)

    def begin(self) -> None:
        """Start all detectors at once; they load while the caller does something else."""
        threads = ThreadPoolExecutor(len(self._slots))
        self._loads = [threads.submit(self._load, slot) for slot in self._slots]
        threads.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until all detectors are loaded; from then on those that die are started again.

        Raises:
            ModelError: the model cannot be had.
            ProcessLost: a detector died while it loaded.
        """
        loads, self._loads = self._loads, []
        for load in loads:
            load.result()
        for slot in self._slots if loads else ():
            threading.Thread(target=self._watch, args=(slot,), name=slot.name, daemon=True).start()

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Have one detector encode `prompt` and hand its text to the others; return what is unknown.

        Raises:
            ValueError: a phrase is longer than the model's text limit.
            DetectorUnavailable: no detector is there.
        """
        # One prompt at a time: of two that share phrases, the second finds those of the first handed round.
        with self._preparing:
            for slot in self._slots:
                if (process := slot.process) is None or not slot.up:
                    continue
                try:
                    prepared = process.prepare(prompt)
                except ProcessLost:
                    continue
                self._hand_round(prepared.texts, but=slot)
                return prepared.unknown
        raise DetectorUnavailable("no detector is there to take the phrases; try again in a moment")

    def link_for(self, stream_id: str) -> DetectorLink | None:
        """Return how the stream asks its detector, placing it where it has none; None: wait for one.

        Raises:
            DetectorUnavailable: no detector is there, and none will be.
        """
        with self._lock:
            slot = next((slot for slot in self._slots if stream_id in slot.streams), None)
            if slot is None or not slot.up:
                slot = self._place(stream_id)
            return slot.process.link if slot is not None and slot.process is not None else None

    def release(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            for slot in self._slots:
                slot.streams.discard(stream_id)

    def health(self) -> tuple[DetectorHealth, ...]:
        """Say how every detector did at the last look."""
        with self._lock:
            return tuple(
                dataclasses.replace(slot.health, streams=len(slot.streams), restarts=slot.budget.restarts)
                for slot in self._slots
            )

    def close(self) -> None:
        """End all detectors; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        with self._lock:
            for slot in self._slots:
                slot.up = False
                if slot.process is not None:
                    slot.process.kill()

    def _load(self, slot: DetectorSlot) -> None:
        process = slot.process = self._spawn(slot.name)
        if self._closing.is_set():
            process.kill()
            raise ProcessLost("the pipeline was closed while it began")
        self._facts = process.load()
        if self._texts:
            process.learn(self._texts)
        slot.health = process.health()
        with self._lock:
            slot.up = True
            # Streams that fled from a dead one come back; each sees it when it asks for its link again.
            self._balance()

    def _watch(self, slot: DetectorSlot) -> None:
        while not self._closing.wait(WATCH_S):
            assert slot.process is not None
            try:
                slot.health = slot.process.health()
            except ProcessLost as lost:
                if self._closing.is_set() or not self._revive(slot, lost):
                    return

    def _revive(self, slot: DetectorSlot, lost: Exception) -> bool:
        """Start the detector of `slot` again; False when that is hopeless or the pool closes."""
        with self._lock:
            slot.up = False
        for _ in range(MOST_LOADS):
            assert slot.process is not None
            slot.process.kill()
            wait_s = slot.budget.next_s()
            log.warning("%s has gone (%s); started again in %.1f s", slot.name, lost, wait_s)
            if self._closing.wait(wait_s):
                return False
            try:
                self._load(slot)
            except (ProcessLost, GroundstreamError) as error:
                lost = error
            else:
                log.warning("%s is there again", slot.name)
                return True
        with self._lock:
            slot.given_up, self._failure = True, str(lost)
        log.error("%s is given up: %s", slot.name, lost)
        return False

    def _hand_round(self, texts: Mapping[str, bytes], but: DetectorSlot) -> None:
        self._texts |= texts
        for slot in self._slots:
            if slot is but or not slot.up or slot.process is None or not texts:
                continue
            try:
                slot.process.learn(texts)
            except ProcessLost:
                continue  # the one that takes its place is handed all texts

    def _place(self, stream_id: str) -> DetectorSlot | None:
        """Put a stream on the detector with the fewest; None while there is none."""
        up = [slot for slot in self._slots if slot.up]
        if not up:
            if all(slot.given_up for slot in self._slots):
                raise DetectorUnavailable(f"no detector can be started: {self._failure}")
            return None
        self.release(stream_id)
        slot = min(up, key=lambda each: len(each.streams))
        slot.streams.add(stream_id)
        return slot

    def _balance(self) -> None:
        """Move streams until no detector has two more than another."""
        up = [slot for slot in self._slots if slot.up]
        while True:
            least = min(up, key=lambda slot: len(slot.streams))
            most = max(up, key=lambda slot: len(slot.streams))
            if len(most.streams) - len(least.streams) < 2:
                return
            least.streams.add(most.streams.pop())
