"""Prices as last resolved, at rest, so that a start need not look them up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from store.database import Database
from store.errors import StoreUnavailable

UPSERT: Final = """INSERT INTO prices (kind, base_url, model, source, tariff, resolved_at)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, base_url, model) DO UPDATE SET
    source = excluded.source, tariff = excluded.tariff, resolved_at = excluded.resolved_at"""


class PriceRow(NamedTuple):
    """tariff: JSON, empty where the source knows none. source: what was asked, and which edition of it."""

    kind: str
    base_url: str
    model: str
    source: str
    tariff: str


class Prices:
    """The table. Raises StoreUnavailable."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def load(self) -> tuple[list[PriceRow], int]:
        """All rows, and the version of the table they are."""
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all("SELECT kind, base_url, model, source, tariff FROM prices")
            version = await snapshot.fetch_one("SELECT version FROM versions WHERE name = 'prices'")
        if version is None:
            raise StoreUnavailable("the table `versions` has lost its row 'prices'")
        return [PriceRow(*row) for row in rows], int(version[0])

    async def version(self) -> int:
        """Moves with every change."""
        row = await self._database.fetch_one("SELECT version FROM versions WHERE name = 'prices'")
        return int(row[0]) if row is not None else 0

    async def save(self, rows: Sequence[PriceRow]) -> None:
        """Put them in, all or none."""
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            for row in rows:
                await transaction.execute(UPSERT, (*row, now))
