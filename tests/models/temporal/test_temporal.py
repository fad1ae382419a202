"""What an adapter may do and what it must never do, bit for bit, for every part that one may have."""

from __future__ import annotations

import pytest
import torch
from temporal_cases import ADAPTERS, CHANNELS, cta, flags, maps, near, rows, same, seconds, trained

from groundstream.models.temporal.base import Memory, TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA, NoAdapter
from groundstream.models.temporal.cta import CTA, CTAConfig

YES, NO = flags(True, True, True), flags(False, False, False)
STEP = seconds(0.04, 0.5, 0.1)


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> TemporalAdapter:
    """An adapter with weights as after a training."""
    return trained(ADAPTERS[request.param]())


def remembering(adapter: TemporalAdapter, frames: int = 3) -> Memory:
    """Return the memory of three streams after some frames."""
    memory = adapter.empty(maps(3))
    for number in range(frames):
        _, memory = adapter.step(maps(3, seed=number), memory, STEP, YES, YES)
    return memory


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "ema"])
def test_before_training_nothing_is_changed(name: str) -> None:
    adapter = ADAPTERS[name]()
    memory = adapter.empty(maps(3))
    for number, dt_s in enumerate((0.0, 0.04, 0.5, 3.0)):
        levels = maps(3, seed=number)
        out, memory = adapter.step(levels, memory, seconds(dt_s, dt_s, dt_s), YES, YES)
        assert same(out, levels)


def test_the_first_frame_is_the_frozen_models(adapter: TemporalAdapter) -> None:
    levels = maps(3)
    out, memory = adapter.step(levels, adapter.empty(levels), STEP, YES, YES)
    assert same(out, levels)
    second, _ = adapter.step(maps(3, seed=1), memory, STEP, YES, YES)
    assert not same(second, maps(3, seed=1))


def test_a_reset_gives_the_frozen_models_answer_whatever_the_memory_holds(adapter: TemporalAdapter) -> None:
    memory, levels = remembering(adapter), maps(3, seed=9)
    broken = Memory(torch.full_like(memory.mean, torch.nan), torch.full_like(memory.evidence, torch.nan))
    for old in (memory, broken):
        out, new = adapter.step(levels, old, STEP, NO, YES)
        assert same(out, levels)
        assert new.mean.isfinite().all()
        assert new.evidence.isfinite().all()


def test_a_reset_of_one_stream_leaves_the_others(adapter: TemporalAdapter) -> None:
    memory, levels = remembering(adapter), maps(3, seed=9)
    usual, _ = adapter.step(levels, memory, STEP, YES, YES)
    out, _ = adapter.step(levels, memory, STEP, flags(True, False, True), YES)
    assert same(rows(out, [1]), rows(levels, [1]))
    assert same(rows(out, [0, 2]), rows(usual, [0, 2]))


@pytest.mark.parametrize("gap_s", [1e4, 1e9])
def test_after_a_long_gap_nothing_is_left(adapter: TemporalAdapter, gap_s: float) -> None:
    memory, levels = remembering(adapter), maps(3, seed=9)
    out, _ = adapter.step(levels, memory, seconds(gap_s, 0.1, gap_s), YES, YES)
    assert same(rows(out, [0, 2]), rows(levels, [0, 2]))
    assert not same(rows(out, [1]), rows(levels, [1]))


def test_alone_as_in_a_batch(adapter: TemporalAdapter) -> None:
    """To the bit where each number is computed by itself; where BLAS sums, to the rounding of a few sums.

    BLAS may choose the order of its additions by how a sample lies in memory, and that is another one in a
    batch where a sample's size is no multiple of a vector's; so it differs from processor to processor.
    """
    memory, levels = remembering(adapter), maps(3, seed=9)
    together, new = adapter.step(levels, memory, STEP, YES, YES)
    alike = same if isinstance(adapter, FeatureEMA) else near
    for which in ([0], [1], [2], [2, 0], [1, 2]):
        some = [True] * len(which)
        out, part = adapter.step(
            rows(levels, which), memory.select(which), STEP[which], flags(*some), flags(*some)
        )
        assert alike(out, rows(together, which))
        assert alike([part.mean, part.evidence], [new.mean[which], new.evidence[which]])


def test_one_stream_never_moves_another(adapter: TemporalAdapter) -> None:
    memory, levels = remembering(adapter), maps(3, seed=9)
    before, _ = adapter.step(levels, memory, STEP, YES, YES)
    for level in levels:
        level[2] = 1e4
    memory.mean[2], memory.evidence[2] = -1e4, 30.0
    after, _ = adapter.step(levels, memory, seconds(0.04, 0.5, 60.0), YES, YES)
    assert same(rows(before, [0, 1]), rows(after, [0, 1]))


def test_late_frames_are_answered_but_not_remembered(adapter: TemporalAdapter) -> None:
    memory, levels = remembering(adapter), maps(3, seed=9)
    at_once, _ = adapter.step(levels, memory, seconds(0, 0, 0), YES, YES)
    out, new = adapter.step(levels, memory, seconds(0, -1, -0.1), YES, flags(True, False, False))
    assert same(out, at_once)
    assert not torch.equal(new.mean[0], memory.mean[0])
    assert same([new.mean[1:], new.evidence[1:]], [memory.mean[1:], memory.evidence[1:]])


def test_evidence_fades_alike_over_one_gap_or_two() -> None:
    adapter = trained(cta())
    memory, levels = remembering(adapter), maps(3, seed=9)
    once, _ = adapter.step(levels, memory, seconds(3, 3, 3), YES, YES)
    _, kept = adapter.step(levels, memory, seconds(1, 1, 1), YES, NO)
    twice, _ = adapter.step(levels, kept, seconds(3, 3, 3), YES, YES)
    assert same(once, twice)


def test_what_does_not_change_is_not_changed(adapter: TemporalAdapter) -> None:
    levels, memory = maps(3), remembering(adapter, frames=0)
    for _ in range(5):
        out, memory = adapter.step(levels, memory, STEP, YES, YES)
        assert same(out, levels)


def test_noise_is_averaged_away_over_a_steady_scene() -> None:
    adapter = cta(width=16, half_lives_s=(16.0,), evidence_limit=32.0)
    for up, down in zip(adapter.up, adapter.down, strict=True):
        up.data = 2 * down.data[:, :16].T.clone()  # untrained gates read half of what is remembered
    scene, memory = maps(1), adapter.empty(maps(1))
    for number in range(20):
        noisy = [a + 0.5 * b for a, b in zip(scene, maps(1, seed=100 + number), strict=True)]
        with torch.no_grad():
            out, memory = adapter.step(noisy, memory, seconds(0.1), flags(True), flags(True))
    errors = [
        torch.cat([(x - y).flatten() for x, y in zip(z, scene, strict=True)]).std() for z in (noisy, out)
    ]
    assert errors[1] < 0.35 * errors[0]


def test_gates_tell_a_change_of_the_whole_frame_from_one_of_a_cell() -> None:
    adapter = trained(cta())
    assert isinstance(adapter, CTA)
    memory, scene = adapter.empty(maps(1)), maps(1)
    for _ in range(3):
        _, memory = adapter.step(scene, memory, seconds(0.1), flags(True), flags(True))
    one_cell = [level.clone() for level in scene]
    one_cell[0][:, :, 2, 3] += 2.0
    everywhere = [level + 2.0 for level in scene]
    everywhere[0][:, :, 2, 3] = one_cell[0][:, :, 2, 3]
    shown = [
        adapter.step(levels, memory, seconds(0.1), flags(True), flags(True))[0][0][:, :, 2, 3]
        for levels in (one_cell, everywhere)
    ]
    # The cell itself is the same in both, what is remembered too: only the surroundings differ.
    assert (shown[0] - shown[1]).abs().max() > 1e-3


def test_a_half_sees_nearly_the_same(adapter: TemporalAdapter) -> None:
    levels, memory = maps(3), remembering(adapter)
    exact, _ = adapter.step(levels, memory, STEP, YES, YES)
    half = [level.bfloat16() for level in levels]
    adapter.prepare(torch.device("cpu"), torch.bfloat16)
    short = memory.to(torch.bfloat16) if adapter.name == "ema" else memory
    out, _ = adapter.step(half, short, STEP, YES, YES)
    assert {level.dtype for level in out} == {torch.bfloat16}
    for a, b in zip(out, exact, strict=True):
        torch.testing.assert_close(a.float(), b, atol=0.1, rtol=0.05)
    first, _ = adapter.step(half, adapter.empty(half), STEP, YES, YES)
    assert same(first, half)


def test_levels_keep_their_layout_in_memory(adapter: TemporalAdapter) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        levels = [level[:1].contiguous(memory_format=layout) for level in maps(3)]
        out, _ = adapter.step(levels, adapter.empty(levels), STEP[:1], flags(True), flags(True))
        assert all(level.is_contiguous(memory_format=layout) for level in out)


def test_learning_needs_a_second_frame() -> None:
    adapter, memory = cta(), cta().empty(maps(3))
    out, memory = adapter.step(maps(3), memory, STEP, YES, YES)
    sum(level.square().sum() for level in out).backward()
    assert all(not parameter.grad.any() for parameter in adapter.up if parameter.grad is not None)
    out, _ = adapter.step(
        maps(3, seed=1), Memory(memory.mean.detach(), memory.evidence.detach()), STEP, YES, YES
    )
    sum(level.square().sum() for level in out).backward()
    assert adapter.up[0].grad is not None
    assert adapter.up[0].grad.any()


@pytest.mark.parametrize("name", ["none", "ema"])
def test_baselines_have_no_weights(name: str) -> None:
    adapter = NoAdapter() if name == "none" else FeatureEMA(half_life_s=1.0)
    levels, memory = maps(1), adapter.empty(maps(1))
    _, memory = adapter.step(levels, memory, seconds(0.04), flags(True), flags(True))
    other = maps(1, seed=1)
    out, _ = adapter.step(other, memory, seconds(1.0), flags(True), flags(True))
    mean = [(a + b) / 2 for a, b in zip(levels, other, strict=True)]
    torch.testing.assert_close(out, other if name == "none" else mean)
    assert not list(adapter.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ema", "cta", "four half-lives"])
def test_ten_thousand_frames_are_remembered_in_as_little_room_as_one(name: str) -> None:
    adapter = trained(ADAPTERS[name]())
    levels = [level[:1] for level in maps(3)]
    memory = adapter.empty(levels)
    size = memory.nbytes
    noise = [maps(1, seed=number) for number in range(10)]
    with torch.inference_mode():
        for number in range(10_000):
            _, memory = adapter.step(noise[number % 10], memory, seconds(0.04), flags(True), flags(True))
    assert memory.nbytes == size
    assert memory.mean.isfinite().all()
    assert memory.mean.abs().max() < 20
    assert memory.evidence.max() <= 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 31}, "multiple of 2 groups, but got 31"),
        ({"half_lives_s": (0.5, 60.0)}, "half-lives in 0..60 s"),
    ],
)
def test_wrong_configurations_say_what_is_wrong(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CTAConfig(**({"channels": CHANNELS} | values))  # type: ignore[arg-type]


def test_a_memory_of_another_size_is_refused() -> None:
    adapter = trained(cta())
    memory = adapter.empty([level[:, :, :1] for level in maps(3)])
    with pytest.raises(ValueError, match="expected a memory of 127 cells, but got"):
        adapter.step(maps(3), memory, STEP, YES, YES)
