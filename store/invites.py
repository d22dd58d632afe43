"""Links that are good once: invitations, and the set-up link of the first admin.

The account is made in the transaction that uses the link up, so of two who open one at once, one gets in. A
set-up link is good only while there is no admin.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from store.audit import Actor, Change, note
from store.database import Database, Transaction
from store.errors import Invalid, NotFound
from store.sessions import digest_of
from store.users import HAS_ADMIN, NewUser, User, insert_user

INVITE: Final = "invite"
SETUP: Final = "setup"
INVITE_SECONDS: Final = 7 * 86400
SETUP_SECONDS: Final = 86400
SPENT: Final = "this link has been used or has expired: ask for another"


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation as admins see it: not the link. Times are Unix seconds."""

    id: int
    tier: str
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None


class Invites:
    """The table of links. clock: Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, tier: str, *, by: Actor) -> tuple[int, str]:
        """An invitation's id and token, which nobody can ask for again."""
        token, now = secrets.token_urlsafe(24), int(self._clock())
        async with self._database.transaction() as transaction:
            invite_id = await transaction.execute(
                """INSERT INTO invites (digest, kind, tier, created_by, created_at, expires_at)
                   VALUES (?, ?, ?, ?, ?, ?)""",
                (digest_of(token), INVITE, tier, by.user_id, now, now + INVITE_SECONDS),
            )
            change = Change("invite.create", f"invite {invite_id}", None, {"tier": tier})
            await note(transaction, by, change, now)
        return invite_id, token

    async def create_setup(self) -> str | None:
        """The token of a link for the first admin; None where there is one already."""
        token, now = secrets.token_urlsafe(24), int(self._clock())
        async with self._database.transaction() as transaction:
            if await transaction.fetch_one(HAS_ADMIN) is not None:
                return None
            await transaction.execute("DELETE FROM invites WHERE kind = ? AND expires_at <= ?", (SETUP, now))
            await transaction.execute(
                """INSERT INTO invites (digest, kind, tier, created_at, expires_at)
                   VALUES (?, ?, 'free', ?, ?)""",
                (digest_of(token), SETUP, now, now + SETUP_SECONDS),
            )
        return token

    async def list(self) -> list[Invite]:
        """Every invitation, the newest first."""
        rows = await self._database.fetch_all(
            """SELECT i.id, i.tier, i.created_at, i.expires_at, i.used_at, u.email FROM invites i
               LEFT JOIN users u ON u.id = i.used_by WHERE i.kind = ? ORDER BY i.id DESC""",
            (INVITE,),
        )
        return [Invite(*row) for row in rows]

    async def revoke(self, invite_id: int, *, by: Actor) -> None:
        """Raises NotFound, also where it has been used."""
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                "DELETE FROM invites WHERE id = ? AND kind = ? AND used_at IS NULL", (invite_id, INVITE)
            )
            if not gone:
                raise NotFound(f"open invitation {invite_id}")
            change = Change("invite.revoke", f"invite {invite_id}")
            await note(transaction, by, change, int(self._clock()))

    async def is_open(self, token: str, kind: str) -> bool:
        """Is the link still good?"""
        found = await self._database.fetch_one(
            "SELECT 1 FROM invites WHERE digest = ? AND kind = ? AND used_at IS NULL AND expires_at > ?",
            (digest_of(token), kind, int(self._clock())),
        )
        is_late = kind == SETUP and await self._database.fetch_one(HAS_ADMIN) is not None
        return found is not None and not is_late

    async def redeem(self, token: str, kind: str, email: str, password_hash: str, *, way: str) -> User:
        """The account that a link makes. Raises Invalid (spent; no address; taken)."""
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            tier = await _use(transaction, token, kind, now)
            new = NewUser(email, is_admin=kind == SETUP, tier=tier, password_hash=password_hash)
            user = await insert_user(transaction, new, Actor(f"{kind} link", way), now)
            await transaction.execute(
                "UPDATE invites SET used_by = ? WHERE digest = ?", (user.id, digest_of(token))
            )
        return user

    async def register(self, email: str, password_hash: str, *, way: str) -> User:
        """An account without a link. Raises Invalid."""
        async with self._database.transaction() as transaction:
            new = NewUser(email, password_hash=password_hash)
            return await insert_user(transaction, new, Actor("sign-up", way), int(self._clock()))


async def _use(transaction: Transaction, token: str, kind: str, now: int) -> str:
    used = await transaction.execute(
        """UPDATE invites SET used_at = ? WHERE digest = ? AND kind = ? AND used_at IS NULL
           AND expires_at > ?""",
        (now, digest_of(token), kind, now),
    )
    is_late = kind == SETUP and await transaction.fetch_one(HAS_ADMIN) is not None
    if not used or is_late:
        raise Invalid(SPENT)
    row = await transaction.fetch_one("SELECT tier FROM invites WHERE digest = ?", (digest_of(token),))
    return str(row[0]) if row else "free"
