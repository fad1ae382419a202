"""Text is encoded once. On its way to the features a phrase passes these caches, in this order:

    1. `Batcher`          a whole prompt's features, of the last 64 prompts (`operators/detector/batcher.py`)
    2. `TextCache`        this process's memory, 64 MiB, the least recently used goes first
    3. `HandedTexts`      what other detectors of the run have encoded; only under Ray
    4. the shared store   a SQLite file of the user's, or Redis, or none (`--text-cache`), beyond this run
    5. the model          `Grounder.encode_text`, one call for all phrases that nobody knew

What a later one knows is kept in all that come before it. Nothing of a failure is kept: a store that does not
answer, or a value that is damaged, makes things slower, never wrong.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from groundstream.models.base import Grounder
from groundstream.models.types import ModelInfo, Prompt, TextFeatures
from groundstream.operators.text.codec import DamagedValueError, decode_features, encode_features
from groundstream.operators.text.stores import StoreError, TextStore
from groundstream.operators.utils.backoff import Backoff
from groundstream.operators.utils.bounded import BoundedDict

_log = logging.getLogger(__name__)

MEMORY_BYTES = 64 * 2**20
_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0
_LONGEST_READABLE = 100
_ENTRY_BYTES = 1024  # about what an entry takes beside its tensors


@dataclass(frozen=True)
class CacheCounters:
    """What happened since the start; each phrase or prompt that was looked up counts once per tier.

    `damaged` are stored values that could not be used and were computed anew, `errors` are calls that a
    store did not answer, `evicted` are features that left the memory to keep its bound.
    """

    memory_hits: int = 0
    memory_misses: int = 0
    store_hits: int = 0
    store_misses: int = 0
    errors: int = 0
    damaged: int = 0
    evicted: int = 0


@dataclass(frozen=True)
class TextKey:
    """What features are looked up by: the model, and the phrases that are encoded together."""

    fingerprint: str
    phrases: tuple[str, ...]
    sentence: str = ""

    @property
    def name(self) -> str:
        """The key in a store: readable for a short single phrase, else a hash; case is kept."""
        head = f"groundstream:text:1:{self.fingerprint}"
        text = "\x1f".join((self.sentence, *self.phrases))
        if len(self.phrases) == 1 and not self.sentence and text.isascii() and len(text) <= _LONGEST_READABLE:
            return f"{head}:phrase:{self.phrases[0]}"
        return f"{head}:sha256:{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()}"


class TextCache:
    """Least-recently-used memory, bounded by bytes, before one shared store or none. Thread safe.

    A store that fails makes things slower, never wrong: it is left alone for up to 1 s, then 2 s, at most
    30 s, and used again as soon as it answers; one warning says that it went, one that it came back.

    Args:
        store: what is shared with other processes, from `open_text_store`.
        memory_bytes: bound of the tensors in memory.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        store: TextStore | None,
        memory_bytes: int = MEMORY_BYTES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._memory_bytes = memory_bytes
        self._memory = BoundedDict[TextKey, TextFeatures](memory_bytes)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._reads = _Access("read", clock)
        self._writes = _Access("written", clock)

    @property
    def counters(self) -> CacheCounters:
        """A snapshot of the counters."""
        with self._lock:
            return CacheCounters(**self._counts, evicted=self._memory.dropped)

    def get_many(self, keys: Sequence[TextKey]) -> dict[TextKey, TextFeatures]:
        """Return what is known, asking the store once for all that the memory lacks.

        The tensors are shared: they must not be written to.
        """
        found = self.recall(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        self._count(memory_hits=len(found), memory_misses=len(missing))
        if missing and self._store is not None:
            stored = self._from_store(self._store, missing)
            self._remember(stored)
            found |= stored
        return found

    def recall(self, keys: Sequence[TextKey]) -> dict[TextKey, TextFeatures]:
        """Return what the memory holds, without asking the store and without counting."""
        found = {key: self._memory.get(key, touch=True) for key in keys}
        return {key: features for key, features in found.items() if features is not None}

    def put_many(self, values: Mapping[TextKey, TextFeatures]) -> None:
        """Keep `values` in memory and, in one round trip, in the store."""
        self._remember(values)
        if not values or self._store is None or not (self._reads.is_up() and self._writes.is_up()):
            return
        raw = {key.name: encode_features(features, key.fingerprint) for key, features in values.items()}
        try:
            self._store.put_many(raw)
        except StoreError as error:
            self._count(errors=1)
            self._writes.failed(error)
        else:
            self._writes.answered(self._store.place)

    def close(self) -> None:
        """Give back what the store holds open."""
        if self._store is not None:
            self._store.close()

    def _from_store(self, store: TextStore, keys: Sequence[TextKey]) -> dict[TextKey, TextFeatures]:
        if not self._reads.is_up():
            return {}
        try:
            raw = store.get_many([key.name for key in keys])
        except StoreError as error:
            self._count(errors=1)
            self._reads.failed(error)
            return {}
        self._reads.answered(store.place)
        found = self._decoded(keys, raw)
        self._count(store_hits=len(found), store_misses=len(keys) - len(found))
        return found

    def _decoded(self, keys: Sequence[TextKey], raw: Mapping[str, bytes]) -> dict[TextKey, TextFeatures]:
        found = {}
        for key in keys:
            if (value := raw.get(key.name)) is None:
                continue
            try:
                found[key] = decode_features(value, key.fingerprint, key.phrases)
            except DamagedValueError as error:
                self._count(damaged=1)
                _log.debug("a stored value of %s is computed anew: %s", key.phrases, error)
        return found

    def _remember(self, values: Mapping[TextKey, TextFeatures]) -> None:
        for key, features in values.items():
            pooled = 0 if features.pooled is None else features.pooled.nbytes
            size_bytes = _ENTRY_BYTES + features.tokens.nbytes + pooled
            if size_bytes <= self._memory_bytes:  # what is larger would drive out all others
                self._memory.put(key, features, size_bytes)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._counts.update(more)


class CachedTextEncoder:
    """A grounder and a cache: the query of a prompt, of which only what nobody knows yet is computed."""

    def __init__(self, grounder: Grounder, cache: TextCache) -> None:
        self._grounder = grounder
        self._cache = cache
        self._encoding = threading.Lock()

    def encode(self, prompt: Prompt) -> tuple[TextFeatures, ...]:
        """Return the text features of `prompt`, one per part where it passes the model's text limit.

        Raises:
            ValueError: a single phrase is longer than the model's limit.
        """
        parts = self._grounder.split_prompt(prompt)
        if self._grounder.info.text_scope == "prompt":
            known = self._known(parts)
            return tuple(known[self._key(part)] for part in parts)
        known = self._known([Prompt((phrase,)) for part in parts for phrase in part.phrases])
        return tuple(
            self._grounder.join_text([known[self._key(Prompt((phrase,)))] for phrase in part.phrases])
            for part in parts
        )

    def _known(self, prompts: Sequence[Prompt]) -> dict[TextKey, TextFeatures]:
        """Return the features of all `prompts`; those that no tier has are encoded in one call."""
        wanted = {self._key(prompt): prompt for prompt in prompts}
        known = self._cache.get_many(list(wanted))
        if len(known) < len(wanted):
            with self._encoding:
                # Another thread may have encoded the same prompt while this one waited.
                known |= self._cache.recall([key for key in wanted if key not in known])
                missing = {key: prompt for key, prompt in wanted.items() if key not in known}
                if missing:
                    encoded = self._grounder.encode_text(list(missing.values()))
                    fresh = dict(zip(missing, encoded, strict=True))
                    self._cache.put_many(fresh)
                    known |= fresh
        return known

    def _key(self, prompt: Prompt) -> TextKey:
        info: ModelInfo = self._grounder.info
        return TextKey(info.fingerprint, prompt.phrases, prompt.sentence)


class _Access:
    """Whether a store answers one kind of call: after a failure it rests, longer each time."""

    def __init__(self, verb: str, clock: Callable[[], float]) -> None:
        self._verb, self._clock = verb, clock
        self._backoff = Backoff(_FIRST_REST_S, _LONGEST_REST_S)
        self._lock = threading.Lock()
        self._rests_until: float | None = None

    def is_up(self) -> bool:
        with self._lock:
            return self._rests_until is None or self._clock() >= self._rests_until

    def failed(self, error: StoreError) -> None:
        with self._lock:
            first = self._rests_until is None
            self._rests_until = self._clock() + self._backoff.next_s()
        if first:
            _log.warning("the text cache cannot be %s, text is computed until it can: %s", self._verb, error)

    def answered(self, place: str) -> None:
        with self._lock:
            came_back, self._rests_until = self._rests_until is not None, None
            self._backoff.reset()
        if came_back:
            _log.warning("the text cache can be %s again: %s", self._verb, place)
