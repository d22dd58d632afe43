"""The clock of the limiter that counts in the process: it neither steps nor stands still."""

from __future__ import annotations

import time
from collections.abc import Callable


def steady_clock() -> Callable[[], int]:
    """Unix milliseconds that go on evenly, through the machine's sleep too, whatever is done to its clock."""
    offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return lambda: (time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset) // 1_000_000
