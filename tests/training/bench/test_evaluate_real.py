"""Measuring on real pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groundstream.models.nano.config import COCO_NAMES, SHIPPED
from groundstream.models.nano.grounder import NanoGrounder
from training.bench.evaluate_real import (
    AT_ONCE,
    ClosedSet,
    Pool,
    agreement,
    ask,
    false_alarms,
    found_in,
    kinds,
    load,
    only_open,
    placed,
    stills,
    synonyms,
)
from training.data.fetch import rows
from training.scenes.vocabulary import Concept, Vocabulary

STREET = Path(__file__).parents[2] / "data" / "nano" / "street.png"


@pytest.fixture(scope="module")
def grounder() -> NanoGrounder:
    return load(SHIPPED)


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return np.array(Image.open(STREET).convert("RGB"))


def test_a_pool_counts_what_is_found_and_what_is_not() -> None:
    pool, truth = Pool(), np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    pool.add(truth[:1], np.array([0.9], np.float32), truth)
    assert pool.ap50() == pytest.approx(0.5, abs=0.01)
    pool.add(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), truth[:0])
    assert pool.wanted == 2


def test_the_words_that_are_asked_mean_classes() -> None:
    assert synonyms()["automobile"].tolist() == [name == "car" for name in COCO_NAMES]
    assert not set(synonyms()) & set(COCO_NAMES)
    assert kinds()["animal"].sum() == 10


def test_the_closed_set_network_finds_the_people_that_the_product_finds(
    grounder: NanoGrounder, street: np.ndarray
) -> None:
    picture = placed(grounder, street)
    boxes, scores = ClosedSet()(picture)
    sure = (scores[:, 0] >= 0.4).sum()
    raw = ask(grounder, picture, ["person"], 0.4)
    assert 0 < sure <= len(raw.boxes_model) + 1
    assert boxes.shape == (len(scores), 4)


def test_many_phrases_are_asked_in_parts(grounder: NanoGrounder, street: np.ndarray) -> None:
    picture = placed(grounder, street)
    few = ask(grounder, picture, ["person", "truck"], 0.3)
    many = ask(grounder, picture, ["person", *(f"xyzzy{n}" for n in range(AT_ONCE)), "truck"], 0.3)
    assert many.phrase_scores.shape[1] == AT_ONCE + 2
    assert (many.phrase_scores[:, 0] > 0).sum() == (few.phrase_scores[:, 0] > 0).sum()
    assert (many.phrase_scores[:, -1] > 0).sum() == (few.phrase_scores[:, 1] > 0).sum()


def test_names_agree_on_a_street(grounder: NanoGrounder, street: np.ndarray) -> None:
    found = agreement(grounder, iter([("street", street)]))
    assert found["names, 80 phrases"] > 0.9


def test_what_only_the_open_branch_knows_is_asked_where_it_is_absent(
    grounder: NanoGrounder, street: np.ndarray
) -> None:
    vocabulary = Vocabulary([Concept("guitar"), Concept("person"), Concept("wrench"), Concept("qwerty")])
    assert only_open(grounder, vocabulary) == ["guitar", "wrench"]
    report = false_alarms(grounder, iter([("street", street)]), vocabulary)
    assert (report["pictures"], report["asked"]) == (1, 2)
    assert found_in(grounder, iter([("street", street)]), ["person", "guitar"])["person"] == 1


def test_no_measured_picture_is_one_that_scores_are_calibrated_on() -> None:
    calibrated = {row["path"] for row in rows("photographs.tsv") if row["split"] == "calibration"}
    measured = [row["path"] for row in rows("real_pictures.tsv")]
    assert len(measured) == 100
    assert not calibrated & set(measured)


def test_stills_are_found_by_name(tmp_path: Path) -> None:
    for number, row in enumerate(rows("real_pictures.tsv")):
        file = tmp_path / "unpacked" / row["package"] / str(number) / row["path"]
        file.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(file)
    assert [name for name, _ in stills(tmp_path)] == [row["path"] for row in rows("real_pictures.tsv")]
