"""Shares what a process learns of the vendors with its fellows and with the next start, within a second.

The calls themselves only ever look at memory. What the table says of a target counts unless this process has
news of it that are not written yet. While the table cannot be reached, each process knows what it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from providers.health import Health, Lane, Rest
from store.errors import StoreUnavailable
from store.rests import MODEL_ITSELF, RestRow, Rests

log = logging.getLogger("rooya.health")

PERIOD_SECONDS: Final = 1.0
OVERLAP_MS: Final = 5_000  # read again: another process may have written late what it stamped early


class HealthKeeper:
    """clock: the loop's, by which rests are kept. unix_ms: the same moment as Unix time."""

    def __init__(
        self, *, health: Health, rests: Rests, clock: Callable[[], float], unix_ms: Callable[[], int]
    ) -> None:
        self._health = health
        self._rests = rests
        self._clock = clock
        self._unix_ms = unix_ms
        self._news: dict[tuple[str, str, int], Lane] = {}
        self._read_to_ms = 0
        self._task: asyncio.Task[None] | None = None
        health.note = self._note

    async def start(self) -> None:
        """Take over what the table has, and keep up with it. Raises StoreUnavailable."""
        await self._read()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            await self._write()
        except StoreUnavailable as error:
            log.warning("what is known of the providers could not be saved: %s", error)

    def _note(self, lane: Lane) -> None:
        condition = lane.condition
        self._news[condition.provider, condition.model, lane.number] = lane

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                await self._write()
                await self._read()
            except StoreUnavailable:
                continue  # what is not written stays news

    async def _write(self) -> None:
        if not self._news:
            return
        news, self._news = self._news, {}
        now_ms = self._unix_ms()
        rows = [
            self._row(lane, secret, rest, now_ms)
            for lane in news.values()
            for secret, rest in ((lane.number, lane.rest), (MODEL_ITSELF, lane.condition.rest))
        ]
        try:
            await self._rests.save(rows, now_ms)
        except BaseException:
            self._news = {**news, **self._news}
            raise

    async def _read(self) -> None:
        for row in await self._rests.since(self._read_to_ms - OVERLAP_MS):
            self._read_to_ms = max(self._read_to_ms, row.changed_ms)
            number = max(row.secret, 0)
            if (row.provider, row.model, number) in self._news:
                continue
            lane = self._health.lane(row.provider, row.model, number)
            rest = lane.condition.rest if row.secret == MODEL_ITSELF else lane.rest
            until = self._clock() + (row.until_ms - self._unix_ms()) / 1000 if row.until_ms else 0.0
            rest.resume(until, row.failures)

    def _row(self, lane: Lane, secret: int, rest: Rest, now_ms: int) -> RestRow:
        until_ms = now_ms + int((rest.until - self._clock()) * 1000) if rest.until else 0
        condition = lane.condition
        return RestRow(condition.provider, condition.model, secret, until_ms, rest.failures, now_ms)
