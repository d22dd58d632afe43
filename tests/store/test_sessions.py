"""Sessions and tokens at rest: who they are of, until when, and what a copy of the database is good for."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.audit import OPERATOR, AuditLog
from store.errors import NotFound
from store.sessions import BROWSER, LIFETIMES, SEEN_SECONDS, TOKEN, Sessions
from store.users import Users
from tests.store.stores import Clock, opened, run


def test_a_session_is_its_account_s_until_it_expires(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            user = await Users(database).create("ada@example.org", is_admin=True, tier="pro")
            sessions = Sessions(database, clock)
            cookie = await sessions.open(user.id, kind=BROWSER, name="a browser", address="192.0.2.1")
            found = await sessions.find(cookie, BROWSER)
            assert found is not None
            assert (found.id, found.email, found.is_admin, found.tier) == (user.id, user.email, True, "pro")
            assert await sessions.find(cookie, TOKEN) is None
            assert await sessions.find(cookie + "x", BROWSER) is None
            clock.now += LIFETIMES[BROWSER] - 1
            assert await sessions.find(cookie, BROWSER) is not None
            clock.now += 1
            assert await sessions.find(cookie, BROWSER) is None and await sessions.list(user.id) == []

    run(test)


def test_who_is_signed_in_stays_so_where_nothing_can_be_written(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            user = await Users(database).create("ada@example.org")
            sessions = Sessions(database, clock)
            cookie = await sessions.open(user.id, kind=BROWSER, name="", address="")
            clock.now += SEEN_SECONDS
            async with database.transaction() as transaction:
                await transaction.execute("PRAGMA query_only = ON")
            assert await sessions.find(cookie, BROWSER) is not None

    run(test)


def test_what_its_holder_has_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            user = await Users(database).create("ada@example.org")
            sessions = Sessions(database)
            held = [
                await sessions.open(user.id, kind=BROWSER, name="", address=""),
                await sessions.create_token(user.id, "ci", "", by=OPERATOR),
            ]
            assert held[1].startswith("rt-")
        for file in tmp_path.iterdir():
            assert not any(plaintext.encode() in file.read_bytes() for plaintext in held)

    run(test)


def test_one_that_is_ended_and_those_of_a_disabled_account_are_nobody_s(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users, sessions = Users(database), Sessions(database)
            user, other = await users.create("ada@example.org"), await users.create("bob@example.org")
            cookie = await sessions.open(user.id, kind=BROWSER, name="", address="")
            token = await sessions.create_token(user.id, "ci", "", by=OPERATOR)
            ids = {row.kind: row.id for row in await sessions.list(user.id)}
            with pytest.raises(NotFound):
                await sessions.close(other.id, ids[BROWSER], by=OPERATOR)
            await sessions.close(user.id, ids[BROWSER], by=OPERATOR)
            assert await sessions.find(cookie, BROWSER) is None
            assert await sessions.find(token, TOKEN) is not None
            await users.disable(user.email)
            assert await sessions.find(token, TOKEN) is None
            await users.enable(user.email)
            assert await sessions.find(token, TOKEN) is not None
            actions = [row.action for row in await AuditLog(database).list(subject=f"user {user.id}")]
            assert actions == ["user.enable", "user.disable", "session.end", "token.create", "user.create"]

    run(test)


def test_when_it_was_last_seen_is_known_to_the_minute(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            user = await Users(database).create("ada@example.org")
            sessions = Sessions(database, clock)
            cookie = await sessions.open(user.id, kind=BROWSER, name="\x1b[31mred\n", address="")
            (row,) = await sessions.list(user.id)
            assert row.name == "[31mred"
            for later, seen in ((SEEN_SECONDS - 1, 0), (1, SEEN_SECONDS)):
                clock.now += later
                await sessions.find(cookie, BROWSER)
                (row,) = await sessions.list(user.id)
                assert row.seen_at - row.created_at == seen

    run(test)
