"""Paid probes: only where nobody knows, only with a price, and never for more than the day's cap."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from handlers.model_pages import Source
from handlers.probing import LEAST_SECONDS, TURN_SECONDS, Means, Prober
from handlers.request_id import RequestIds
from handlers.terms import TermsBook
from providers import pricing
from providers.estimate import Estimator
from providers.health import DOWN, HEALTHY, UNKNOWN, Health
from providers.price_list import PriceList
from providers.router import Router
from providers.transport import Transport
from providers.types import ModelSpec, ProviderSpec, TargetSpec, Timeouts
from store.database import Database
from store.probes import DAY_SECONDS, Probes
from tests.fakes.vendor import Answer, Vendor, reply
from tests.store.stores import run

NOW: Final = 20_700 * DAY_SECONDS
SECRET: Final = "fake-vendor-secret"
PRICE: Final = pricing.from_usd({"input": 1000, "output": 1000})  # a thousandth of a dollar a token
MODELS: Final = ("chatty", "other", "text-embedding-it")


def looped(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    """In an event loop of its own."""

    def outer(tmp_path: Path) -> None:
        run(lambda: test(tmp_path))

    return outer


def good(**usage: int) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}
    return reply({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})


class Fixed:
    """A source that knows what it was told."""

    def __init__(self, **known: str) -> None:
        self.known = known

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        return self.known.get(model, UNKNOWN), None


class Place:
    """One process's prober before a vendor."""

    def __init__(self, database: Database, transport: Transport, vendor: Vendor, cap: int) -> None:
        self.now = float(NOW)
        self.health = Health()
        self.known = Fixed()
        specs = [ModelSpec(name, (TargetSpec("mine", name),), price=PRICE) for name in MODELS]
        specs.append(ModelSpec("free-for-all", (TargetSpec("mine", "free-for-all"),)))
        provider = ProviderSpec("mine", "openai_compatible", vendor.base_url, (SECRET,))
        router = Router.from_specs([provider], specs, Timeouts(), health=self.health)
        prices = PriceList()
        terms = TermsBook(router=router, prices=prices, estimator=Estimator(), clock=self.unix)
        self.probes = Probes(database, cap)
        sources: tuple[Source, ...] = (self.known,)
        self.prober = Prober(
            Means(router, terms, transport, self.health),
            self.probes,
            sources,
            unix=self.unix,
            clock=asyncio.get_running_loop().time,
            next_id=RequestIds().next,
        )

    def unix(self) -> float:
        return self.now

    def seen(self, *models: str) -> list[str]:
        return [self.prober.seen("mine", model)[0] for model in models]


@contextlib.asynccontextmanager
async def place(directory: Path, vendor: Vendor, cap: int = 10**12) -> AsyncIterator[tuple[Place, Database]]:
    database = await Database.open(directory / "rooya.db")
    transport = Transport()
    try:
        yield Place(database, transport, vendor, cap), database
    finally:
        await transport.close()
        await database.close()


async def spent(database: Database) -> int:
    row = await database.fetch_one("SELECT sum(nanodollars) FROM probe_days")
    return int(row[0] or 0) if row else 0


def asked(vendor: Vendor) -> list[Any]:
    return [request.json["model"] for request in vendor.requests]


@looped
async def test_what_nobody_knows_is_asked_once_and_says_how_it_is(tmp_path: Path) -> None:
    with Vendor() as vendor:
        vendor.answers["chatty"] = good(prompt_tokens=8, completion_tokens=2, total_tokens=10)
        vendor.answers["other"] = reply({"error": {"message": "no"}}, 503)
        embedding = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]}
        vendor.answers["text-embedding-it"] = reply(
            embedding | {"usage": {"prompt_tokens": 3, "total_tokens": 3}}
        )
        async with place(tmp_path, vendor) as (one, database):
            await one.prober.turn()
            assert sorted(asked(vendor)) == sorted(MODELS)  # and not the one without a price
            assert one.seen(*MODELS, "free-for-all") == [HEALTHY, DOWN, HEALTHY, UNKNOWN]
            assert await spent(database) == 13 * 10**6  # what was reported, nothing for the refusal
            await one.prober.turn()
            assert len(vendor.requests) == 3
            one.now += LEAST_SECONDS
            await one.prober.turn()
            assert len(vendor.requests) == 6
            one.now += LEAST_SECONDS + 2 * TURN_SECONDS + 1
            assert one.seen("chatty") == [UNKNOWN]


@looped
async def test_what_is_known_otherwise_is_not_asked(tmp_path: Path) -> None:
    with Vendor() as vendor:
        vendor.answers["chatty"] = good(prompt_tokens=8, completion_tokens=2, total_tokens=10)
        async with place(tmp_path, vendor) as (one, _):
            one.known.known = {"other": HEALTHY, "text-embedding-it": DOWN}
            await one.prober.turn()
            assert asked(vendor) == ["chatty"]


@looped
async def test_a_days_probes_cost_no_more_than_its_cap_also_where_several_ask(tmp_path: Path) -> None:
    with Vendor() as vendor:
        for name in MODELS:
            vendor.answers[name] = Answer(end="reset")  # it may have charged
        async with place(tmp_path, vendor, cap=150 * 10**6) as (one, database):
            other = Place(database, Transport(), vendor, 150 * 10**6)
            for _ in range(5):
                await asyncio.gather(one.prober.turn(), other.prober.turn())
                for each in (one, other):
                    each.now += 20_000
            assert 0 < len(vendor.requests) < 3 and 0 < await spent(database) <= 150 * 10**6
            before = len(vendor.requests)
            one.now = NOW + 3 * DAY_SECONDS
            await one.prober.turn()
            assert len(vendor.requests) > before  # other days


@looped
async def test_probes_are_spread_over_the_day(tmp_path: Path) -> None:
    with Vendor() as vendor:
        vendor.answers["chatty"] = good(prompt_tokens=8, completion_tokens=2, total_tokens=10)
        async with place(tmp_path, vendor, cap=10**9) as (one, _):
            one.known.known = dict.fromkeys(MODELS[1:], HEALTHY)
            for _ in range(48):
                await one.prober.turn()
                one.now += 1800
            assert 5 <= len(vendor.requests) <= 12  # a dollar pays for some ten, at the worst


@looped
async def test_others_and_the_next_start_know_what_was_said(tmp_path: Path) -> None:
    with Vendor() as vendor:
        vendor.answers["chatty"] = good(prompt_tokens=8, completion_tokens=2, total_tokens=10)
        async with place(tmp_path, vendor) as (one, database):
            one.known.known = dict.fromkeys(MODELS[1:], HEALTHY)
            await one.prober.turn()
            other = Place(database, Transport(), vendor, 10**12)
            other.known.known = one.known.known
            await other.prober.start()
            assert other.seen("chatty") == [HEALTHY]
            await other.prober.close()
            assert len(vendor.requests) == 1
