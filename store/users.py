"""Accounts as rows. What they sign in with is in `credentials.py`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from store.audit import OPERATOR, Actor, Change, note
from store.database import Database, Transaction
from store.errors import Invalid, NotFound

SELECT: Final = "SELECT id, email, is_admin, created_at, disabled_at, tier FROM users"
LONGEST_EMAIL: Final = 254


@dataclass(frozen=True, slots=True)
class User:
    """An account. email is folded to lower case; times are Unix seconds. tier: what its own keys get."""

    id: int
    email: str
    is_admin: bool
    created_at: int
    disabled_at: int | None
    tier: str = "free"


class Users:
    """The table of accounts. tiers: the names there are; empty = any."""

    def __init__(
        self, database: Database, clock: Callable[[], float] = time.time, tiers: Collection[str] = ()
    ) -> None:
        self._database = database
        self._clock = clock
        self._tiers = tiers

    async def create(
        self,
        email: str,
        *,
        is_admin: bool = False,
        tier: str = "free",
        subject: str | None = None,
        by: Actor = OPERATOR,
    ) -> User:
        """An account without a password yet. subject: as in NewUser. Raises Invalid (no address, taken)."""
        self.check_tier(tier)
        new = NewUser(email, is_admin=is_admin, tier=tier, oidc_subject=subject)
        async with self._database.transaction() as transaction:
            return await insert_user(transaction, new, by, int(self._clock()))

    async def disable(self, email: str, *, by: Actor = OPERATOR) -> User:
        """Close an account: its keys and sessions are refused from now on. Raises NotFound, Invalid."""
        user = await self.find(email)
        if user.disabled_at is not None:
            return user
        return await self._change(user.id, by, "user.disable", disabled_at=int(self._clock()))

    async def enable(self, email: str, *, by: Actor = OPERATOR) -> User:
        """Take that back. Raises NotFound."""
        user = await self.find(email)
        return await self._change(user.id, by, "user.enable", disabled_at=None)

    async def set_tier(self, email: str, tier: str, *, by: Actor = OPERATOR) -> User:
        """What the account's next keys get. Raises NotFound, Invalid."""
        self.check_tier(tier)
        user = await self.find(email)
        return await self._change(user.id, by, "user.tier", tier=tier)

    async def set_admin(self, email: str, is_admin: bool, *, by: Actor = OPERATOR) -> User:
        """Raises NotFound, Invalid (the last admin)."""
        user = await self.find(email)
        return await self._change(user.id, by, "user.role", is_admin=int(is_admin))

    async def find(self, email: str) -> User:
        """Raises NotFound."""
        row = await self._database.fetch_one(f"{SELECT} WHERE email = ?", (email.strip().casefold(),))
        if row is None:
            raise NotFound(f"account of '{email}'")
        return user_of(row)

    async def find_id(self, user_id: int) -> User:
        """Raises NotFound."""
        row = await self._database.fetch_one(f"{SELECT} WHERE id = ?", (user_id,))
        if row is None:
            raise NotFound(f"account {user_id}")
        return user_of(row)

    async def is_known(self, email: str, subject: str) -> bool:
        """Is there an account of the address or linked to the subject, open or disabled?"""
        row = await self._database.fetch_one(
            "SELECT 1 FROM users WHERE email = ? OR oidc_subject = ?", (email.strip().casefold(), subject)
        )
        return row is not None

    async def list(self) -> list[User]:
        """Every account, by id."""
        return [user_of(row) for row in await self._database.fetch_all(f"{SELECT} ORDER BY id")]

    async def has_admin(self) -> bool:
        """Can anybody sign in as an admin?"""
        return await self._database.fetch_one(HAS_ADMIN) is not None

    async def _change(self, user_id: int, by: Actor, action: str, **columns: Any) -> User:
        async with self._database.transaction() as transaction:
            row = await transaction.fetch_one(f"{SELECT} WHERE id = ?", (user_id,))
            if row is None:
                raise NotFound(f"account {user_id}")
            before = user_of(row)
            # Each column by itself: the statements stay constants.
            for column, value in columns.items():
                await transaction.execute(SETTERS[column], (value, user_id))
            await _keep_an_admin(transaction, before)
            told = {name: getattr(before, name) for name in columns}
            change = Change(action, f"user {user_id}", told, columns)
            await note(transaction, by, change, int(self._clock()))
        return await self.find_id(user_id)

    def check_tier(self, tier: str) -> None:
        """Raises Invalid."""
        if self._tiers and tier not in self._tiers:
            raise Invalid(f"there is no tier '{tier}' (there are {', '.join(self._tiers)})")


SETTERS: Final = {
    "disabled_at": "UPDATE users SET disabled_at = ? WHERE id = ?",
    "tier": "UPDATE users SET tier = ? WHERE id = ?",
    "is_admin": "UPDATE users SET is_admin = ? WHERE id = ?",
}
HAS_ADMIN: Final = """SELECT 1 FROM users
    WHERE is_admin AND disabled_at IS NULL AND password_hash IS NOT NULL LIMIT 1"""


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an account is created with. password_hash: None = nobody can sign in to it with one yet.

    oidc_subject: as in Credential.
    """

    email: str
    is_admin: bool = False
    tier: str = "free"
    password_hash: str | None = None
    oidc_subject: str | None = None


async def insert_user(transaction: Transaction, new: NewUser, by: Actor, now: int) -> User:
    """A new account, within a transaction. Raises Invalid (no address, taken)."""
    email = new.email.strip().casefold()
    name, _, domain = email.rpartition("@")
    if not name or not domain or any(char.isspace() or not char.isprintable() for char in email):
        raise Invalid(f"'{email[:LONGEST_EMAIL]}' is not an e-mail address")
    if len(email) > LONGEST_EMAIL:
        raise Invalid("the e-mail address is too long")
    try:
        user_id = await transaction.execute(
            """INSERT INTO users (email, is_admin, created_at, tier, password_hash, oidc_subject)
               VALUES (?, ?, ?, ?, ?, ?)""",
            (email, new.is_admin, now, new.tier, new.password_hash, new.oidc_subject),
        )
    except sqlite3.IntegrityError as error:
        raise Invalid(f"there is an account of '{email}' already") from error
    after = {"email": email, "is_admin": new.is_admin, "tier": new.tier}
    await note(transaction, by, Change("user.create", f"user {user_id}", None, after), now)
    return User(user_id, email, new.is_admin, now, None, new.tier)


async def _keep_an_admin(transaction: Transaction, before: User) -> None:
    was_admin = before.is_admin and before.disabled_at is None
    if was_admin and await transaction.fetch_one(HAS_ADMIN) is None:
        others = await transaction.fetch_one(
            "SELECT 1 FROM users WHERE is_admin AND disabled_at IS NULL LIMIT 1"
        )
        if others is None:
            raise Invalid("this is the last admin: make another one first")


def user_of(row: Sequence[Any]) -> User:
    """A row of SELECT."""
    return User(row[0], row[1], bool(row[2]), *row[3:])
