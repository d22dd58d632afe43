"""The pages' figures against plain sums of the rows, for whoever asks; and what they never read."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from store import reports
from store.latencies import percentile
from store.readers import Readers
from store.reports import Days, Reports, Scope, Sums
from store.types import LedgerRow
from tests.store.books import connected, make_data_dir
from tests.store.stores import run
from tests.store.test_latencies import counted
from tests.store.test_usage import BEGIN, DAYS, OWNERS, fill, random_rows, row

FIRST = BEGIN // 86_400
LATER = BEGIN + 400 * 86_400
SPANS = [Days(FIRST, FIRST + DAYS), Days(FIRST + 3, FIRST + 3), Days(FIRST + 5, FIRST + 6)]
SPANS += [Days(FIRST + 10, FIRST + 16), Days(FIRST + 10, FIRST + 17)]
SCOPES = [Scope(), Scope(1), Scope(2), Scope(None, 3), Scope(1, 2), Scope(1, 3), Scope(99)]


@contextlib.asynccontextmanager
async def reporting(directory: Path) -> AsyncIterator[Reports]:
    readers = Readers(make_data_dir(directory).database, 20)
    try:
        yield Reports(readers)
    finally:
        await readers.close()


def own_keys(directory: Path) -> None:
    """As OWNERS says."""
    with connected(make_data_dir(directory)) as connection:
        connection.executemany(
            "INSERT INTO users (id, email, created_at) VALUES (?, ?, 0)", [(1, "a@b.c"), (2, "d@e.f")]
        )
        connection.executemany(
            "INSERT INTO api_keys (id, user_id, name, tier, created_at) VALUES (?, ?, ?, 'free', 0)",
            [(key, user, f"name of {key}") for key, user in OWNERS.items()],
        )


def is_seen(each: LedgerRow, scope: Scope, days: Days) -> bool:
    is_own = scope.user_id is None or OWNERS[each.key_id] == scope.user_id
    is_wanted = scope.key_id is None or each.key_id == scope.key_id
    return is_own and is_wanted and days.first <= each.started_at_ms // 86_400_000 <= days.last


def added(rows: Sequence[LedgerRow]) -> Sums:
    """By adding up the rows one by one."""
    return Sums(
        len(rows),
        sum(each.attempt == 0 for each in rows),
        sum(each.status != "ok" for each in rows),
        sum(each.usage_source != "reported" for each in rows),
        sum(each.place.price_source == "unpriced" and not each.cost_nanodollars for each in rows),
        sum(each.input_tokens for each in rows),
        sum(each.output_tokens for each in rows),
        sum(each.cached_tokens for each in rows),
        sum(each.cost_nanodollars for each in rows),
        tuple(counted([each.total_ms for each in rows if each.status == "ok"])),
    )


def divided(rows: Sequence[LedgerRow], group: Callable[[LedgerRow], Any]) -> dict[Any, Sums]:
    found: defaultdict[Any, list[LedgerRow]] = defaultdict(list)
    for each in rows:
        found[group(each)].append(each)
    return {name: added(group_rows) for name, group_rows in found.items()}


def no_latencies(sums: Sums) -> Sums:
    return Sums(*sums.values()[:9])


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_the_sum_of_its_rows(tmp_path: Path, seed: int) -> None:
    rows = [each._replace(total_ms=7 ** (number % 7)) for number, each in enumerate(random_rows(3000, seed))]
    fill(tmp_path, rows)
    own_keys(tmp_path)

    async def test() -> None:
        async with reporting(tmp_path) as found:
            for scope in SCOPES:
                for days in SPANS:
                    seen = [each for each in rows if is_seen(each, scope, days)]
                    overview = await found.overview(scope, days, LATER)
                    assert overview.total == added(seen)
                    assert {one.id: one.sums for one in overview.models} == divided(
                        seen, lambda each: each.model
                    )
                    by_key = divided(seen, lambda each: each.key_id)
                    assert {one.id: one.sums for one in overview.keys} == {
                        key: no_latencies(sums) for key, sums in by_key.items()
                    }
                    assert {one.name for one in overview.keys} == {f"name of {key}" for key in by_key}
                    step = 3_600_000 * days.step_hours
                    by_time = divided(seen, lambda each, step=step: each.started_at_ms // step * step // 1000)
                    assert {point.at: point.sums for point in overview.points if point.sums.calls} == {
                        at: no_latencies(sums) for at, sums in by_time.items()
                    }
                    by_provider = await found.groups("provider", scope, days)
                    assert {one.id: one.sums for one in by_provider} == divided(
                        seen, lambda each: each.provider
                    )

    run(test)


def test_a_series_has_no_gaps_and_no_future(tmp_path: Path) -> None:
    fill(tmp_path, [row()])

    async def test() -> None:
        async with reporting(tmp_path) as found:
            hours = await found.overview(Scope(), Days(FIRST, FIRST), BEGIN + 5 * 3600 + 7)
            assert [point.at for point in hours.points] == [BEGIN + hour * 3600 for hour in range(6)]
            week = await found.overview(Scope(), Days(FIRST - 6, FIRST), LATER)
            assert [point.at for point in week.points] == [
                BEGIN - 6 * 86_400 + number * 6 * 3600 for number in range(28)
            ]
            month = await found.overview(Scope(), Days(FIRST - 29, FIRST), LATER)
            assert [point.at for point in month.points] == [BEGIN + day * 86_400 for day in range(-29, 1)]

    run(test)


def test_many_groups_are_the_dearest_and_the_rest_together(tmp_path: Path) -> None:
    rows = [row(number, key_id=number + 1, cost_nanodollars=number + 1) for number in range(30)]
    fill(tmp_path, rows)

    async def test() -> None:
        async with reporting(tmp_path) as found:
            overview = await found.overview(Scope(), Days(FIRST, FIRST), LATER)
            assert [one.id for one in overview.keys] == [*range(30, 10, -1), None]
            assert overview.keys[-1].sums.values()[:9] == added(rows[:10]).values()[:9]

    run(test)


def test_percentiles_and_rates_of_nothing_are_none() -> None:
    nothing = Sums()
    assert (nothing.p50_ms, nothing.p95_ms, nothing.error_rate) == (None, None, None)
    some = added([row(total_ms=100), row(status="error")])
    assert some.p50_ms == percentile(counted([100]), 0.5) and some.error_rate == 0.5


def test_the_mark_moves_with_the_ledger_and_with_corrections(tmp_path: Path) -> None:
    directory = make_data_dir(tmp_path)

    async def test() -> None:
        async with reporting(tmp_path) as found:
            marks = [await found.mark(), await found.mark()]
            assert marks[0] == marks[1]
            for statement in (
                "INSERT INTO journal_slots VALUES (0, 1, 1, 64)",
                "UPDATE journal_slots SET position = 128",
                "INSERT INTO corrections VALUES (NULL, 1, 1, 1, 1)",
            ):
                with connected(directory) as connection:
                    connection.execute(statement)
                marks.append(await found.mark())
            assert len(set(marks)) == 4

    run(test)


QUERIES = ("BY_DAY", "BY_HOUR", "BY_MODEL", "BY_PROVIDER", "BY_KEY")


@pytest.mark.parametrize("name", QUERIES)
def test_a_report_searches_the_sums_and_never_the_requests(tmp_path: Path, name: str) -> None:
    with connected(make_data_dir(tmp_path)) as connection:
        values = {"user": 1, "key": None, "first": 1, "last": 2, "most": 3}
        plan = " ".join(
            line[3] for line in connection.execute(f"EXPLAIN QUERY PLAN {getattr(reports, name)}", values)
        )
    assert "SEARCH s USING PRIMARY KEY" in plan and "ledger" not in plan and "SCAN s" not in plan, plan
