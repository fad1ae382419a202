"""Where the memories of streams lie between frames: slots by stream, bounded in bytes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from groundstream.models.errors import ModelError
from groundstream.models.temporal.base import Memory


class MemoryFull(ModelError):  # noqa: N818 -- the field says it so
    """No room for the memory of another stream."""


class MemoryPool:
    """Slots of one stream each, of any sizes, together at most `capacity_bytes`.

    Slots are kept in `storage`, or as they come when None; they are read in float32 where they were
    converted. A slot without content costs nothing.
    """

    def __init__(self, capacity_bytes: int, storage: torch.dtype | None = None) -> None:
        if capacity_bytes < 1:
            raise ValueError(f"expected a capacity of at least 1 byte, but got {capacity_bytes}")
        self.capacity_bytes, self.storage = capacity_bytes, storage
        self._slots: dict[Hashable, Memory] = {}
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._slots

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._nbytes

    def has_room(self, empty: Memory) -> bool:
        """Whether another slot for a memory like `empty` fits."""
        return self._nbytes + self._stored(empty).nbytes <= self.capacity_bytes

    def open(self, key: Hashable, empty: Memory) -> None:
        """Make a slot for `key` with the memory `empty` (of one stream), or put it in place of the old.

        Raises:
            MemoryFull: there is no room; says how many such slots fit.
        """
        assert len(empty) == 1, f"{len(empty)} streams for one slot"
        self.close(key)
        slot = self._stored(empty)
        if not self.has_room(empty):
            raise MemoryFull(
                f"the temporal memory of {self.capacity_bytes / 2**20:.0f} MiB is full with {len(self)} "
                f"slots; {self.capacity_bytes // slot.nbytes} of {slot.nbytes / 2**20:.2f} MiB fit: allow "
                "more memory, take a smaller picture size, or use --adapter none"
            )
        self._slots[key] = slot
        self._nbytes += slot.nbytes

    def close(self, key: Hashable) -> None:
        """Give the slot of `key` back; unknown keys are fine."""
        if slot := self._slots.pop(key, None):
            self._nbytes -= slot.nbytes

    def move(self, key: Hashable, to: Hashable) -> None:
        """Let the slot of `key`, if there is one, be that of `to`, whose own is given back."""
        self.close(to)
        if slot := self._slots.pop(key, None):
            self._slots[to] = slot

    def gather(self, keys: Sequence[Hashable]) -> Memory:
        """Return the memory of the slots of `keys`, in that order.

        Raises:
            ValueError: they are of different sizes.
        """
        slots = [self._slots[key] for key in keys]
        if len({slot.mean.shape for slot in slots}) > 1:
            sizes = sorted({tuple(slot.mean.shape[1:]) for slot in slots})
            raise ValueError(f"expected slots of one size, but got {sizes}")
        whole = slots[0] if len(slots) == 1 else _joined(slots)
        return whole if self.storage is None else whole.to(torch.float32)

    def write(self, keys: Sequence[Hashable], memory: Memory) -> None:
        """Put the rows of `memory` into the slots of `keys`, which must be open."""
        assert len(memory) == len(keys), f"{len(memory)} memories for {len(keys)} slots"
        for number, key in enumerate(keys):
            # A copy of a row, as a view would keep the whole batch alive.
            row = memory if len(keys) == 1 else memory.select([number])
            slot = self._stored(row)
            assert slot.nbytes == self._slots[key].nbytes, "a slot has changed its size"
            self._slots[key] = slot

    def _stored(self, memory: Memory) -> Memory:
        return memory if self.storage is None else memory.to(self.storage)


def _joined(slots: Sequence[Memory]) -> Memory:
    means, evidences = [slot.mean for slot in slots], [slot.evidence for slot in slots]
    return Memory(torch.cat(means), torch.cat(evidences))
