"""Percentiles out of counts between bounds: near the exact ones, whatever the calls took."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest

from store.latencies import BOUNDS_MS, COUNTS, percentile


def counted(times_ms: list[int]) -> list[int]:
    counts = [0] * COUNTS
    for taken in times_ms:
        counts[bisect_right(BOUNDS_MS, taken)] += 1
    return counts


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_percentile_is_within_a_quarter_of_the_exact_one(seed: int, share: float) -> None:
    drawn = random.Random(seed)
    middle = drawn.choice((60, 400, 2500, 12_000))
    times = sorted(int(middle * drawn.lognormvariate(0, 0.3)) for _ in range(2000))
    exact = times[int(len(times) * share)]
    found = percentile(counted(times), share)
    assert found is not None and abs(found - exact) <= 0.25 * exact


def test_of_no_calls_there_is_none() -> None:
    assert percentile([0] * COUNTS, 0.5) is None


def test_what_took_very_long_is_the_most_there_is() -> None:
    assert percentile(counted([10_000_000]), 0.95) == 291_000


def test_a_call_on_a_bound_is_in_the_bucket_above() -> None:
    assert percentile(counted([10]), 1.0) == 20
    assert percentile(counted([9]), 1.0) == 10
