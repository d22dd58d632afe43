"""What was used, for the pages: sums, how they run over time, and what they divide into.

All of it comes from the sums by day and by hour, never from the request table: a page costs what its days and
keys cost, however many calls there were. Only ever of the keys that the reader may see.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from store.latencies import COUNTS, SUMMED_LATENCIES, percentile
from store.readers import Readers

HOURLY: Final = ((2, 1), (7, 6))  # spans up to so many days are shown by so many hours, longer ones by days
MOST_GROUPS: Final = 20  # of a breakdown, the dearest; the rest is one line more
DAY_HOURS: Final = 24

SUMS: Final = """sum(s.row_count), sum(s.requests), sum(s.errors), sum(s.estimated), sum(s.unpriced),
    sum(s.input_tokens), sum(s.output_tokens), sum(s.cached_tokens), sum(s.cost_nanodollars)"""
COUNTED: Final = (
    "calls", "requests", "errors", "estimated", "unpriced", "input_tokens", "output_tokens", "cached_tokens",
    "cost_nanodollars",
)  # fmt: skip
SEEN: Final = """(:user IS NULL OR s.key_id IN (SELECT id FROM api_keys WHERE user_id = :user))
    AND (:key IS NULL OR s.key_id = :key)"""
DAYS: Final = f"FROM usage_daily s WHERE s.day >= :first AND s.day <= :last AND {SEEN}"
HOURS: Final = f"FROM usage_hourly s WHERE s.hour >= :first * 24 AND s.hour < (:last + 1) * 24 AND {SEEN}"
DEAREST: Final = "ORDER BY sum(s.cost_nanodollars) DESC, sum(s.requests) DESC, 1"

BY_DAY: Final = f"SELECT s.day, {SUMS} {DAYS} GROUP BY s.day ORDER BY s.day"
BY_HOUR: Final = f"SELECT s.hour, {SUMS} {HOURS} GROUP BY s.hour ORDER BY s.hour"
BY_MODEL: Final = f"SELECT s.model, {SUMS}, {SUMMED_LATENCIES} {DAYS} GROUP BY s.model {DEAREST}"
BY_PROVIDER: Final = f"SELECT s.provider, {SUMS}, {SUMMED_LATENCIES} {DAYS} GROUP BY s.provider {DEAREST}"
# Without latencies, which take longer than all else here and are the same for every key of a model.
BY_KEY: Final = f"SELECT s.key_id, {SUMS} {DAYS} GROUP BY s.key_id {DEAREST} LIMIT :most"
NAMES: Final = "SELECT name FROM api_keys WHERE id = ?"
KEYS: Final = """SELECT id, name FROM api_keys WHERE :user IS NULL OR user_id = :user
    ORDER BY disabled_at IS NOT NULL, name, id LIMIT :most"""
# Changes with every call that is moved into the ledger, and with every correction.
MARK: Final = """SELECT (SELECT group_concat(slot || '/' || segment || '/' || position) FROM journal_slots),
    (SELECT max(number) FROM corrections)"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose calls: of the user's keys (None = of all keys), and of these of one alone (None = of each)."""

    user_id: int | None = None
    key_id: int | None = None


@dataclass(frozen=True, slots=True)
class Days:
    """Unix days, both inclusive."""

    first: int
    last: int

    @property
    def step_hours(self) -> int:
        """How long each point of a series is."""
        count = self.last - self.first + 1
        return next((hours for most, hours in HOURLY if count <= most), DAY_HOURS)


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some attempts. calls: all attempts; requests: the first ones; errors: those that failed."""

    calls: int = 0
    requests: int = 0
    errors: int = 0
    estimated: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_nanodollars: int = 0
    latencies: tuple[int, ...] = (0,) * COUNTS

    @classmethod
    def from_row(cls, values: Sequence[int]) -> Self:
        counted = dict(zip(COUNTED, values, strict=False))
        return cls(**counted, latencies=tuple(values[len(COUNTED) :]) or (0,) * COUNTS)

    @classmethod
    def total(cls, sums: Sequence[Self]) -> Self:
        columns = zip(*(one.values() for one in sums), strict=True)
        return cls.from_row([sum(column) for column in columns]) if sums else cls()

    def less(self, others: Sequence[Self]) -> Self:
        """What remains without the others."""
        taken = Sums.total(others).values()
        return self.from_row([a - b for a, b in zip(self.values(), taken, strict=True)])

    def values(self) -> tuple[int, ...]:
        return (*(getattr(self, name) for name in COUNTED), *self.latencies)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def error_rate(self) -> float | None:
        """Of all attempts, the share that failed."""
        return self.errors / self.calls if self.calls else None

    @property
    def p50_ms(self) -> int | None:
        return percentile(self.latencies, 0.5)

    @property
    def p95_ms(self) -> int | None:
        return percentile(self.latencies, 0.95)


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the whole. id: a key's, a model's or a provider's; None = all others together."""

    id: Any
    name: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Point:
    """at: Unix seconds at which the hour or the day begins."""

    at: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Overview:
    """A page's figures, of one state of the database. points: without gaps, each as long as `step_hours`."""

    total: Sums
    points: list[Point]
    models: list[Group]
    keys: list[Group]


class Reports:
    """All methods raise StoreUnavailable, TookTooLong, Overloaded."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def overview(self, scope: Scope, days: Days, until: int) -> Overview:
        """until: Unix seconds; hours and days that begin later are left out."""
        return await self._readers.run(partial(_overview, scope=scope, days=days, until=until))

    async def groups(self, by: str, scope: Scope, days: Days) -> list[Group]:
        """by: model, key or provider; the dearest first."""
        return await self._readers.run(partial(_groups, by=by, values=_values(scope, days)))

    async def keys(self, scope: Scope, most: int) -> list[tuple[int, str]]:
        """Ids and names of what the scope's user may see, the ones in use first."""
        values = {"user": scope.user_id, "most": most}
        return await self._readers.run(lambda connection: connection.execute(KEYS, values).fetchall())

    async def mark(self) -> tuple[Any, ...]:
        """Another one as soon as the ledger is another one."""
        return await self._readers.run(lambda connection: tuple(connection.execute(MARK).fetchone()))


QUERIES: Final = {"model": BY_MODEL, "provider": BY_PROVIDER, "key": BY_KEY}


def _values(scope: Scope, days: Days) -> dict[str, int | None]:
    return {
        "user": scope.user_id,
        "key": scope.key_id,
        "first": days.first,
        "last": days.last,
        "most": MOST_GROUPS + 1,
    }


def _overview(connection: sqlite3.Connection, scope: Scope, days: Days, until: int) -> Overview:
    values = _values(scope, days)
    models = _groups(connection, "model", values)
    total = Sums.total([model.sums for model in models])
    keys = _groups(connection, "key", values)
    points = _points(connection, days, values, until)
    return Overview(total, points, _rest(models, total), _rest(keys, total))


def _points(
    connection: sqlite3.Connection, days: Days, values: dict[str, int | None], until: int
) -> list[Point]:
    step = days.step_hours
    units = DAY_HOURS if step < DAY_HOURS else 1  # of the table, in a day
    found: dict[int, list[Sums]] = {}
    for row in connection.execute(BY_HOUR if units == DAY_HOURS else BY_DAY, values):
        hour = row[0] * DAY_HOURS // units
        found.setdefault(hour // step * step, []).append(Sums.from_row(row[1:]))
    hours = range(days.first * DAY_HOURS, (days.last + 1) * DAY_HOURS, step)
    return [
        Point(hour * 3600, Sums.total(found.get(hour, [])))
        for hour in hours
        if hour * 3600 <= until or hour in found  # the clock may have been set back
    ]


def _groups(connection: sqlite3.Connection, by: str, values: dict[str, int | None]) -> list[Group]:
    rows = connection.execute(QUERIES[by], values).fetchall()
    names = {row[0]: _name(connection, row[0]) if by == "key" else row[0] for row in rows}
    return [Group(row[0], names[row[0]], Sums.from_row(row[1:])) for row in rows]


def _rest(groups: list[Group], total: Sums) -> list[Group]:
    """At most so many, and what is left of the total as one more."""
    if len(groups) <= MOST_GROUPS:
        return groups
    shown = groups[:MOST_GROUPS]
    return [*shown, Group(None, "all others", total.less([group.sums for group in shown]))]


def _name(connection: sqlite3.Connection, key_id: int) -> str:
    row = connection.execute(NAMES, (key_id,)).fetchone()
    return f"key {key_id}" if row is None else str(row[0])
