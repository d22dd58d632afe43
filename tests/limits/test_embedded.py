"""The limiter in the process: the contract, and how it learns of a key from the ledger, and forgets it."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from limits.embedded import IDLE_MS, EmbeddedLimiter
from limits.types import BUDGET, PARALLEL, REQUESTS, TOKENS, Claim, Correction, Past
from tests.limits.contract import LimiterContract
from tests.limits.trial import DAY_MS, MINUTE_MS, START, Trial


class EmbeddedBench:
    def __init__(self, load: Callable[[int, int], Awaitable[Past]] | None = None) -> None:
        self.now_ms = START
        self.limiter = EmbeddedLimiter(clock=lambda: self.now_ms, load=load)

    async def await_(self, waiting: Any) -> Any:
        return await waiting if inspect.isawaitable(waiting) else waiting

    async def close(self) -> None:
        pass


class TestEmbedded(LimiterContract):
    def make(self) -> EmbeddedBench:
        return EmbeddedBench()


class Ledger:
    """What the ledger knows of any key; it may be slow, or fail.

    asked: what was asked for. gate: reads wait until it is open. meanwhile: done at the end of each read.
    """

    def __init__(self) -> None:
        self.past = Past()
        self.asked: list[tuple[int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    async def load(self, key_id: int, window: int) -> Past:
        self.asked.append((key_id, window))
        past, error = self.past, self.error
        await self.gate.wait()
        self.meanwhile()
        if error is not None:
            raise error
        return past


class Loading(Trial):
    """A limiter that reads a ledger."""

    limiter: EmbeddedLimiter

    def __init__(self) -> None:
        self.ledger = Ledger()
        super().__init__(EmbeddedBench(self.ledger.load))

    async def begin(self, count: int, **asked: Any) -> list[asyncio.Task[Claim]]:
        """So many claims that wait for the ledger."""
        self.ledger.gate.clear()
        tasks = [asyncio.create_task(self.admit(**asked)) for _ in range(count)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert self.ledger.asked and not any(task.done() for task in tasks)
        return tasks


def loading(scenario: Callable[[Loading], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        async def run() -> None:
            await asyncio.wait_for(scenario(Loading()), 30)

        asyncio.run(run())
        gc.collect()  # an exception that nobody took is logged then

    test.__name__ = scenario.__name__
    return test


# Learning of a key


@loading
async def test_what_the_ledger_knows_of_a_key_counts_from_the_first_claim_on(trial: Loading) -> None:
    trial.limit(rpm=5, tpd=100, budget_nanodollars=1000)
    trial.ledger.past = Past(
        900,
        requests=[(START - MINUTE_MS - 1001, 9), (START - MINUTE_MS, 1), (START - 5, 2)],
        tokens=[(START - DAY_MS - 600_001, 90), (START - DAY_MS, 10), (START - 5, 20)],
    )
    claim = await trial.admit(tokens=70, worst=100)
    assert (claim.refusal, claim.spent_nanodollars, claim.reserved_nanodollars) == ("", 900, 0)
    assert (claim.requests_left, claim.tokens_left) == (1, 0)
    assert (await trial.admit(worst=1)).refusal == BUDGET
    assert (await trial.admit(tokens=1)).refusal == TOKENS
    assert await trial.refusals(2) == ["", REQUESTS]
    assert trial.ledger.asked == [(1, 0)]


@loading
async def test_a_claim_of_a_known_key_is_decided_at_once(trial: Loading) -> None:
    await trial.admit()
    claim = trial.claim()
    assert trial.limiter.admit(claim) is None
    assert claim.refusal == ""
    assert trial.limiter.peek(claim) is None


@loading
async def test_claims_that_meet_a_key_together_read_the_ledger_once(trial: Loading) -> None:
    trial.limit(budget_nanodollars=100)
    trial.ledger.past = Past(50)
    tasks = await trial.begin(20, worst=10)
    peek = asyncio.create_task(trial.peek())
    await asyncio.sleep(0)
    trial.ledger.gate.set()
    refusals = [claim.refusal for claim in await asyncio.gather(*tasks)]
    assert (refusals.count(""), refusals.count(BUDGET)) == (5, 15)
    assert (await peek).spent_nanodollars == 50
    assert trial.ledger.asked == [(1, 0)]


@loading
async def test_each_key_is_read_for_itself(trial: Loading) -> None:
    tasks = await trial.begin(1, key=1) + await trial.begin(1, key=2)
    trial.ledger.gate.set()
    await asyncio.gather(*tasks)
    assert trial.ledger.asked == [(1, 0), (2, 0)]


@loading
async def test_a_ledger_that_fails_fails_all_who_wait_and_is_asked_again_by_the_next(trial: Loading) -> None:
    trial.ledger.error = OSError("no disk")
    tasks = await trial.begin(3, worst=10)
    trial.ledger.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["no disk"] * 3
    trial.ledger.error = None
    trial.ledger.past = Past(7)
    assert await trial.money() == (7, 0)
    assert len(trial.ledger.asked) == 2


@loading
async def test_who_gives_up_waiting_takes_nothing_and_leaves_the_others_alone(trial: Loading) -> None:
    trial.limit(max_parallel=2)
    tasks = await trial.begin(3, worst=10)
    tasks[0].cancel()
    await asyncio.sleep(0)
    assert tasks[0].cancelled() and not tasks[1].done()
    trial.ledger.gate.set()
    assert [(await task).refusal for task in tasks[1:]] == ["", ""]
    assert await trial.money() == (0, 20)
    assert (await trial.admit()).refusal == PARALLEL
    assert len(trial.ledger.asked) == 1


@loading
async def test_a_read_that_nobody_waits_for_any_more_still_serves_the_next(trial: Loading) -> None:
    tasks = await trial.begin(2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    later = asyncio.create_task(trial.admit())
    await asyncio.sleep(0)
    trial.ledger.gate.set()
    assert (await later).refusal == ""
    assert len(trial.ledger.asked) == 1


@loading
async def test_a_failure_that_nobody_waits_for_is_not_logged(trial: Loading) -> None:
    trial.ledger.error = OSError("no disk")
    (task,) = await trial.begin(1)
    task.cancel()
    await asyncio.wait([task])
    trial.ledger.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    trial.ledger.error = None
    assert (await trial.admit()).refusal == ""


# Windows of a budget


@loading
async def test_a_new_window_of_the_budget_is_read_and_the_rates_go_on(trial: Loading) -> None:
    trial.limit(rpm=10, tpd=100)
    trial.ledger.past = Past(500, requests=[(START, 2)], tokens=[(START, 20)])
    await trial.admit(window=1000, tokens=1, worst=1)
    trial.ledger.past = Past(3, requests=[(START, 3)], tokens=[(START, 21)])
    claim = await trial.admit(window=2000, tokens=1)
    assert (claim.spent_nanodollars, claim.reserved_nanodollars) == (3, 0)
    assert (claim.requests_left, claim.tokens_left) == (6, 78)
    assert await trial.money(window=1000) == (500, 1)
    assert trial.ledger.asked == [(1, 1000), (1, 2000)]


@loading
async def test_two_windows_of_a_key_met_together_count_its_past_once(trial: Loading) -> None:
    trial.limit(rpm=10, tpd=100)
    trial.ledger.past = Past(5, requests=[(START, 2)], tokens=[(START, 20)])
    tasks = await trial.begin(1, window=1000) + await trial.begin(1, window=2000)
    trial.ledger.gate.set()
    await asyncio.gather(*tasks)
    assert (await trial.left(window=1000))[:4] == (5, 0, 6, 80)
    assert (await trial.left(window=2000))[:4] == (5, 0, 6, 80)


# Corrections


@loading
async def test_a_correction_that_the_ledger_already_has_in_it_counts_once(trial: Loading) -> None:
    trial.ledger.past = Past(70, correction=4)
    await trial.admit()
    await trial.correct(3, -10)
    await trial.correct(4, -30)
    assert await trial.money() == (70, 0)
    await trial.correct(5, 2)
    assert await trial.money() == (72, 0)


@loading
async def test_a_correction_made_while_a_key_is_read_counts_once(trial: Loading) -> None:
    trial.ledger.past = Past(100, correction=0)
    (task,) = await trial.begin(1)
    await trial.correct(1, -30)
    trial.ledger.gate.set()
    await task
    assert await trial.money() == (70, 0)
    await trial.correct(1, -30)
    assert await trial.money() == (70, 0)


# Forgetting


@loading
async def test_a_key_is_forgotten_when_it_was_long_unused_and_read_again(trial: Loading) -> None:
    claim = await trial.admit(tokens=5, worst=10)
    await trial.settle(claim, 5, 8)
    trial.wait(IDLE_MS)
    trial.limiter.forget_idle()
    assert await trial.money() == (8, 0)
    trial.wait(IDLE_MS + 1)
    trial.limiter.forget_idle()
    trial.ledger.past = Past(9)
    assert await trial.money() == (9, 0)
    assert len(trial.ledger.asked) == 2


@loading
async def test_a_key_is_not_forgotten_while_a_call_is_under_way(trial: Loading) -> None:
    claim = await trial.admit(worst=10)
    trial.wait(10 * IDLE_MS)
    trial.limiter.forget_idle()
    assert await trial.money() == (0, 10)
    await trial.settle(claim, 0, 4)
    assert await trial.money() == (4, 0)
    assert len(trial.ledger.asked) == 1


@loading
async def test_only_keys_that_are_unused_are_forgotten(trial: Loading) -> None:
    await trial.release(await trial.admit(key=1))
    trial.wait(IDLE_MS)
    await trial.release(await trial.admit(key=2))
    trial.wait(1)
    trial.limiter.forget_idle()
    await trial.peek(key=1)
    await trial.peek(key=2)
    assert [key_id for key_id, _ in trial.ledger.asked] == [1, 2, 1]


@loading
async def test_a_key_forgotten_before_its_claim_is_decided_is_read_again(trial: Loading) -> None:
    def forget() -> None:
        trial.wait(IDLE_MS + 1)
        trial.limiter.forget_idle()
        trial.ledger.meanwhile = lambda: None

    trial.ledger.meanwhile = lambda: asyncio.get_running_loop().call_soon(forget) and None
    assert (await trial.admit(worst=10)).refusal == ""
    assert await trial.money() == (0, 10)
    assert len(trial.ledger.asked) == 2


# Taking over from another limiter


def assume(trial: Loading, *claims: Claim, spent: int = 0, correction: int = 0) -> None:
    trial.limiter.assume({(1, 0): spent}, correction, claims)


@loading
async def test_what_is_assumed_replaces_money_and_calls_and_leaves_the_rates(trial: Loading) -> None:
    trial.limit(rpm=10, tpd=100, max_parallel=2)
    old = await trial.admit(tokens=10, worst=10)
    assume(trial, trial.claim(requests=0, worst=7), spent=500, correction=3)
    assert (await trial.left())[:4] == (500, 7, 9, 90)
    await trial.settle(old, 99, 99)
    await trial.correct(3, 99)
    await trial.correct(4, 1)
    assert (await trial.left())[:4] == (501, 7, 9, 90)
    assert await trial.refusals(2) == ["", PARALLEL]


@loading
async def test_a_call_that_was_assumed_is_settled_like_any_other(trial: Loading) -> None:
    trial.limit(max_parallel=1)
    under_way = trial.claim(requests=0, worst=7)
    told = trial.claim(requests=0, worst=9)  # as the caller knows it
    told.claim_id = under_way.claim_id
    assume(trial, under_way, spent=500)
    await trial.settle(told, 5, 6)
    assert await trial.money() == (506, 0)
    assert (await trial.admit()).refusal == ""


@loading
async def test_nothing_is_read_once_everything_was_assumed(trial: Loading) -> None:
    assume(trial, spent=5)
    for key, window in (1, 0), (1, 1000), (2, 0):
        claim = trial.claim(key=key, window=window)
        assert trial.limiter.admit(claim) is None
        assert claim.spent_nanodollars == (5 if (key, window) == (1, 0) else 0)
    assert trial.ledger.asked == []


@loading
async def test_a_claim_that_waits_for_the_ledger_goes_by_what_was_assumed_meanwhile(
    trial: Loading,
) -> None:
    trial.ledger.past = Past(100)
    (task,) = await trial.begin(1, worst=1)
    assume(trial, trial.claim(requests=0, worst=7), spent=500)
    trial.ledger.gate.set()
    assert (await task).spent_nanodollars == 500
    assert await trial.money() == (500, 8)


@loading
async def test_a_call_that_was_assumed_counts_from_then_on(trial: Loading) -> None:
    trial.limit(rpm=1)
    await trial.peek()
    trial.wait(30_000)
    assume(trial, trial.claim())
    trial.wait(31_000)
    assert (await trial.admit()).refusal == REQUESTS


@loading
async def test_what_a_key_spends_after_the_assumption_outlives_a_pause(trial: Loading) -> None:
    assume(trial, spent=500)
    await trial.settle(await trial.admit(tokens=5, worst=40), 5, 40)
    trial.wait(IDLE_MS + 1)
    trial.limiter.forget_idle()
    assert await trial.money() == (540, 0)


def test_a_key_that_was_met_beforehand_is_not_read() -> None:
    bench = EmbeddedBench()
    bench.limiter.meet(1, 0, Past(5))
    bench.limiter.meet(1, 0, Past(99))  # what is known already stays
    claim = Trial(bench).claim(worst=1)
    assert bench.limiter.admit(claim) is None
    assert claim.spent_nanodollars == 5
    bench.limiter.correct(Correction(1, 1, 0, 2))
    bench.limiter.correct(Correction(1, 2, 0, 2))  # of a key that nobody has met
    assert bench.limiter.peek(claim) is None
    assert claim.spent_nanodollars == 7
