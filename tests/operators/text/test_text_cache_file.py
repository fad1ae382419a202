from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from counting_grounder import PROMPT, CountingGrounder, assert_same, features

from groundstream.models.fake import FakeGrounder
from groundstream.operators.errors import ConfigError
from groundstream.operators.text.cache import CachedTextEncoder, TextCache
from groundstream.operators.text.codec import encode_features
from groundstream.operators.text.stores import SqliteStore, StoreError, default_store_path, open_text_store


def test_a_file_serves_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "text.sqlite"
    for expected_calls in (1, 0):
        grounder = CountingGrounder()
        cache = TextCache(open_text_store(f"sqlite:{path}"))
        assert CachedTextEncoder(grounder, cache).encode(PROMPT)[0].phrases == PROMPT.phrases
        assert len(grounder.calls) == expected_calls
        cache.close()
    assert cache.counters.store_hits == 4


def test_a_damaged_value_and_one_of_another_model_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    CachedTextEncoder(CountingGrounder(), TextCache(SqliteStore(path))).encode(PROMPT)
    foreign = encode_features(features("white van"), "model-b")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE text_features SET value = substr(value, 1, 40) WHERE key LIKE '%red car'")
        database.execute("UPDATE text_features SET value = ? WHERE key LIKE '%white van'", (foreign,))
    database.close()
    for expected_calls, damaged in (([[("red car",), ("white van",)]], 2), ([], 0)):
        grounder, cache = CountingGrounder(), TextCache(SqliteStore(path))
        assert_same(
            CachedTextEncoder(grounder, cache).encode(PROMPT)[0], FakeGrounder().encode_text([PROMPT])[0]
        )
        assert (grounder.calls, cache.counters.damaged) == (expected_calls, damaged)
        cache.close()


def test_the_file_keeps_its_bound(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "text.sqlite", most_bytes=400_000)
    for number in range(100):
        store.put_many({f"key {number:03}": bytes(10_000)})
    kept = store.get_many([f"key {number:03}" for number in range(100)])
    store.close()
    assert 10 < len(kept) < 40
    assert "key 099" in kept
    assert store.evicted == 100 - len(kept)


def make_text_file(path: Path) -> None:
    path.write_text("this is a shopping list, not a database\n" * 50)


def make_cut_database(path: Path) -> None:
    store = SqliteStore(path)
    store.put_many({f"key {number}": bytes(5000) for number in range(20)})
    store.close()
    path.write_bytes(path.read_bytes()[:3000])


def make_folder(path: Path) -> None:
    path.mkdir()


def make_file_above(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file where a folder is meant")


@pytest.mark.parametrize("make", [make_text_file, make_cut_database, make_folder, make_file_above])
def test_a_file_that_cannot_be_used_costs_one_warning(
    make: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "folder" / "text.sqlite"
    path.parent.mkdir()
    make(path)
    content = path.read_bytes() if path.is_file() else b""
    cache = TextCache(SqliteStore(path), memory_bytes=0)
    for _ in range(3):
        assert CachedTextEncoder(CountingGrounder(), cache).encode(PROMPT)[0].phrases == PROMPT.phrases
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(path) in caplog.records[0].getMessage()
    assert (
        path.read_bytes() if path.is_file() else b""
    ) == content  # never overwritten: it may be the user's


def test_a_file_that_another_process_locks_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundstream.operators.text.stores._BUSY_S", 0.05)
    path = tmp_path / "text.sqlite"
    first = SqliteStore(path)
    first.put_many({"key": b"value"})
    first.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    cache = TextCache(SqliteStore(path))
    assert CachedTextEncoder(CountingGrounder(), cache).encode(PROMPT)[0].phrases == PROMPT.phrases
    other.close()
    assert ["locked" in record.getMessage() for record in caplog.records] == [True]


WRITER = """
import sys
from pathlib import Path
from groundstream.operators.text.stores import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    key = f"{sys.argv[2]} {number}"
    store.put_many({key: key.encode() * 500})
    assert store.get_many([key]) == {key: key.encode() * 500}
"""


def test_processes_and_threads_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, str(number)], **pipes) for number in range(3)]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:  # all at once, on a file that none has made yet
        child.stdin.write("go\n")
        child.stdin.flush()
    store = SqliteStore(path)
    failures: list[Exception] = []

    def write(name: str) -> None:
        try:
            for number in range(100):
                store.put_many({f"{name} {number}": b"x" * 500})
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"thread {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    for child in children:
        child.stdin.close()
        child.stdout.close()
    names = [f"{name} {number}" for name in ("0", "1", "2", "thread 0", "thread 1") for number in range(100)]
    assert len(store.get_many(names)) == 500
    store.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("none", "NoneType"),
        ("cache.db", "SqliteStore"),
        ("sqlite:/tmp/cache.db", "SqliteStore"),
        ("redis://host", "RedisStore"),
        ("rediss://:secret@host:6380/2?ssl_ca_certs=ca.pem", "RedisStore"),
    ],
)
def test_urls_name_their_store_without_touching_it(url: str, kind: str) -> None:
    assert type(open_text_store(url)).__name__ == kind


@pytest.mark.parametrize(
    "url",
    [
        "http://host/cache",
        "sqlite:",
        "",
        "redis://:pa/secret@host",
        "redis://:secret@host:port",
        "redis://:secret@host/?db=one",
        "redis://:secret@host/?colour=red",
    ],
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"text cache|Redis URL") as caught:
        open_text_store(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_store_says_where_it_is_without_its_password() -> None:
    store = open_text_store("redis://user:secret@host:7000/3")
    assert store is not None
    assert store.place == "Redis at host:7000/3"


def test_the_default_file_follows_the_xdg_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_store_path() == Path("/somewhere/groundstream/text.sqlite")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/anna")
    assert default_store_path() == Path("/home/anna/.cache/groundstream/text.sqlite")
    store = open_text_store(None)
    assert store is not None
    assert store.place == f"the file {default_store_path()}"
