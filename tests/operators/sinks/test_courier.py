"""Delivery in order, whatever the receiver does."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.delivery import Courier, Later, Refused
from groundstream.operators.sinks.spool import DiskSpool, MemorySpool, Parcel
from groundstream.operators.utils.backoff import Backoff


class Receiver:
    """Takes parcels, `most` at a time; `answer` may raise instead, or take fewer."""

    place = "receiver"

    def __init__(self, most: int = 3) -> None:
        self.most = most
        self.arrived: list[str] = []
        self.answer: Callable[[Sequence[Parcel]], int] = len

    def carry(self, parcels: Sequence[Parcel]) -> int:
        count = self.answer(parcels)
        self.arrived += [each.id for each in parcels[:count]]
        return count


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def courier(receiver: Receiver) -> Iterator[Courier]:
    made = make(receiver)
    yield made
    made.close(0.0)
    made.join(60)


def make(receiver: Receiver, most_bytes: int = 1_000_000) -> Courier:
    return Courier(receiver, MemorySpool(most_bytes), Backoff(0.005, 0.02))


def parcels(count: int) -> list[Parcel]:
    return [Parcel("event", str(number), b"x" * 10) for number in range(count)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_everything_arrives_once_and_in_order(receiver: Receiver, courier: Courier) -> None:
    for each in parcels(200):
        courier.put(each)
    assert courier.close(60.0) == 0
    assert receiver.arrived == [str(number) for number in range(200)]
    assert (courier.pending, courier.dropped) == (0, 0)


def test_a_receiver_that_fails_by_chance_still_gets_all_in_order(
    receiver: Receiver, courier: Courier
) -> None:
    chance = random.Random(3)

    def answer(offered: Sequence[Parcel]) -> int:
        if chance.random() < 0.5:
            raise Later("it is tired", wait_s=chance.choice([None, 0.0]))
        return chance.randint(1, len(offered))

    receiver.answer = answer
    for each in parcels(100):
        courier.put(each)
    assert courier.close(60.0) == 0
    assert receiver.arrived == [str(number) for number in range(100)]


def test_being_away_and_coming_back_are_said_once(
    receiver: Receiver, courier: Courier, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def away(offered: Sequence[Parcel]) -> int:
        tries.append(len(offered))
        raise Later("it is out")

    receiver.answer = away
    for each in parcels(5):
        courier.put(each)
    wait_until(lambda: len(tries) > 5)
    assert courier.pending == 5
    receiver.answer = len
    wait_until(lambda: courier.pending == 0)
    assert [row.levelno for row in caplog.records] == [logging.WARNING] * 2
    assert "receiver cannot be reached, messages wait until it can: it is out" in caplog.text
    assert "receiver can be reached again" in caplog.text


def test_what_is_refused_is_given_up_counted_and_said_once(
    receiver: Receiver, courier: Courier, caplog: pytest.LogCaptureFixture
) -> None:
    def picky(offered: Sequence[Parcel]) -> int:
        if int(offered[0].id) % 2:
            raise Refused("it is odd")
        return 1

    receiver.answer = picky
    for each in parcels(10):
        courier.put(each)
    assert courier.close(60.0) == 0
    assert receiver.arrived == ["0", "2", "4", "6", "8"]
    assert courier.dropped == 5
    assert caplog.text.count("receiver refuses messages, which are given up: it is odd") == 1


def test_a_full_spool_gives_up_the_oldest_and_says_so_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def away(offered: Sequence[Parcel]) -> int:
        raise Later("it is out")

    receiver.answer = away
    courier = make(receiver, most_bytes=50)
    for each in parcels(12):
        courier.put(each)
    assert (courier.pending, courier.dropped) == (5, 7)
    receiver.answer = len
    assert courier.close(60.0) == 0
    assert receiver.arrived == ["7", "8", "9", "10", "11"]
    assert caplog.text.count("messages for receiver are given up: the spool is full") == 1


def test_a_receiver_that_never_will_ends_it(receiver: Receiver, courier: Courier) -> None:
    def locked(offered: Sequence[Parcel]) -> int:
        raise OutputError("nobody may write there")

    receiver.answer = locked
    courier.put(parcels(1)[0])

    def put() -> bool:
        try:
            courier.put(parcels(1)[0])
        except OutputError as error:
            return str(error) == "nobody may write there"
        return False

    wait_until(put)


def test_an_error_of_ours_ends_it_with_a_name_and_without_words(
    receiver: Receiver, courier: Courier, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(offered: Sequence[Parcel]) -> int:
        raise KeyError("secret")

    receiver.answer = broken
    courier.put(parcels(1)[0])
    courier.join(60)
    with pytest.raises(OutputError, match=r"^delivering to receiver failed: KeyError$"):
        courier.put(parcels(1)[0])
    assert "should not happen" in caplog.text


def test_closing_does_not_wait_for_one_who_said_how_long_he_is_away(
    receiver: Receiver, courier: Courier
) -> None:
    called = threading.Event()

    def away(offered: Sequence[Parcel]) -> int:
        called.set()
        raise Later("it is out", wait_s=3600.0)

    receiver.answer = away
    courier.put(parcels(1)[0])
    assert called.wait(60)
    started = time.monotonic()
    assert courier.close(600.0) == 1
    courier.join(60)
    assert time.monotonic() - started < 60


def test_parcels_of_an_earlier_run_go_first_and_are_not_counted(tmp_path: Path, receiver: Receiver) -> None:
    spool = DiskSpool(tmp_path / "spool", 10_000)
    for each in parcels(3):
        spool.put(each)
    gate = threading.Event()

    def slow(offered: Sequence[Parcel]) -> int:
        assert gate.wait(60)
        return 1

    receiver.answer = slow
    courier = Courier(receiver, spool)
    courier.put(Parcel("event", "new", b""))
    assert courier.pending == 1
    gate.set()
    assert courier.close(60.0) == 0
    assert receiver.arrived == ["0", "1", "2", "new"]
    courier.join(60)
    spool.close()
