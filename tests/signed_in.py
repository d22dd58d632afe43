"""Sessions for tests that are about something else than how one gets one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from handlers.page import COOKIE
from store.audit import OPERATOR
from store.database import Database
from store.sessions import BROWSER, Sessions
from store.users import Users


def sign_in(data_dir: Path, email: str) -> str:
    """The Cookie header of a new session of an account that there is."""

    async def open_one() -> str:
        database = await Database.open(data_dir / "rooya.db")
        try:
            user = await Users(database).find(email)
            sessions = Sessions(database)
            return await sessions.open(user.id, kind=BROWSER, name="test", address="127.0.0.1")
        finally:
            await database.close()

    return f"{COOKIE}={asyncio.run(open_one())}"


def sign_in_admins(data_dir: Path, count: int) -> list[str]:
    """The Cookie headers of so many new admins."""

    async def make_all() -> list[str]:
        database = await Database.open(data_dir / "rooya.db")
        try:
            users, sessions, cookies = Users(database), Sessions(database), []
            for number in range(count):
                user = await users.create(f"admin{number}@example.org", is_admin=True)
                cookie = await sessions.open(user.id, kind=BROWSER, name="test", address="127.0.0.1")
                cookies.append(f"{COOKIE}={cookie}")
            return cookies
        finally:
            await database.close()

    return asyncio.run(make_all())


def end_sessions(data_dir: Path, email: str) -> None:
    """Sign an account out everywhere."""

    async def end_all() -> None:
        database = await Database.open(data_dir / "rooya.db")
        try:
            user = await Users(database).find(email)
            sessions = Sessions(database)
            for session in await sessions.list(user.id):
                await sessions.close(user.id, session.id, by=OPERATOR)
        finally:
            await database.close()

    asyncio.run(end_all())
