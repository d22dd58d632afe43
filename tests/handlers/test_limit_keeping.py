"""Filling Redis where the system itself refuses something: a failure of Redis, and no end of the attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from handlers.limit_keeping import RedisBacking
from limits.errors import LimiterUnavailable
from store.incarnation import Incarnation


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


def test_a_wait_for_a_lock_that_is_never_let_go_can_be_given_up(tmp_path: Path) -> None:
    """As a process that stops has to, while another one that was stopped holds it."""

    async def job() -> None:
        nothing: Any = None
        link: Any = NoLink()
        backing = RedisBacking(link=link, ledger=nothing, incarnation=incarnation, mover=nothing)
        waiting = asyncio.create_task(backing.restore(lost=0, raised=lambda: None))
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        assert await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await backing.close()

    incarnation = Incarnation(tmp_path)
    with closing(incarnation), incarnation.exclusive():
        asyncio.run(job())  # ends once no thread is left
