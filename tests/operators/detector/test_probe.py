import time
from collections.abc import Callable, Sequence

import pytest
import torch

from groundstream.models.base import Query
from groundstream.models.fake import FakeGrounder
from groundstream.models.types import RawDetections
from groundstream.operators.detector.probe import MemoryMeter, Trial, best_of, find_max_batch, try_sizes

PICTURE_BYTES = 10


class Device(MemoryMeter):
    """A device whose batch of n takes `cost(n)` seconds of a clock of its own, and `room` bytes at most."""

    def __init__(self, cost: Callable[[int], float], room: int, told_room: int | None = None) -> None:
        self._cost, self._room = cost, room
        self._told_room = room if told_room is None else told_room
        self.now_s, self.sizes = 0.0, list[int]()

    def forward(self, size: int) -> None:
        self.sizes.append(size)
        if size * PICTURE_BYTES > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        self.now_s += self._cost(size)

    def peak_of(self, forward: Callable[[], None]) -> int:
        forward()
        return PICTURE_BYTES * self.sizes[-1]

    def free(self) -> int:
        return self._told_room

    def trials(self) -> list[Trial]:
        return try_sizes(self.forward, self, clock=lambda: self.now_s)


@pytest.mark.parametrize(
    ("cost", "expected", "tried"),
    [
        (lambda size: 0.02 * max(1, size / 8), 8, 32),  # free up to 8, in proportion from there on
        (lambda size: 0.01 * size, 1, 4),  # twice the batch, twice the time
        (lambda size: {1: 0.110, 2: 0.240}.get(size, 0.01 * size), 4, 16),  # two do worse than one or four
        (lambda size: 0.02 if size <= 4 else 0.3, 4, 8),  # eight are late
        (lambda size: 0.4 * size, 1, 2),  # late even alone: one is answered all the same
        (lambda size: 0.4, 64, 64),  # late alone, and more cost nothing
        (lambda size: 0.001, 64, 64),  # nothing stops it but the limit
    ],
)
def test_the_size_after_which_nothing_is_gained(
    cost: Callable[[int], float], expected: int, tried: int
) -> None:
    device = Device(cost, room=10_000)
    assert best_of(device.trials()) == expected
    assert max(device.sizes) == tried


def test_a_size_that_would_not_fit_is_not_tried() -> None:
    device = Device(lambda size: 0.01, room=170)
    assert best_of(device.trials()) == 8  # 16 would need 160 of 170 bytes, of which a fifth stays spare
    assert max(device.sizes) == 8


def test_running_out_of_memory_ends_the_trials() -> None:
    device = Device(lambda size: 0.01, room=100, told_room=10_000)
    assert best_of(device.trials()) == 8
    assert max(device.sizes) == 16


def test_a_device_without_room_for_one_is_asked_one_at_a_time() -> None:
    assert best_of(Device(lambda size: 0.01, room=5).trials()) == 1


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(size: int) -> None:
        raise RuntimeError("an illegal memory access")

    with pytest.raises(RuntimeError, match="illegal"):
        try_sizes(broken, MemoryMeter())


class SteppedGrounder(FakeGrounder):
    """A fake whose forward costs the same up to four pictures, and far more above."""

    def __init__(self) -> None:
        super().__init__(32)
        self.shapes = set[tuple[int, ...]]()

    def detect(
        self,
        pixels: torch.Tensor,
        content_px: torch.Tensor,
        queries: Sequence[Query],
        floor: float | None = None,
    ) -> list[RawDetections]:
        assert len(pixels) == len(content_px) == len(queries)
        self.shapes.add(tuple(pixels.shape[1:]))
        time.sleep(0.04 if len(pixels) <= 4 else 0.4)
        return super().detect(pixels, content_px, queries, floor)


@pytest.mark.alone
def test_a_grounder_of_known_cost_by_the_real_clock() -> None:
    grounder = SteppedGrounder()
    assert find_max_batch(grounder) == 4
    assert grounder.shapes == {(32, 32, 3)}
