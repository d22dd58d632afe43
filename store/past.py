"""What the ledger knows of a key, for a limiter that meets it: spend, the last minute, the last day.

All calls must be in the database that the limiter has not counted itself.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from store.database import Database

MINUTE_MS: Final = 61_000  # and the bucket that the oldest of it is in
SLICE_MS: Final = 600_000
SLICES: Final = 145  # of the last day, likewise

SPENT: Final = "SELECT cost_nanodollars FROM key_spend WHERE key_id = ? AND window = ?"
# A request id begins with its millisecond, so this is a range of the primary key.
REQUESTS: Final = """SELECT started_at_ms / 1000 * 1000, count(*) FROM ledger
    WHERE request_id >= ? AND key_id = ? AND attempt = 0 GROUP BY started_at_ms / 1000"""
# Slice by slice, as a range of the table has those of all keys.
TOKENS: Final = """WITH RECURSIVE
    s (slice) AS (VALUES (?) UNION ALL SELECT slice + 1 FROM s WHERE slice < ?)
    SELECT t.slice, t.tokens FROM s CROSS JOIN key_tokens t ON t.slice = s.slice AND t.key_id = ?"""
LAST: Final = "SELECT coalesce(max(number), 0) FROM corrections"
SINCE: Final = "SELECT number, key_id, window, nanodollars FROM corrections WHERE number > ? ORDER BY number"


class KeyPast(NamedTuple):
    """requests, tokens: (Unix ms, how many). correction: the last one that spent_nanodollars has in it."""

    spent_nanodollars: int
    requests: list[tuple[int, int]]
    tokens: list[tuple[int, int]]
    correction: int


class PastReader:
    """All methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, key_id: int, window: int, now_ms: int) -> KeyPast:
        """Of a key, with what it spent in a window of its budget. now_ms: Unix ms."""
        last_slice = now_ms // SLICE_MS
        async with self._database.snapshot() as snapshot:
            spent = await snapshot.fetch_one(SPENT, (key_id, window))
            requests = await snapshot.fetch_all(REQUESTS, (f"{now_ms - MINUTE_MS:012x}", key_id))
            tokens = await snapshot.fetch_all(TOKENS, (last_slice - SLICES + 1, last_slice, key_id))
            last = await snapshot.fetch_one(LAST)
        return KeyPast(
            0 if spent is None else int(spent[0]),
            [(int(at), int(count)) for at, count in requests],
            [(int(number) * SLICE_MS, int(count)) for number, count in tokens],
            0 if last is None else int(last[0]),
        )

    async def corrections(self, after: int) -> list[tuple[int, int, int, int]]:
        """(number, key, window, nano-dollars) of the operator's corrections since one of them, in order."""
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all(SINCE, (after,))
        return [(int(a), int(b), int(c), int(d)) for a, b, c, d in rows]

    async def last_correction(self) -> int:
        """The number of the last one, 0 = there is none."""
        row = await self._database.fetch_one(LAST)
        return 0 if row is None else int(row[0])
