"""Budget windows: when the one that holds now began, and when it ends.

Days, weeks (from Monday) and months are those of UTC. A total budget has one window without an end. A reset
of the spend begins a new window in the middle of the period. Times are Unix seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

TOTAL: Final = "total"
DAY: Final = 86_400


class Windows:
    """Finds windows; remembers those of now, as everybody asks for the same few."""

    def __init__(self) -> None:
        self._current: dict[str, tuple[int, int]] = {}

    def start(self, period: str, reset_at: int | None, now: float) -> int:
        """When the window of a period began. reset_at: when the spend was last reset, None = never."""
        if period == TOTAL:
            return reset_at or 0
        bounds = self._current.get(period)
        if bounds is None or not bounds[0] <= now < bounds[1]:
            bounds = self._current[period] = window(period, now)
        start = bounds[0]
        return start if reset_at is None or reset_at < start else reset_at

    def end(self, period: str, now: float) -> int | None:
        """When the window ends, None for one that does not."""
        return None if period == TOTAL else window(period, now)[1]


def window(period: str, now: float) -> tuple[int, int]:
    """Beginning and end of the day, week or month."""
    midnight = int(now) // DAY * DAY
    if period == "day":
        return midnight, midnight + DAY
    today = datetime.fromtimestamp(midnight, UTC)
    if period == "week":
        monday = midnight - today.weekday() * DAY
        return monday, monday + 7 * DAY
    first = today.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())
