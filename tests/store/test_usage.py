"""Reports against sums made in Python, verification, corrections; and the ledger's benchmark runs."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from store.database import Database
from store.errors import Invalid, NotFound
from store.keys import ApiKeys, NewKey
from store.ledger import LedgerWriter
from store.past import PastReader
from store.retention import Keep, Retention
from store.types import LedgerRow, Place
from store.usage import GROUPS, MOST_NANODOLLARS, KeySums, UsageReader, UsageRow
from store.users import Users
from tests.store.books import connected, differences, make_data_dir
from tests.store.stores import opened, run

BEGIN = 1_790_000_000 // 86_400 * 86_400  # a midnight
DAYS = 40
HOUR = 3600
SIZE = Path(__file__).parents[1] / "bench" / "ledger_size.py"
PLACES = [
    Place("gpt-4o", "openai", "gpt-4o-2024-08-06", "chat", "test 1", '{"input": 1}'),
    Place("gpt-4o", "azure", "our-gpt", "chat", "test 1", '{"input": 2}'),
    Place("mistral", "mistral", "mistral-large", "chat", "unpriced", ""),
    Place("o1", "openai", "o1-2024-12-17", "responses", "test 2", '{"input": 9}'),
]


async def spent(reader: UsageReader, key_id: int, window: int) -> int:
    """Of a window, as a limiter asks for it."""
    return (await PastReader(reader._database).read(key_id, window, 0)).spent_nanodollars


def row(number: int = 0, second: int = BEGIN, where: Place = PLACES[0], **fields: Any) -> LedgerRow:
    """A call that took 10 tokens and gave 5, for 100 nano-dollars."""
    names = (where.model, where.provider, where.upstream_model, where.endpoint)
    return LedgerRow._make(
        (f"{second * 1000:012x}{'ab' * 5}{number:08x}", 0, 1, 0, *names, 0, "ok")
        + (10, 5, 2, 0, 0, 0, 100, "reported", where, second * 1000, None, 12, None)
    )._replace(**fields)


def random_rows(count: int, seed: int) -> list[LedgerRow]:
    """Of four keys over forty days, some right at the edges of hours and days."""
    drawn = random.Random(seed)
    found = []
    for number in range(count):
        second = BEGIN + drawn.randrange(DAYS * 86_400)
        if drawn.random() < 0.3:
            second = second // HOUR * HOUR - drawn.randrange(2) * (second > BEGIN + HOUR)
        asked = drawn.randrange(1000)
        fields = {
            "attempt": drawn.choice((0, 0, 0, 1, 2)),
            "key_id": drawn.randrange(1, 5),
            "window": second // 86_400 * 86_400,
            "status": drawn.choice(("ok", "ok", "ok", "error", "timeout", "client_gone", "lost")),
            "input_tokens": asked,
            "output_tokens": drawn.randrange(500),
            "cached_tokens": drawn.randrange(asked + 1),
            "cost_nanodollars": drawn.choice((0, 1, drawn.randrange(10**9), drawn.randrange(10**14))),
            "usage_source": drawn.choice(("reported", "reported", "estimated", "none", "lease")),
        }
        found.append(row(number, second, drawn.choice(PLACES), **fields))
    return found


def fill(directory: Path, found: Sequence[LedgerRow], batch: int = 97) -> None:
    with connected(make_data_dir(directory)) as connection:
        writer = LedgerWriter(connection)
        for at in range(0, len(found), batch):
            writer.write(found[at : at + batch], 0, 1, 0)


def execute(directory: Path, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connected(make_data_dir(directory)) as connection:
        return connection.execute(query, values).fetchall()


@asynccontextmanager
async def reading(directory: Path) -> AsyncIterator[tuple[UsageReader, Database, ApiKeys]]:
    async with opened(directory) as (database, keys):
        yield UsageReader(database), database, keys


OWNERS = {1: 1, 2: 1, 3: 2, 4: None}  # by key
GROUP_OF: dict[str, Callable[[LedgerRow], Any]] = {
    "model": lambda each: each.model,
    "provider": lambda each: each.provider,
    "key": lambda each: each.key_id,
    "user": lambda each: OWNERS[each.key_id],
    "day": lambda each: each.started_at_ms // 86_400_000 * 86_400,
    "hour": lambda each: each.started_at_ms // 3_600_000 * 3600,
}


def expected(found: Sequence[LedgerRow], by: str, since: int) -> dict[Any, list[int]]:
    """The sums, by adding up the rows one by one."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 8)
    for each in found:
        if each.started_at_ms < since // HOUR * HOUR * 1000:
            continue
        group = sums[GROUP_OF[by](each)]
        added = (
            *(each.attempt == 0, each.status != "ok", each.usage_source != "reported"),
            *(
                each.place.price_source == "unpriced" and not each.cost_nanodollars,
                each.input_tokens,
                each.output_tokens,
            ),
            *(each.cached_tokens, each.cost_nanodollars),
        )
        group[:] = [a + b for a, b in zip(group, added, strict=True)]
    return dict(sums)


def sums_of(report: Sequence[UsageRow]) -> dict[Any, list[int]]:
    found = {
        each.group: [
            *(each.requests, each.errors, each.estimated, each.unpriced),
            *(each.input_tokens, each.output_tokens, each.cached_tokens, each.cost_nanodollars),
        ]
        for each in report
    }
    assert len(found) == len(report)
    return found


async def make_keys(database: Database, keys: ApiKeys) -> None:
    """Keys 1 to 4 and their owners."""
    for email in ("a@example.org", "b@example.org"):
        await Users(database).create(email)
    for key_id, user_id in OWNERS.items():
        await keys.create(NewKey(name=f"key {key_id}", user_id=user_id))


def test_every_group_and_range_is_what_the_rows_add_up_to(tmp_path: Path) -> None:
    found = random_rows(3000, seed=1)
    fill(tmp_path, found)
    drawn, edges = random.Random(2), [BEGIN + 5 * 86_400, BEGIN + 5 * 86_400 + 7 * HOUR]
    since = [0, BEGIN - 86_400, BEGIN, BEGIN + DAYS * 86_400 - HOUR, BEGIN + (DAYS + 1) * 86_400]
    since += [edge + more for edge in edges for more in (-HOUR, -1, 0, 1, HOUR - 1, HOUR)]
    since += [BEGIN + drawn.randrange(DAYS * 86_400) for _ in range(20)]

    async def test() -> None:
        async with reading(tmp_path) as (reader, database, keys):
            await make_keys(database, keys)
            for by, second in itertools.product(GROUPS, since):
                report = sums_of(await reader.report(by, second))
                assert report == expected(found, by, second), (by, second)

    run(test)
    assert expected(found, "model", since[4]) == {}  # the last of the edges is behind everything


def test_reports_stay_the_same_when_the_rows_are_gone(tmp_path: Path) -> None:
    found = random_rows(500, seed=3)
    fill(tmp_path, found)
    with connected(make_data_dir(tmp_path)) as connection:
        Retention(connection, Keep(1), lambda: BEGIN + 100 * 86_400).delete_some()
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (0,)

    async def test() -> None:
        async with reading(tmp_path) as (reader, database, keys):
            await make_keys(database, keys)
            for by in GROUPS:
                assert sums_of(await reader.report(by, 0)) == expected(found, by, 0)
            assert all(key.is_equal for key in await reader.verify())

    run(test)


def test_reports_are_in_order(tmp_path: Path) -> None:
    fill(tmp_path, random_rows(300, seed=4))

    async def test() -> None:
        async with reading(tmp_path) as (reader, database, keys):
            await make_keys(database, keys)
            for by in GROUPS:
                groups = [each.group for each in await reader.report(by, 0)]
                assert groups == sorted(groups, key=lambda group: (group is not None, group)), by

    run(test)


def test_keys_and_users_are_named(tmp_path: Path) -> None:
    """Key 9 is no longer there, and key 4 was never a user's."""
    fill(tmp_path, [row(number, key_id=key_id) for number, key_id in enumerate((1, 2, 3, 4, 9))])

    async def test() -> None:
        async with reading(tmp_path) as (reader, database, keys):
            await make_keys(database, keys)
            found = [(each.group, each.name, each.requests) for each in await reader.report("key", 0)]
            assert found == [*((number, f"key {number}", 1) for number in (1, 2, 3, 4)), (9, None, 1)]
            users = [(each.group, each.name, each.requests) for each in await reader.report("user", 0)]
            assert users == [(None, None, 2), (1, "a@example.org", 2), (2, "b@example.org", 1)]
            for by in ("model", "provider", "day", "hour"):
                assert [each.name for each in await reader.report(by, 0)] == [None]

    run(test)


def test_an_empty_database_has_nothing_to_report(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as (reader, database, keys):
            await make_keys(database, keys)
            for by in GROUPS:
                assert await reader.report(by, 0) == []
            assert await reader.verify() == []
            assert await spent(reader, 1, 0) == 0
            with pytest.raises(NotFound):
                await reader.correct("ab" * 15, 1)

    run(test)


def test_the_spend_of_a_window(tmp_path: Path) -> None:
    others = [row(4, key_id=2), row(5, key_id=3, window=BEGIN)]
    fill(tmp_path, [row(1), row(2, cost_nanodollars=7), row(3, window=BEGIN), *others])

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            wanted = [(1, 0), (1, BEGIN), (2, 0), (2, BEGIN), (3, 0)]
            assert [await spent(reader, *each) for each in wanted] == [107, 100, 100, 0, 0]

    run(test)


def verified(directory: Path) -> list[KeySums]:
    found: list[KeySums] = []

    async def test() -> None:
        async with reading(directory) as (reader, _, _):
            found.extend(await reader.verify())

    run(test)
    return found


def test_sums_that_agree(tmp_path: Path) -> None:
    found = random_rows(500, seed=5)
    fill(tmp_path, found)
    for key in verified(tmp_path):
        own = [each.cost_nanodollars for each in found if each.key_id == key.key_id]
        assert key.rows == key.spend == key.hours == key.days == (len(own), sum(own))
        assert key.is_equal


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rows", "UPDATE ledger SET cost_nanodollars = cost_nanodollars + 1 WHERE key_id = 3"),
        ("rows", "DELETE FROM ledger WHERE key_id = 3"),
        ("rows", "INSERT INTO ledger_closed VALUES (3, 0, 1, 0)"),
        ("rows", "INSERT INTO ledger_closed VALUES (3, 0, 0, -1)"),
        ("spend", "UPDATE key_spend SET cost_nanodollars = cost_nanodollars - 1 WHERE key_id = 3"),
        ("spend", "UPDATE key_spend SET row_count = row_count + 1 WHERE key_id = 3"),
        ("spend", "DELETE FROM key_spend WHERE key_id = 3"),
        ("hours", "UPDATE usage_hourly SET cost_nanodollars = cost_nanodollars + 1 WHERE key_id = 3"),
        ("hours", "DELETE FROM usage_hourly WHERE key_id = 3"),
        ("days", "UPDATE usage_daily SET row_count = row_count - 1 WHERE key_id = 3"),
        ("days", "DELETE FROM usage_daily WHERE key_id = 3"),
    ],
)
def test_a_difference_is_found_and_its_key_named(tmp_path: Path, what: str, change: str) -> None:
    fill(tmp_path, random_rows(60, seed=6))
    right = {key.key_id: key for key in verified(tmp_path)}
    execute(tmp_path, change)
    found = {key.key_id: key for key in verified(tmp_path)}
    assert [key_id for key_id, key in found.items() if not key.is_equal] == [3]
    changed = [
        name for name in ("rows", "spend", "hours", "days") if getattr(found[3], name) != right[3].spend
    ]
    assert changed == [what]


def test_sums_of_a_key_without_a_row_are_a_difference(tmp_path: Path) -> None:
    fill(tmp_path, [row(1)])
    execute(tmp_path, "INSERT INTO key_spend VALUES (5, 0, 1, 10)")
    assert [key.key_id for key in verified(tmp_path) if not key.is_equal] == [5]


def costs(directory: Path) -> tuple[int, ...]:
    """Of everything: rows, spend, hours, days."""
    tables = ("ledger", "key_spend", "usage_hourly", "usage_daily")
    return tuple(execute(directory, f"SELECT sum(cost_nanodollars) FROM {table}")[0][0] for table in tables)


@pytest.mark.parametrize("source", ["lease", "estimated"])
def test_a_correction_changes_the_row_and_every_sum(tmp_path: Path, source: str) -> None:
    wrong = row(7, BEGIN + 30 * HOUR, key_id=2, window=BEGIN, usage_source=source, cost_nanodollars=5000)
    others = random_rows(200, seed=7)
    fill(tmp_path, [*others, wrong])
    before = costs(tmp_path)

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            before = await spent(reader, 2, BEGIN)
            assert await reader.correct(wrong.request_id, 1200) == -3800
            assert await spent(reader, 2, BEGIN) == before - 3800
            right = [*others, wrong._replace(cost_nanodollars=1200)]
            for by in ("model", "provider", "key", "day", "hour"):
                for since in (0, BEGIN + 30 * HOUR, BEGIN + 31 * HOUR):
                    assert sums_of(await reader.report(by, since)) == expected(right, by, since)
            assert all(key.is_equal for key in await reader.verify())

    run(test)
    assert execute(tmp_path, "SELECT number, key_id, window, nanodollars FROM corrections") == [
        (1, 2, BEGIN, -3800)
    ]
    assert costs(tmp_path) == tuple(cost - 3800 for cost in before)
    query = "SELECT cost_nanodollars, usage_source FROM ledger WHERE request_id = ?"
    assert execute(tmp_path, query, (wrong.request_id,)) == [(1200, "corrected")]


def test_what_was_corrected_can_be_corrected_again(tmp_path: Path) -> None:
    wrong = row(1, usage_source="lease", cost_nanodollars=5000)
    fill(tmp_path, [wrong, row(2)])

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            changes = [(10, -4990), (10, 0), (0, -10), (MOST_NANODOLLARS,) * 2, (3, 3 - MOST_NANODOLLARS)]
            for cost, difference in changes:
                assert await reader.correct(wrong.request_id, cost) == difference
                assert await spent(reader, 1, 0) == cost + 100

    run(test)
    assert costs(tmp_path) == (103, 103, 103, 103)
    assert differences(make_data_dir(tmp_path)) == []


def test_of_several_attempts_the_last_that_was_guessed_is_corrected(tmp_path: Path) -> None:
    sources = ("estimated", "lease", "none", "reported")
    fill(tmp_path, [row(1, attempt=number, usage_source=source) for number, source in enumerate(sources)])

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            assert await reader.correct(row(1).request_id, 130) == 30

    run(test)
    query = "SELECT cost_nanodollars, usage_source FROM ledger ORDER BY attempt"
    after = [(100, "estimated"), (130, "corrected"), (100, "none"), (100, "reported")]
    assert execute(tmp_path, query) == after
    assert costs(tmp_path) == (430, 430, 430, 430)


@pytest.mark.parametrize(
    ("source", "request_id", "cost", "error"),
    [
        ("reported", row(1).request_id, 5, Invalid),
        ("none", row(1).request_id, 5, Invalid),
        ("lease", row(2).request_id, 5, NotFound),
        ("lease", "", 5, NotFound),
        ("lease", row(1).request_id[:-1], 5, NotFound),
        ("lease", "%", 5, NotFound),
        ("lease", row(1).request_id, -1, Invalid),
        ("lease", row(1).request_id, MOST_NANODOLLARS + 1, Invalid),
    ],
)
def test_a_correction_that_is_refused_changes_nothing(
    tmp_path: Path, source: str, request_id: str, cost: int, error: type[Exception]
) -> None:
    fill(tmp_path, [row(1, usage_source=source)])

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            with pytest.raises(error):
                await reader.correct(request_id, cost)

    run(test)
    assert costs(tmp_path) == (100, 100, 100, 100)
    assert execute(tmp_path, "SELECT usage_source FROM ledger") == [(source,)]
    assert execute(tmp_path, "SELECT * FROM corrections") == []


def test_a_correction_that_fails_in_the_middle_has_not_happened(tmp_path: Path) -> None:
    fill(tmp_path, [row(1, usage_source="lease")])
    trigger = "CREATE TRIGGER fails BEFORE UPDATE ON usage_daily BEGIN SELECT raise(ABORT, 'full'); END"
    execute(tmp_path, trigger)

    async def test() -> None:
        async with reading(tmp_path) as (reader, _, _):
            with pytest.raises(sqlite3.IntegrityError, match="full"):
                await reader.correct(row(1).request_id, 5)

    run(test)
    assert costs(tmp_path) == (100, 100, 100, 100)
    assert execute(tmp_path, "SELECT * FROM corrections") == []


def test_the_benchmark_of_a_large_ledger_runs_and_its_sums_agree(tmp_path: Path) -> None:
    command = [sys.executable, str(SIZE), "--rows", "20000", "--dir", str(tmp_path), "--unjudged"]
    command += ["--crowds", "1", "--crowd-seconds", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[:40].split("  ")[0]: line for line in done.stdout.splitlines()}
    assert {"file", "start until /health", "report by model, 30 days", "ratio of the two"} <= lines.keys()
    assert {"page: overview, 30 days", "page: requests", "ratio of the two p99"} <= lines.keys()
    assert lines["rows counted"].endswith(" 51,000  [51,000]")
    assert lines["keys whose sums differ"].endswith(" 0  [0]")
    assert list(tmp_path.iterdir()) == []
