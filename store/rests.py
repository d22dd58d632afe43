"""Targets that rest after failures: what one process has learned, the others and the next start know too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from store.database import Database

UPSERT: Final = """INSERT INTO target_rests (provider, model, secret, until_ms, failures, changed_ms)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (provider, model, secret) DO UPDATE SET
    until_ms = excluded.until_ms, failures = excluded.failures, changed_ms = excluded.changed_ms"""
CHANGED: Final = """SELECT provider, model, secret, until_ms, failures, changed_ms FROM target_rests
    WHERE changed_ms >= ? ORDER BY changed_ms"""
FORGET: Final = "DELETE FROM target_rests WHERE changed_ms < ?"
MODEL_ITSELF: Final = -1
KEPT_MS: Final = 24 * 3600 * 1000


class RestRow(NamedTuple):
    """secret: its place in the settings, or MODEL_ITSELF. until_ms, changed_ms: Unix time in milliseconds."""

    provider: str
    model: str
    secret: int
    until_ms: int
    failures: int
    changed_ms: int


class Rests:
    """The table. Raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, changed_ms: int) -> list[RestRow]:
        """What has changed at that moment or after it, the oldest first."""
        return [RestRow(*row) for row in await self._database.fetch_all(CHANGED, (changed_ms,))]

    async def save(self, rows: Sequence[RestRow], now_ms: int) -> None:
        """Put them in, all or none; what is a day old goes."""
        async with self._database.transaction() as transaction:
            for row in rows:
                await transaction.execute(UPSERT, row)
            await transaction.execute(FORGET, (now_ms - KEPT_MS,))
