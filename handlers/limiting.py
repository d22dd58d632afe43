"""Builds what counts keys' calls: a limiter in the process, or in Redis where that is configured.

What it opens is closed by the stack that it is given, the last first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from handlers.limit_keeping import CorrectionWatch, Ledger, RedisBacking, forget_idle
from limits import rebuild
from limits.clock import steady_clock
from limits.embedded import EmbeddedLimiter
from limits.errors import LimiterUnavailable
from limits.guarded import GuardedLimiter
from limits.link import link_from_url
from limits.shared import SharedLimiter
from limits.types import Limiter
from store.incarnation import Incarnation
from store.mover import Books, Mover
from store.past import PastReader
from store.settings import Settings


class Limiting:
    """`build` makes the limiter. is_up: is Redis trusted now? warnings: of a Redis that is set up badly."""

    def __init__(self, settings: Settings, past: PastReader, closing: AsyncExitStack) -> None:
        self._settings = settings
        self._past = past
        self._closing = closing
        self.is_up: Callable[[], bool] = lambda: True
        self.warnings: list[str] = []

    async def build(self, books: Books, mover: Mover, incarnation: Incarnation | None) -> Limiter:
        """incarnation: None = in the process. Raises LimiterUnavailable, StoreUnavailable."""
        ledger = Ledger(books, self._past, time.time)
        limiter: Limiter
        if incarnation is not None:
            limiter = await self._shared(ledger, mover, incarnation)
        else:
            limiter = EmbeddedLimiter(clock=steady_clock(), load=ledger.past)
            forgetting = asyncio.create_task(forget_idle(limiter.forget_idle, mover))
            self._closing.callback(forgetting.cancel)
        watch = CorrectionWatch(self._past, limiter)
        self._closing.push_async_callback(watch.close)
        await watch.start()
        return limiter

    async def _shared(self, ledger: Ledger, mover: Mover, incarnation: Incarnation) -> Limiter:
        settings = self._settings
        try:
            link = link_from_url(settings.limits.redis_url)
        except ValueError:  # whose words may repeat a password
            raise LimiterUnavailable("limits.redis_url cannot be read: see the forms in README.md") from None
        backing = RedisBacking(link=link, ledger=ledger, incarnation=incarnation, mover=mover)
        self._closing.push_async_callback(backing.close)
        await link.connect()
        await rebuild.check(link)
        self.warnings = await rebuild.warnings(link)
        await backing.restore(lost=0, raised=lambda: None)
        limiter = GuardedLimiter(
            shared=SharedLimiter(link=link, number=backing.number, place=backing.place),
            local=EmbeddedLimiter(clock=steady_clock()),
            backing=backing,
            processes=settings.server.processes,
            clock=asyncio.get_running_loop().time,
        )
        self._closing.push_async_callback(limiter.close)
        backing.is_up = self.is_up = lambda: limiter.is_up
        mover.tell = backing.tell
        return limiter
