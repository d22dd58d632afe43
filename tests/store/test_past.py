"""What a limiter learns of a key that it meets: its spend, its last minute, its last day."""

from __future__ import annotations

from pathlib import Path

from store.past import PastReader
from tests.store.books import connected, ended, kept, make_data_dir, opened
from tests.store.stores import opened as opened_database
from tests.store.stores import run

NOW_MS = 1_790_000_000_000  # 200 s after a slice of ten minutes began


def test_a_key_is_known_by_its_rows_of_the_last_minute_and_day(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        for age_ms, key_id, attempt in (
            *((500, 7, 0), (900, 7, 0), (59_000, 7, 0), (60_500, 7, 0), (62_500, 7, 0)),
            *((100, 8, 0), (100, 7, 1), (23 * 3_600_000, 7, 0)),
        ):
            record = opened(key_id=key_id, attempt=attempt, started_at_ms=NOW_MS - age_ms)
            mover.journal.begin(record)
            mover.journal.settle(ended(record, 10, input_tokens=3, output_tokens=4))
    with connected(books) as connection:
        connection.execute("INSERT INTO key_tokens VALUES (?, 7, 1000)", ((NOW_MS // 600_000) - 145,))

    async def test() -> None:
        async with opened_database(tmp_path) as (database, _):
            past = await PastReader(database).read(7, 0, NOW_MS)
            assert past.spent_nanodollars == 70
            assert sorted(past.requests) == [
                (NOW_MS - 61_000, 1),  # the bucket of 60.5 s ago
                (NOW_MS - 59_000, 1),
                (NOW_MS - 1000, 2),
            ]
            assert sum(count for _, count in past.tokens) == 49
            assert past.correction == 0
            nothing = await PastReader(database).read(9, 0, NOW_MS)
            assert nothing == (0, [], [], 0)

    run(test)


def test_corrections_are_told_in_order_and_from_the_last_one_on(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with connected(books) as connection:
        for nanodollars in (-5, 7):
            connection.execute("INSERT INTO corrections VALUES (NULL, 7, 3, ?, 0)", (nanodollars,))

    async def test() -> None:
        async with opened_database(tmp_path) as (database, _):
            reader = PastReader(database)
            assert await reader.corrections(0) == [(1, 7, 3, -5), (2, 7, 3, 7)]
            assert await reader.corrections(1) == [(2, 7, 3, 7)]
            assert await reader.last_correction() == 2
            assert (await reader.read(7, 3, NOW_MS)).correction == 2

    run(test)
