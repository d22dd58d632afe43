"""What can be asked for, for the pages: every listed model with its price, its sizes and how it does.

Made from memory, in slices, and kept for some seconds: a catalogue has thousands of models. No read of it
asks a provider anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from typing import Final, NamedTuple

from handlers.model_pages import ModelPages
from providers.catalog import PublicModel
from providers.errors import ModelNotFound
from providers.price_list import PriceList, Served
from providers.pricing import Price
from providers.router import Router
from providers.types import Target

KEEP_SECONDS: Final = 5.0
SLICE: Final = 50  # models in one go: a millisecond


class Model(NamedTuple):
    """provider, upstream_model: where it is tried first, of `places` in all. context, max_output: tokens."""

    id: str
    type: str
    provider: str
    upstream_model: str
    places: int
    context: int | None
    max_output: int | None
    retires: date | None
    price: Price | None


class Catalogue:
    """clock: Unix seconds."""

    def __init__(
        self, *, router: Router, pages: ModelPages, prices: PriceList, clock: Callable[[], float]
    ) -> None:
        self._router = router
        self._pages = pages
        self._prices = prices
        self._clock = clock
        self._listing: Mapping[str, PublicModel] | None = None
        self._rows: list[Model] = []
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def models(self) -> list[Model]:
        """All that are listed, in the order of /v1/models."""
        async with self._lock:
            if self._router.models() is not self._listing or self._clock() >= self._until:
                await self._renew()
        return self._rows

    def names(self) -> list[str]:
        """Of what is listed."""
        return list(self._router.models())

    def providers(self) -> list[str]:
        """The names of those who are configured."""
        return [provider.name for provider in self._router.providers()]

    def seen(self, model: Model) -> tuple[str, int | None]:
        """`healthy`, `down` or `unknown`, and the last latency in milliseconds."""
        return self._pages.seen(model.provider, model.upstream_model)

    async def _renew(self) -> None:
        listing = self._router.models()
        rows: list[Model] = []
        now = self._clock()
        for number, model in enumerate(list(listing.values()), 1):
            with suppress(ModelNotFound):  # gone since: the catalogue has changed meanwhile
                rows.append(self._row(model, now))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._listing, self._rows, self._until = listing, rows, now + KEEP_SECONDS

    def _row(self, model: PublicModel, now: float) -> Model:
        target = self._router.first_target(model.id)
        known = target.known
        return Model(
            model.id,
            model.type,
            target.provider,
            target.model,
            len({place.provider for place in self._router.places(model.id)}),
            None if known is None else known.context,
            None if known is None else known.max_output,
            None if known is None else known.retires,
            self._price(model, target, now),
        )

    def _price(self, model: PublicModel, target: Target, now: float) -> Price | None:
        """As calls are charged: the operator's own, the provider's, the published one."""
        spec = self._router.model_spec(model.id)
        if spec is not None and spec.price is not None:
            return spec.price
        if target.adapter.price is not None:
            return target.adapter.price
        try:
            tariff = self._prices.find(Served(target.kind, target.base_url, target.model))
        except KeyError:
            return None
        return None if tariff is None else tariff.at(now)
