"""An account is closed once, at the terms it was opened under, whatever clock, disk and vendor do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import errors
from handlers.accounting import Account, Accounts
from handlers.errors import Refused
from handlers.terms import Terms, TermsBook, output_bound
from providers import errors as vendor
from providers.errors import ProviderError
from providers.estimate import Estimator
from providers.price_list import PriceList, Served
from providers.pricing import Period, Tariff, cost, from_usd
from providers.router import Router
from providers.types import (
    CHAT,
    COMPLETIONS,
    Call,
    ModelSpec,
    ProviderSpec,
    Target,
    TargetSpec,
    Timeouts,
    Usage,
)
from store.errors import LedgerFull
from store.journal import Journal
from store.records import Reader, bodies
from store.segments import FIRST_POSITION, Segment, Slot
from store.types import ApiKey, LedgerRow, Place

KEY = ApiKey(7, None, "k", "sk-", "0000", b"", "free", 1, 1, None, "total", None, None, None, 0)
PRICE = from_usd({"input": 1, "output": 2})
LAB = "http://lab.example.org/v1"


class World:
    """A journal on the disk, accounts on it, and a clock to turn."""

    def __init__(self, directory: Path, *, size: int = 1 << 20, is_required: bool = True) -> None:
        self.now = 1_790_000_000.0
        self.slot = Slot.take(directory, 0)
        self.journal = Journal(Segment.create(self.slot, 1, 1, size))
        self.prices = PriceList()
        lab = ProviderSpec("lab", "openai_compatible", LAB)
        priced = ModelSpec("m", (TargetSpec("lab", "m"),), price=PRICE, max_output_tokens=100)
        self.router = Router.from_specs([lab], [priced], Timeouts())
        estimator = Estimator()
        self.terms = TermsBook(
            router=self.router, prices=self.prices, estimator=estimator, clock=lambda: self.now
        )
        self.accounts = Accounts(
            journal=self.journal,
            terms=self.terms,
            estimator=estimator,
            clock=lambda: self.now,
            is_required=is_required,
        )

    def target(self, model: str = "m") -> Target:
        return self.router.targets(model, CHAT)[0]

    async def open(self, key: ApiKey = KEY, model: str = "m", **payload: Any) -> Account:
        call = make_call(model, **payload)
        return await self.accounts.open_slowly(call, key, self.target(model), 0)

    def rows(self) -> list[LedgerRow]:
        reader = Reader()
        data = self.journal.segment.read(FIRST_POSITION, self.journal.segment.end)
        return [row for _, body in bodies(data) if body and (row := reader.feed(body)) is not None]


def make_call(model: str = "m", operation: str = CHAT, **payload: Any) -> Call:
    fields = {"model": model, "messages": [{"role": "user", "content": "hello"}], **payload}
    return Call(operation, model, fields, json.dumps(fields).encode(), False, True, "01" * 15)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.segment.close()
    world.slot.release()


def test_a_second_closing_changes_nothing(world: World) -> None:
    async def test() -> None:
        account = await world.open()
        account.settle(Usage(10, 20))
        account.settle(Usage(999, 999))
        account.fail(ProviderError(vendor.FAILED, "x"))
        account.abandon(is_sent=True)

    asyncio.run(test())
    (row,) = world.rows()
    assert (row.status, row.input_tokens, row.cost_nanodollars) == ("ok", 10, 50_000)


def test_a_clock_that_steps_back_makes_no_negative_time(world: World) -> None:
    async def test() -> None:
        account = await world.open()
        world.now -= 3600
        account.note_first_byte()
        account.settle(Usage(1, 1))

    asyncio.run(test())
    assert [(row.first_byte_ms, row.total_ms) for row in world.rows()] == [(0, 0)]


def test_what_a_vendor_bills_beyond_its_cap_is_charged_and_noted(world: World) -> None:
    async def test() -> None:
        account = await world.open(max_tokens=10)
        account.settle(Usage(5, 1000))

    asyncio.run(test())
    (row,) = world.rows()
    assert row.cost_nanodollars == 2_005_000
    assert json.loads(row.details or "")["overrun_nanodollars"] > 0


def test_a_full_journal_refuses_with_503_but_settles_what_began(tmp_path: Path) -> None:
    world = World(tmp_path, size=4096)

    async def test() -> list[Account]:
        opened = []
        with pytest.raises(LedgerFull):
            for _ in range(100):
                opened.append(await world.open())
        return opened

    opened = asyncio.run(test())
    assert world.journal.is_full
    for account in opened:
        account.settle(Usage(1, 1))
    assert len(world.rows()) == len(opened) > 0
    answer = errors.answer(LedgerFull("x"))
    assert answer.status == 503
    assert json.loads(answer.body)["error"]["code"] == "ledger_full"


def test_without_a_required_journal_only_keys_without_a_budget_go_on(tmp_path: Path) -> None:
    world = World(tmp_path, size=1024, is_required=False)

    async def test() -> None:
        for _ in range(20):
            (await world.open()).settle(Usage(1, 1))
        with pytest.raises(LedgerFull):
            await world.open(replace(KEY, budget_nanodollars=10**9))

    asyncio.run(test())
    assert len(world.rows()) < 20


def test_without_a_price_a_key_with_a_budget_is_refused_and_others_pay_nothing(world: World) -> None:
    world.prices.preset(Served("openai_compatible", LAB, "x"), None)

    async def test() -> None:
        with pytest.raises(Refused) as refused:
            await world.open(replace(KEY, budget_nanodollars=10**9), "x")
        assert refused.value.reason == "model_not_priced"
        (await world.open(KEY, "x")).settle(Usage(5, 5))

    asyncio.run(test())
    assert [(row.cost_nanodollars, row.place.price_source) for row in world.rows()] == [(0, "unpriced")]


def test_a_call_is_charged_at_the_price_it_began_under(world: World) -> None:
    night, day = from_usd({"input": 1, "output": 1}, "night"), from_usd({"input": 3, "output": 3}, "day")
    tariff = Tariff((Period(night), Period(day, window=(0, 43_200))))
    world.prices.preset(Served("openai_compatible", LAB, "timed"), tariff)

    async def test() -> None:
        world.now = 86_400 * 20_000 + 43_199.0
        before = await world.open(model="timed")
        world.now += 2
        after = await world.open(model="timed")
        for account in (before, after):
            account.settle(Usage(10, 10))

    asyncio.run(test())
    found = [(row.place.price_source, row.cost_nanodollars) for row in world.rows()]
    assert found == [("day", 60_000), ("night", 20_000)]


@given(
    prompt=st.integers(0, 5000),
    cached=st.integers(0, 5000),
    answer=st.integers(0, 300),
    choices=st.integers(1, 4),
    cap=st.integers(1, 300),
)
def test_the_worst_case_is_never_less_than_what_comes(
    prompt: int, cached: int, answer: int, choices: int, cap: int
) -> None:
    price = from_usd({"input": 2, "cached_input": 0.5, "output": 10, "reasoning": 30})
    terms = Terms(Place("m", "p", "m", "chat", "x", ""), price, "family", 300)
    call = make_call(n=choices, max_tokens=cap)
    call.body = b"x" * prompt
    usage = Usage(prompt, min(answer, cap) * choices, min(cached, prompt), reasoning_tokens=min(answer, cap))
    assert cost(price, usage) <= terms.worst(call)


def test_the_output_bound_takes_the_greatest_cap_times_all_answers() -> None:
    assert output_bound(make_call(max_tokens=1, max_completion_tokens=900), 50) == 900
    assert output_bound(make_call(max_tokens=None, n=3), 50) == 150
    prompts = make_call(operation=COMPLETIONS, prompt=["a", "b"], best_of=5, n=2, max_tokens=10)
    assert output_bound(prompts, 50) == 100
    assert output_bound(make_call(operation=COMPLETIONS, prompt=[1, 2, 3]), 50) == 50
