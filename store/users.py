"""Accounts as rows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from store.database import Database
from store.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True)
class User:
    """An account. email is folded to lower case; times are Unix seconds."""

    id: int
    email: str
    is_admin: bool
    created_at: int
    disabled_at: int | None


class Users:
    """The table of accounts."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, email: str, *, is_admin: bool = False) -> User:
        """An account without a password yet. Raises Invalid (no address, taken)."""
        email = email.strip().casefold()
        name, _, domain = email.rpartition("@")
        if not name or not domain or any(char.isspace() or not char.isprintable() for char in email):
            raise Invalid(f"'{email}' is not an e-mail address")
        try:
            async with self._database.transaction() as transaction:
                await transaction.execute(
                    "INSERT INTO users (email, is_admin, created_at) VALUES (?, ?, ?)",
                    (email, is_admin, int(self._clock())),
                )
        except sqlite3.IntegrityError as error:
            raise Invalid(f"there is an account of '{email}' already") from error
        return await self.find(email)

    async def disable(self, email: str) -> User:
        """Close an account: its keys are refused from now on. Raises NotFound."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE users SET disabled_at = coalesce(disabled_at, ?) WHERE email = ?",
                (int(self._clock()), email.strip().casefold()),
            )
        return await self.find(email)

    async def find(self, email: str) -> User:
        """Raises NotFound."""
        async with self._database.snapshot() as snapshot:
            row = await snapshot.fetch_one(
                "SELECT id, email, is_admin, created_at, disabled_at FROM users WHERE email = ?",
                (email.strip().casefold(),),
            )
        if row is None:
            raise NotFound(f"account of '{email}'")
        return User(row[0], row[1], bool(row[2]), row[3], row[4])

    async def list(self) -> list[User]:
        """Every account, by id."""
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all(
                "SELECT id, email, is_admin, created_at, disabled_at FROM users ORDER BY id"
            )
        return [User(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]
