"""The text cache against a real Redis server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting_grounder import CountingGrounder
from redis_server import RedisServer

from groundstream.models.fake import colour_of
from groundstream.models.types import Prompt, TextFeatures
from groundstream.operators.text.cache import CachedTextEncoder, TextCache
from groundstream.operators.text.stores import open_text_store

pytestmark = pytest.mark.server

PROMPT = Prompt.of(["red car", "white van", "狗"])


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.kill()


def encoder_on(url: str, **options: object) -> tuple[CountingGrounder, TextCache, CachedTextEncoder]:
    grounder = CountingGrounder()
    cache = TextCache(open_text_store(url), **options)  # type: ignore[arg-type]
    return grounder, cache, CachedTextEncoder(grounder, cache)


def assert_right(answer: tuple[TextFeatures, ...], prompt: Prompt) -> None:
    (text,) = answer
    assert text.phrases == prompt.phrases
    assert text.tokens.tolist() == [list(colour_of(phrase)) for phrase in prompt.phrases]


def test_a_cold_run_fills_and_the_second_encodes_nothing(server: RedisServer) -> None:
    cold, cold_cache, encoder = encoder_on(server.url)
    assert_right(encoder.encode(PROMPT), PROMPT)
    warm, warm_cache, encoder = encoder_on(server.url)
    assert_right(encoder.encode(PROMPT), PROMPT)
    assert_right(encoder.encode(PROMPT), PROMPT)
    assert (cold.encoded, warm.encoded) == (3, 0)
    assert (cold_cache.counters.store_misses, cold_cache.counters.store_hits) == (3, 0)
    assert (warm_cache.counters.store_misses, warm_cache.counters.store_hits) == (0, 3)
    assert warm_cache.counters.memory_hits == 3
    cold_cache.close()
    warm_cache.close()


def test_a_prompt_costs_one_mget_and_one_pipeline_and_values_expire(server: RedisServer) -> None:
    _, cache, encoder = encoder_on(server.url)
    encoder.encode(Prompt.of(["dog"]))  # shakes hands
    with server.client() as client:
        before = client.info("stats")["total_reads_processed"]
        encoder.encode(PROMPT)
        reads = client.info("stats")["total_reads_processed"] - before
        calls = {name: row["calls"] for name, row in client.info("commandstats").items()}
        lives = [client.ttl(key) for key in client.scan_iter()]
    cache.close()
    # What the server read from its sockets: MGET, the whole pipeline of SET, and the INFO that asks.
    assert reads == 3
    assert (calls["cmdstat_mget"], calls["cmdstat_set"]) == (2, 4)
    assert len(lives) == 4
    assert all(29 * 86400 < life <= 30 * 86400 for life in lives)


def test_a_server_that_dies_and_comes_back_is_only_ever_slower(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    grounder, cache, encoder = encoder_on(server.url, memory_bytes=0, clock=clock)
    encoded = []
    for step in range(30):
        if step == 10:
            server.kill()
        if step == 20:
            server.start()
        clock.now += 10.0
        assert_right(encoder.encode(PROMPT), PROMPT)
        encoded.append(grounder.encoded)
    cache.close()
    # Filled once; computed at each of ten steps while the server is away; filled again: it came back empty.
    assert encoded[9] == 3
    assert encoded[19] == 33
    assert encoded[24] == encoded[29] <= 42
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "cannot be read" in caplog.records[0].getMessage()
    assert "can be read again" in caplog.records[1].getMessage()


def test_a_restart_between_two_calls_is_not_even_noticed(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    grounder, cache, encoder = encoder_on(server.url, memory_bytes=0)
    encoder.encode(PROMPT)
    server.kill()
    server.start()
    for _ in range(2):
        assert_right(encoder.encode(PROMPT), PROMPT)
    cache.close()
    assert (grounder.encoded, cache.counters.errors, caplog.records) == (6, 0, [])


def test_a_server_that_hangs_is_left_alone_after_its_timeout(server: RedisServer) -> None:
    grounder, cache, encoder = encoder_on(f"{server.url}?socket_timeout=0.2")
    server.pause()
    for phrase in ("red car", "dog", "bus"):
        assert_right(encoder.encode(Prompt((phrase,))), Prompt((phrase,)))
    cache.close()
    assert (grounder.encoded, cache.counters.errors) == (3, 1)


def test_a_full_server_is_still_read(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    _, first_cache, first = encoder_on(server.url)
    first.encode(PROMPT)
    with server.client() as client:
        client.config_set("maxmemory", "1")
    grounder, cache, encoder = encoder_on(server.url)
    assert_right(encoder.encode(PROMPT), PROMPT)
    encoder.encode(Prompt.of(["dog"]))
    first_cache.close()
    cache.close()
    assert grounder.encoded == 1
    assert ["cannot be written" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("change", ["cut", "other kind", "other model"])
def test_what_others_left_under_our_keys_is_computed_anew(server: RedisServer, change: str) -> None:
    _, cache, encoder = encoder_on(server.url)
    encoder.encode(PROMPT)
    cache.close()
    with server.client() as client:
        (key,) = client.keys("*red car")
        (other,) = client.keys("*white van")
        value = client.get(key)
        client.delete(key)
        if change == "cut":
            client.set(key, value[:-3])
        elif change == "other kind":
            client.lpush(key, "a list")
        else:
            client.set(key, client.get(other))
    for expected in (1, 0):
        grounder, cache, encoder = encoder_on(server.url)
        assert_right(encoder.encode(PROMPT), PROMPT)
        assert grounder.encoded == expected
        cache.close()


def test_tls_and_a_password_work_and_a_wrong_one_stays_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path, password="correct-horse", tls=True)
    try:
        for expected in (3, 0):
            grounder, cache, encoder = encoder_on(server.url)
            assert_right(encoder.encode(PROMPT), PROMPT)
            assert grounder.encoded == expected
            cache.close()
        assert caplog.records == []
        for wrong in (
            server.url.replace("correct-horse", "battery-staple"),
            server.url.partition("?")[0],  # no certificate authority: the server is not trusted
        ):
            grounder, cache, encoder = encoder_on(wrong)
            assert_right(encoder.encode(PROMPT), PROMPT)
            assert grounder.encoded == 3
            cache.close()
    finally:
        server.kill()
    assert len(caplog.records) == 2
    assert "invalid" in caplog.text
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert "horse" not in caplog.text
    assert "staple" not in caplog.text
