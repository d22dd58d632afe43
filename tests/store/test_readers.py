"""Queries on threads of their own: they end in time, read only, and wait in bounded number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store import readers
from store.errors import Overloaded, StoreUnavailable, TookTooLong
from store.readers import Readers
from tests.store.books import make_data_dir
from tests.store.stores import run, until

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@contextlib.asynccontextmanager
async def reading(directory: Path, seconds: float = 20) -> AsyncIterator[Readers]:
    found = Readers(make_data_dir(directory).database, seconds)
    try:
        yield found
    finally:
        await found.close()


def endless(connection: sqlite3.Connection) -> object:
    return connection.execute(ENDLESS).fetchone()


def one(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT 1").fetchone()[0])


def test_a_query_that_takes_too_long_is_ended_and_the_next_one_answers(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path, 0.1) as found:
            for _ in range(3):
                with pytest.raises(TookTooLong):
                    await found.run(endless)
            assert await found.run(one) == 1

    run(test)


def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path, 0.3) as found:
            task = asyncio.create_task(found.run(endless))
            turns = 0
            while not task.done():
                turns += 1
                await asyncio.sleep(0.005)
            assert turns > 10
            with pytest.raises(TookTooLong):
                await task

    run(test)


def test_what_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path, 1000) as found:
            tasks = [asyncio.create_task(found.run(endless)) for _ in range(readers.THREADS)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            assert await found.run(one) == 1

    run(test)


def test_nothing_can_be_written(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as found:
            with pytest.raises(StoreUnavailable, match="readonly"):
                await found.run(lambda connection: connection.execute("DELETE FROM users"))

    run(test)


def test_who_comes_when_too_many_wait_is_told_so(tmp_path: Path) -> None:
    async def test() -> None:
        go = threading.Event()
        async with reading(tmp_path) as found:
            count = readers.THREADS + readers.MOST_WAITING
            tasks = [asyncio.create_task(found.run(lambda _: go.wait(10))) for _ in range(count)]
            await until(lambda: found._waiting == readers.MOST_WAITING)
            with pytest.raises(Overloaded):
                await found.run(one)
            go.set()
            assert all(await asyncio.gather(*tasks))
            assert await found.run(one) == 1

    run(test)


def test_all_statements_of_a_query_see_one_state(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as found:
            other = sqlite3.connect(tmp_path / "rooya.db", check_same_thread=False)
            with contextlib.closing(other):

                def twice(connection: sqlite3.Connection) -> list[int]:
                    count = "SELECT count(*) FROM corrections"
                    before = connection.execute(count).fetchone()[0]
                    with other:
                        other.execute("INSERT INTO corrections VALUES (NULL, 1, 1, 1, 1)")
                    return [before, connection.execute(count).fetchone()[0]]

                assert await found.run(twice) == [0, 0]
                assert await found.run(twice) == [1, 1]

    run(test)


def test_a_database_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    async def test() -> None:
        found = Readers(tmp_path / "none.db")
        with pytest.raises(StoreUnavailable):
            await found.run(one)
        await found.close()

    run(test)


def test_its_threads_let_others_go_first(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as found:
            nice = await found.run(lambda _: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            assert nice == readers.NICE

    run(test)
