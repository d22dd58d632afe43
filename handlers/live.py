"""Tells open pages that there is something new: one look at the ledger a moment, however many listen.

Looks only while somebody listens. What listeners of one view are shown is made once for all of them. Refuses
more listeners than its bound; ends them all when the process drains.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from store.errors import Overloaded, StoreUnavailable, TookTooLong

log = logging.getLogger("rooya.live")

PERIOD_SECONDS: Final = 0.5
MOST_LISTENERS: Final = 64
MOST_OF_ONE: Final = 8  # of one account, so that no one keeps the others out


class Listener:
    """One open page. `end` it when it is closed, or when the process drains."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def end(self) -> None:
        self._ended.set()
        self.news.set()

    async def pause(self, seconds: float) -> None:
        """Until then, or until it ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def wait(self, seconds: float) -> None:
        """Until there are news, for so long at the most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
        self.news.clear()


class Live:
    """mark: other words as soon as the ledger is another. open_keys: how many calls are under way, by key."""

    def __init__(
        self,
        *,
        mark: Callable[[], Awaitable[Any]],
        open_keys: Callable[[], Counter[int]],
        is_draining: Callable[[], bool],
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        self._mark = mark
        self._open_keys = open_keys
        self._is_draining = is_draining
        self._period_seconds = period_seconds
        self._listeners: dict[Listener, Hashable] = {}
        self._seen: Any = None
        self._turn = 0
        self._views: dict[Hashable, tuple[int, asyncio.Task[str]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Wait for what is being made: who asked for it may still be there."""
        if self._task is not None:
            self._task.cancel()
        tasks = [
            *([self._task] if self._task is not None else []),
            *(task for _, task in self._views.values()),
        ]
        if tasks:
            await asyncio.wait(tasks)

    @contextmanager
    def listening(self, account: Hashable) -> Iterator[Listener]:
        """Raises Overloaded."""
        own = sum(other == account for other in self._listeners.values())
        if len(self._listeners) >= MOST_LISTENERS or own >= MOST_OF_ONE:
            raise Overloaded("too many pages are open")
        listener = Listener()
        self._listeners[listener] = account
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield listener
        finally:
            del self._listeners[listener]

    async def view(self, name: Hashable, make: Callable[[], Awaitable[str]]) -> str:
        """What `make` makes, once for all who ask for this name before there is anything new."""
        held = self._views.get(name)
        if held is None or held[0] != self._turn or _has_failed(held[1]):
            held = self._views[name] = (self._turn, asyncio.create_task(_made(make)))
            held[1].add_done_callback(_has_failed)  # who asked may be gone by then
        return await asyncio.shield(held[1])

    async def _watch(self) -> None:
        """Until nobody listens."""
        loop = asyncio.get_running_loop()
        while self._listeners:
            started = loop.time()
            if self._is_draining():
                for listener in self._listeners:
                    listener.end()
                return
            try:
                seen = (await self._mark(), self._open_keys())
            except (StoreUnavailable, TookTooLong, Overloaded):
                seen = self._seen  # the pages say so when they are asked for
            if seen != self._seen:
                self._seen = seen
                self._tell()
            await asyncio.sleep(max(self._period_seconds - (loop.time() - started), 0.01))

    def _tell(self) -> None:
        self._turn += 1
        self._views = {name: held for name, held in self._views.items() if not held[1].done()}
        for listener in self._listeners:
            listener.news.set()


async def _made(make: Callable[[], Awaitable[str]]) -> str:
    return await make()


def _has_failed(task: asyncio.Task[str]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
