"""Deletes old request rows, in small batches; what they add up to is kept beside them first.

The sums by hour and day are never deleted. Rows are too old by age, or when the database holds more than
it may: then the oldest go first.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from store.ledger import SLICE_MS, transaction

ROWS_A_BATCH: Final = 1000
DAY_MS: Final = 86_400_000
TOKENS_KEPT_MS: Final = 25 * 3_600_000

OLDEST: Final = "SELECT request_id, attempt FROM ledger WHERE request_id < ? ORDER BY request_id, attempt"
LAST_OF_BATCH: Final = f"{OLDEST} LIMIT 1 OFFSET ?"
LAST_OLDEST: Final = """SELECT request_id, attempt FROM ledger WHERE request_id < ?
    ORDER BY request_id DESC, attempt DESC LIMIT 1"""
CLOSE: Final = """INSERT INTO ledger_closed (key_id, window, row_count, cost_nanodollars)
    SELECT key_id, window, count(*), sum(cost_nanodollars) FROM ledger
    WHERE (request_id, attempt) <= (?, ?) GROUP BY key_id, window
    ON CONFLICT (key_id, window) DO UPDATE SET row_count = row_count + excluded.row_count,
    cost_nanodollars = cost_nanodollars + excluded.cost_nanodollars"""
DELETE: Final = "DELETE FROM ledger WHERE (request_id, attempt) <= (?, ?)"


@dataclass(frozen=True, slots=True)
class Keep:
    """How long, in days, and how much, in bytes of the database file in use."""

    days: int = 90
    size_bytes: int = 1024**3


class Retention:
    """Raises sqlite3.Error, and then nothing of the batch has happened."""

    def __init__(
        self, connection: sqlite3.Connection, keep: Keep, clock: Callable[[], float] = time.time
    ) -> None:
        """connection: in autocommit mode, used by no other thread. clock: Unix seconds."""
        self._connection = connection
        self._keep = keep
        self._clock = clock

    def delete_some(self) -> bool:
        """One batch; True if there is more to delete."""
        now_ms = int(self._clock() * 1000)
        self._connection.execute(
            "DELETE FROM key_tokens WHERE slice < ?", ((now_ms - TOKENS_KEPT_MS) // SLICE_MS,)
        )
        if self._delete_batch(f"{max(0, now_ms - self._keep.days * DAY_MS):012x}"):
            return True
        is_large = self._used_bytes() > self._keep.size_bytes
        return is_large and self._delete_batch("g", only_whole=True)  # the newest stay, whatever the size

    def _delete_batch(self, before: str, *, only_whole: bool = False) -> bool:
        """Of the rows whose request id is less. True if a whole batch was deleted."""
        with transaction(self._connection):
            last = self._connection.execute(LAST_OF_BATCH, (before, ROWS_A_BATCH - 1)).fetchone()
            is_whole = last is not None
            if last is None and not only_whole:
                last = self._connection.execute(LAST_OLDEST, (before,)).fetchone()
            if last is not None:
                self._connection.execute(CLOSE, last)
                self._connection.execute(DELETE, last)
        return is_whole

    def _used_bytes(self) -> int:
        pages, free, size = (
            self._connection.execute(query).fetchone()[0]
            for query in ("PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA page_size")
        )
        return int((pages - free) * size)
