"""Retention: old rows go in small batches, and every sum stays what it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store import retention
from store.ledger import LedgerWriter
from store.retention import DAY_MS, Keep, Retention
from store.types import LedgerRow, Place
from tests.store.books import connected, differences, make_data_dir, rows

NOW = 1_790_000_000  # Unix seconds
HOUR_MS = 3_600_000
PLACES = [
    Place("gpt-4o", "openai", "gpt-4o-2024-08-06", "chat", "test 1", '{"input": 1}'),
    Place("mistral", "mistral", "mistral-large", "chat", "unpriced", ""),
]
ENOUGH = 1 << 40


def row(number: int, age_ms: int, attempt: int = 0) -> LedgerRow:
    """One of three keys' calls, so long ago; costs differ and the third key's windows do."""
    place = PLACES[number % 2]
    started = NOW * 1000 - age_ms
    key_id = number % 3 + 1
    begun = started // DAY_MS * 86_400 if key_id == 3 else 0
    names = (place.model, place.provider, place.upstream_model, place.endpoint)
    return LedgerRow._make(
        (f"{started:012x}{'ab' * 5}{number:08x}", attempt, key_id, begun, *names, 0, "ok")
        + (10, 5, 2, 0, 0, 0, 100 + number, "reported", place, started, None, 12, None)
    )


class Shelf:
    """A database with rows, and what is deleted of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def put(self, found: Sequence[LedgerRow]) -> None:
        LedgerWriter(self.connection).write(found, 0, 1, 0)

    def retention(self, days: int = 30, size_bytes: int = ENOUGH) -> Retention:
        return Retention(self.connection, Keep(days, size_bytes), lambda: float(NOW))

    def delete_all(self, days: int = 30, size_bytes: int = ENOUGH) -> int:
        """Until nothing is left to delete; how many batches were followed by more."""
        retention = self.retention(days, size_bytes)
        batches = 0
        while retention.delete_some():
            batches += 1
            assert batches < 1000
        return batches

    def one(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]

    def count(self) -> int:
        return int(self.one("SELECT count(*) FROM ledger"))

    def closed(self) -> dict[tuple[int, int], tuple[int, int]]:
        found = self.connection.execute("SELECT * FROM ledger_closed").fetchall()
        return {(key, window): (count, cost) for key, window, count, cost in found}

    def sums(self) -> list[Any]:
        """All that must stay, whatever goes."""
        return [
            self.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("key_spend", "usage_hourly", "usage_daily")
        ]


@contextmanager
def shelf(directory: Path) -> Iterator[Shelf]:
    """Closed with its books in order."""
    books = make_data_dir(directory)
    with connected(books) as connection:
        yield Shelf(connection)
    assert differences(books) == []


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_A_BATCH", 10)


def closed_of(found: Sequence[LedgerRow]) -> dict[tuple[int, int], tuple[int, int]]:
    """What deleted rows add up to."""
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    for each in found:
        count, cost = sums.get((each.key_id, each.window), (0, 0))
        sums[each.key_id, each.window] = count + 1, cost + each.cost_nanodollars
    return sums


@pytest.mark.usefixtures("small_batches")
def test_rows_too_old_go_in_batches_and_no_sum_changes(tmp_path: Path) -> None:
    old = [row(number, 40 * DAY_MS - number * HOUR_MS) for number in range(95)]
    young = [row(number, 20 * DAY_MS - number * HOUR_MS) for number in range(100, 130)]
    with shelf(tmp_path) as kept:
        kept.put(old + young)
        before = kept.sums()
        assert kept.delete_all(days=30) == 9  # and the last 5 in a tenth that says there is no more
        assert kept.count() == 30
        assert kept.closed() == closed_of(old)
        assert kept.sums() == before
        assert kept.connection.execute("SELECT request_id FROM ledger ORDER BY 1").fetchall() == [
            (each.request_id,) for each in young
        ]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20])
def test_every_number_of_old_rows_is_deleted_whole(tmp_path: Path, count: int) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(number, 40 * DAY_MS) for number in range(count)])
        kept.delete_all(days=30)
        assert kept.count() == 0
        assert sum(n for n, _ in kept.closed().values()) == count


@pytest.mark.usefixtures("small_batches")
def test_one_call_deletes_one_batch_of_the_oldest(tmp_path: Path) -> None:
    with shelf(tmp_path) as kept:
        found = [row(number, 40 * DAY_MS - number) for number in range(25)]
        kept.put(found)
        assert kept.retention().delete_some() is True
        assert kept.closed() == closed_of(found[:10])
        assert kept.count() == 15


@pytest.mark.parametrize(("age_ms", "is_kept"), [(0, True), (DAY_MS, True), (DAY_MS + 1, False)])
def test_the_age_that_is_too_old(tmp_path: Path, age_ms: int, is_kept: bool) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(1, age_ms)])
        kept.delete_all(days=1)
        assert kept.count() == is_kept


def test_rows_of_now_and_of_a_clock_ahead_are_kept(tmp_path: Path) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(1, 0), row(2, -5 * DAY_MS), row(3, 1)])
        assert kept.delete_all(days=1) == 0
        assert kept.count() == 3
        assert kept.closed() == {}


def test_more_days_than_there_have_been_delete_nothing(tmp_path: Path) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(1, 0), row(2, 10_000 * DAY_MS)])
        assert kept.delete_all(days=1_000_000) == 0
        assert kept.count() == 2


@pytest.mark.usefixtures("small_batches")
def test_attempts_of_a_call_across_the_end_of_a_batch_are_counted_once_each(tmp_path: Path) -> None:
    found = [row(number // 3, 40 * DAY_MS, number % 3) for number in range(31)]
    with shelf(tmp_path) as kept:
        kept.put(found)
        before = kept.sums()
        kept.retention().delete_some()
        assert kept.closed() == closed_of(found[:10])
        kept.delete_all(days=30)
        assert kept.closed() == closed_of(found)
        assert kept.sums() == before


@pytest.mark.usefixtures("small_batches")
def test_a_database_too_large_loses_its_oldest_until_it_is_not(tmp_path: Path) -> None:
    found = [row(number, 20 * DAY_MS - number * 1000) for number in range(3000)]
    with shelf(tmp_path) as kept:
        kept.put(found)
        before = kept.sums()
        size = used(kept)
        bound = size - 100_000
        assert kept.delete_all(size_bytes=bound) > 0
        left = kept.count()
        assert 0 < left < 3000
        assert bound - 20_000 < used(kept) <= bound  # no more than it had to: a batch of 10 frees 2 KB
        assert kept.closed() == closed_of(found[: 3000 - left])
        assert kept.sums() == before


@pytest.mark.usefixtures("small_batches")
def test_a_bound_that_the_sums_alone_exceed_keeps_the_newest_rows_and_ends(tmp_path: Path) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(number, number * 1000) for number in range(1, 200)])
        before = kept.sums()
        kept.delete_all(size_bytes=1)
        assert 0 < kept.count() < 10  # less than a batch
        assert kept.sums() == before
        assert kept.retention(size_bytes=1).delete_some() is False


def used(kept: Shelf) -> int:
    pages, free = kept.one("PRAGMA page_count"), kept.one("PRAGMA freelist_count")
    return int((pages - free) * kept.one("PRAGMA page_size"))


def test_a_real_batch_is_a_thousand_rows(tmp_path: Path) -> None:
    with shelf(tmp_path) as kept:
        kept.put([row(number, 40 * DAY_MS - number) for number in range(2500)])
        assert [kept.retention().delete_some() for _ in range(3)] == [True, True, False]
        assert kept.count() == 0


@pytest.mark.usefixtures("small_batches")
def test_nothing_is_deleted_or_counted_twice(tmp_path: Path) -> None:
    found = [row(number, 40 * DAY_MS - number) for number in range(35)]
    with shelf(tmp_path) as kept:
        kept.put(found)
        kept.delete_all(days=30)
        closed = kept.closed()
        assert kept.delete_all(days=30) == 0
        assert kept.closed() == closed == closed_of(found)
        late = [row(number, 40 * DAY_MS - number) for number in range(50, 60)]
        kept.put(late)  # of a process that was recovered late: older than what is kept
        kept.delete_all(days=30)
        assert kept.closed() == closed_of(found + late)


@pytest.mark.usefixtures("small_batches")
def test_a_batch_that_fails_in_the_middle_has_not_happened(tmp_path: Path) -> None:
    found = [row(number, 40 * DAY_MS - number) for number in range(35)]
    with shelf(tmp_path) as kept:
        kept.put(found)
        before = kept.sums()
        kept.retention().delete_some()
        kept.connection.execute(
            f"""CREATE TRIGGER fails BEFORE DELETE ON ledger WHEN OLD.request_id = '{found[15].request_id}'
            BEGIN SELECT raise(ABORT, 'the disk is full'); END"""
        )
        for _ in range(2):
            with pytest.raises(sqlite3.Error, match="the disk is full"):
                kept.retention().delete_some()
            assert not kept.connection.in_transaction
            assert kept.count() == 25
            assert kept.closed() == closed_of(found[:10])
        assert differences(make_data_dir(tmp_path)) == []
        kept.connection.execute("DROP TRIGGER fails")
        kept.delete_all(days=30)
        assert kept.closed() == closed_of(found)
        assert kept.sums() == before


def test_a_database_that_is_locked_is_left_as_it_is(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with shelf(tmp_path) as kept, connected(books) as blocker:
        kept.put([row(1, 40 * DAY_MS)])
        kept.connection.execute("PRAGMA busy_timeout = 10")
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            kept.retention().delete_some()
        blocker.execute("ROLLBACK")
        assert len(rows(books)) == 1
        kept.delete_all(days=30)
        assert rows(books) == []


def test_tokens_are_kept_for_25_hours_and_the_rows_longer(tmp_path: Path) -> None:
    ages = (0, HOUR_MS, 24 * HOUR_MS, 25 * HOUR_MS, 26 * HOUR_MS, 48 * HOUR_MS)
    with shelf(tmp_path) as kept:
        kept.put([row(number, age) for number, age in enumerate(ages)])
        kept.delete_all(days=30)
        found = kept.connection.execute("SELECT slice * 600 FROM key_tokens ORDER BY 1 DESC").fetchall()
        assert [NOW - at for (at,) in found] == [pytest.approx(age / 1000, abs=600) for age in ages[:4]]
        assert kept.count() == 6
