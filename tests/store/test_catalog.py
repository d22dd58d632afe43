"""Lists of models at rest: put in whole, kept where reading fails, read by one process of several."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from store.catalog import CatalogLists, Changes, ListPlace, ModelRow
from store.database import Database
from tests.store.stores import opened, run

PLACE = ListPlace("openai", "openai", "https://api.openai.com/v1")
OTHER = ListPlace("lab", "vllm", "http://lab:8000/v1")
NOW = 1_790_000_000
HOUR = 3600


def model(name: str, *, context: int | None = None, retires: str | None = None) -> ModelRow:
    return ModelRow(name, "chat", context, None, 1_700_000_000, retires, "{}")


def test_a_list_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            rows = [model("a", context=7, retires="2027-01-14"), model("org/b")]
            assert await lists.save(PLACE, rows, 42, NOW, NOW + HOUR) == Changes(["a", "org/b"], [], [])
            found, models, _ = await lists.load()
            assert [(row.place, row.read_at, row.latency_ms, row.failing_since) for row in found] == [
                (PLACE, NOW, 42, None)
            ]
            assert models == {"openai": rows}

    run(test)


def test_what_is_new_gone_and_changed_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            await lists.save(PLACE, [model("a"), model("b"), model("c")], 1, NOW, NOW)
            after = [model("b"), model("c", context=9), model("d")]
            assert await lists.save(PLACE, after, 1, NOW, NOW) == Changes(["d"], ["a"], ["c"])
            assert await lists.save(PLACE, after, 1, NOW, NOW) == Changes([], [], [])
            assert (await lists.load())[1] == {"openai": after}

    run(test)


def test_a_list_that_cannot_be_read_stays_as_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            await lists.save(PLACE, [model("a")], 1, NOW, NOW + HOUR)
            await lists.fail(PLACE, "no answer", True, NOW + 10, NOW + 20)
            await lists.fail(PLACE, "refused", False, NOW + 30, NOW + 40)
            ((row,), models, _) = await lists.load()
            assert models == {"openai": [model("a")]} and row.read_at == NOW
            assert (row.failing_since, row.failure, row.is_outage) == (NOW + 10, "refused", False)
            await lists.save(PLACE, [model("a")], 1, NOW + 50, NOW + HOUR)
            ((row,), _, _) = await lists.load()
            assert (row.failing_since, row.failure, row.is_outage) == (None, "", False)

    run(test)


def test_a_provider_that_moved_has_no_list_yet(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            await lists.save(PLACE, [model("a")], 1, NOW, NOW + HOUR)
            moved = PLACE._replace(base_url="https://eu.api.openai.com/v1")
            await lists.fail(moved, "no answer", True, NOW, NOW)
            ((row,), models, _) = await lists.load()
            assert (row.place, row.read_at, models) == (moved, None, {})

    run(test)


def test_every_try_moves_the_version_and_a_turn_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            versions = [await lists.version()]
            await lists.take_turns([PLACE], NOW, NOW + 60)
            assert await lists.version() == versions[0]
            for _ in range(2):
                await lists.save(PLACE, [model("a")], 1, NOW, NOW)
                versions.append(await lists.version())
                await lists.fail(PLACE, "no answer", True, NOW, NOW)
                versions.append(await lists.version())
            assert versions == sorted(set(versions))
            assert (await lists.load())[2] == versions[-1]

    run(test)


def test_a_list_is_one_readers_turn(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            other = await Database.open(tmp_path / "rooya.db")
            try:
                both = [CatalogLists(database), CatalogLists(other)]
                turns = [each.take_turns([PLACE, OTHER], NOW, NOW + 60) for each in both * 3]
                taken = await asyncio.gather(*turns)
                assert sorted(name for names in taken for name in names) == ["lab", "openai"]
            finally:
                await other.close()

    run(test)


@pytest.mark.parametrize(
    ("now", "since", "is_due"),
    [
        (NOW + HOUR - 1, 0, False),
        (NOW + HOUR, 0, True),
        (NOW + 59, NOW - 1, False),  # a start: it was read a moment ago
        (NOW + 61, NOW + 1, True),  # a start: it was not
        (NOW - 9, 0, True),  # the clock was wrong when it was read
    ],
)
def test_a_list_is_due_after_its_time(tmp_path: Path, now: int, since: int, is_due: bool) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            assert await lists.take_turns([PLACE], NOW, NOW + 60) == {"openai"}
            await lists.save(PLACE, [], 1, NOW, NOW + HOUR)
            assert await lists.take_turns([PLACE], now, now + 60, since) == ({"openai"} if is_due else set())

    run(test)


def test_a_readers_turn_ends_where_it_died(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            lists = CatalogLists(database)
            assert await lists.take_turns([PLACE], NOW, NOW + 60)
            assert not await lists.take_turns([PLACE], NOW + 59, NOW + 119)
            assert await lists.take_turns([PLACE], NOW + 60, NOW + 120)

    run(test)
