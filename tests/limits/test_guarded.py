"""A limiter that has lost Redis goes on alone, with what it may decide alone, and comes back in order.

On a real Redis; the ledger behind it is a few sums that a test sets.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final
from unittest import mock

import pytest

from limits import alone, rebuild
from limits.alone import Position, Seen
from limits.embedded import EmbeddedLimiter
from limits.errors import LimiterUnavailable
from limits.guarded import WAIT_SECONDS, GuardedLimiter, Owed
from limits.link import Link
from limits.shared import SharedLimiter
from limits.types import BUDGET, PARALLEL, REQUESTS, Claim, Correction
from tests.limits.redis_servers import RedisServer
from tests.limits.shared_bench import PLACE, connected
from tests.limits.trial import START, Limits

pytestmark = [pytest.mark.expects_log("Redis is lost"), pytest.mark.expects_log("Redis is back")]

LONGEST_SECONDS: Final = 4 * WAIT_SECONDS  # on a busy machine
BOUND_SECONDS: Final = 10


class Books:
    """`limits.guarded.Backing`, of a ledger in memory. spent and open: what it says at any moment.

    running: processes beside this one. A rebuild waits for read_gate once it has raised the number, and for
    gate once it has read. turn: nothing is asked of Redis before it. reading: what is owed is told once it
    is set.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._number = 1
        self.running = 0
        self.spent: dict[tuple[int, int], int] = {}
        self.open: dict[str, Claim] = {}
        self.gate, self.read_gate, self.reading = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.read_gate.set()
        self.reading.set()
        self.turn = asyncio.Event()
        self.turn.set()
        self.written = 0  # records
        self.is_read = False

    def number(self) -> int:
        return self._number

    def others(self) -> int:
        return self.running

    def position(self) -> Position:
        return 1, self.written

    async def owed(self) -> Owed:
        spent, claims = dict(self.spent), list(self.open.values())
        await self.reading.wait()
        return Owed(spent, 0, claims)

    async def restore(self, *, lost: int, raised: Callable[[], None]) -> Seen:
        await self.turn.wait()
        if not self._link.servers():
            await self._link.connect()
        if self._number == lost or not await rebuild.verify(self._link, self._number):
            await self._fill(raised)
        return await rebuild.seen(self._link, self._number, PLACE)

    async def _fill(self, raised: Callable[[], None]) -> None:
        self._number += 1
        raised()
        await rebuild.halt(self._link)
        await self.read_gate.wait()
        calls = [
            rebuild.Open(PLACE, claim.claim_id, claim.key_id, claim.window, claim.worst_nanodollars)
            for claim in self.open.values()
        ]
        state = rebuild.State(dict(self.spent), 0, calls, (), {0: self.position()})
        self.is_read = True
        await self.gate.wait()
        await rebuild.rebuild(self._link, self._number, state)

    async def filled_elsewhere(self, url: str, claims: list[Claim]) -> None:
        """Another process has filled Redis, and knew of these calls."""
        link = await connected(url)
        self._number += 1
        calls = [rebuild.Open(PLACE, claim.claim_id, claim.key_id, 0, 20) for claim in claims]
        await rebuild.rebuild(link, self._number, rebuild.State({}, 0, calls, (), {0: (1, 1)}))
        link.close()


class Scene:
    """The limiter, its Redis, and calls as the gateway makes them."""

    def __init__(self, redis: RedisServer, link: Link, books: Books, processes: int) -> None:
        self.redis = redis
        self.books = books
        self._ids = itertools.count(1)
        self.limiter = GuardedLimiter(
            shared=SharedLimiter(link=link, number=self.books.number, place=PLACE),
            local=EmbeddedLimiter(clock=lambda: START),
            backing=self.books,
            processes=processes,
            clock=asyncio.get_running_loop().time,
        )

    async def admit(self, *, key: int = 1, worst: int = 0, **limits: Any) -> Claim:
        """Ask for a call."""
        claim = self._claim(key, worst, Limits(**limits))
        async with asyncio.timeout(LONGEST_SECONDS):
            await self.limiter.admit(claim)
        return claim

    async def begin(self, **asked: Any) -> Claim:
        """Ask for a call and write down that it begins, under the counters that hold then."""
        while True:
            claim = await self.admit(**asked)
            assert not claim.refusal, claim.refusal
            if self.limiter.is_current(claim):
                self.books.written += 1
                self.books.open[claim.claim_id] = claim
                return claim

    def end(self, claim: Claim, nanodollars: int) -> None:
        """Write down what it has cost, then say so."""
        del self.books.open[claim.claim_id]
        self.books.written += 1
        place = claim.key_id, claim.window
        self.books.spent[place] = self.books.spent.get(place, 0) + nanodollars
        self.limiter.settle(claim, 0, nanodollars)

    async def money(self) -> tuple[int, int]:
        """Spent and reserved, once all that was told before is in effect."""
        claim = self._claim(1, 0, Limits(budget_nanodollars=10**9))
        for _ in range(2):
            await asyncio.sleep(0)
        await self.limiter.peek(claim)
        return claim.spent_nanodollars, claim.reserved_nanodollars

    async def refusals(self, count: int, **asked: Any) -> list[str]:
        return [(await self.admit(**asked)).refusal for _ in range(count)]

    async def lose(self) -> None:
        """Redis is gone, and the limiter knows."""
        self.redis.stop()
        await self.until(lambda: not self.limiter.is_up)

    async def come_back(self) -> None:
        self.redis.start()
        await self.until(lambda: self.limiter.is_up)

    async def hold(self) -> None:
        """Redis is emptied, and what it is filled with is read once the gate for that is opened."""
        self.books.gate.clear()
        self.books.read_gate.clear()
        self.books.is_read = False
        number = self.books.number()
        self.redis.ask("FLUSHALL")
        asking = asyncio.create_task(self.admit(key=9))
        await self.until(lambda: self.books.number() > number)
        await asking

    async def begin_to_fill(self) -> None:
        """Redis is there again, and what it is filled with takes its time: until the gate is opened."""
        self.books.gate.clear()
        number = self.books.number()
        self.redis.start()
        await self.until(lambda: self.books.number() > number)

    async def fill(self) -> None:
        self.books.gate.set()
        await self.until(lambda: self.limiter.is_up)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while not is_so():
                await asyncio.sleep(0.005)

    def _claim(self, key: int, worst: int, rules: Limits) -> Claim:
        claim = Claim()
        claim.claim_id = f"attempt-{next(self._ids)}"
        claim.key_id, claim.window, claim.rules = key, 0, rules
        claim.requests, claim.tokens, claim.incarnation = 1, 0, 0
        claim.worst_nanodollars = claim.least_nanodollars = worst
        return claim


Scenario = Callable[[Scene], Coroutine[Any, Any, None]]


def with_redis(processes: int = 1) -> Callable[[Scenario], Callable[[], None]]:
    """A test of a limiter on a Redis of its own."""

    async def run(scenario: Scenario) -> None:
        with RedisServer() as redis:
            link = await connected(redis.url)
            books = Books(link)
            await books.restore(lost=0, raised=lambda: None)
            scene = Scene(redis, link, books, processes)
            try:
                await scenario(scene)
            finally:
                await scene.limiter.close()
                link.close()

    def decorate(scenario: Scenario) -> Callable[[], None]:
        def test() -> None:
            asyncio.run(run(scenario))

        test.__name__ = scenario.__name__
        test.__doc__ = scenario.__doc__
        return test

    return decorate


@with_redis()
async def test_alone_it_goes_on_from_the_ledger(scene: Scene) -> None:
    scene.books.spent[1, 0] = 50
    scene.redis.ask("FLUSHALL")
    early, late = [await scene.begin(worst=20, budget_nanodollars=100) for _ in range(2)]
    await scene.lose()
    assert await scene.refusals(2, worst=10, budget_nanodollars=100) == ["", BUDGET]
    scene.end(early, 5)
    assert await scene.money() == (55, 30)
    await scene.come_back()
    assert await scene.money() == (55, 20)
    scene.end(late, 7)
    assert await scene.money() == (62, 0)


@with_redis(processes=2)
async def test_with_others_money_waits_for_redis_and_rates_hold_at_a_share(scene: Scene) -> None:
    scene.books.running = 1
    claim = await scene.begin(worst=20, budget_nanodollars=100)
    await scene.lose()
    with pytest.raises(LimiterUnavailable):
        await scene.admit(worst=10, budget_nanodollars=100)
    assert await scene.refusals(3, key=2, rpm=4) == ["", "", REQUESTS]
    assert await scene.refusals(2, key=3, rpm=1) == ["", REQUESTS]
    assert await scene.refusals(3, key=4, max_parallel=4) == ["", "", PARALLEL]
    assert [scene.limiter.count("a", 4) for _ in range(2)] == [0, 0]
    assert scene.limiter.count("a", 4) != 0
    scene.end(claim, 5)
    await scene.come_back()
    assert await scene.money() == (5, 0)
    assert await scene.refusals(5, key=5, rpm=4) == ["", "", "", "", REQUESTS]


@with_redis(processes=3)
async def test_the_only_process_that_runs_has_its_share_of_rates_and_all_of_the_money(scene: Scene) -> None:
    await scene.lose()
    assert await scene.refusals(2, worst=60, budget_nanodollars=100) == ["", BUDGET]
    assert await scene.refusals(3, key=2, rpm=6) == ["", "", REQUESTS]
    await scene.come_back()


@with_redis()
async def test_who_waited_for_redis_in_vain_is_decided_alone(scene: Scene) -> None:
    scene.redis.pause()
    asked = [scene.admit(worst=1, budget_nanodollars=100), scene.admit(key=2)]
    assert [claim.refusal for claim in await asyncio.gather(*asked)] == ["", ""]
    scene.redis.resume()
    await scene.until(lambda: scene.limiter.is_up)


@with_redis()
async def test_what_is_settled_while_the_ledger_is_read_is_settled_alone(scene: Scene) -> None:
    claim = await scene.begin(worst=20, budget_nanodollars=100)
    scene.books.reading.clear()
    await scene.lose()
    waiting = asyncio.create_task(scene.admit(worst=95, budget_nanodollars=100))
    await asyncio.sleep(0)
    scene.end(claim, 5)
    scene.books.reading.set()
    assert (await waiting).refusal == ""
    assert await scene.money() == (5, 95)
    await scene.come_back()
    assert await scene.money() == (5, 0)  # what was never begun is not reserved


@with_redis(processes=2)
async def test_a_call_that_ends_while_redis_is_filled_is_settled_there(scene: Scene) -> None:
    claims = [await scene.begin(worst=20, budget_nanodollars=100) for _ in range(2)]
    await scene.lose()
    await scene.begin_to_fill()
    scene.end(claims[0], 5)
    await scene.fill()
    scene.end(claims[1], 6)
    assert await scene.money() == (11, 0)


@with_redis(processes=2)
async def test_while_redis_is_filled_a_key_without_a_budget_is_served(scene: Scene) -> None:
    scene.books.running = 1
    await scene.lose()
    await scene.begin_to_fill()
    assert await scene.refusals(1, key=2) == [""]
    with pytest.raises(LimiterUnavailable):
        await scene.admit(worst=1, budget_nanodollars=100)
    await scene.fill()


@with_redis()
async def test_alone_it_goes_on_while_redis_is_filled(scene: Scene) -> None:
    await scene.lose()
    await scene.begin_to_fill()
    assert await scene.refusals(1, worst=1, budget_nanodollars=100) == [""]
    await scene.fill()


@with_redis()
async def test_calls_begun_while_redis_is_filled_are_counted_once(scene: Scene) -> None:
    asked: dict[str, Any] = {"worst": 20, "budget_nanodollars": 200}
    before = await scene.begin(**asked)
    await scene.hold()
    early, ended = [await scene.begin(**asked) for _ in range(2)]
    scene.end(ended, 1)
    scene.books.read_gate.set()
    await scene.until(lambda: scene.books.is_read)
    late, over, waiting = [await scene.begin(**asked) for _ in range(3)]
    for claim, cost in ((before, 2), (early, 4), (over, 8)):
        scene.end(claim, cost)
    await scene.fill()
    assert await scene.money() == (15, 40)
    scene.end(late, 16)
    scene.limiter.release(waiting)
    assert await scene.money() == (31, 0)


@with_redis()
async def test_where_too_many_calls_are_begun_meanwhile_redis_is_filled_once_more(scene: Scene) -> None:
    with mock.patch.object(alone, "MOST", 2):
        await scene.hold()
        scene.books.read_gate.set()
        await scene.until(lambda: scene.books.is_read)
        claims = [await scene.begin(worst=20, budget_nanodollars=200) for _ in range(4)]
        scene.end(claims[0], 1)
        number = scene.books.number()
        await scene.fill()
    assert await scene.money() == (1, 60)
    assert scene.books.number() == number + 1


@with_redis(processes=2)
async def test_a_process_that_waited_for_another_to_fill_redis_relies_on_that(scene: Scene) -> None:
    scene.books.running = 1
    ended, before = [await scene.begin(worst=20) for _ in range(2)]
    await scene.hold()
    during = await scene.begin(worst=20)
    scene.books.read_gate.set()
    scene.end(ended, 3)
    number = scene.books.number()
    await scene.fill()
    scene.end(before, 4)
    scene.end(during, 5)
    assert await scene.money() == (12, 0)
    assert scene.books.number() == number


@with_redis(processes=2)
async def test_what_was_settled_on_a_connection_that_was_lost_is_told_again(scene: Scene) -> None:
    scene.books.running = 1
    claim = await scene.begin(worst=20)
    scene.books.turn.clear()
    scene.redis.pause()
    scene.end(claim, 5)
    await scene.until(lambda: not scene.limiter.is_up)
    scene.redis.resume()
    await scene.books.filled_elsewhere(scene.redis.url, [claim])
    scene.books.turn.set()
    await scene.until(lambda: scene.limiter.is_up)
    assert await scene.money() == (5, 0)


@with_redis(processes=2)
async def test_what_was_written_down_as_redis_was_filled_elsewhere_is_kept_without_a_budget(
    scene: Scene,
) -> None:
    scene.books.running = 1
    for known, is_ended in itertools.product((True, False), repeat=2):
        claim = await scene.admit(worst=20)
        await scene.books.filled_elsewhere(scene.redis.url, [claim] if known else [])
        assert not scene.limiter.is_current(claim) and scene.limiter.keep(claim)
        scene.books.open[claim.claim_id] = claim
        if is_ended:
            scene.end(claim, 5)
        assert await scene.money() == ((5, 0) if is_ended else (0, 20))
        if not is_ended:
            scene.end(claim, 5)
            assert await scene.money() == (5, 0)
    refused = await scene.admit(worst=20, budget_nanodollars=100)
    await scene.books.filled_elsewhere(scene.redis.url, [])
    assert not scene.limiter.keep(refused)
    await scene.lose()
    await scene.come_back()


@with_redis()
async def test_what_the_operator_corrects_holds_alone_as_well(scene: Scene) -> None:
    await scene.lose()
    assert await scene.refusals(1, worst=60, budget_nanodollars=100) == [""]
    scene.limiter.correct(Correction(1, 1, 0, 30))
    assert await scene.money() == (30, 60)
    scene.books.spent[1, 0] = 30
    await scene.come_back()
    assert await scene.money() == (30, 0)


@with_redis()
async def test_a_claim_of_counters_that_were_lost_is_not_current(scene: Scene) -> None:
    before = await scene.admit(worst=1, budget_nanodollars=100)
    await scene.lose()
    alone = await scene.admit(worst=1, budget_nanodollars=100)
    assert scene.limiter.is_current(alone)
    await scene.come_back()
    assert not scene.limiter.is_current(before) and not scene.limiter.is_current(alone)
    scene.limiter.release(before)
    scene.limiter.settle(alone, 0, 50)  # it was in no journal: nobody knows it
    assert await scene.money() == (0, 0)
