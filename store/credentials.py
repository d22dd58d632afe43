"""What an account signs in with: the hash of its password, its second factor, its recovery codes, its
OpenID provider's name for it.

No secret of the second factor is stored: it is derived from a salt here and the key that signs cookies. A
changed password ends every other session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from store.audit import Actor, Change, note
from store.database import Database
from store.errors import Invalid
from store.sessions import digest_of

RECOVERY_CODES: Final = 8
RECOVERY_BYTES: Final = 10
SELECT: Final = """SELECT id, email, password_hash, totp_salt, totp_step, oidc_subject FROM users
    WHERE disabled_at IS NULL AND """
BY_EMAIL: Final = SELECT + "email = ?"
BY_ID: Final = SELECT + "id = ?"
BY_SUBJECT: Final = SELECT + "oidc_subject = ?"


@dataclass(frozen=True, slots=True)
class Credential:
    """password_hash: None = nobody can sign in with one. totp_salt: None = no second factor.

    oidc_subject: issuer and subject of the OpenID provider's account, None where none is linked.
    """

    user_id: int
    email: str
    password_hash: str | None
    totp_salt: str | None
    totp_step: int
    oidc_subject: str | None = None


class Credentials:
    """clock: Unix seconds. key: the installation's own secret."""

    def __init__(self, database: Database, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    async def find(self, email: str) -> Credential | None:
        """Of an account that is open."""
        return await self._find(BY_EMAIL, email.strip().casefold())

    async def find_id(self, user_id: int) -> Credential | None:
        """As `find`."""
        return await self._find(BY_ID, user_id)

    async def find_subject(self, subject: str) -> Credential | None:
        """As `find`."""
        return await self._find(BY_SUBJECT, subject)

    async def link(self, user_id: int, subject: str | None, *, by: Actor) -> None:
        """Let an OpenID provider's account sign in to this one; None: no more. Raises Invalid (taken)."""
        try:
            async with self._database.transaction() as transaction:
                await transaction.execute(
                    "UPDATE users SET oidc_subject = ? WHERE id = ?", (subject, user_id)
                )
                change = Change("user.link" if subject else "user.unlink", f"user {user_id}")
                await note(transaction, by, change, int(self._clock()))
        except sqlite3.IntegrityError as error:
            raise Invalid("another account signs in that way already") from error

    async def _find(self, statement: str, value: str | int) -> Credential | None:
        row = await self._database.fetch_one(statement, (value,))
        return None if row is None else Credential(*row)

    async def set_password(
        self, user_id: int, password_hash: str, *, by: Actor, keep_session: int | None = None
    ) -> None:
        """Every session and token of the account ends, but for the one that is kept."""
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE users SET password_hash = ? WHERE id = ?", (password_hash, user_id)
            )
            await transaction.execute(
                "DELETE FROM sessions WHERE user_id = ? AND id IS NOT ?", (user_id, keep_session)
            )
            await note(transaction, by, Change("user.password", f"user {user_id}"), now)

    async def rehash(self, user_id: int, password_hash: str) -> None:
        """The same password under today's parameters."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE users SET password_hash = ? WHERE id = ?", (password_hash, user_id)
            )

    def totp_secret(self, user_id: int, salt: str) -> str:
        """Base32, as authenticators take it."""
        digest = hmac.new(self._key, f"totp {user_id} {salt}".encode(), hashlib.sha256).digest()
        return base64.b32encode(digest[:20]).decode()

    async def enable_totp(self, user_id: int, salt: str, step: int, *, by: Actor) -> list[str]:
        """The recovery codes, which nobody can ask for again. step: of the code that proved it.

        Raises Invalid where there is a second factor: who has only a session cannot put another in its place.
        """
        codes = [draw_recovery_code() for _ in range(RECOVERY_CODES)]
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            if not await transaction.execute(
                "UPDATE users SET totp_salt = ?, totp_step = ? WHERE id = ? AND totp_salt IS NULL",
                (salt, step, user_id),
            ):
                raise Invalid("the second factor is on: switch it off first")
            await transaction.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
            for code in codes:
                await transaction.execute(
                    "INSERT INTO recovery_codes (user_id, digest) VALUES (?, ?)",
                    (user_id, digest_of(plain(code))),
                )
            await note(transaction, by, Change("user.second_factor_on", f"user {user_id}"), now)
        return codes

    async def disable_totp(self, user_id: int, *, by: Actor) -> None:
        """The password alone is enough again."""
        async with self._database.transaction() as transaction:
            await transaction.execute("UPDATE users SET totp_salt = NULL WHERE id = ?", (user_id,))
            await transaction.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
            change = Change("user.second_factor_off", f"user {user_id}")
            await note(transaction, by, change, int(self._clock()))

    async def use_step(self, user_id: int, steps: Sequence[int]) -> bool:
        """Is one of the time steps later than the last that was used? It is used from now on."""
        async with self._database.transaction() as transaction:
            for step in steps:
                if await transaction.execute(
                    "UPDATE users SET totp_step = ? WHERE id = ? AND totp_step < ?", (step, user_id, step)
                ):
                    return True
        return False

    async def use_recovery_code(self, user_id: int, code: str) -> bool:
        """Is it one of the account's? It is good no more."""
        async with self._database.transaction() as transaction:
            return bool(
                await transaction.execute(
                    "DELETE FROM recovery_codes WHERE user_id = ? AND digest = ?",
                    (user_id, digest_of(plain(code))),
                )
            )


def draw_recovery_code() -> str:
    """Four groups of four letters and digits."""
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def plain(code: str) -> str:
    """A recovery code as it is compared: people type blanks and capitals."""
    return "".join(char for char in code.lower() if char.isalnum())
