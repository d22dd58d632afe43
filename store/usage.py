"""Reading the ledger: reports from the sums, verification against the rows, and the operator's corrections.

Reports never touch the request table. Whole days come from the daily sums, the rest of the range from the
hourly ones, so that a month costs little more than a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from store.database import Database, Row, Transaction
from store.errors import Invalid, NotFound

GROUPS: Final = ("model", "key", "user", "provider", "day", "hour")
CORRECTABLE: Final = ("lease", "estimated", "corrected")
NOTHING_USED: Final = "was charged nothing, as nothing was used"
REPORTED: Final = "has its cost from the provider's own figures"
MOST_NANODOLLARS: Final = 2**53 - 1

TOTALS: Final = """sum(s.requests), sum(s.errors), sum(s.estimated), sum(s.unpriced), sum(s.input_tokens),
    sum(s.output_tokens), sum(s.cached_tokens), sum(s.cost_nanodollars)"""
COLUMNS: Final = """key_id, model, provider, requests, errors, estimated, unpriced,
    input_tokens, output_tokens, cached_tokens, cost_nanodollars"""
# Hours of the day that the range begins in, then whole days.
SINCE: Final = f"""(SELECT hour, hour / 24 AS day, {COLUMNS} FROM usage_hourly
        WHERE hour >= ? AND hour < ? * 24
    UNION ALL SELECT day * 24, day, {COLUMNS} FROM usage_daily WHERE day >= ?) AS s"""
HOURS: Final = f"(SELECT hour, {COLUMNS} FROM usage_hourly WHERE hour >= ?) AS s"

BY_MODEL: Final = f"SELECT s.model, {TOTALS} FROM {SINCE} GROUP BY s.model ORDER BY s.model"
BY_PROVIDER: Final = f"SELECT s.provider, {TOTALS} FROM {SINCE} GROUP BY s.provider ORDER BY s.provider"
BY_DAY: Final = f"SELECT s.day * 86400, {TOTALS} FROM {SINCE} GROUP BY s.day ORDER BY s.day"
BY_HOUR: Final = f"SELECT s.hour * 3600, {TOTALS} FROM {HOURS} GROUP BY s.hour ORDER BY s.hour"
BY_KEY: Final = f"""SELECT g.*, k.name FROM
    (SELECT s.key_id AS key_id, {TOTALS} FROM {SINCE} GROUP BY s.key_id) AS g
    LEFT JOIN api_keys k ON k.id = g.key_id ORDER BY g.key_id"""
BY_USER: Final = f"""SELECT k.user_id, {TOTALS}, max(u.email) FROM {SINCE}
    LEFT JOIN api_keys k ON k.id = s.key_id LEFT JOIN users u ON u.id = k.user_id
    GROUP BY k.user_id ORDER BY k.user_id"""
QUERIES: Final[Mapping[str, str]] = {
    "model": BY_MODEL,
    "provider": BY_PROVIDER,
    "day": BY_DAY,
    "hour": BY_HOUR,
    "key": BY_KEY,
    "user": BY_USER,
}

# Of every key, by four ways of adding up.
VERIFY: Final = """
    WITH sums (key_id, rows_n, rows_cost, spend_n, spend_cost, hours_n, hours_cost, days_n, days_cost) AS (
        SELECT key_id, count(*), sum(cost_nanodollars), 0, 0, 0, 0, 0, 0 FROM ledger GROUP BY key_id
        UNION ALL SELECT key_id, row_count, cost_nanodollars, 0, 0, 0, 0, 0, 0 FROM ledger_closed
        UNION ALL SELECT key_id, 0, 0, row_count, cost_nanodollars, 0, 0, 0, 0 FROM key_spend
        UNION ALL SELECT key_id, 0, 0, 0, 0, row_count, cost_nanodollars, 0, 0 FROM usage_hourly
        UNION ALL SELECT key_id, 0, 0, 0, 0, 0, 0, row_count, cost_nanodollars FROM usage_daily)
    SELECT key_id, sum(rows_n), sum(rows_cost), sum(spend_n), sum(spend_cost), sum(hours_n), sum(hours_cost),
        sum(days_n), sum(days_cost) FROM sums GROUP BY key_id ORDER BY key_id"""

FIND: Final = """SELECT attempt, usage_source, cost_nanodollars, key_id, window, model, provider,
    started_at_ms / 3600000 FROM ledger WHERE request_id = ? ORDER BY attempt"""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group. group: its model, provider, key id, user id or Unix time; name: of a key or user."""

    group: Any
    requests: int
    errors: int
    estimated: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nanodollars: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class KeySums:
    """Calls and cost of a key as its rows (deleted ones too), its spend and the two kinds of sums say."""

    key_id: int
    rows: tuple[int, int]
    spend: tuple[int, int]
    hours: tuple[int, int]
    days: tuple[int, int]

    @property
    def is_equal(self) -> bool:
        return self.rows == self.spend == self.hours == self.days


class UsageReader:
    """All methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, by: str, since: int) -> list[UsageRow]:
        """by: one of GROUPS. since: Unix seconds, counted from the beginning of its hour (0 = all)."""
        hour = since // 3600
        first_whole_day = -(-hour // 24)
        parameters = (hour,) if by == "hour" else (hour, first_whole_day, first_whole_day)
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all(QUERIES[by], parameters)
        return [UsageRow(*row) for row in rows]

    async def verify(self) -> list[KeySums]:
        """Every key's sums, from one state of the database."""
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all(VERIFY)
        return [KeySums(row[0], row[1:3], row[3:5], row[5:7], row[7:9]) for row in rows]

    async def correct(self, request_id: str, nanodollars: int) -> int:
        """Set what a call cost, in its row and in every sum; the difference. Raises NotFound, Invalid.

        Only of a call that no provider's own figures are known of.
        """
        if not 0 <= nanodollars <= MOST_NANODOLLARS:
            raise Invalid(f"a cost is 0 to {MOST_NANODOLLARS} nano-dollars")
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch_all(FIND, (request_id,))
            if not rows:
                raise NotFound(f"request {request_id} in the ledger")
            guessed = [row for row in rows if row[1] in CORRECTABLE]
            if not guessed:
                is_free = all(row[1] == "none" for row in rows)
                why = NOTHING_USED if is_free else REPORTED
                raise Invalid(f"request {request_id} {why}")
            return await _correct(transaction, request_id, guessed[-1], nanodollars)


async def _correct(transaction: Transaction, request_id: str, row: Row, nanodollars: int) -> int:
    attempt, source, cost, key_id, window, model, provider, hour = row
    difference = nanodollars - int(cost)
    await transaction.execute(
        """UPDATE ledger SET cost_nanodollars = ?, usage_source = 'corrected'
           WHERE request_id = ? AND attempt = ?""",
        (nanodollars, request_id, attempt),
    )
    await transaction.execute(
        """INSERT INTO corrections (key_id, window, nanodollars, corrected_at)
           VALUES (?, ?, ?, CAST(strftime('%s', 'now') AS INTEGER))""",
        (key_id, window, difference),
    )
    await transaction.execute(
        "UPDATE key_spend SET cost_nanodollars = cost_nanodollars + ? WHERE key_id = ? AND window = ?",
        (difference, key_id, window),
    )
    place = (key_id, model, provider)
    await transaction.execute(
        """UPDATE usage_hourly SET cost_nanodollars = cost_nanodollars + ?
           WHERE hour = ? AND key_id = ? AND model = ? AND provider = ?""",
        (difference, hour, *place),
    )
    await transaction.execute(
        """UPDATE usage_daily SET cost_nanodollars = cost_nanodollars + ?
           WHERE day = ? AND key_id = ? AND model = ? AND provider = ?""",
        (difference, hour // 24, *place),
    )
    return difference
