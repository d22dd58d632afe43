"""The way in: a password, a second factor where there is one, a session.

A wrong password, an unknown account, a disabled one and one without a password are one answer, after the same
work. Attempts are counted before they are looked at (`store/login_failures.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from handlers import second_factor
from handlers.errors import LoginThrottled, Refused
from handlers.passwords import Passwords
from store.credentials import Credential, Credentials
from store.login_failures import LoginFailures
from store.sessions import BROWSER, Sessions

LONGEST_CODE: Final = 64


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where an attempt comes from. agent: what the browser calls itself."""

    address: str
    agent: str


class SignIn:
    """clock: Unix seconds."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        failures: LoginFailures,
        sessions: Sessions,
        passwords: Passwords,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._failures = failures
        self._sessions = sessions
        self._passwords = passwords
        self._clock = clock

    async def check_password(self, email: str, password: str, visitor: Visitor) -> Credential:
        """Whose it is. Raises Refused (wrong_login, busy), LoginThrottled."""
        await self._begin(email, visitor)
        found = await self._credentials.find(email)
        stored = found.password_hash if found else None
        is_right = await self._passwords.check(password, stored)
        if found is None or stored is None or not is_right:
            raise Refused("wrong_login")
        if self._passwords.is_outdated(stored):
            await self._credentials.rehash(found.user_id, await self._passwords.hash(password))
        if found.totp_salt is None:
            await self._failures.succeeded(found.email, visitor.address)
        return found

    async def confirm(self, email: str, password: str, visitor: Visitor) -> None:
        """Is it still they who signed in? A right password is enough. Raises as check_password."""
        found = await self.check_password(email, password, visitor)
        await self._failures.succeeded(found.email, visitor.address)

    async def check_code(self, user_id: int, code: str, visitor: Visitor) -> Credential:
        """After the password: a code of the authenticator, or a recovery code. Raises as check_password."""
        found = await self._credentials.find_id(user_id)
        if found is None:
            raise Refused("wrong_code")
        await self._begin(found.email, visitor)
        if found.totp_salt is None or not await self._is_code(found, found.totp_salt, code[:LONGEST_CODE]):
            raise Refused("wrong_code")
        await self._failures.succeeded(found.email, visitor.address)
        return found

    async def open(self, user_id: int, visitor: Visitor) -> str:
        """The session of who has passed: what its cookie holds."""
        return await self._sessions.open(user_id, kind=BROWSER, name=visitor.agent, address=visitor.address)

    async def _is_code(self, found: Credential, salt: str, code: str) -> bool:
        steps = second_factor.steps_of(
            self._credentials.totp_secret(found.user_id, salt), code, self._clock()
        )
        if steps:
            return await self._credentials.use_step(found.user_id, steps)
        return await self._credentials.use_recovery_code(found.user_id, code)

    async def _begin(self, email: str, visitor: Visitor) -> None:
        wait = await self._failures.begin(email, visitor.address)
        if wait:
            raise LoginThrottled(wait)
