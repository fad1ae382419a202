"""Streams with memories behind one grounder: which memory a frame meets, and which it never meets."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from groundstream.models.base import Grounder, Query
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA
from groundstream.models.temporal.cta import CTA, CTAConfig
from groundstream.models.temporal.memory import MemoryPool
from groundstream.models.temporal.scene_cut import FLASH_S
from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.detector.client import DetectionRequest, FrameTime
from groundstream.operators.detector.letterbox import ModelPicture
from groundstream.operators.detector.temporal import IDLE_S, SEEK_BACK_S, TemporalDetector, waves_of

SIDE = 96
PROMPTS = [Prompt.of(["person", "car"]), Prompt.of(["dog"])]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    grounder = load_grounder("glip-nano", device="cpu", dtype="float32", size_px=SIDE)
    # Low enough that random pictures have candidates, whose scores then show every change of the features.
    grounder.preset = grounder.preset.__class__(score=0.4, floor=0.0001)
    return grounder


def scene(number: int, noise: int = 0) -> Tensor:
    """Return (1, 96, 96, 3) uint8: coarse patches, other ones for every number, with some noise on top."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.randn(1, 3, 6, 6, generator=generator) * 70 + 128
    fine = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="nearest")
    grain = torch.randn(fine.shape, generator=torch.Generator().manual_seed(1000 + noise)) * 6
    return (fine + grain).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def another_scene(light: int = 230) -> Tensor:
    """Return a picture whose upper half is light and whose lower half is dark."""
    picture = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    picture[:, : SIDE // 2] = light
    return picture


def adapter() -> CTA:
    torch.manual_seed(0)
    made = CTA(CTAConfig((192, 224, 256), 8))
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return made.prepare(torch.device("cpu"), torch.float32)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A temporal detector with all that it is made of, asked with whole pictures."""

    def __init__(
        self, grounder: Grounder, made: TemporalAdapter | None = None, capacity: int = 10**8
    ) -> None:
        self.grounder, self.pool, self.clock = grounder, MemoryPool(capacity), Clock()
        self.detector = TemporalDetector(grounder, made or adapter(), self.pool, self.clock)
        self.texts = [[text] for text in grounder.encode_text(PROMPTS)]

    def frozen(self, pixels: Tensor, query: Query | None = None) -> RawDetections:
        return self.grounder.detect(pixels, torch.tensor([[SIDE, SIDE]]), [query or self.texts[0]])[0]

    def ask(
        self, *asked: tuple[Tensor, str, float], epoch: int = 1, content: int = SIDE
    ) -> list[RawDetections]:
        pixels = torch.cat([picture for picture, _, _ in asked])
        times = [FrameTime(name, epoch, time_s) for _, name, time_s in asked]
        sizes = torch.tensor([[content, SIDE]] * len(asked))
        return self.detector.detect(pixels, sizes, [self.texts[0]] * len(asked), times)

    def one(self, picture: Tensor, time_s: float, name: str = "cam", epoch: int = 1) -> RawDetections:
        return self.ask((picture, name, time_s), epoch=epoch)[0]


def equal(a: RawDetections, b: RawDetections) -> bool:
    assert len(a.boxes_model)
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def bench(grounder: Grounder) -> Bench:
    return Bench(grounder)


def test_a_stream_begins_as_the_frozen_model_and_then_remembers(bench: Bench) -> None:
    assert equal(bench.one(scene(1), 0.0), bench.frozen(scene(1)))
    assert not equal(bench.one(scene(1, noise=1), 0.1), bench.frozen(scene(1, noise=1)))
    assert len(bench.pool) == 1


def test_untrained_it_is_the_frozen_model(grounder: Grounder) -> None:
    bench = Bench(grounder, CTA(CTAConfig((192, 224, 256), 8)).prepare(torch.device("cpu"), torch.float32))
    for number in range(4):
        picture = scene(1, noise=number)
        assert equal(bench.one(picture, number / 10), bench.frozen(picture))


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
@pytest.mark.parametrize("made", ["cta", "ema"])
def test_frames_of_a_batch_are_answered_as_one_by_one(grounder: Grounder, made: str, batch: int) -> None:
    """Two streams, interleaved, one of which is ahead: the memory that a frame meets is its own past."""
    frames = [(scene(1 + "ab".index(name), noise=n), name, n / 10) for n, name in enumerate("aababb")]
    kinds = {"cta": adapter, "ema": FeatureEMA}
    alone, together = Bench(grounder, kinds[made]()), Bench(grounder, kinds[made]())
    expected = [alone.ask(frame)[0] for frame in frames]
    found: list[RawDetections] = []
    for start in range(0, len(frames), batch):
        found += together.ask(*frames[start : start + batch])
    for one, other in zip(expected, found, strict=True):
        # the frozen backbone itself rounds differently in batches of different sizes
        np.testing.assert_allclose(one.boxes_model[:50], other.boxes_model[:50], atol=0.02)
        np.testing.assert_allclose(one.phrase_scores[:50], other.phrase_scores[:50], atol=1e-4)


def test_other_streams_do_not_matter(grounder: Grounder) -> None:
    quiet, busy = Bench(grounder), Bench(grounder)
    for number in range(3):
        mine = (scene(1, noise=number), "mine", number / 10)
        first = quiet.ask(mine, (scene(2, noise=number), "other", number / 10))[0]
        second = busy.ask(mine, (scene(7 + number), "wild", 5.0 - number))[0]
        assert equal(first, second)


def test_phrases_may_change_and_differ_within_a_batch(bench: Bench) -> None:
    for number in range(2):
        bench.one(scene(1, noise=number), number / 10)
    pixels, frame_time = scene(1, noise=2), FrameTime("cam", 1, 0.2)
    (dog,) = bench.detector.detect(pixels, torch.tensor([[SIDE, SIDE]]), [bench.texts[1]], [frame_time])
    assert dog.phrase_scores.shape[1] == 1
    assert not equal(dog, bench.frozen(pixels, bench.texts[1]))


@pytest.mark.parametrize(
    ("time_s", "epoch", "exact"),
    [
        (10.5, 1, False),
        (10.5, 2, True),
        (10.4 - SEEK_BACK_S - 0.01, 1, True),
        (10.4 - SEEK_BACK_S + 0.1, 1, False),
        (10.4, 1, False),
        (10_010.4, 1, True),
        (0.0, 2, True),
    ],
)
def test_what_a_frame_may_remember(bench: Bench, time_s: float, epoch: int, exact: bool) -> None:
    for number in range(5):
        bench.one(scene(1, noise=number), 10 + number / 10)
    picture = scene(1, noise=9)
    assert equal(bench.one(picture, time_s, epoch=epoch), bench.frozen(picture)) is exact


@pytest.mark.parametrize("time_s", [0.3, 0.25, -0.5])
def test_late_and_repeated_frames_leave_no_trace(grounder: Grounder, time_s: float) -> None:
    with_late, without = Bench(grounder), Bench(grounder)
    for bench in (with_late, without):
        for number in range(4):
            bench.one(scene(1, noise=number), number / 10)
    with_late.one(scene(3), time_s)
    assert with_late.detector.counters.late == 1
    next_frame = scene(1, noise=5)
    assert equal(with_late.one(next_frame, 0.4), without.one(next_frame, 0.4))


def test_another_size_of_picture_begins_anew(bench: Bench) -> None:
    bench.one(scene(1), 0.0)
    (found,) = bench.ask((scene(1, noise=1), "cam", 0.1), content=SIDE - 20)
    content = torch.tensor([[SIDE - 20, SIDE]])
    (frozen,) = bench.grounder.detect(scene(1, noise=1), content, [bench.texts[0]])
    assert equal(found, frozen)
    assert bench.detector.counters.resets == 1
    assert len(bench.pool) == 1


def test_a_cut_begins_anew_and_a_flash_does_not(grounder: Grounder) -> None:
    flashed, usual = Bench(grounder), Bench(grounder)
    for bench in (flashed, usual):
        for number in range(4):
            bench.one(scene(1, noise=number), number / 10)
    assert equal(flashed.one(another_scene(), 0.4), flashed.frozen(another_scene()))
    assert len(flashed.pool) == 2
    after = scene(1, noise=5)
    assert equal(flashed.one(after, 0.5), usual.one(after, 0.5))
    assert len(flashed.pool) == 1
    assert (flashed.detector.counters.cuts, flashed.detector.counters.flashes) == (1, 1)
    first, second = another_scene(220), another_scene(200)
    assert equal(flashed.one(first, 0.6), flashed.frozen(first))
    assert not equal(flashed.one(second, 0.7), flashed.frozen(second))
    flashed.one(another_scene(210), 0.8 + FLASH_S)
    assert len(flashed.pool) == 1


def test_broken_features_do_not_poison_the_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Bench(bench.grounder)
    for each in (bench, usual):
        each.one(scene(1), 0.0)
    encode = bench.grounder.encode_image

    def broken(pixels: Tensor, content_px: Tensor) -> object:
        features = encode(pixels, content_px)
        for level in features.levels[:3]:
            level[:] = torch.nan
        return features

    with monkeypatch.context() as patch:
        patch.setattr(bench.grounder, "encode_image", broken)
        assert len(bench.one(scene(1), 0.1).boxes_model) == 0
    assert bench.detector.counters.broken == 1
    assert equal(bench.one(scene(1, noise=1), 0.2), usual.one(scene(1, noise=1), 0.2))


def test_a_stream_without_room_is_answered_by_the_frozen_model(
    grounder: Grounder, caplog: pytest.LogCaptureFixture
) -> None:
    measure = Bench(grounder)
    measure.one(scene(1), 0.0)
    bench = Bench(grounder, capacity=2 * measure.pool.nbytes + 1)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            pictures = [scene(1, noise=number), scene(2, noise=number), scene(3, noise=number)]
            names = [(picture, name, number / 10) for picture, name in zip(pictures, "abc", strict=True)]
            found = bench.ask(*names)
            frozen = bench.grounder.detect(
                torch.cat(pictures), torch.tensor([[SIDE, SIDE]] * 3), [bench.texts[0]] * 3
            )
            assert [equal(a, b) for a, b in zip(found, frozen, strict=True)] == [
                number == 0,
                number == 0,
                True,
            ]
    assert bench.detector.counters.without_room == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2 of 0.0" in caplog.text
    bench.detector.end_stream("a")
    bench.one(scene(3, noise=8), 0.8, name="c")
    assert not equal(bench.one(scene(3, noise=9), 0.9, name="c"), bench.frozen(scene(3, noise=9)))


def test_streams_that_end_or_go_are_forgotten(bench: Bench) -> None:
    for name in ("ended", "gone", "alive"):
        bench.one(scene(1), 0.0, name=name)
    bench.detector.end_stream("ended")
    bench.detector.end_stream("never seen")
    assert not equal(bench.one(scene(1, noise=1), 0.1, name="alive"), bench.frozen(scene(1, noise=1)))
    assert len(bench.pool) == 2
    bench.clock.now_s = IDLE_S - 1
    bench.one(scene(1, noise=2), 0.2, name="alive")
    bench.clock.now_s = IDLE_S + 1
    bench.one(scene(1, noise=3), 0.3, name="alive")
    assert (len(bench.pool), bench.detector.counters.evicted) == (1, 1)
    assert equal(bench.one(scene(1, noise=4), 0.4, name="ended"), bench.frozen(scene(1, noise=4)))


def test_a_stream_full_of_cuts_stays_in_its_room(bench: Bench) -> None:
    shown = [scene(1, noise=0), scene(1, noise=1), another_scene(), scene(1, noise=2), another_scene(200)]
    sizes = [bench.one(shown[number % 5], number / 10) and len(bench.pool) for number in range(50)]
    assert set(sizes) == {1, 2}
    assert bench.detector.counters.cuts >= 10


def test_wrong_counts_are_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="expected 1 queries and times"):
        bench.detector.detect(scene(1), torch.tensor([[SIDE, SIDE]]), [bench.texts[0]], [])


@pytest.mark.parametrize(
    ("streams", "waves"),
    [
        ("", []),
        ("a", [[0]]),
        ("aaa", [[0], [1], [2]]),
        ("abc", [[0, 1, 2]]),
        ("aabac", [[0, 2, 4], [1], [3]]),
    ],
)
def test_waves(streams: str, waves: list[list[int]]) -> None:
    assert waves_of(list(streams)) == waves


def test_through_the_batcher(grounder: Grounder) -> None:
    bench = Bench(grounder)
    batcher = Batcher(grounder, lambda prompt: grounder.encode_text([prompt]), 4, bench.detector)
    try:
        assert batcher.info.adapter == "cta"
        plan = grounder.size_rule.plan(SIDE, SIDE)
        found = []
        for number in range(2):
            picture = ModelPicture(scene(1, noise=number)[0].numpy(), plan)
            request = DetectionRequest(picture, PROMPTS[0], FrameTime("cam", 1, number / 10))
            found.append(batcher.submit(request).result(60))
        assert equal(found[0], bench.frozen(scene(1)))
        assert not equal(found[1], bench.frozen(scene(1, noise=1)))
        batcher.end_stream("cam")
        picture = ModelPicture(scene(1, noise=2)[0].numpy(), plan)
        request = DetectionRequest(picture, PROMPTS[0], FrameTime("cam", 1, 0.2))
        last = batcher.submit(request).result(60)
        assert equal(last, bench.frozen(scene(1, noise=2)))
    finally:
        batcher.close()
