"""Filling Redis where the system itself refuses something: a failure of Redis, and no end of the attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from handlers.limit_keeping import RedisBacking
from limits.errors import LimiterUnavailable


class NoLock:
    """An incarnation whose lock cannot be opened."""

    number = 1

    @contextmanager
    def exclusive(self, *, is_waiting: bool = True) -> Iterator[None]:
        raise OSError(24, "Too many open files")
        yield


class NoLink:
    """Connects at once."""

    async def connect(self) -> None:
        pass

    def servers(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass


def test_a_lock_that_cannot_be_had_is_a_failure_like_any_other() -> None:
    async def job() -> None:
        nothing: Any = None
        link: Any = NoLink()
        incarnation: Any = NoLock()
        backing = RedisBacking(link=link, ledger=nothing, incarnation=incarnation, mover=nothing)
        for lost in (0, 1):
            with pytest.raises(LimiterUnavailable):
                await backing.restore(lost=lost, raised=lambda: None)
        await backing.close()

    asyncio.run(job())
