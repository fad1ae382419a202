import threading

import numpy as np
import pytest

from groundstream.operators.utils.quantiles import Quantiles, SlidingQuantiles


def filled(samples: list[float], window: int = 1000) -> SlidingQuantiles:
    quantiles = SlidingQuantiles(window)
    for sample in samples:
        quantiles.add(sample)
    return quantiles


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], Quantiles(0.0, 0.0, 0.0, 0, 0.0)),
        ([7.0], Quantiles(7.0, 7.0, 7.0, 1, 7.0)),
        ([4.0, 1.0, 3.0, 2.0], Quantiles(2.0, 4.0, 4.0, 4, 10.0)),
        ([float(n) for n in range(100, 0, -1)], Quantiles(50.0, 95.0, 99.0, 100, 5050.0)),
    ],
)
def test_nearest_rank(samples: list[float], expected: Quantiles) -> None:
    assert filled(samples).read() == expected


def test_equal_to_numpy() -> None:
    samples = np.random.default_rng(1).exponential(10, 777).tolist()
    found = filled(samples).read()
    expected = np.quantile(samples, [0.5, 0.95, 0.99], method="inverted_cdf")
    assert [found.p50, found.p95, found.p99] == pytest.approx(expected.tolist())


def test_only_the_last_samples_count_but_all_are_counted() -> None:
    found = filled([1000.0] * 50 + [1.0] * 10, window=10).read()
    assert (found.p99, found.count, found.total) == (1.0, 60, 50_010.0)


def test_samples_of_several_threads_all_count() -> None:
    quantiles = SlidingQuantiles(10)
    threads = [threading.Thread(target=lambda: [quantiles.add(1.0) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        quantiles.read()
    for thread in threads:
        thread.join()
    assert (quantiles.read().count, quantiles.read().total) == (8000, 8000.0)


def test_a_window_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, but got 0"):
        SlidingQuantiles(0)
