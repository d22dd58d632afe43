"""Who fails to sign in too often waits: counted by account and by address, for all processes.

An attempt is counted before the password is looked at, so that many at once are not let through together;
one that succeeds takes its count back. Accounts that do not exist are counted as well: nothing here tells
which do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

from store.database import Database

FREE_OF_ACCOUNT: Final = 5
FREE_OF_ADDRESS: Final = 20
MOST_WAIT_SECONDS: Final = 300
FORGET_SECONDS: Final = 3600


class LoginFailures:
    """The table of failures. clock: Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, email: str, address: str) -> int:
        """Count an attempt; how many seconds to wait instead, 0 = go on."""
        now = int(self._clock())
        names = ((account_name(email), FREE_OF_ACCOUNT), (f"address {address}", FREE_OF_ADDRESS))
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM login_failures WHERE last_at < ?", (now - FORGET_SECONDS,))
            wait = 0
            for name, free in names:
                row = await transaction.fetch_one(
                    "SELECT failures, last_at FROM login_failures WHERE name = ?", (name,)
                )
                if row is not None:
                    wait = max(wait, row[1] + wait_seconds(row[0], free) - now)
            if wait > 0:
                return wait
            for name, _ in names:
                await transaction.execute(
                    """INSERT INTO login_failures (name, failures, last_at) VALUES (?, 1, ?)
                       ON CONFLICT (name) DO UPDATE
                       SET failures = failures + 1, last_at = excluded.last_at""",
                    (name, now),
                )
        return 0

    async def succeeded(self, email: str, address: str) -> None:
        """The account's count begins anew; of the address's only this attempt is taken back."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM login_failures WHERE name = ?", (account_name(email),))
            await transaction.execute(
                "UPDATE login_failures SET failures = max(0, failures - 1) WHERE name = ?",
                (f"address {address}",),
            )


def wait_seconds(failures: int, free: int) -> int:
    """How long to wait after so many failures: nothing at first, then doubling."""
    return 0 if failures < free else min(MOST_WAIT_SECONDS, 1 << min(failures - free + 1, 16))


def account_name(email: str) -> str:
    """What people type there may be their password: only a digest is kept."""
    return f"account {hashlib.sha256(email.strip().casefold().encode()).hexdigest()}"
