"""Passwords: argon2id on threads, a few at a time, and a judgement of their strength in a process of its own.

Both take tens of milliseconds and would hold calls up on the event loop. Who would have to wait for many
others is refused at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from handlers.errors import Refused
from store.errors import Invalid

SHORTEST: Final = 10
LONGEST: Final = 512
AT_ONCE: Final = 2
MOST_WAITING: Final = 32
STRENGTH_SECONDS: Final = 20
JUDGE: Final = "handlers.password_strength"
ROOT: Final = Path(__file__).resolve().parent.parent


class Passwords:
    """32 MiB and some 50 ms for each."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 32768) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What is stored. Raises Refused (busy)."""
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(self, password: str, stored: str | None) -> bool:
        """Is it the one? Takes as long where there is no account. Raises Refused (busy)."""
        async with self._turn():
            return await asyncio.to_thread(self._check, password[:LONGEST], stored)

    def is_outdated(self, stored: str) -> bool:
        """Was it hashed under other parameters than today's?"""
        return self._hasher.check_needs_rehash(stored)

    async def judge(self, password: str, email: str) -> None:
        """Raises Invalid where a password is too short, too long or easily guessed; Refused (busy)."""
        if len(password) < SHORTEST:
            raise Invalid(f"a password has at least {SHORTEST} characters")
        if len(password) > LONGEST:
            raise Invalid(f"a password has at most {LONGEST} characters")
        async with self._turn():  # a TimeoutError is answered as the gateway's own failure
            weakness = await _judged(password, ["rooya", email, *re.split(r"[@._+-]", email)])
        if weakness:
            raise Invalid(weakness.rstrip("."))

    def _check(self, password: str, stored: str | None) -> bool:
        if stored is None:
            if self._nobodys is None:
                self._nobodys = self._hasher.hash("of nobody")
            stored, password = self._nobodys, f"not {password}"
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise Refused("busy")
        self._waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self._waiting -= 1


async def _judged(password: str, words: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        JUDGE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        asked = json.dumps({"password": password, "words": words}).encode()
        said, _ = await asyncio.wait_for(process.communicate(asked), STRENGTH_SECONDS)
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    if process.returncode != 0:
        raise Refused("busy")  # no judgement is no reason to let any password pass
    return said.decode().strip()
