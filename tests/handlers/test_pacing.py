"""A burst of pages is free, a loop of them is not, and no account pays for another."""

from __future__ import annotations

import asyncio

import pytest

from handlers.pacing import BURST_SECONDS, SHARE, Pace
from tests.store.stores import run


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_few_pages_at_once_wait_for_nothing() -> None:
    pace = Pace(Clock())
    for _ in range(10):
        assert pace.wait_seconds("one") == 0
        pace.spend("one", BURST_SECONDS / 10)
    pace.spend("one", 0.1)
    assert pace.wait_seconds("one") == pytest.approx(0.1 / SHARE)
    assert pace.wait_seconds("another") == 0


def test_a_loop_gets_its_share_of_the_time_and_no_more() -> None:
    clock = Clock()
    pace = Pace(clock)
    spent = 0.0
    while clock.now < 2000:
        clock.now += pace.wait_seconds("one")
        clock.now += 0.05
        pace.spend("one", 0.05)
        spent += 0.05
    assert spent == pytest.approx(1000 * SHARE + BURST_SECONDS, rel=0.05)


def test_what_was_spent_comes_back() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.spend("one", 5 * BURST_SECONDS)
    assert pace.wait_seconds("one") > 0
    clock.now += 5 * BURST_SECONDS / SHARE
    for _ in range(9):
        assert pace.wait_seconds("one") == 0
        pace.spend("one", BURST_SECONDS / 10)


def test_who_waits_is_let_on() -> None:
    async def test() -> None:
        pace = Pace(asyncio.get_running_loop().time, burst_seconds=0)
        pace.spend("one", 0.02 * SHARE)
        await asyncio.wait_for(pace.wait("one"), 5)
        assert pace.wait_seconds("one") == 0

    run(test)
