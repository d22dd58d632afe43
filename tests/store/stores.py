"""A real database in a temporary directory, and the tiers the tests use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from store.database import Database
from store.keys import ApiKeys


@dataclass(frozen=True)
class Tier:
    rpm: int
    tpd: int


@dataclass
class Clock:
    """Unix seconds, as the test says."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


TIERS = {"free": Tier(60, 100_000), "pro": Tier(300, 1_000_000)}


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[tuple[Database, ApiKeys]]:
    database = await Database.open(directory / "rooya.db")
    try:
        yield database, ApiKeys(database, TIERS)
    finally:
        await database.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(test(), 60)

    asyncio.run(within())


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition, polling; fails after the bound."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "waited in vain"
        await asyncio.sleep(0.005)
