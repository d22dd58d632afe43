"""The providers' own lists of models at rest, and whose turn it is to read them anew.

Of several processes the one that puts the next time into a list's row reads it. A list that could not be read
keeps the rows of the last time that it could. Raises StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import ujson

from store.database import Database, Row, Transaction

LISTS: Final = """SELECT provider, kind, base_url, read_at, latency_ms, failing_since, failure, is_outage
    FROM catalog_lists"""
MODELS: Final = """SELECT provider, model, type, context, max_output, created, retires, quirks
    FROM catalog_models"""
OF_ONE: Final = """SELECT model, type, context, max_output, created, retires, quirks
    FROM catalog_models WHERE provider = ?"""
ROOM: Final = """INSERT INTO catalog_lists (provider, kind, base_url) VALUES (?, ?, ?)
    ON CONFLICT (provider) DO NOTHING"""
# A turn that was taken later than now was taken by a clock that was wrong.
TAKE: Final = """UPDATE catalog_lists SET due_at = ?, taken_at = ?
    WHERE provider = ? AND (due_at <= ? OR taken_at < ? OR taken_at > ?)"""
DONE: Final = """UPDATE catalog_lists SET due_at = ?, read_at = ?, latency_ms = ?, failing_since = NULL,
    failure = '', is_outage = 0 WHERE provider = ?"""
FAILED: Final = """UPDATE catalog_lists SET due_at = ?, failing_since = coalesce(failing_since, ?),
    failure = ?, is_outage = ? WHERE provider = ?"""
# One statement for all rows, as each is a trip to the connection's thread; the rows are JSON.
PUT: Final = """INSERT OR REPLACE INTO catalog_models
    SELECT ?, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
        json_extract(value, '$[6]')
    FROM json_each(?)"""
DROP: Final = """DELETE FROM catalog_models
    WHERE provider = ? AND model IN (SELECT value FROM json_each(?))"""


class ListPlace(NamedTuple):
    """A provider as it is configured: a list that was read elsewhere is not its own."""

    provider: str
    kind: str
    base_url: str


class ListRow(NamedTuple):
    """Times are Unix seconds, None = never. failure: why the last try failed, empty where it went well."""

    place: ListPlace
    read_at: int | None
    latency_ms: int | None
    failing_since: int | None
    failure: str
    is_outage: bool


class ModelRow(NamedTuple):
    """created: Unix seconds. retires: a date. quirks: JSON."""

    id: str
    type: str
    context: int | None
    max_output: int | None
    created: int | None
    retires: str | None
    quirks: str


class Changes(NamedTuple):
    """What a list has that it had not, and so on; names of models."""

    new: list[str]
    gone: list[str]
    changed: list[str]


class CatalogLists:
    """The two tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """Moves whenever somebody has tried to read a list."""
        row = await self._database.fetch_one("SELECT version FROM versions WHERE name = 'catalog'")
        return int(row[0]) if row is not None else 0

    async def load(self) -> tuple[list[ListRow], dict[str, list[ModelRow]], int]:
        """The lists, their models by provider, and the version that they are of."""
        async with self._database.snapshot() as snapshot:
            lists = await snapshot.fetch_all(LISTS)
            models = await snapshot.fetch_all(MODELS)
            version = await snapshot.fetch_one("SELECT version FROM versions WHERE name = 'catalog'")
        found: dict[str, list[ModelRow]] = {}
        for provider, *row in models:
            found.setdefault(provider, []).append(ModelRow(*row))
        return [_list_row(row) for row in lists], found, 0 if version is None else int(version[0])

    async def lists(self) -> list[ListRow]:
        """How reading them goes, without their models."""
        return [_list_row(row) for row in await self._database.fetch_all(LISTS)]

    async def take_turns(self, places: Sequence[ListPlace], now: int, until: int, since: int = 0) -> set[str]:
        """The providers whose list is due, or was nobody's turn since then: the caller reads them, and nobody
        else does until then."""
        async with self._database.transaction() as transaction:
            taken = set()
            for place in places:
                await _make_room(transaction, place)
                if await transaction.execute(TAKE, (until, now, place.provider, now, since, now)):
                    taken.add(place.provider)
            return taken

    async def save(
        self, place: ListPlace, models: Sequence[ModelRow], latency_ms: int, now: int, due_at: int
    ) -> Changes:
        """A list as it was just read, in place of the one before."""
        provider = place.provider
        async with self._database.transaction() as transaction:
            await _make_room(transaction, place)
            rows = await transaction.fetch_all(OF_ONE, (provider,))
            before = {row[0]: ModelRow(*row) for row in rows}
            after = {model.id: model for model in models}
            new = [name for name in after if name not in before]
            changed = [name for name in after if name in before and before[name] != after[name]]
            gone = [name for name in before if name not in after]
            await transaction.execute(DROP, (provider, ujson.dumps(gone)))
            rows_to_put = [after[name] for name in (*new, *changed)]
            await transaction.execute(PUT, (provider, ujson.dumps(rows_to_put)))
            await transaction.execute(DONE, (due_at, now, latency_ms, provider))
        return Changes(new, gone, changed)

    async def fail(self, place: ListPlace, failure: str, is_outage: bool, now: int, due_at: int) -> None:
        """A list that could not be read: what is there stays."""
        async with self._database.transaction() as transaction:
            await _make_room(transaction, place)
            await transaction.execute(FAILED, (due_at, now, failure, int(is_outage), place.provider))


def _list_row(row: Row) -> ListRow:
    return ListRow(ListPlace(*row[:3]), row[3], row[4], row[5], row[6], bool(row[7]))


async def _make_room(transaction: Transaction, place: ListPlace) -> None:
    """A row for the provider where it is now."""
    await transaction.execute(
        "DELETE FROM catalog_lists WHERE provider = ? AND (kind, base_url) != (?, ?)",
        (place.provider, place.kind, place.base_url),
    )
    await transaction.execute(ROOM, place)
