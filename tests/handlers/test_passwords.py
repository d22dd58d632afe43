"""Passwords: what is stored, what passes, what is too easy, and what a crowd is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from handlers.errors import Refused
from handlers.passwords import LONGEST, MOST_WAITING, Passwords
from store.errors import Invalid

GOOD = "rotten turnip cabinet 12"


def cheap() -> Passwords:
    return Passwords(time_cost=1, memory_kib=64)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(test(), 60)

    asyncio.run(within())


def test_only_the_password_itself_passes() -> None:
    async def test() -> None:
        passwords = cheap()
        stored = await passwords.hash(GOOD)
        assert stored.startswith("$argon2id$") and GOOD not in stored
        assert await passwords.check(GOOD, stored)
        for wrong in ("", GOOD + " ", GOOD.upper(), stored):
            assert not await passwords.check(wrong, stored)
        assert await passwords.hash(GOOD) != stored  # salted

    run(test)


def test_where_there_is_no_account_nothing_passes() -> None:
    async def test() -> None:
        passwords = cheap()
        for stored in (None, "", "garbage", "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$"):
            assert not await passwords.check("of nobody", stored)
            assert not await passwords.check("not of nobody", stored)

    run(test)


def test_a_hash_of_other_parameters_is_outdated() -> None:
    async def test() -> None:
        stored = await cheap().hash(GOOD)
        assert not cheap().is_outdated(stored)
        assert Passwords(time_cost=2, memory_kib=64).is_outdated(stored)
        assert await Passwords(time_cost=2, memory_kib=64).check(GOOD, stored)

    run(test)


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 10"), ("x" * (LONGEST + 1), "at most"), ("password123", "guessed"),
        ("ada@example.org", "guessed"), ("aaaaaaaaaaaaaaaaaaaa", "guessed"), ("qwertyuiop12", "guessed"),
    ],
)  # fmt: skip
def test_what_is_easily_guessed_is_refused(password: str, words: str) -> None:
    async def test() -> None:
        with pytest.raises(Invalid, match=words):
            await cheap().judge(password, "ada@example.org")

    run(test)


@pytest.mark.parametrize(
    "password", [GOOD, "пароль из десяти слов 42", "🦉 owl of the night 🦉", "\x00" * 3 + GOOD]
)
def test_what_is_hard_to_guess_is_taken_in_any_script(password: str) -> None:
    async def test() -> None:
        passwords = cheap()
        await passwords.judge(password, "ada@example.org")
        assert await passwords.check(password, await passwords.hash(password))

    run(test)


def test_a_crowd_is_refused_at_once_and_served_again_afterwards() -> None:
    async def test() -> None:
        passwords = cheap()
        stored = await passwords.hash(GOOD)
        checks = (passwords.check(GOOD, stored) for _ in range(MOST_WAITING + 8))
        outcomes = await asyncio.gather(*checks, return_exceptions=True)
        assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 8
        assert outcomes.count(True) == MOST_WAITING
        assert await passwords.check(GOOD, stored)

    run(test)


def test_who_leaves_gives_his_turn_back() -> None:
    async def test() -> None:
        passwords = cheap()
        stored = await passwords.hash(GOOD)
        for _ in range(2 * MOST_WAITING):
            task = asyncio.create_task(passwords.check(GOOD, stored))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await passwords.check(GOOD, stored)

    run(test)
