import pytest

from groundstream.operators.utils.times import file_stamp, from_rfc3339, rfc3339

WALL = 1795413770.1239


def test_both_ways() -> None:
    assert rfc3339(WALL) == "2026-11-23T06:02:50.123Z"
    assert from_rfc3339(rfc3339(WALL)) == pytest.approx(WALL, abs=0.001)
    assert from_rfc3339("2026-11-23T07:02:50.500+01:00") == pytest.approx(WALL + 0.3761)


def test_names_of_files_sort_by_time() -> None:
    assert file_stamp(WALL) == "20261123T060250.123Z"
    assert file_stamp(0.9999) == "19700101T000000.999Z"
