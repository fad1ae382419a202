"""Slots of streams: bounded, separate, gone when given back."""

from __future__ import annotations

import pytest
import torch
from temporal_cases import ADAPTERS, flags, maps, same, seconds, trained

from groundstream.models.errors import ModelError
from groundstream.models.temporal.base import Memory
from groundstream.models.temporal.memory import MemoryFull, MemoryPool


def memory(cells: int = 4, value: float = 0.0) -> Memory:
    return Memory(torch.full((1, cells, 2), value), torch.full((1, cells, 1), value))


def test_slots_keep_what_is_written_by_stream() -> None:
    pool = MemoryPool(1000)
    for name in ("a", "b", "c"):
        pool.open(name, memory())
    both = Memory(torch.arange(16.0).view(2, 4, 2), torch.ones(2, 4, 1))
    pool.write(["c", "a"], both)
    assert torch.equal(pool.gather(["a"]).mean, both.mean[1:])
    assert torch.equal(pool.gather(["b", "c"]).mean, torch.cat([memory().mean, both.mean[:1]]))
    both.mean.zero_()
    assert pool.gather(["a"]).mean.any()


def test_bytes_are_counted_and_given_back() -> None:
    pool = MemoryPool(1000)
    pool.open("a", memory(4))
    pool.open("b", memory(10))
    assert (len(pool), pool.nbytes) == (2, 4 * 3 * (4 + 10))
    pool.open("a", memory(5))
    assert pool.nbytes == 4 * 3 * (5 + 10)
    pool.move("b", "a")
    assert (len(pool), pool.nbytes) == (1, 4 * 3 * 10)
    pool.move("gone", "a")
    pool.close("a")
    pool.close("a")
    assert (len(pool), pool.nbytes) == (0, 0)


def test_a_row_does_not_keep_its_batch_alive() -> None:
    pool = MemoryPool(10_000)
    pool.open("a", memory())
    pool.open("b", memory())
    pool.write(["a", "b"], Memory(torch.ones(2, 4, 2), torch.ones(2, 4, 1)))
    slot = pool.gather(["a"])
    assert slot.mean.untyped_storage().nbytes() == slot.mean.nbytes


def test_a_full_pool_says_how_many_fit() -> None:
    pool = MemoryPool(3 * 2**20)
    big = memory(2**20 // 12)
    for number in range(3):
        assert pool.has_room(big)
        pool.open(number, big)
    assert not pool.has_room(big)
    with pytest.raises(MemoryFull, match=r"of 3 MiB is full with 3 slots; 3 of 1\.00 MiB fit: allow more"):
        pool.open("one more", big)
    assert issubclass(MemoryFull, ModelError)
    pool.close(1)
    pool.open("one more", big)


def test_slots_of_different_sizes_are_not_one_batch() -> None:
    pool = MemoryPool(1000)
    pool.open("a", memory(4))
    pool.open("b", memory(5))
    with pytest.raises(ValueError, match=r"slots of one size, but got \[\(4, 2\), \(5, 2\)\]"):
        pool.gather(["a", "b"])


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16])
def test_short_storage_halves_the_bytes_and_keeps_the_first_frame_exact(storage: torch.dtype) -> None:
    adapter = trained(ADAPTERS["cta"]())
    levels = [level[:1] for level in maps(3)]
    empty = adapter.empty(levels)
    full, short = MemoryPool(10**6), MemoryPool(10**6, storage)
    outs = []
    for pool in (full, short):
        pool.open("a", empty)
        first, new = adapter.step(levels, pool.gather(["a"]), seconds(0.04), flags(True), flags(True))
        assert same(first, levels)
        pool.write(["a"], new)
        other = maps(1, seed=1)
        outs.append(adapter.step(other, pool.gather(["a"]), seconds(0.04), flags(True), flags(True))[0])
    assert short.nbytes * 2 == full.nbytes
    for a, b in zip(*outs, strict=True):
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        MemoryPool(0)
