"""Open pages hear of news in time, all by one look; they are so many and no more; a drain ends them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from handlers.live import MOST_LISTENERS, MOST_OF_ONE, Live
from store.errors import Overloaded, StoreUnavailable
from tests.store.stores import run, until


class Ledger:
    """What Live looks at."""

    def __init__(self) -> None:
        self.mark = 0
        self.looks = 0
        self.open: Counter[int] = Counter()
        self.is_draining = False
        self.is_down = False

    async def look(self) -> int:
        self.looks += 1
        if self.is_down:
            raise StoreUnavailable("down")
        return self.mark


@contextlib.asynccontextmanager
async def watched(ledger: Ledger) -> AsyncIterator[Live]:
    live = Live(
        mark=ledger.look,
        open_keys=lambda: Counter(ledger.open),
        is_draining=lambda: ledger.is_draining,
        period_seconds=0.01,
    )
    try:
        yield live
    finally:
        await live.close()


def test_all_who_listen_hear_of_a_call_by_one_look() -> None:
    async def test() -> None:
        ledger = Ledger()
        async with watched(ledger) as live:
            with contextlib.ExitStack() as stack:
                listeners = [stack.enter_context(live.listening(number)) for number in range(20)]
                for change in ("first", "mark", "open"):
                    ledger.mark += change == "mark"
                    ledger.open[7] += change == "open"
                    await asyncio.wait_for(asyncio.gather(*(one.news.wait() for one in listeners)), 5)
                    for one in listeners:
                        one.news.clear()
                looks = ledger.looks
                await until(lambda: ledger.looks > looks + 3)
                assert not any(one.news.is_set() for one in listeners)  # nothing new, nothing told

    run(test)


def test_nothing_is_looked_at_while_nobody_listens() -> None:
    async def test() -> None:
        ledger = Ledger()
        async with watched(ledger) as live:
            with live.listening(1):
                await until(lambda: ledger.looks > 1)
            await until(lambda: live._task is not None and live._task.done())
            looks = ledger.looks
            with live.listening(1) as again:
                ledger.mark += 1
                await asyncio.wait_for(again.news.wait(), 5)
            assert ledger.looks > looks

    run(test)


def test_there_are_so_many_listeners_and_no_more() -> None:
    async def test() -> None:
        async with watched(Ledger()) as live:
            with contextlib.ExitStack() as stack:
                for _ in range(MOST_OF_ONE):
                    stack.enter_context(live.listening("one"))
                with pytest.raises(Overloaded):
                    stack.enter_context(live.listening("one"))
                for number in range(MOST_LISTENERS - MOST_OF_ONE):
                    stack.enter_context(live.listening(number))
                with pytest.raises(Overloaded):
                    stack.enter_context(live.listening("another"))
            with live.listening("one"):
                pass

    run(test)


def test_a_drain_ends_them_all() -> None:
    async def test() -> None:
        ledger = Ledger()
        async with watched(ledger) as live:
            with live.listening(1) as one, live.listening(2) as two:
                ledger.is_draining = True
                await until(lambda: one.has_ended and two.has_ended)
                assert one.news.is_set() and two.news.is_set()

    run(test)


def test_a_database_that_is_down_is_waited_for() -> None:
    async def test() -> None:
        ledger = Ledger()
        async with watched(ledger) as live:
            with live.listening(1) as one:
                await asyncio.wait_for(one.news.wait(), 5)
                one.news.clear()
                ledger.is_down = True
                ledger.mark += 1
                looks = ledger.looks
                await until(lambda: ledger.looks > looks + 3)
                assert not one.news.is_set()
                ledger.is_down = False
                await asyncio.wait_for(one.news.wait(), 5)

    run(test)


def test_a_view_is_made_once_for_all_who_ask_and_anew_when_there_are_news() -> None:
    async def test() -> None:
        ledger = Ledger()
        made: list[str] = []

        async def make() -> str:
            made.append("x")
            await asyncio.sleep(0.01)
            return str(len(made))

        async with watched(ledger) as live:
            with live.listening(1) as one:
                await asyncio.wait_for(one.news.wait(), 5)
                one.news.clear()
                assert await asyncio.gather(*(live.view("a", make) for _ in range(9))) == ["1"] * 9
                assert await live.view("b", make) == "2"
                assert await live.view("a", make) == "1"
                ledger.mark += 1
                await asyncio.wait_for(one.news.wait(), 5)
                assert await live.view("a", make) == "3"

    run(test)


def test_a_view_that_failed_is_made_again_and_who_leaves_takes_it_from_nobody() -> None:
    async def test() -> None:
        go = asyncio.Event()
        outcomes = [StoreUnavailable("down"), None]

        async def make() -> str:
            await go.wait()
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            return "made"

        async with watched(Ledger()) as live:
            leaving, staying = (asyncio.create_task(live.view("a", make)) for _ in range(2))
            await asyncio.sleep(0)
            leaving.cancel()
            go.set()
            with pytest.raises(StoreUnavailable):
                await staying
            assert await live.view("a", make) == "made"

    run(test)
