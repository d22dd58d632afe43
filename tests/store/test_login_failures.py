"""Who fails to sign in too often waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

from store.login_failures import (
    FORGET_SECONDS,
    FREE_OF_ACCOUNT,
    FREE_OF_ADDRESS,
    MOST_WAIT_SECONDS,
    LoginFailures,
)
from tests.store.stores import Clock, opened, run


def test_an_account_s_attempts_wait_longer_and_longer_from_wherever_they_come(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            failures = LoginFailures(database, clock)
            for number in range(FREE_OF_ACCOUNT):
                assert await failures.begin("ada@example.org", f"192.0.2.{number}") == 0
            waits = []
            while not waits or waits[-1] < MOST_WAIT_SECONDS:
                wait = await failures.begin(" ADA@example.org", "198.51.100.1")
                assert wait > 0
                waits.append(wait)
                clock.now += wait
                assert await failures.begin("ada@example.org", "198.51.100.2") == 0
            assert waits[:3] == [2, 4, 8] and waits == sorted(waits)
            assert await failures.begin("bob@example.org", "192.0.2.1") == 0

    run(test)


def test_many_at_once_are_not_let_through_together(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            failures = LoginFailures(database, Clock())
            waits = await asyncio.gather(*(failures.begin("ada@example.org", "") for _ in range(50)))
            assert waits.count(0) == FREE_OF_ACCOUNT

    run(test)


def test_an_address_that_tries_many_accounts_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            failures = LoginFailures(database, Clock())
            for number in range(FREE_OF_ADDRESS):
                assert await failures.begin(f"{number}@example.org", "192.0.2.1") == 0
            assert await failures.begin("new@example.org", "192.0.2.1") > 0
            assert await failures.begin("new@example.org", "192.0.2.2") == 0

    run(test)


def test_success_forgives_the_account_and_time_forgives_all(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            failures = LoginFailures(database, clock)
            for _ in range(FREE_OF_ACCOUNT):
                await failures.begin("ada@example.org", "192.0.2.1")
            await failures.succeeded("Ada@example.org", "192.0.2.1")
            for _ in range(FREE_OF_ACCOUNT):
                assert await failures.begin("ada@example.org", "192.0.2.1") == 0
            assert await failures.begin("ada@example.org", "192.0.2.1") > 0
            clock.now += FORGET_SECONDS + 1
            assert await failures.begin("ada@example.org", "192.0.2.1") == 0

    run(test)


def test_what_was_typed_as_an_address_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            await LoginFailures(database).begin("my password by mistake", "192.0.2.1")
        for file in tmp_path.iterdir():
            assert b"by mistake" not in file.read_bytes()

    run(test)
