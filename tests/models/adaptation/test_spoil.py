"""Spoiled versions of clips."""

from __future__ import annotations

import numpy as np
import pytest
from temporal_parts import moving_clip

from groundstream.models.adaptation.spoil import KINDS, lose_packets, spells, spoil


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_hit_frames_differ_and_the_same_seed_spoils_alike(kind: str) -> None:
    clip = moving_clip()
    spoiled, again = spoil(clip, kind, 4), spoil(clip, kind, 4)
    assert spoiled.hit.any()
    assert len(spoiled.clip.frames) == len(spoiled.hit) == len(spoiled.source) == len(spoiled.clip.truth)
    assert np.array_equal(spoiled.clip.frames, again.clip.frames)
    same = np.array(
        [np.array_equal(a, b) for a, b in zip(spoiled.clip.frames, clip.frames[spoiled.source], strict=True)]
    )
    assert same[~spoiled.hit].all()
    assert not same[spoiled.hit].all()


def test_a_repeated_picture_has_the_truth_of_what_it_shows() -> None:
    spoiled = next(
        s
        for seed in range(9)
        if len(np.unique((s := spoil(moving_clip(), "stutter", seed)).source)) < len(s.hit)
    )
    for truth, row in zip(spoiled.clip.truth, spoiled.source, strict=True):
        assert np.array_equal(truth.boxes, moving_clip().truth[row].boxes)
    assert (np.diff(spoiled.clip.times_s) > 0).all()


def test_lost_packets_begin_after_the_first_frame() -> None:
    frames = moving_clip().frames
    shown, hit = lose_packets(frames, 1.0, np.random.default_rng(0))
    assert shown.shape == frames.shape
    assert not hit[0]
    assert hit.any()


def test_spells_hit_a_part() -> None:
    times_s = np.arange(100) * 0.1
    shares = [spells(times_s, np.random.default_rng(seed)).mean() for seed in range(20)]
    assert 0.3 < np.mean(shares) < 0.7
    assert spells(np.zeros(1), np.random.default_rng(0)).all()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        spoil(moving_clip(), "snow")
