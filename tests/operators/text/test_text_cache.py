from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

import pytest
import torch
from counting_grounder import PROMPT, CountingGrounder, assert_same, features

from groundstream.models.fake import FakeGrounder
from groundstream.models.types import Prompt, TextFeatures
from groundstream.operators.text.cache import CachedTextEncoder, TextCache, TextKey
from groundstream.operators.text.codec import DamagedValueError, decode_features, encode_features
from groundstream.operators.text.stores import StoreError


class BrokenStore:
    """A store that answers only while `up`, and counts how often it is asked."""

    place = "the broken store"

    def __init__(self) -> None:
        self.up, self.asked, self.values = False, 0, dict[str, bytes]()

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        self._check()
        return {key: self.values[key] for key in keys if key in self.values}

    def put_many(self, values: Mapping[str, bytes]) -> None:
        self._check()
        self.values.update(values)

    def close(self) -> None:
        self.up = False

    def _check(self) -> None:
        self.asked += 1
        if not self.up:
            raise StoreError("the broken store: away")


# ---- the codec


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("rows", [0, 3])
def test_features_survive_the_codec(dtype: torch.dtype, pooled: bool, rows: int) -> None:
    made = features("red car", "狗", dtype=dtype, rows=rows, pooled=pooled)
    read = decode_features(encode_features(made, "model-a"), "model-a", ("red car", "狗"))
    assert_same(made, read)
    read.tokens.zero_()  # memory of its own: nothing that others hold


def test_every_cut_and_every_changed_byte_is_noticed() -> None:
    value = encode_features(features("red car"), "model-a")
    for cut in range(len(value)):
        with pytest.raises(DamagedValueError):
            decode_features(value[:cut], "model-a", ("red car",))
    for place in range(len(value)):
        changed = bytearray(value)
        changed[place] ^= 0x10
        with pytest.raises(DamagedValueError):
            decode_features(bytes(changed), "model-a", ("red car",))
    with pytest.raises(DamagedValueError):
        decode_features(value + b"\0", "model-a", ("red car",))


@pytest.mark.parametrize(("fingerprint", "phrase"), [("model-b", "red car"), ("model-a", "Red car")])
def test_a_value_of_another_model_or_phrase_is_refused(fingerprint: str, phrase: str) -> None:
    value = encode_features(features("red car"), "model-a")
    with pytest.raises(DamagedValueError, match="expected features of"):
        decode_features(value, fingerprint, (phrase,))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bfloat16.*float64"):
        encode_features(features("red car", dtype=torch.float64), "model-a")


# ---- the encoder and the memory


def test_phrases_are_encoded_once_whatever_prompt_they_stand_in() -> None:
    grounder = CountingGrounder()
    encoder = CachedTextEncoder(grounder, TextCache(None))
    plain = FakeGrounder().encode_text([PROMPT])[0]
    assert_same(encoder.encode(PROMPT)[0], plain)
    assert grounder.calls == [[("red car",), ("white van",), ("狗",), ("🐕",)]]
    encoder.encode(PROMPT)
    encoder.encode(Prompt.of(["🐕", "blue bus", "red car"]))
    assert grounder.calls[1:] == [[("blue bus",)]]


def test_where_phrases_depend_on_each_other_prompts_are_kept_whole() -> None:
    grounder = CountingGrounder("prompt")
    encoder = CachedTextEncoder(grounder, TextCache(None))
    for prompt in (PROMPT, Prompt.of(PROMPT.phrases[:2]), PROMPT):
        (text,) = encoder.encode(prompt)
        assert text.phrases == prompt.phrases
    assert grounder.calls == [[PROMPT.phrases], [PROMPT.phrases[:2]]]


@pytest.mark.parametrize("scope", ["phrase", "prompt"])
def test_three_hundred_phrases_keep_their_order_over_the_parts(scope: str) -> None:
    grounder = CountingGrounder(scope, limit=100)
    prompt = Prompt.of(f"phrase {number}" for number in range(300))
    parts = CachedTextEncoder(grounder, TextCache(None)).encode(prompt)
    assert [len(part.phrases) for part in parts] == [100, 100, 100]
    assert tuple(phrase for part in parts for phrase in part.phrases) == prompt.phrases
    assert len(grounder.calls) == 1


def test_the_memory_keeps_its_bound_and_forgets_the_least_recently_used() -> None:
    grounder = CountingGrounder()
    cache = TextCache(None, memory_bytes=2 * (1024 + 12))  # two phrases of three float32
    encoder = CachedTextEncoder(grounder, cache)
    for phrase in ("a", "b", "a", "c", "a", "b"):
        encoder.encode(Prompt((phrase,)))
    assert [call[0][0] for call in grounder.calls] == ["a", "b", "c", "b"]
    assert cache.counters.evicted == 2
    assert (cache.counters.memory_hits, cache.counters.memory_misses) == (2, 4)


def test_features_larger_than_the_memory_are_used_but_not_kept() -> None:
    encoder = CachedTextEncoder(CountingGrounder(), TextCache(None, memory_bytes=10))
    assert encoder.encode(PROMPT)[0].phrases == PROMPT.phrases


def test_threads_that_ask_at_once_share_one_encoding() -> None:
    class Slow(CountingGrounder):
        def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
            time.sleep(0.05)
            return super().encode_text(prompts)

    grounder = Slow()
    encoder = CachedTextEncoder(grounder, TextCache(None))
    answers: list[tuple[TextFeatures, ...]] = []
    threads = [threading.Thread(target=lambda: answers.append(encoder.encode(PROMPT))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(grounder.calls) == 1


def test_key_names_differ_where_models_or_words_differ_and_stay_short() -> None:
    keys = [
        TextKey("m", ("red car",)),
        TextKey("m", ("Red car",)),
        TextKey("n", ("red car",)),
        TextKey("m", ("red", "car")),
        TextKey("m", ("red car",), "a red car"),
        TextKey("m", ("狗",)),
        TextKey("m", ("x" * 5000,)),
    ]
    assert len({key.name for key in keys}) == len(keys)
    assert max(len(key.name) for key in keys) < 150


# ---- a store that fails


def test_a_store_that_is_away_costs_one_warning_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    now, store, grounder = [0.0], BrokenStore(), CountingGrounder()
    cache = TextCache(store, memory_bytes=0, clock=lambda: now[0])
    encoder = CachedTextEncoder(grounder, cache)
    for _ in range(5):
        assert encoder.encode(PROMPT)[0].phrases == PROMPT.phrases
    assert store.asked == 1
    now[0] = 1.5
    encoder.encode(PROMPT)
    assert (store.asked, cache.counters.errors) == (2, 2)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    store.up, now[0] = True, 4.0
    encoder.encode(PROMPT)
    assert "again" in caplog.records[1].getMessage()
    assert cache.counters.store_misses == 4
    calls = len(grounder.calls)
    encoder.encode(PROMPT)
    assert len(grounder.calls) == calls
    assert (len(caplog.records), cache.counters.store_hits) == (2, 4)


def test_a_store_that_cannot_be_written_is_still_read(caplog: pytest.LogCaptureFixture) -> None:
    class ReadOnly(BrokenStore):
        def put_many(self, values: Mapping[str, bytes]) -> None:
            raise StoreError("the store is read-only")

    filled, store = BrokenStore(), ReadOnly()
    filled.up = store.up = True
    CachedTextEncoder(CountingGrounder(), TextCache(filled)).encode(Prompt.of(["red car"]))
    store.values = filled.values
    grounder = CountingGrounder()
    cache = TextCache(store, memory_bytes=0)
    for _ in range(2):
        CachedTextEncoder(grounder, cache).encode(Prompt.of(["red car", "dog"]))
    assert grounder.calls == [[("dog",)], [("dog",)]]
    assert [record.getMessage() for record in caplog.records] == [
        "the text cache cannot be written, text is computed until it can: the store is read-only"
    ]
