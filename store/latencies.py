"""How long calls took, as counts between fixed bounds: what can be added up, and medians taken of.

A day's sums hold the counts in a column for each bound. Neighbouring bounds are at most half as far apart
again from 50 ms to half a minute, so a percentile is within a fifth of the exact one, whatever the number of
calls. Refuses to know the shortest and the longest call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BOUNDS_MS: Final = (
    10, 20, 35, 50, 75, 100, 150, 200, 300, 450, 700, 1000, 1500, 2000, 3000, 4500, 7000, 10_000, 15_000,
    20_000, 30_000, 60_000, 120_000,
)  # fmt: skip
MOST_MS: Final = 300_000  # where what took longer than the last bound is taken to end
COUNTS: Final = len(BOUNDS_MS) + 1
NAMES: Final = (*(f"ms_{bound}" for bound in BOUNDS_MS), "ms_more")
LATENCIES: Final = ", ".join(NAMES)
ADDED_LATENCIES: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in NAMES)
SUMMED_LATENCIES: Final = ", ".join(f"sum(s.{name})" for name in NAMES)


def percentile(counts: Sequence[int], share: float) -> int | None:
    """Milliseconds that `share` of the calls took less than, evenly within bounds; None of no calls."""
    wanted = sum(counts) * share
    if not wanted:
        return None
    lower = 0
    for count, upper in zip(counts, (*BOUNDS_MS, MOST_MS), strict=True):
        if count and wanted <= count:
            return round(lower + (upper - lower) * wanted / count)
        wanted -= count
        lower = upper
    return lower
