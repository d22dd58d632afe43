"""The request table by the page, the newest first, however long it is and whatever is looked for.

There is no index but that of time: another would cost every call, and a quarter of the table's room. The sums
by day and by hour say which hours hold anything of what is looked for, so that only those are read. What
takes longer than its time ends with what was found so far and the place to go on from.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from store.readers import Readers
from store.reports import Scope

HOUR_MS: Final = 3_600_000
LATE_MS: Final = 900_000  # the last attempt of a call begins so long after its id at the most
ROWS_A_STRETCH: Final = 20_000  # read in one go: some milliseconds
SECONDS: Final = 0.06
LAST_ID: Final = "g"  # no request id is greater

SEEN: Final = """(:user IS NULL OR s.key_id IN (SELECT id FROM api_keys WHERE user_id = :user))
    AND (:key IS NULL OR s.key_id = :key) AND (:model IS NULL OR s.model = :model)
    AND (:provider IS NULL OR s.provider = :provider)"""
ROWS: Final = f"""SELECT s.request_id, s.attempt, s.started_at_ms, s.key_id, k.name, s.model, s.provider,
    s.upstream_model, s.endpoint, s.is_stream, s.status, s.input_tokens, s.output_tokens, s.cached_tokens,
    s.cost_nanodollars, s.usage_source, p.source, s.first_byte_ms, s.total_ms, s.details
    FROM ledger s LEFT JOIN api_keys k ON k.id = s.key_id LEFT JOIN ledger_prices p ON p.id = s.price_id
    WHERE (s.request_id, s.attempt) < (:id, :attempt) AND s.request_id >= :from AND {SEEN}
    AND (:status IS NULL OR s.status = :status OR (:status = 'failed' AND s.status <> 'ok'))
    AND (:source IS NULL OR s.usage_source = :source
        OR (:source = 'unreported' AND s.usage_source <> 'reported')
        OR (:source = 'unpriced' AND s.price_id = 0 AND s.cost_nanodollars = 0))
    ORDER BY s.request_id DESC, s.attempt DESC LIMIT :most"""
HOLDS: Final = f"""{SEEN} AND (:status IS NULL OR :status = 'ok' OR s.errors > 0)
    AND (:source IS NULL OR :source = 'reported' OR (:source = 'unpriced' AND s.unpriced > 0)
        OR (:source <> 'unpriced' AND s.estimated > 0))"""
DAYS: Final = f"""WITH RECURSIVE d (day) AS
    (SELECT :last UNION ALL SELECT day - 1 FROM d WHERE day > :first)
    SELECT day FROM d WHERE EXISTS (SELECT 1 FROM usage_daily s WHERE s.day = d.day AND {HOLDS})
    ORDER BY day DESC"""
HOURS: Final = f"""WITH RECURSIVE h (hour) AS
    (SELECT :day * 24 + 23 UNION ALL SELECT hour - 1 FROM h WHERE hour > :day * 24)
    SELECT hour FROM h WHERE EXISTS (SELECT 1 FROM usage_hourly s WHERE s.hour = h.hour AND {HOLDS})
    ORDER BY hour DESC"""
COUNT: Final = "SELECT sum(row_count) FROM usage_hourly WHERE hour IN (?, ?)"
NEWEST: Final = "SELECT max(day) FROM usage_daily"
OLDEST: Final = "SELECT request_id FROM ledger ORDER BY request_id, attempt LIMIT 1"


class Cursor(NamedTuple):
    """A page goes on with what is before this."""

    request_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. None = whatever it is. status: a word of the table, or `failed`; source: one of
    usage_source, or `unreported`, `unpriced`; request_id: how it begins; times: Unix milliseconds, the second
    exclusive."""

    scope: Scope = Scope()
    model: str | None = None
    provider: str | None = None
    status: str | None = None
    source: str | None = None
    request_id: str = ""
    since_ms: int = 0
    until_ms: int | None = None

    @property
    def is_everything(self) -> bool:
        words = (self.model, self.provider, self.status, self.source)
        return all(value is None for value in (self.scope.user_id, self.scope.key_id, *words))


class Request(NamedTuple):
    """An attempt, as the table has it."""

    request_id: str
    attempt: int
    started_at_ms: int
    key_id: int
    key_name: str | None
    model: str
    provider: str
    upstream_model: str
    endpoint: str
    is_stream: int
    status: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nanodollars: int
    usage_source: str
    price_source: str | None
    first_byte_ms: int | None
    total_ms: int
    details: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """older: where to go on; None = there is no more. is_cut: the time was over before the page was full."""

    rows: list[Request]
    older: Cursor | None
    is_cut: bool = False


class RequestLog:
    """Raises what `Readers.run` does. late_ms: so long after its id an attempt may begin."""

    def __init__(
        self, readers: Readers, late_ms: int = LATE_MS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._readers = readers
        self._late_ms = late_ms
        self._clock = clock

    async def page(self, wanted: Wanted, before: Cursor | None, most: int) -> Page:
        """At most so many, the newest first."""
        end = self._clock() + SECONDS

        def search(connection: sqlite3.Connection) -> Page:
            return _Search(connection, wanted, self._late_ms).page(before, most, lambda: self._clock() > end)

        return await self._readers.run(search)


class _Search:
    """For one page, on a reader's thread."""

    def __init__(self, connection: sqlite3.Connection, wanted: Wanted, late_ms: int) -> None:
        self._connection = connection
        self._late_ms = late_ms
        self._wanted = wanted
        self._begin = max(_id(wanted.since_ms), wanted.request_id)  # no id that is wanted is less
        self._values = {
            "user": wanted.scope.user_id,
            "key": wanted.scope.key_id,
            "model": wanted.model,
            "provider": wanted.provider,
            "status": wanted.status,
            "source": wanted.source,
        }

    def page(self, before: Cursor | None, most: int, is_over: Callable[[], bool]) -> Page:
        found: list[Request] = []
        for since, upto in self._stretches(self._end(before)):
            place = {"from": since, "id": upto.request_id, "attempt": upto.attempt}
            values = {**self._values, **place, "most": most + 1 - len(found)}
            found += map(Request._make, self._connection.execute(ROWS, values))
            if len(found) > most:
                last = found[most - 1]
                return Page(found[:most], Cursor(last.request_id, last.attempt))
            if is_over() and since > self._begin:
                return Page(found, Cursor(since, 0), is_cut=True)
        return Page(found, None)

    def _end(self, before: Cursor | None) -> Cursor:
        """All that is wanted is before this."""
        ends = [Cursor(self._wanted.request_id + LAST_ID, 0)]
        if self._wanted.until_ms is not None:
            ends.append(Cursor(_id(self._wanted.until_ms), 0))
        if before is not None:
            ends.append(before)
        return min(ends)

    def _stretches(self, end: Cursor) -> Iterator[tuple[str, Cursor]]:
        """Parts of the table that may hold what is wanted, the newest first: from an id, up to a cursor."""
        begin = self._begin
        if self._wanted.is_everything:
            yield begin, end
            return
        oldest = self._connection.execute(OLDEST).fetchone()
        begin = max(begin, oldest[0] if oldest else LAST_ID)
        if Cursor(begin, 0) >= end:
            return
        for hour in self._hours(_ms(begin) // HOUR_MS, _ms(end.request_id)):
            since_ms, until_ms = hour * HOUR_MS - self._late_ms, (hour + 1) * HOUR_MS
            (count,) = self._connection.execute(COUNT, (hour, hour - 1)).fetchone()
            parts = 1 + (count or 0) // ROWS_A_STRETCH
            for part in range(parts - 1, -1, -1):
                since = max(_id(since_ms + (until_ms - since_ms) * part // parts), begin)
                upto = min(end, Cursor(_id(since_ms + (until_ms - since_ms) * (part + 1) // parts), 0))
                if Cursor(since, 0) < upto:
                    yield since, upto
                    end = Cursor(since, 0)

    def _hours(self, first: int, last_ms: int) -> Iterator[int]:
        """Unix hours in which anything of what is wanted began, the latest first."""
        last_day = (last_ms + self._late_ms) // HOUR_MS // 24
        (newest,) = self._connection.execute(NEWEST).fetchone()
        values = {
            **self._values,
            "first": first // 24,
            "last": min(last_day, -1 if newest is None else newest),
        }
        for (day,) in self._connection.execute(DAYS, values).fetchall():
            for (hour,) in self._connection.execute(HOURS, {**values, "day": day}).fetchall():
                if hour >= first and hour * HOUR_MS - self._late_ms <= last_ms:
                    yield hour


def _id(at_ms: int) -> str:
    """What the ids of calls from then on are not less than."""
    return f"{max(0, at_ms):012x}"


def _ms(request_id: str) -> int:
    """When a call came, by its id or the beginning of one."""
    digits, last, _ = request_id.partition(LAST_ID)
    return int(digits[:12].ljust(12, "f" if last else "0"), 16)
