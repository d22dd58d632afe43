"""Keeps a process's price list and the table of prices together.

What the table has is known at the start; what the operator's models and the catalogue of his providers may
need is looked up a while later, in the background, and saved; so is what joins them. When another process or
the command line changes the table, this process charges by the new prices within a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from handlers.terms import TermsBook
from providers.price_edition import Edition
from providers.price_list import PriceList, Served
from providers.pricing import Tariff
from store.errors import StoreUnavailable
from store.prices import PriceRow, Prices

log = logging.getLogger("rooya.prices")

POLL_SECONDS: Final = 1.0
REST_SECONDS: Final = 5.0  # after the start, or a change: there are better things to do first


class PriceKeeper:
    """edition: which published prices hold now; rows of another one are looked up anew. wanted: what may need
    a price."""

    def __init__(
        self,
        *,
        prices: Prices,
        price_list: PriceList,
        terms: TermsBook,
        edition: Callable[[], Edition],
        wanted: Callable[[], list[Served]],
    ) -> None:
        self._prices = prices
        self._list = price_list
        self._terms = terms
        self._edition = edition
        self._wanted = wanted
        self._version = 0
        self._is_wanting = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over what the table has. Raises StoreUnavailable."""
        await self._load()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look_up())]

    def look_again(self) -> None:
        """Other models are listed than before."""
        self._terms.forget()
        self._is_wanting.set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _load(self) -> None:
        rows, self._version = await self._prices.load()
        edition = self._edition()
        self._list.use(edition.command)
        for row in rows:
            served = Served(row.kind, row.base_url, row.model)
            if row.source != edition.source:
                continue
            try:
                tariff = Tariff.from_json(row.tariff) if row.tariff else None
            except ValueError:
                log.warning("the price of %s %s in the table cannot be read", row.kind, row.model)
                continue
            self._list.preset(served, tariff)
        self._terms.forget()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if await self._prices.version() != self._version:
                    await self._load()
            except StoreUnavailable:
                continue  # the prices that are known still hold

    async def _look_up(self) -> None:
        while True:
            await asyncio.sleep(REST_SECONDS)
            self._is_wanting.clear()
            missing = [served for served in self._wanted() if not self._list.is_known(served)]
            if missing:
                await self._resolve(missing)
            await self._is_wanting.wait()

    async def _resolve(self, missing: list[Served]) -> None:
        await self._list.resolve(missing)
        source = self._edition().source
        rows = [
            row_of(served, self._list.find(served), source)
            for served in missing
            if self._list.is_known(served)
        ]
        try:
            await self._prices.save(rows)
        except StoreUnavailable as error:
            log.warning("prices could not be saved: %s", error)


def row_of(served: Served, tariff: Tariff | None, source: str) -> PriceRow:
    """A tariff as the table keeps it."""
    return PriceRow(*served, source, "" if tariff is None else tariff.to_json())
