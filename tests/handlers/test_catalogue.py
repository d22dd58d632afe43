"""The catalogue for the pages: every listed model once, at the price that calls are charged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from handlers.catalogue import KEEP_SECONDS, SLICE, Catalogue
from handlers.model_pages import ModelPages
from providers.catalog import provider_list
from providers.model_lists import ListedModel
from providers.price_list import PriceList, Served
from providers.pricing import Tariff, from_usd
from providers.router import Router
from providers.types import ModelSpec, ProviderSpec, TargetSpec
from tests.handlers.test_model_pages import DESK, LAB, Clock, Traffic, listing, router_of, run

OWN = from_usd({"input": 3, "output": 9})
PUBLISHED = from_usd({"input": 1, "output": 2})


def catalogue_of(router: Router, clock: Callable[[], float], prices: PriceList | None = None) -> Catalogue:
    traffic = Traffic(lab_m1=("healthy", 7))
    pages = ModelPages(router=router, health=[traffic], clock=Clock())
    return Catalogue(router=router, pages=pages, prices=prices or PriceList(), clock=clock)


def test_a_model_has_what_is_known_of_where_it_is_tried_first() -> None:
    targets = (TargetSpec("desk", "m2", priority=2), TargetSpec("lab", "m1"))
    router = router_of(LAB, DESK, models=[ModelSpec("own", targets, price=OWN)])
    listed = [ListedModel("m1", "chat", context=8000, max_output=2000, retires="2027-01-31")]
    router.use({"lab": provider_list(listed, read_at=1)})
    catalogue = catalogue_of(router, Clock())
    own, m1 = run(catalogue.models)
    assert own[:5] == ("own", "chat", "lab", "m1", 2) and (own.context, own.max_output) == (8000, 2000)
    assert str(own.retires) == "2027-01-31" and own.price is not None and own.price.rates.output == 9 * 10**9
    assert m1.id == "m1" and m1.price is None
    assert catalogue.seen(own) == ("healthy", 7)
    assert catalogue.names() == ["own", "m1"] and catalogue.providers() == ["lab", "desk"]


def test_a_published_price_is_shown_once_it_is_known() -> None:
    router = router_of(ProviderSpec("openai", "openai", secrets=("x",)))
    router.use({"openai": listing("gpt-4o")})
    prices, clock = PriceList(), Clock()
    catalogue = catalogue_of(router, clock, prices)
    assert [model.price for model in run(catalogue.models) if model.id == "gpt-4o"] == [None]
    (served,) = [each for each in router.served() if each.model == "gpt-4o"]
    prices.preset(Served(*served), Tariff.flat(PUBLISHED))
    clock.now += KEEP_SECONDS
    assert [model.price for model in run(catalogue.models) if model.id == "gpt-4o"] == [PUBLISHED]


def test_other_lists_are_seen_at_once() -> None:
    router = router_of(LAB)
    router.use({"lab": listing("one")})
    catalogue = catalogue_of(router, Clock())
    assert [model.id for model in run(catalogue.models)] == ["one"]
    router.use({"lab": listing("two", "three")})
    assert [model.id for model in run(catalogue.models)] == ["two", "three"]


def test_a_catalogue_of_thousands_is_made_in_slices() -> None:
    router = router_of(LAB)
    names = [f"model-{number}" for number in range(3 * SLICE)]
    router.use({"lab": listing(*names)})
    catalogue = catalogue_of(router, Clock())

    async def counted() -> int:
        turns = 0
        task = asyncio.create_task(catalogue.models())
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        assert [model.id for model in task.result()] == names
        return turns

    assert run(counted) >= 3
