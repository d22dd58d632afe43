"""The log by the page: all that is wanted, once, in order, whatever is looked for and comes meanwhile."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from store import requests
from store.ledger import LedgerWriter
from store.readers import Readers
from store.reports import Scope
from store.requests import Cursor, Request, RequestLog, Wanted
from store.types import LedgerRow
from tests.store.books import connected, make_data_dir
from tests.store.stores import run
from tests.store.test_reports import own_keys
from tests.store.test_usage import BEGIN, OWNERS, PLACES, fill, random_rows, row


@contextlib.asynccontextmanager
async def logged(directory: Path, *, is_hurried: bool = False) -> AsyncIterator[RequestLog]:
    """is_hurried: the time is over after every stretch."""
    readers = Readers(make_data_dir(directory).database, 20)
    ticks = iter(range(10**9))
    try:
        yield RequestLog(readers, clock=(lambda: float(next(ticks))) if is_hurried else (lambda: 0.0))
    finally:
        await readers.close()


async def everything(log: RequestLog, wanted: Wanted, most: int = 7) -> list[Request]:
    """All pages, one after the other."""
    found: list[Request] = []
    before: Cursor | None = None
    while True:
        page = await log.page(wanted, before, most)
        assert len(page.rows) <= most and (page.is_cut or page.older is None or len(page.rows) == most)
        found += page.rows
        if page.older is None:
            return found
        assert before is None or page.older < before
        before = page.older


def is_wanted(each: LedgerRow, wanted: Wanted) -> bool:
    scope = wanted.scope
    at_ms = int(each.request_id[:12], 16)
    source = "unpriced" if each.place.price_source == "unpriced" and not each.cost_nanodollars else ""
    return (
        (scope.user_id is None or OWNERS[each.key_id] == scope.user_id)
        and (scope.key_id is None or each.key_id == scope.key_id)
        and wanted.model in (None, each.model)
        and wanted.provider in (None, each.provider)
        and wanted.status in (None, each.status, "failed" if each.status != "ok" else None)
        and (
            wanted.source in (None, each.usage_source, source or None)
            or (wanted.source == "unreported" and each.usage_source != "reported")
        )
        and each.request_id.startswith(wanted.request_id)
        and wanted.since_ms <= at_ms
        and (wanted.until_ms is None or at_ms < wanted.until_ms)
    )


def wishes(rows: list[LedgerRow], seed: int) -> list[Wanted]:
    drawn = random.Random(seed)
    some = rows[drawn.randrange(len(rows))]
    day_ms = BEGIN * 1000 + drawn.randrange(40) * 86_400_000
    return [
        Wanted(),
        Wanted(Scope(1)),
        Wanted(Scope(2), status="failed"),
        Wanted(Scope(99)),
        Wanted(Scope(1, 3)),
        Wanted(Scope(None, 4), model="mistral"),
        Wanted(model="gpt-4o", provider="azure"),
        Wanted(model="nothing"),
        Wanted(status="timeout"),
        Wanted(status="ok", source="estimated"),
        Wanted(source="unpriced"),
        Wanted(source="lease"),
        Wanted(Scope(1), source="unreported"),
        Wanted(source="reported"),
        Wanted(request_id=some.request_id),
        Wanted(Scope(OWNERS[some.key_id]), request_id=some.request_id),
        Wanted(Scope(3 - (OWNERS[some.key_id] or 1)), request_id=some.request_id),
        Wanted(request_id=some.request_id[:8]),
        Wanted(request_id="f" * 30),
        Wanted(since_ms=day_ms, until_ms=day_ms + 86_400_000 * 3),
        Wanted(Scope(1), since_ms=day_ms + 1, until_ms=day_ms + 7_200_001),
        Wanted(Scope(2), until_ms=day_ms + 1_234_567),
    ]


@pytest.mark.parametrize("is_hurried", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_row_that_is_wanted_is_there_once_and_no_other(
    tmp_path: Path, seed: int, is_hurried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ROWS_A_STRETCH", 3)  # so that hours are read in parts
    drawn = random.Random(seed)
    rows = [  # an attempt may begin minutes after the call, in another hour or day
        each._replace(started_at_ms=each.started_at_ms + drawn.choice((0, 0, 40_000, 890_000)))
        for each in random_rows(1500, seed)
    ]
    fill(tmp_path, rows)
    own_keys(tmp_path)

    async def test() -> None:
        async with logged(tmp_path, is_hurried=is_hurried) as log:
            for wanted in wishes(rows, seed):
                found = await everything(log, wanted)
                expected = [each for each in rows if is_wanted(each, wanted)]
                expected.sort(key=lambda each: (each.request_id, each.attempt), reverse=True)
                assert [(one.request_id, one.attempt) for one in found] == [
                    (each.request_id, each.attempt) for each in expected
                ], wanted

    run(test)


def test_a_row_is_shown_as_it_was_written(tmp_path: Path) -> None:
    written = row(3, where=PLACES[2], key_id=2, first_byte_ms=5, details='{"variant": "flex"}', attempt=1)
    fill(tmp_path, [written])
    own_keys(tmp_path)

    async def test() -> None:
        async with logged(tmp_path) as log:
            (found,) = await everything(log, Wanted())
        shared = set(Request._fields) & set(LedgerRow._fields)
        assert {name: getattr(found, name) for name in shared} == {
            name: getattr(written, name) for name in shared
        }
        assert (found.key_name, found.price_source) == ("name of 2", "unpriced")

    run(test)


def test_pages_are_steady_while_calls_come_in(tmp_path: Path) -> None:
    """What comes later is on no older page, and moves nothing there."""
    rows = [row(number, BEGIN + number) for number in range(100)]
    fill(tmp_path, rows)

    async def test() -> None:
        async with logged(tmp_path) as log:
            seen: list[Request] = []
            before: Cursor | None = None
            for number in range(10):
                page = await log.page(Wanted(), before, 10)
                seen += page.rows
                before = page.older
                with connected(make_data_dir(tmp_path)) as connection:
                    new = [row(1000 + number * 10 + more, BEGIN + 1000 + number) for more in range(10)]
                    LedgerWriter(connection).write(new, 0, 1, 0)
            assert before is None
            assert [one.request_id for one in seen] == [each.request_id for each in reversed(rows)]

    run(test)


def test_a_wish_for_another_users_key_finds_nothing(tmp_path: Path) -> None:
    rows = [row(number, BEGIN + number, key_id=1 + number % 4) for number in range(40)]
    fill(tmp_path, rows)
    own_keys(tmp_path)

    async def test() -> None:
        async with logged(tmp_path) as log:
            for user, keys in ((1, {1, 2}), (2, {3})):
                for wanted in (
                    Wanted(Scope(user)),
                    Wanted(Scope(user), status="ok"),
                    Wanted(Scope(user), model="gpt-4o"),
                ):
                    assert {one.key_id for one in await everything(log, wanted)} == keys
                for key in {1, 2, 3, 4} - keys:
                    wanted = Wanted(Scope(user, key))
                    assert await everything(log, wanted) == []
                    assert await everything(log, replace(wanted, request_id=rows[key - 1].request_id)) == []

    run(test)


@pytest.mark.parametrize("name", ["ROWS", "DAYS", "HOURS", "COUNT", "OLDEST"])
def test_a_page_reads_parts_of_the_tables(tmp_path: Path, name: str) -> None:
    names = ("user", "key", "model", "provider", "status", "source", "from", "id", "attempt", "most", "first")
    values = dict.fromkeys((*names, "last", "day"))
    with connected(make_data_dir(tmp_path)) as connection:
        query = f"EXPLAIN QUERY PLAN {getattr(requests, name)}"
        plan = [line[3] for line in connection.execute(query, (1, 2) if name == "COUNT" else values)]
    whole = [line for line in plan if line.startswith("SCAN s") or line.startswith("SCAN ledger")]
    assert not whole or name == "OLDEST", plan
    assert not any("TEMP B-TREE" in line for line in plan) or name in ("DAYS", "HOURS"), plan
