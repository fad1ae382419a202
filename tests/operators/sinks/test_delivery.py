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
from groundstream.operators.sinks.delivery import Delivery, Refused, Unavailable
from groundstream.operators.sinks.spool import DiskSpool, MemorySpool, Message
from groundstream.operators.utils.backoff import Backoff


class Receiver:
    """Takes messages, `most` at a time; `answer` may raise instead, or take fewer."""

    place = "receiver"

    def __init__(self, most: int = 3) -> None:
        self.most = most
        self.arrived: list[str] = []
        self.answer: Callable[[Sequence[Message]], int] = len

    def deliver(self, messages: Sequence[Message]) -> int:
        count = self.answer(messages)
        self.arrived += [each.id for each in messages[:count]]
        return count

    def close(self) -> None:
        pass


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def delivery(receiver: Receiver) -> Iterator[Delivery]:
    made = make(receiver)
    yield made
    made.close(0.0, join_s=60)
    assert made.ended


def make(receiver: Receiver, most_bytes: int = 1_000_000) -> Delivery:
    return Delivery(receiver, MemorySpool(most_bytes), Backoff(0.005, 0.02))


def messages(count: int) -> list[Message]:
    return [Message("event", str(number), b"x" * 10) for number in range(count)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_everything_arrives_once_and_in_order(receiver: Receiver, delivery: Delivery) -> None:
    for each in messages(200):
        delivery.put(each)
    assert delivery.close(60.0) == 0
    assert receiver.arrived == [str(number) for number in range(200)]
    assert (delivery.pending, delivery.dropped) == (0, 0)


def test_a_receiver_that_fails_by_chance_still_gets_all_in_order(
    receiver: Receiver, delivery: Delivery
) -> None:
    chance = random.Random(3)

    def answer(offered: Sequence[Message]) -> int:
        if chance.random() < 0.5:
            raise Unavailable("it is tired", wait_s=chance.choice([None, 0.0]))
        return chance.randint(1, len(offered))

    receiver.answer = answer
    for each in messages(100):
        delivery.put(each)
    assert delivery.close(60.0) == 0
    assert receiver.arrived == [str(number) for number in range(100)]


def test_being_away_and_coming_back_are_said_once(
    receiver: Receiver, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def away(offered: Sequence[Message]) -> int:
        tries.append(len(offered))
        raise Unavailable("it is out")

    receiver.answer = away
    for each in messages(5):
        delivery.put(each)
    wait_until(lambda: len(tries) > 5)
    assert delivery.pending == 5
    receiver.answer = len
    wait_until(lambda: delivery.pending == 0)
    assert [row.levelno for row in caplog.records] == [logging.WARNING] * 2
    assert "receiver cannot be reached, messages wait until it can: it is out" in caplog.text
    assert "receiver can be reached again" in caplog.text


def test_a_slow_receiver_is_waited_for_and_one_that_is_away_is_not(receiver: Receiver) -> None:
    at_work, done = threading.Event(), threading.Event()

    def slow(messages: Sequence[Message]) -> int:
        at_work.set()
        assert done.wait(60)
        return len(messages)

    receiver.answer = slow
    # The spool alone would keep only three of them.
    delivery = Delivery(receiver, MemorySpool(35), Backoff(0.005, 0.02), most_ahead=3)
    writer = threading.Thread(target=lambda: [delivery.put(each) for each in messages(20)])
    writer.start()
    assert at_work.wait(60)
    wait_until(lambda: delivery.pending == 3)
    assert writer.is_alive()
    done.set()
    writer.join(60)
    assert delivery.close(60) == 0
    assert (receiver.arrived, delivery.dropped) == ([str(number) for number in range(20)], 0)

    def away(messages: Sequence[Message]) -> int:
        raise Unavailable("nothing listens there")

    receiver.answer = away
    delivery = Delivery(receiver, MemorySpool(35), Backoff(0.005, 0.02), most_ahead=3)
    for each in messages(20):
        delivery.put(each)
    assert (delivery.pending, delivery.dropped) == (3, 17)
    delivery.close(0.0, join_s=60)


def test_what_is_refused_is_given_up_counted_and_said_once(
    receiver: Receiver, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    def picky(offered: Sequence[Message]) -> int:
        if int(offered[0].id) % 2:
            raise Refused("it is odd")
        return 1

    receiver.answer = picky
    for each in messages(10):
        delivery.put(each)
    assert delivery.close(60.0) == 0
    assert receiver.arrived == ["0", "2", "4", "6", "8"]
    assert delivery.dropped == 5
    assert caplog.text.count("receiver refuses messages, which are given up: it is odd") == 1


def test_a_full_spool_gives_up_the_oldest_and_says_so_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def away(offered: Sequence[Message]) -> int:
        raise Unavailable("it is out")

    receiver.answer = away
    delivery = make(receiver, most_bytes=50)
    for each in messages(12):
        delivery.put(each)
    wait_until(lambda: (delivery.pending, delivery.dropped) == (5, 7))
    receiver.answer = len
    assert delivery.close(60.0) == 0
    assert receiver.arrived == ["7", "8", "9", "10", "11"]
    assert caplog.text.count("messages for receiver are given up: the spool is full") == 1


def test_what_makes_room_while_it_is_being_delivered_is_given_up_only_if_it_does_not_arrive(
    receiver: Receiver,
) -> None:
    entered, gate, given_up = threading.Semaphore(0), threading.Semaphore(0), list[str]()

    def slow(offered: Sequence[Message]) -> int:
        entered.release()
        assert gate.acquire(timeout=60)
        return 1

    receiver.answer = slow
    delivery = Delivery(
        receiver, MemorySpool(30), on_given_up=lambda lost: given_up.extend(each.id for each in lost)
    )
    first, *rest = [Message("event", f"n{number}", b"x" * 10) for number in range(7)]
    delivery.put(first)
    assert entered.acquire(timeout=60)
    for each in rest:  # n1, n2, n3 make room for n4, n5, n6; n0 does so too, but may be there already
        delivery.put(each)
    assert given_up == ["n1", "n2", "n3"]
    assert (delivery.pending, delivery.dropped) == (4, 3)
    receiver.answer = len
    gate.release()
    assert delivery.close(60.0) == 0
    assert receiver.arrived == ["n0", "n4", "n5", "n6"]
    assert (given_up, delivery.dropped, delivery.pending) == (["n1", "n2", "n3"], 3, 0)


def test_what_made_room_and_did_not_arrive_is_given_up(receiver: Receiver) -> None:
    entered, gate = threading.Semaphore(0), threading.Semaphore(0)

    def away(offered: Sequence[Message]) -> int:
        entered.release()
        assert gate.acquire(timeout=60)
        raise Unavailable("it is out", wait_s=0.0)

    receiver.answer = away
    delivery = make(receiver, most_bytes=30)
    delivery.put(messages(1)[0])
    assert entered.acquire(timeout=60)
    for each in messages(4)[1:]:
        delivery.put(each)
    assert (delivery.pending, delivery.dropped) == (4, 0)
    receiver.answer = len
    gate.release()
    assert delivery.close(60.0) == 0
    assert (receiver.arrived, delivery.dropped) == (["1", "2", "3"], 1)


def test_one_who_is_slow_is_waited_for_and_one_who_is_away_is_not(receiver: Receiver) -> None:
    awake = threading.Event()

    def slow(offered: Sequence[Message]) -> int:
        awake.wait(60)
        return 1

    def away(offered: Sequence[Message]) -> int:
        raise Unavailable("it is out", wait_s=600.0)

    receiver.answer = slow
    delivery = Delivery(receiver, MemorySpool(1000), most_ahead=3)
    sender = threading.Thread(target=lambda: [delivery.put(each) for each in messages(20)])
    sender.start()
    wait_until(lambda: delivery._change._waiters)  # type: ignore[attr-defined]  # the sender, as 3 wait
    assert delivery.pending == 3
    awake.set()
    sender.join(60)
    wait_until(lambda: delivery.pending == 0)
    receiver.answer = away
    for each in messages(20):
        delivery.put(each)
    assert (delivery.pending, delivery.close(0.0)) == (20, 20)
    assert receiver.arrived == [str(number) for number in range(20)]


def test_a_receiver_that_never_will_ends_it(receiver: Receiver, delivery: Delivery) -> None:
    def locked(offered: Sequence[Message]) -> int:
        raise OutputError("nobody may write there")

    receiver.answer = locked
    delivery.put(messages(1)[0])

    def put() -> bool:
        try:
            delivery.put(messages(1)[0])
        except OutputError as error:
            return str(error) == "nobody may write there"
        return False

    wait_until(put)


def test_closing_does_not_wait_once_it_is_known_that_nothing_will_arrive(receiver: Receiver) -> None:
    def locked(offered: Sequence[Message]) -> int:
        wait_until(lambda: delivery._change._waiters)  # type: ignore[attr-defined]  # `close` waits
        raise OutputError("the password is wrong")

    receiver.answer = locked
    delivery = make(receiver)
    delivery.put(messages(1)[0])
    closer = threading.Thread(target=delivery.close, args=(600.0,))
    closer.start()
    closer.join(60)
    assert not closer.is_alive()
    assert str(delivery.error) == "the password is wrong"


def test_an_error_of_ours_ends_it_with_a_name_and_without_words(
    receiver: Receiver, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(offered: Sequence[Message]) -> int:
        raise KeyError("secret")

    receiver.answer = broken
    delivery.put(messages(1)[0])
    wait_until(lambda: delivery.ended)
    with pytest.raises(OutputError, match=r"^delivering to receiver failed: KeyError$"):
        delivery.put(messages(1)[0])
    assert "should not happen" in caplog.text


def test_closing_does_not_wait_for_one_who_said_how_long_he_is_away(
    receiver: Receiver, delivery: Delivery
) -> None:
    called = threading.Event()

    def away(offered: Sequence[Message]) -> int:
        called.set()
        raise Unavailable("it is out", wait_s=3600.0)

    receiver.answer = away
    delivery.put(messages(1)[0])
    assert called.wait(60)
    started = time.monotonic()
    assert delivery.close(600.0, join_s=60) == 1
    assert delivery.ended
    assert time.monotonic() - started < 60


def test_messages_of_an_earlier_run_go_first_and_are_not_counted(tmp_path: Path, receiver: Receiver) -> None:
    spool = DiskSpool(tmp_path / "spool", 10_000)
    for each in messages(3):
        spool.put(each)
    gate = threading.Event()

    def slow(offered: Sequence[Message]) -> int:
        assert gate.wait(60)
        return 1

    receiver.answer = slow
    delivery = Delivery(receiver, spool)
    delivery.put(Message("event", "new", b""))
    assert delivery.pending == 1
    gate.set()
    assert delivery.close(60.0) == 0
    assert receiver.arrived == ["0", "1", "2", "new"]
    assert delivery.ended
    spool.close()
