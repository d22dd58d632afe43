"""An account is closed once, at the terms it was opened under, whatever clock, disk and vendor do."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import errors
from handlers.accounting import UNRECORDED, Account, Accounts, Bookkeeping
from handlers.errors import Refused
from handlers.relay import Conduct, Relay
from handlers.terms import Terms, TermsBook
from limits.embedded import EmbeddedLimiter
from providers import errors as vendor
from providers.errors import ProviderError
from providers.estimate import Estimator
from providers.health import Health
from providers.price_list import PriceList, Served
from providers.pricing import NAMES, Period, Price, Rates, Tariff, cost, from_usd
from providers.router import Router
from providers.transport import Transport
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
from tests.fakes.vendor import Vendor, reply
from tests.fakes.vendor import stream as stream_of

KEY = ApiKey(7, None, "k", "sk-", "0000", b"", "free", 10**6, 10**9, None, "total", None, None, None, 0)
PRICE = from_usd({"input": 1, "output": 2})
LAB = "http://lab.example.org/v1"


class World:
    """A journal on the disk, accounts on it, and a clock to turn."""

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 1 << 20,
        is_required: bool = True,
        disk: Disk | None = None,
        url: str = LAB,
    ) -> None:
        self.now = 1_790_000_000.0
        self.slot = Slot.take(directory, 0)
        self.journal = Journal(Segment.create(self.slot, 1, 1, size))
        self.prices = PriceList()
        lab = ProviderSpec("lab", "openai_compatible", url)
        priced = ModelSpec("m", (TargetSpec("lab", "m"),), price=PRICE, max_output_tokens=100)
        demo = ProviderSpec("demo", "demo")
        self.router = Router.from_specs([lab, demo], [priced], Timeouts())
        estimator = Estimator()
        self.terms = TermsBook(
            router=self.router, prices=self.prices, estimator=estimator, clock=lambda: self.now
        )
        self.limiter = EmbeddedLimiter(clock=lambda: int(self.now * 1000))
        self.accounts = Accounts(
            books=Bookkeeping(self.journal, is_required, disk.sync if disk is not None else None),
            limiter=self.limiter,
            terms=self.terms,
            estimator=estimator,
            clock=lambda: self.now,
        )

    def target(self, model: str = "m") -> Target:
        return self.router.targets(model, CHAT, 0.0)[0]

    async def relayed(self, call: Call) -> AsyncIterator[bytes]:
        """The answer, as far as it is handed out."""
        transport = Transport()
        clock = asyncio.get_running_loop().time
        relay = Relay(
            router=self.router,
            transport=transport,
            accounts=self.accounts,
            health=Health(),
            conduct=Conduct(),
            clock=clock,
        )
        try:
            if not call.stream:
                yield (await relay.fetch(call, KEY)).reply.body
                return
            with closing(await relay.open(call, KEY)) as stream:
                chunks = stream.chunks
                while chunks:
                    yield b"".join(chunk.data for chunk in chunks)
                    chunks = await stream.next()
        finally:
            await transport.close()

    async def open(self, key: ApiKey = KEY, model: str = "m", **payload: Any) -> Account:
        return await self.open_call(make_call(model, **payload), key)

    async def open_call(self, call: Call, key: ApiKey = KEY) -> Account:
        target = self.target(call.model)
        account = self.accounts.prepare(call, key, target, 0)
        if account is None:
            account = await self.accounts.learn(call, key, target, 0)
        waiting = self.accounts.begin(account)
        if waiting is not None:
            await waiting
        return account

    def rows(self) -> list[LedgerRow]:
        reader = Reader()
        data = self.journal.segment.read(FIRST_POSITION, self.journal.segment.end)
        return [row for _, body in bodies(data) if body and (row := reader.feed(body)) is not None]


_numbers = itertools.count(1)


def make_call(model: str = "m", operation: str = CHAT, **payload: Any) -> Call:
    fields = {"model": model, "messages": [{"role": "user", "content": "hello"}], **payload}
    request_id = f"{next(_numbers):030x}"
    return Call(operation, model, fields, json.dumps(fields).encode(), False, True, request_id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.journal.segment.close()
    world.slot.release()


ENDINGS: dict[str, Callable[[Account], None]] = {
    "settle": lambda account: account.settle(Usage(10, 20)),
    "fail": lambda account: account.fail(ProviderError(vendor.FAILED, "x")),
    "abandon": lambda account: account.abandon(is_sent=True),
}


@pytest.mark.parametrize(
    ("first", "status"), [("settle", "ok"), ("fail", "error"), ("abandon", "client_gone")]
)
def test_only_the_first_closing_is_written(world: World, first: str, status: str) -> None:
    account = asyncio.run(world.open())
    ENDINGS[first](account)
    cost_nanodollars, end = account.cost_nanodollars, world.journal.segment.end
    for close in ENDINGS.values():
        close(account)
    assert world.journal.segment.end == end
    (row,) = world.rows()
    assert (row.status, row.cost_nanodollars, account.is_open) == (status, cost_nanodollars, False)


def test_a_clock_that_steps_back_makes_no_negative_time(world: World) -> None:
    account = asyncio.run(world.open())
    world.now -= 3600
    account.note_first_byte()
    account.settle(Usage(1, 1))
    assert (account.first_byte_ms, account.total_ms) == (0, 0)
    assert [(row.first_byte_ms, row.total_ms) for row in world.rows()] == [(0, 0)]


def test_what_a_vendor_bills_beyond_its_cap_is_charged_and_noted(world: World) -> None:
    account = asyncio.run(world.open(max_tokens=10))
    account.settle(Usage(5, 1000))
    (row,) = world.rows()
    assert row.cost_nanodollars == 2_005_000
    overrun = 2_005_000 - account.worst_nanodollars
    assert json.loads(row.details or "") == {"overrun_nanodollars": overrun} and overrun > 0


def test_a_vendors_own_cost_is_noted_and_may_be_above_the_price(world: World) -> None:
    account = asyncio.run(world.open(max_tokens=10))
    account.settle(Usage(5, 10, cost_nanodollars=10**9))
    (row,) = world.rows()
    overrun = 10**9 - account.worst_nanodollars
    assert json.loads(row.details or "") == {"cost_by": "provider", "overrun_nanodollars": overrun}
    assert row.cost_nanodollars == 10**9


def test_a_failure_is_charged_only_what_was_reported_seen_or_timed_out(world: World) -> None:
    late = ProviderError(vendor.TIMEOUT, "x")
    never = ProviderError(vendor.TIMEOUT, "x", dispatched=False)
    theirs = ProviderError(vendor.TIMEOUT, "x", status=504)
    cut = ProviderError(vendor.INCOMPLETE, "x")

    async def test(failure: ProviderError, text_bytes: int = 0, usage: Usage | None = None) -> None:
        account = await world.open()
        account.text_bytes = text_bytes
        if usage is not None:
            account.note_usage(usage)
        account.fail(failure)

    for case in ((late,), (never,), (theirs,), (cut,), (cut, 36), (cut, 36, Usage(7, 8))):
        asyncio.run(test(*case))
    found = [(row.status, row.usage_source, row.input_tokens, row.output_tokens) for row in world.rows()]
    assert found == [
        ("timeout", "estimated", 6, 0),  # 5 bytes are two tokens, and a message has four
        ("error", "none", 0, 0),
        ("error", "none", 0, 0),
        ("error", "none", 0, 0),
        ("error", "estimated", 6, 10),
        ("error", "reported", 7, 8),
    ]
    told = [json.loads(row.details or "")["error"] for row in world.rows()]
    assert told == ["timeout", "timeout", "timeout 504", "incomplete", "incomplete", "incomplete"]


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

    async def test() -> Account:
        for _ in range(20):
            (await world.open()).settle(Usage(1, 1))
        with pytest.raises(LedgerFull):
            await world.open(replace(KEY, budget_nanodollars=10**9))
        return await world.open()

    account = asyncio.run(test())
    written = len(world.rows())
    assert account.ticket == UNRECORDED and 0 < written < 20
    account.settle(Usage(10, 20))
    account.abandon(is_sent=True)
    assert (account.status, account.cost_nanodollars, len(world.rows())) == ("ok", 50_000, written)


class Disk:
    """Brings appends to the disk, for so long as it can."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def sync(self) -> None:
        if self.times == 0:
            raise LedgerFull("the disk is gone")
        self.times -= 1


def test_nobody_begins_at_once_where_the_disk_is_waited_for(tmp_path: Path, world: World) -> None:
    waiting = World(tmp_path / "waiting", disk=Disk(2))

    async def is_at_once(each: World) -> bool:
        await each.open()  # from here on its price, and the key, are known
        account = each.accounts.prepare(make_call(), KEY, each.target(), 0)
        assert account is not None
        begun = each.accounts.begin(account)
        if begun is None:
            return True
        await begun
        return False

    assert asyncio.run(is_at_once(world))
    assert not asyncio.run(is_at_once(waiting))


PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", ["m", "demo-echo"])
@pytest.mark.parametrize(("times", "status"), [(0, "client_gone"), (1, "ok")])
def test_what_is_not_on_the_disk_is_not_answered(
    tmp_path: Path, is_stream: bool, model: str, times: int, status: str
) -> None:
    shown = []

    async def test() -> None:
        call = make_call(model)
        call.stream = is_stream
        async for data in world.relayed(call):
            shown.append(data)

    with Vendor() as fake:
        world = World(tmp_path, disk=Disk(times), url=fake.base_url)
        answer = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
        fake.answers["m"] = stream_of(PIECE, 0.05, b"data: [DONE]\n\n") if is_stream else reply(answer)
        with pytest.raises(LedgerFull):
            asyncio.run(test())
        end = time.monotonic() + 10
        while any(request.gone_at is None for request in fake.requests):
            assert time.monotonic() < end
            time.sleep(0.002)
    assert len(fake.requests) == (model == "m" and times > 0)
    assert b"[DONE]" not in b"".join(shown) and (is_stream or not shown)
    (row,) = world.rows()
    assert (row.status, row.cost_nanodollars > 0) == (status, times > 0)


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


RATES = st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(0, 10**12), max_size=6)
KNOWN = RATES.map(lambda rates: Rates.from_known({"input": 1, **rates}))


@st.composite
def prices(draw: st.DrawFn) -> Price:
    tiers = tuple(
        sorted(draw(st.lists(st.tuples(st.integers(0, 3000), KNOWN), max_size=2)), key=itemgetter(0))
    )
    variants = {"service_tier=x": Price("x", draw(KNOWN))} if draw(st.booleans()) else {}
    return Price("x", draw(KNOWN), tiers, variants)


@given(price=prices(), data=st.data(), choices=st.integers(1, 4), cap=st.none() | st.integers(1, 300))
def test_the_worst_case_is_never_less_than_what_comes(
    price: Price, data: st.DataObject, choices: int, cap: int | None
) -> None:
    terms = Terms(Place("m", "p", "m", "chat", "x", ""), price, "family", 200)
    call = make_call(
        **({} if choices == 1 else {"n": choices}), **({} if cap is None else {"max_tokens": cap})
    )
    call.body = b"x" * data.draw(st.integers(0, 5000))

    def part(whole: int) -> int:
        return data.draw(st.sampled_from([0, whole]) | st.integers(0, whole))

    prompt, answer = part(len(call.body)), part((cap or 200) * choices)
    parts = [part(prompt if side == "i" else answer) for side in "iioioiiio"]
    variant = data.draw(st.sampled_from(["", "service_tier=x", "service_tier=y"]))
    usage = Usage(prompt, answer, *parts, variant=variant)
    assert cost(price, usage) <= terms.worst(len(call.body), (cap or 200) * choices)


USED = {
    "cached_input": Usage(1000, 0, 1000),
    "cache_write": Usage(1000, 0, cache_write_tokens=1000),
    "cache_write_1h": Usage(1000, 0, cache_write_tokens=1000, cache_write_1h_tokens=1000),
    "reasoning": Usage(1000, 300, reasoning_tokens=300),
    "audio_input": Usage(1000, 0, audio_input_tokens=1000),
    "cached_audio": Usage(1000, 0, 1000, audio_input_tokens=1000, cached_audio_tokens=1000),
    "audio_output": Usage(1000, 300, audio_output_tokens=300),
    "image_input": Usage(1000, 0, image_input_tokens=1000),
    "image_output": Usage(1000, 300, image_output_tokens=300),
}


@pytest.mark.parametrize("place", ["standard", "tier", "variant"])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_worst_case_knows_the_dearest_rate_wherever_it_is(name: str, place: str) -> None:
    cheap = Rates.from_known(dict.fromkeys(NAMES, 1))
    dear = replace(cheap, **{name: 10**12})
    price = {
        "standard": Price("x", dear),
        "tier": Price("x", cheap, ((10, dear),)),
        "variant": Price("x", cheap, (), {"flex": Price("x", dear)}),
    }[place]
    usage = replace(USED.get(name, Usage(1000, 300)), variant="flex")
    worst = Terms(Place("m", "p", "m", "chat", "x", ""), price, "family", 7).worst(1000, 300)
    assert 10**8 <= cost(price, usage) <= worst


def test_the_worst_case_takes_the_greatest_cap_times_all_answers(world: World) -> None:
    async def outputs(operation: str = CHAT, **payload: Any) -> float:
        call = make_call(operation=operation, **payload)
        account = await world.open_call(call)
        account.abandon(is_sent=False)
        return (account.worst_nanodollars - len(call.body) * 1000) / 2000

    async def test() -> None:
        assert await outputs(max_tokens=1, max_completion_tokens=900) == 900
        assert await outputs(max_tokens=None, n=3) == 300
        assert await outputs(COMPLETIONS, prompt=["a", "b"], best_of=5, n=2, max_tokens=10) == 100
        assert await outputs(COMPLETIONS, prompt=[1, 2, 3]) == 16

    asyncio.run(test())
