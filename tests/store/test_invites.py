"""Links that are good once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from store.audit import OPERATOR, PAGE
from store.credentials import Credentials
from store.errors import Invalid, NotFound
from store.invites import INVITE, INVITE_SECONDS, SETUP, SETUP_SECONDS, Invites
from store.users import User, Users
from tests.store.stores import Clock, opened, run


async def redeemed(invites: Invites, token: str, kind: str, email: str) -> User | None:
    try:
        return await invites.redeem(token, kind, email, "a hash", way=PAGE)
    except Invalid:
        return None


def test_of_two_who_open_a_link_at_once_one_gets_in(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            invites = Invites(database)
            _, token = await invites.create("pro", by=OPERATOR)
            emails = [f"{name}@example.org" for name in "abcdef"]
            found = await asyncio.gather(*(redeemed(invites, token, INVITE, email) for email in emails))
            (user,) = [user for user in found if user is not None]
            assert (user.tier, user.is_admin) == ("pro", False)
            assert len(await Users(database).list()) == 1
            (invite,) = await invites.list()
            assert invite.used_by == user.email and not await invites.is_open(token, INVITE)

    run(test)


def test_a_link_that_made_no_account_is_still_good(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            invites = Invites(database)
            await Users(database).create("taken@example.org")
            _, token = await invites.create("free", by=OPERATOR)
            for email in ("taken@example.org", "no address", "a@b c", "@", "x" * 250 + "@y.org"):
                assert await redeemed(invites, token, INVITE, email) is None
            assert await invites.is_open(token, INVITE)
            assert await redeemed(invites, token, INVITE, "free@example.org") is not None

    run(test)


def test_links_expire_and_can_be_taken_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            invites = Invites(database, clock)
            _, late = await invites.create("free", by=OPERATOR)
            clock.now += INVITE_SECONDS
            assert not await invites.is_open(late, INVITE)
            assert await redeemed(invites, late, INVITE, "late@example.org") is None
            number, taken = await invites.create("free", by=OPERATOR)
            await invites.revoke(number, by=OPERATOR)
            assert not await invites.is_open(taken, INVITE)
            assert await redeemed(invites, taken, INVITE, "taken@example.org") is None
            with pytest.raises(NotFound):
                await invites.revoke(number, by=OPERATOR)
            assert await Users(database).list() == []

    run(test)


def test_a_set_up_link_is_good_while_nobody_can_sign_in_as_admin(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            invites, users = Invites(database, clock), Users(database)
            first, second = await invites.create_setup(), await invites.create_setup()
            assert first is not None and second is not None
            assert await redeemed(invites, first, INVITE, "x@example.org") is None  # of another kind
            unfinished = await users.create("admin@example.org", is_admin=True)  # without a password
            assert await invites.is_open(first, SETUP)
            await Credentials(database, b"key").set_password(unfinished.id, "a hash", by=OPERATOR)
            assert not await invites.is_open(first, SETUP) and await invites.create_setup() is None
            assert await redeemed(invites, first, SETUP, "x@example.org") is None

    run(test)


def test_of_two_set_up_links_one_makes_the_admin(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            invites = Invites(database, clock)
            tokens = [await invites.create_setup() for _ in range(3)]
            found = await asyncio.gather(
                *(redeemed(invites, token or "", SETUP, f"{n}@example.org") for n, token in enumerate(tokens))
            )
            (admin,) = [user for user in found if user is not None]
            assert admin.is_admin

    run(test)


def test_a_set_up_link_is_good_for_a_day(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            invites = Invites(database, clock)
            token = await invites.create_setup() or ""
            clock.now += SETUP_SECONDS
            assert not await invites.is_open(token, SETUP)
            assert await redeemed(invites, token, SETUP, "late@example.org") is None

    run(test)
