"""Who is signed in: sessions of browsers and tokens of the management API, as rows.

The table holds the SHA-256 of what the holder has, so a copy of the database signs nobody in. Every look-up
reads the account too: a disabled account or a revoked session ends with the next request, in every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from store.audit import Actor, Change, note
from store.database import Database, Transaction
from store.errors import NotFound, StoreUnavailable

BROWSER: Final = "browser"
TOKEN: Final = "token"
LIFETIMES: Final = {BROWSER: 30 * 86400, TOKEN: 365 * 86400}
SEEN_SECONDS: Final = 60  # how exactly it is known when a session was last used
TOKEN_PREFIX: Final = "rt-"


@dataclass(frozen=True, slots=True)
class Account:
    """Who makes a request. session_id: by which session, None where there is none (the command line)."""

    id: int
    email: str
    is_admin: bool
    tier: str
    session_id: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A row as its owner sees it. Times are Unix seconds."""

    id: int
    kind: str
    name: str
    address: str
    created_at: int
    seen_at: int
    expires_at: int


class Sessions:
    """The table of sessions. clock: Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def open(self, user_id: int, *, kind: str, name: str, address: str) -> str:
        """A new session; what its holder shows from now on."""
        async with self._database.transaction() as transaction:
            return await open_session(
                transaction,
                Holder(user_id, kind, name, address),
                int(self._clock()),
            )

    async def create_token(self, user_id: int, name: str, address: str, *, by: Actor) -> str:
        """A token of the management API, which nobody can ask for again."""
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            plaintext = await open_session(transaction, Holder(user_id, TOKEN, name, address), now)
            change = Change("token.create", f"user {user_id}", None, {"name": name})
            await note(transaction, by, change, now)
        return plaintext

    async def find(self, plaintext: str, kind: str) -> Account | None:
        """Whose it is, None where it is unknown, ended, or its account is disabled.

        Raises StoreUnavailable where it cannot be read; that it was seen need not be written.
        """
        now = int(self._clock())
        row = await self._database.fetch_one(
            """SELECT u.id, u.email, u.is_admin, u.tier, s.id, s.seen_at FROM sessions s
               JOIN users u ON u.id = s.user_id
               WHERE s.digest = ? AND s.kind = ? AND s.expires_at > ? AND u.disabled_at IS NULL""",
            (digest_of(plaintext), kind, now),
        )
        if row is None:
            return None
        if now - row[5] >= SEEN_SECONDS:
            with contextlib.suppress(StoreUnavailable):
                await self._saw(row[4], now)
        return Account(row[0], row[1], bool(row[2]), row[3], row[4])

    async def _saw(self, session_id: int, now: int) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute("UPDATE sessions SET seen_at = ? WHERE id = ?", (now, session_id))

    async def list(self, user_id: int) -> list[Session]:
        """An account's, the last used first."""
        rows = await self._database.fetch_all(
            """SELECT id, kind, name, address, created_at, seen_at, expires_at FROM sessions
               WHERE user_id = ? AND expires_at > ? ORDER BY seen_at DESC, id DESC""",
            (user_id, int(self._clock())),
        )
        return [Session(*row) for row in rows]

    async def close(self, user_id: int, session_id: int, *, by: Actor) -> None:
        """End one of an account's own. Raises NotFound."""
        async with self._database.transaction() as transaction:
            ended = await transaction.execute(
                "DELETE FROM sessions WHERE id = ? AND user_id = ?", (session_id, user_id)
            )
            if not ended:
                raise NotFound(f"session {session_id}")
            change = Change("session.end", f"user {user_id}", None, {"session": session_id})
            await note(transaction, by, change, int(self._clock()))


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom a session is opened: an account, as what, and from where."""

    user_id: int
    kind: str
    name: str
    address: str


async def open_session(transaction: Transaction, holder: Holder, now: int) -> str:
    """As `Sessions.open`, within a transaction. What has expired goes with it."""
    plaintext = secrets.token_urlsafe(32)
    if holder.kind == TOKEN:
        plaintext = TOKEN_PREFIX + plaintext
    await transaction.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
    await transaction.execute(
        """INSERT INTO sessions (digest, user_id, kind, name, address, created_at, seen_at, expires_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            digest_of(plaintext),
            holder.user_id,
            holder.kind,
            "".join(char for char in holder.name[:200] if char.isprintable()),
            holder.address,
            now,
            now,
            now + LIFETIMES[holder.kind],
        ),
    )
    return plaintext


def digest_of(plaintext: str) -> bytes:
    """What the table keeps of a secret of high entropy."""
    return hashlib.sha256(plaintext.encode()).digest()
