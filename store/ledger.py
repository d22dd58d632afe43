"""Settled calls into the database: rows, sums and the journal's position, in one transaction.

For the mover, which calls from its own thread on its own connection. Rows go in by statements of many rows:
SQLite works with the interpreter's lock released, and each statement gives it up once. What rows add to
the sums is added up first, so that a batch touches each sum once.
"""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import add
from typing import Any, Final

from store.latencies import ADDED_LATENCIES, BOUNDS_MS, COUNTS, LATENCIES
from store.types import LedgerRow, Place

log = logging.getLogger("rooya.ledger")

ROWS_A_STATEMENT: Final = 50
MAX_PRICES: Final = 4096  # remembered with their ids, then forgotten all at once
UNPRICED: Final = 0
HOUR_MS: Final = 3_600_000
SLICE_MS: Final = 600_000  # ten minutes

COLUMNS: Final = (
    "request_id, attempt, key_id, window, model, provider, upstream_model, endpoint, is_stream, status,"
    " input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, audio_tokens,"
    " cost_nanodollars, usage_source, price_id, started_at_ms, first_byte_ms, total_ms, details"
)
COLUMN_COUNT: Final = len(LedgerRow._fields)
PRICE_ID: Final = LedgerRow._fields.index("place")  # of the columns
ROW: Final = f"({', '.join('?' * COLUMN_COUNT)})"
ROWS: Final = ", ".join([ROW] * ROWS_A_STATEMENT)
INSERT: Final = f"INSERT INTO ledger ({COLUMNS}) VALUES {ROW}"
INSERT_MANY: Final = f"INSERT INTO ledger ({COLUMNS}) VALUES {ROWS}"

SUMS: Final = (
    "key_id, model, provider, row_count, requests, errors, estimated, unpriced,"
    " input_tokens, output_tokens, cached_tokens, cost_nanodollars"
)
ADDED: Final = """row_count = row_count + excluded.row_count, requests = requests + excluded.requests,
    errors = errors + excluded.errors, estimated = estimated + excluded.estimated,
    unpriced = unpriced + excluded.unpriced, input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    cost_nanodollars = cost_nanodollars + excluded.cost_nanodollars"""
SUM_COUNT: Final = 9  # of the numbers that an hour's sums and a day's have in common
THIRTEEN: Final = f"({', '.join('?' * 13)})"
DAY_VALUES: Final = f"({', '.join('?' * (13 + COUNTS))})"
ADD_HOUR: Final = f"""INSERT INTO usage_hourly (hour, {SUMS}) VALUES {THIRTEEN}
    ON CONFLICT (hour, key_id, model, provider) DO UPDATE SET {ADDED}"""
ADD_DAY: Final = f"""INSERT INTO usage_daily (day, {SUMS}, {LATENCIES}) VALUES {DAY_VALUES}
    ON CONFLICT (day, key_id, model, provider) DO UPDATE SET {ADDED}, {ADDED_LATENCIES}"""
ADD_SPEND: Final = """INSERT INTO key_spend (key_id, window, row_count, cost_nanodollars) VALUES (?, ?, ?, ?)
    ON CONFLICT (key_id, window) DO UPDATE SET row_count = row_count + excluded.row_count,
    cost_nanodollars = cost_nanodollars + excluded.cost_nanodollars"""
ADD_TOKENS: Final = """INSERT INTO key_tokens (slice, key_id, tokens) VALUES (?, ?, ?)
    ON CONFLICT (slice, key_id) DO UPDATE SET tokens = tokens + excluded.tokens"""

Group = tuple[int, int, str, str]


class Sums:
    """What some rows add to the sums. Rows alike in all that any sum tells apart are added up first."""

    def __init__(self) -> None:
        self._alike: dict[tuple[int, int, int, Place], list[int]] = {}

    def add(self, row: LedgerRow) -> None:
        cost = row.cost_nanodollars
        place = row.place
        group = (row.started_at_ms // SLICE_MS, row.key_id, row.window, place)
        sums = self._alike.get(group)
        if sums is None:
            sums = self._alike[group] = [0] * (SUM_COUNT + COUNTS)
        sums[0] += 1
        sums[1] += not row.attempt
        if row.status == "ok":
            sums[SUM_COUNT + bisect_right(BOUNDS_MS, row.total_ms)] += 1
        else:
            sums[2] += 1
        sums[3] += row.usage_source != "reported"
        sums[4] += not cost and place.price_source == "unpriced"
        sums[5] += row.input_tokens
        sums[6] += row.output_tokens
        sums[7] += row.cached_tokens
        sums[8] += cost

    def write(self, connection: sqlite3.Connection) -> None:
        hours: dict[Group, list[int]] = {}
        days: dict[Group, list[int]] = {}
        spend: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        tokens: defaultdict[tuple[int, int], int] = defaultdict(int)
        for (ten_minutes, key_id, window, place), sums in self._alike.items():
            hour = ten_minutes * SLICE_MS // HOUR_MS
            _add(hours, (hour, key_id, place.model, place.provider), sums[:SUM_COUNT])
            _add(days, (hour // 24, key_id, place.model, place.provider), sums)
            spent = spend[key_id, window]
            spent[0] += sums[0]
            spent[1] += sums[8]
            tokens[ten_minutes, key_id] += sums[5] + sums[6]
        connection.executemany(ADD_HOUR, [(*group, *sums) for group, sums in hours.items()])
        connection.executemany(ADD_DAY, [(*group, *sums) for group, sums in days.items()])
        connection.executemany(ADD_SPEND, [(*group, *sums) for group, sums in spend.items()])
        connection.executemany(ADD_TOKENS, [(*group, count) for group, count in tokens.items() if count])


def _add(groups: dict[Group, list[int]], group: Group, more: list[int]) -> None:
    sums = groups.get(group)
    groups[group] = more if sums is None else list(map(add, sums, more))


class LedgerWriter:
    """Writes batches of settled calls. Raises sqlite3.Error, and then nothing of the batch is there."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """connection: in autocommit mode (isolation_level None), this writer's own."""
        self._connection = connection
        self._price_ids: dict[tuple[str, str], int] = {}

    def write(self, rows: Sequence[LedgerRow], slot: int, segment: int, position: int) -> None:
        """The rows and, with them, how far the slot's journal has been moved."""
        try:
            self._write(rows, slot, segment, position, insert=self._insert)
        except sqlite3.IntegrityError:
            # Some are there already: somebody put back a copy of the journal. The others still count.
            self._write(rows, slot, segment, position, insert=self._insert_missing)

    def _write(
        self,
        rows: Sequence[LedgerRow],
        slot: int,
        segment: int,
        position: int,
        insert: Callable[[Sequence[LedgerRow], Sums], None],
    ) -> None:
        try:
            with transaction(self._connection):
                sums = Sums()
                insert(rows, sums)
                sums.write(self._connection)
                self._connection.execute(
                    "UPDATE journal_slots SET segment = ?, position = ? WHERE slot = ?",
                    (segment, position, slot),
                )
        except sqlite3.Error:
            self._price_ids.clear()  # some may have been given in the transaction that is gone
            raise

    def _insert(self, rows: Sequence[LedgerRow], sums: Sums) -> None:
        whole = len(rows) - len(rows) % ROWS_A_STATEMENT
        for at in range(0, whole, ROWS_A_STATEMENT):
            values: list[Any] = []
            for row in rows[at : at + ROWS_A_STATEMENT]:
                sums.add(row)
                values += row
                values[PRICE_ID - COLUMN_COUNT] = self._price_id(row.place)
            self._connection.execute(INSERT_MANY, values)
        for row in rows[whole:]:
            sums.add(row)
        self._connection.executemany(INSERT, map(self._values, rows[whole:]))

    def _insert_missing(self, rows: Sequence[LedgerRow], sums: Sums) -> None:
        missing = [
            row
            for row in rows
            if self._connection.execute(f"{INSERT} ON CONFLICT DO NOTHING", self._values(row)).rowcount
        ]
        log.warning("%d of %d calls were in the ledger already", len(rows) - len(missing), len(rows))
        for row in missing:
            sums.add(row)

    def _values(self, row: LedgerRow) -> tuple[Any, ...]:
        return (*row[:PRICE_ID], self._price_id(row.place), *row[PRICE_ID + 1 :])

    def _price_id(self, place: Place) -> int:
        key = (place.price_source, place.price)
        found = self._price_ids.get(key)
        if found is None:
            if place.price_source == "unpriced":
                return UNPRICED
            self._connection.execute("INSERT OR IGNORE INTO ledger_prices (source, price) VALUES (?, ?)", key)
            query = "SELECT id FROM ledger_prices WHERE source = ? AND price = ?"
            (found,) = self._connection.execute(query, key).fetchone()
            if len(self._price_ids) >= MAX_PRICES:
                self._price_ids.clear()
            self._price_ids[key] = found
        return found


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Statements that take effect together or not at all; the write lock is taken at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
