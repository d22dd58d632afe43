"""Accounts: one for each address, and closed for good when disabled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from store.errors import Invalid, NotFound
from store.keys import NewKey
from store.users import Users
from tests.store.stores import opened, run


def test_an_address_is_taken_once_whatever_its_case(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users = Users(database, clock=lambda: 7.9)
            user = await users.create(" A@example.org", is_admin=True)
            assert (user.email, user.is_admin, user.created_at) == ("a@example.org", True, 7)
            for email in ("A@EXAMPLE.ORG", "nobody", "@x", "a@", "a b@c", "a\x1b@b", ""):
                with pytest.raises(Invalid):
                    await users.create(email)
            assert [user.email for user in await users.list()] == ["a@example.org"]

    run(test)


def test_a_disabled_account_keeps_its_row_and_loses_its_keys(tmp_path: Path) -> None:
    times = [50.0]

    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            users = Users(database, clock=lambda: times[0])
            user, other = await users.create("a@example.org"), await users.create("b@example.org")
            key, _ = await keys.create(NewKey(name="k", user_id=user.id))
            kept, _ = await keys.create(NewKey(name="k", user_id=other.id))
            before = await keys.version()
            assert (await users.disable("A@example.org")).disabled_at == 50
            assert await keys.version() > before
            found, _ = await keys.look_up(key.digest)
            assert found is not None and found.disabled_at == 50
            found, _ = await keys.look_up(kept.digest)
            assert found is not None and found.disabled_at is None
            times[0] = 60.0
            assert (await users.disable("a@example.org")).disabled_at == 50  # when it really was
            assert [row.disabled_at for row in await users.list()] == [50, None]

    run(test)


def test_an_unknown_address_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users = Users(database)
            for attempt in (users.find("a@example.org"), users.disable("a@example.org")):
                with pytest.raises(NotFound):
                    await attempt

    run(test)


def test_the_last_admin_stays_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users = Users(database)
            await users.create("ada@example.org", is_admin=True)
            with pytest.raises(Invalid, match="last admin"):
                await users.set_admin("ada@example.org", False)
            with pytest.raises(Invalid, match="last admin"):
                await users.disable("ada@example.org")
            await users.create("bob@example.org", is_admin=True)
            outcomes = await asyncio.gather(
                users.set_admin("ada@example.org", False), users.disable("bob@example.org"),
                return_exceptions=True,
            )  # fmt: skip
            assert sum(isinstance(outcome, Invalid) for outcome in outcomes) == 1
            assert sum(user.is_admin and user.disabled_at is None for user in await users.list()) == 1

    run(test)


def test_a_tier_is_one_of_those_there_are(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users = Users(database, tiers=("free", "pro"))
            await users.create("ada@example.org", tier="pro")
            with pytest.raises(Invalid, match="there is no tier 'gold'"):
                await users.set_tier("ada@example.org", "gold")
            assert (await users.set_tier("ada@example.org", "free")).tier == "free"

    run(test)
