from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.spool import DiskSpool, MemorySpool, Message, Spool


@pytest.fixture(params=["memory", "disk"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    """One of either kind, for 1000 bytes."""
    return MemorySpool(1000) if request.param == "memory" else DiskSpool(tmp_path / "a" / "spool", 1000)


def message(number: int, size: int = 100) -> Message:
    return Message("event", f"id-{number}", bytes([number % 256]) * size)


def ids(spool: Spool) -> list[str]:
    return [each.id for _, each in spool.oldest(1000)]


def test_what_comes_first_is_ahead(spool: Spool) -> None:
    assert (len(spool), spool.oldest(5)) == (0, [])
    given_up = [spool.put(message(number)) for number in range(10)]
    assert (given_up, len(spool)) == ([[]] * 10, 10)
    head = spool.oldest(3)
    assert [each for _, each in head] == [message(0), message(1), message(2)]
    spool.remove([number for number, _ in head])
    spool.remove([number for number, _ in head])  # not there any more
    assert ids(spool) == [f"id-{number}" for number in range(3, 10)]
    spool.close()
    spool.close()


def test_a_full_one_gives_up_the_oldest(spool: Spool) -> None:
    given_up = [spool.put(message(number)) for number in range(12)]
    assert given_up == [[]] * 10 + [[message(0)], [message(1)]]
    assert ids(spool) == [f"id-{number}" for number in range(2, 12)]
    assert spool.put(message(12, size=250)) == [message(2), message(3), message(4)]
    assert len(spool.put(message(13, size=5000))) == 8  # larger than all room: it alone
    assert ids(spool) == ["id-13"]
    assert [each.id for each in spool.put(message(14))] == ["id-13"]
    spool.close()


def test_room_is_there_again_after_removal(spool: Spool) -> None:
    for number in range(100):
        assert spool.put(message(number)) == []
        spool.remove([spool.oldest(1)[0][0]])
    assert len(spool) == 0
    spool.close()


def test_a_file_keeps_what_it_took(tmp_path: Path) -> None:
    first = DiskSpool(tmp_path / "spool", 1000)
    for number in range(5):
        first.put(message(number))
    first.remove([first.oldest(1)[0][0]])
    first.close()
    second = DiskSpool(tmp_path / "spool", 1000)
    assert (len(second), ids(second)) == (4, ["id-1", "id-2", "id-3", "id-4"])
    assert [second.put(message(number)) for number in range(5, 12)] == [[]] * 6 + [[message(1)]]
    second.close()


def test_on_a_full_disk_nothing_makes_room_for_what_does_not_come(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool", 1000)
    for number in range(5):
        spool.put(message(number))
    pages = spool._database.execute("pragma page_count").fetchone()[0]
    spool._database.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(OutputError, match=r"cannot write the spool .*: database or disk is full; free some"):
        spool.put(message(5, size=100_000))
    assert (len(spool), ids(spool)) == (5, [f"id-{number}" for number in range(5)])
    assert [spool.put(message(number)) for number in range(6, 12)] == [[]] * 5 + [[message(0)]]
    spool.close()


def test_a_file_is_of_one_process_at_a_time(tmp_path: Path) -> None:
    first = DiskSpool(tmp_path / "spool", 1000)
    with pytest.raises(OutputError, match=r"is used by another run; give each its own \(#spool=FILE"):
        DiskSpool(tmp_path / "spool", 1000)
    first.put(message(1))
    first.close()
    DiskSpool(tmp_path / "spool", 1000).close()


def test_what_is_no_spool_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear spool, " * 100)
    with pytest.raises(OutputError, match=r"cannot use the spool .*letter: file is not a database; move it"):
        DiskSpool(path, 1000)
    assert path.read_text() == "Dear spool, " * 100
    with pytest.raises(OutputError, match="cannot use the spool"):
        DiskSpool(path / "deeper", 1000)
    newer = tmp_path / "newer"
    database = sqlite3.connect(newer)
    database.execute("pragma user_version = 9")
    database.close()
    with pytest.raises(OutputError, match="it is of version 9, not 1"):
        DiskSpool(newer, 1000)


FILLER = """
import sys
from pathlib import Path
from groundstream.operators.sinks.spool import DiskSpool, Message
spool = DiskSpool(Path(sys.argv[1]), 10_000_000)
for number in range(1_000_000):
    spool.put(Message("event", str(number), b"x" * 300))
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path / "spool")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as lines:
        for line in lines:
            if int(line) == 200:
                child.send_signal(signal.SIGKILL)
            last = int(line)
    child.wait()
    spool = DiskSpool(tmp_path / "spool", 10_000_000)
    kept = [int(each.id) for _, each in spool.oldest(1_000_000)]
    assert kept[: last + 1] == list(range(last + 1))
    assert len(kept) <= last + 2
    spool.close()
