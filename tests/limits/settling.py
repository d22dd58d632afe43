"""What every limiter promises of claims that have ended, of windows of a budget, and of corrections.

A part of the contract in `contract.py`.
"""

from __future__ import annotations

import asyncio
import copy

from limits.types import BUDGET, PARALLEL, REQUESTS, TOKEN_BUCKET_MS, TOKENS
from tests.limits.trial import DAY_MS, Trial, Trials, running

RATES_MS = (61_000, DAY_MS + TOKEN_BUCKET_MS)  # when all is free again of what was taken at the start


class SettlingContract(Trials):
    """Of settle, release, correct."""

    @running
    async def test_settling_replaces_what_was_reserved_by_what_was_used(self, trial: Trial) -> None:
        trial.limit(rpm=10, tpd=1000)
        for tokens, nanodollars in (40, 30), (100, 100), (150, 170), (0, 0):
            spent, reserved, requests_left, tokens_left, *_ = await trial.left()
            claim = await trial.admit(tokens=100, worst=100)
            assert (await trial.left())[:4] == (spent, 100, requests_left - 1, tokens_left - 100)
            await trial.settle(claim, tokens, nanodollars)
            assert await trial.left() == (
                spent + nanodollars, 0, requests_left - 1, tokens_left - tokens, *RATES_MS,
            )  # fmt: skip

    @running
    async def test_an_overrun_counts_against_the_calls_that_follow(self, trial: Trial) -> None:
        trial.limit(tpd=100, budget_nanodollars=100)
        claim = await trial.admit(tokens=10, worst=10)
        await trial.settle(claim, 150, 150)
        assert (await trial.left())[:4] == (150, 0, trial.rules.rpm - 1, 0)
        assert (await trial.admit(tokens=1, worst=1)).refusal == BUDGET
        trial.limit(budget_nanodollars=151)
        refused = await trial.admit(tokens=1, worst=1)
        assert (refused.refusal, refused.retry_after_ms) == (TOKENS, DAY_MS + TOKEN_BUCKET_MS)
        trial.limit(tpd=151)
        assert (await trial.admit(tokens=1, worst=1)).refusal == ""

    @running
    async def test_releasing_gives_all_of_it_back_the_request_too(self, trial: Trial) -> None:
        trial.limit(rpm=1, tpd=10, max_parallel=1, budget_nanodollars=10)
        for _ in range(3):
            claim = await trial.admit(tokens=10, worst=10)
            assert claim.refusal == ""
            await trial.release(claim)
            assert await trial.left() == (0, 0, 1, 10, 0, 0)

    @running
    async def test_a_claim_ends_once_however_often_it_is_told(self, trial: Trial) -> None:
        trial.limit(max_parallel=4)
        await trial.admit(tokens=1000, worst=1000)
        settled = await trial.admit(tokens=100, worst=100)
        released = await trial.admit(tokens=100, worst=100)
        await trial.settle(settled, 7, 7)
        await trial.release(released)
        before = await trial.left()
        for claim in (settled, released):
            await trial.settle(claim, 55, 55)
            await trial.release(claim)
            await trial.settle(claim)
        assert await trial.left() == before
        assert await trial.refusals(4) == ["", "", "", PARALLEL]

    @running
    async def test_ends_told_at_once_each_count_once(self, trial: Trial) -> None:
        claims = await asyncio.gather(*(trial.admit(tokens=10, worst=10) for _ in range(20)))
        await asyncio.gather(*(trial.settle(claim, 3, 2) for claim in claims[:15] * 2))
        await asyncio.gather(*(trial.release(claim) for claim in claims[10:] * 2))
        assert await trial.money() == (30, 0)
        assert (await trial.left())[2:4] == (trial.rules.rpm - 15, trial.rules.tpd - 45)

    @running
    async def test_a_claim_that_is_not_held_changes_nothing(self, trial: Trial) -> None:
        await trial.admit(tokens=10, worst=10)
        before = await trial.left()
        for key in (1, 2):
            await trial.settle(trial.claim(key=key, tokens=5, worst=5), 50, 50)
            await trial.release(trial.claim(key=key, tokens=5, worst=5))
        assert await trial.left() == before
        assert (await trial.left(key=2))[:2] == (0, 0)

    @running
    async def test_a_claim_that_was_never_decided_does_not_disturb_the_end_of_another(
        self, trial: Trial
    ) -> None:
        first, second = await trial.admit(worst=10), await trial.admit(worst=10)
        trial.limiter.settle(first, 0, 4)
        trial.limiter.release(trial.claim(worst=10))
        await trial.settle(second, 0, 5)
        assert await trial.money() == (9, 0)

    @running
    async def test_a_claim_given_up_while_it_is_decided_and_released_takes_nothing(
        self, trial: Trial
    ) -> None:
        before = await trial.left()
        for turns in range(5):
            claim = trial.claim(tokens=10, worst=10)
            waiting = trial.limiter.admit(claim)
            if waiting is not None:
                task = asyncio.ensure_future(waiting)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            await trial.release(claim)
            assert await trial.left() == before, turns

    @running
    async def test_a_claim_is_known_by_its_id(self, trial: Trial) -> None:
        claim = await trial.admit(tokens=10, worst=10)
        await trial.settle(copy.copy(claim), 4, 4)
        await trial.settle(claim, 9, 9)
        assert await trial.money() == (4, 0)

    @running
    async def test_the_end_of_a_call_makes_room_for_another(self, trial: Trial) -> None:
        trial.limit(max_parallel=2)
        first, second = await trial.admit(), await trial.admit()
        assert (await trial.admit()).refusal == PARALLEL
        await trial.settle(first)
        assert await trial.refusals(2) == ["", PARALLEL]
        await trial.release(second)
        assert await trial.refusals(2) == ["", PARALLEL]

    @running
    async def test_what_a_call_used_counts_from_when_it_was_admitted(self, trial: Trial) -> None:
        trial.limit(tpd=100)
        claim = await trial.admit(tokens=10)
        trial.wait(5 * TOKEN_BUCKET_MS)
        await trial.settle(claim, 100)
        refused = await trial.admit(tokens=1)
        assert refused.retry_after_ms == DAY_MS - 4 * TOKEN_BUCKET_MS
        trial.wait(refused.retry_after_ms)
        assert (await trial.left())[3] == 100

    @running
    async def test_a_call_that_ends_after_its_tokens_have_left_the_day_changes_no_tokens(
        self, trial: Trial
    ) -> None:
        trial.limit(tpd=100, budget_nanodollars=100)
        claims = [await trial.admit(tokens=20, worst=20) for _ in range(3)]
        trial.wait(DAY_MS + TOKEN_BUCKET_MS)  # the next bucket may take the place of theirs
        await trial.admit(tokens=7)
        before = (await trial.left())[2:]
        assert before[1] == 93
        await trial.settle(claims[0], 90, 5)
        await trial.settle(claims[1], 0, 5)
        await trial.release(claims[2])
        assert (await trial.left())[2:] == before
        assert await trial.money() == (10, 0)

    @running
    async def test_a_call_that_ends_in_the_last_moment_of_its_day_still_changes_its_tokens(
        self, trial: Trial
    ) -> None:
        trial.limit(tpd=100)
        claim = await trial.admit(tokens=90)
        trial.wait(DAY_MS + TOKEN_BUCKET_MS - 1)
        await trial.settle(claim, 30)
        assert (await trial.left())[3] == 70

    @running
    async def test_a_request_given_back_after_its_minute_changes_no_later_one(self, trial: Trial) -> None:
        trial.limit(rpm=2)
        claim = await trial.admit()
        trial.wait(61_000)
        assert (await trial.admit()).requests_left == 1
        await trial.release(claim)
        assert (await trial.left())[2] == 1
        assert await trial.refusals(2) == ["", REQUESTS]

    @running
    async def test_a_request_is_given_back_to_the_second_it_was_taken_from(self, trial: Trial) -> None:
        trial.limit(rpm=2)
        claim = await trial.admit()
        trial.wait(10_000)
        await trial.admit()
        await trial.release(claim)
        await trial.admit()
        assert (await trial.admit()).retry_after_ms == 61_000

    @running
    async def test_tokens_that_only_the_end_of_a_call_told_have_a_reset_too(self, trial: Trial) -> None:
        claim = await trial.admit(tokens=0)
        await trial.settle(claim, 50)
        assert (await trial.left())[5] == DAY_MS + TOKEN_BUCKET_MS

    # Windows of a budget

    @running
    async def test_a_new_window_of_the_budget_starts_at_zero(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=100, rpm=2, tpd=20)
        claim = await trial.admit(window=1000, tokens=10, worst=100)
        await trial.settle(claim, 10, 100)
        assert (await trial.admit(window=1000, worst=1)).refusal == BUDGET
        fresh = await trial.admit(window=2000, tokens=10, worst=100)
        assert (fresh.refusal, fresh.spent_nanodollars, fresh.reserved_nanodollars) == ("", 0, 0)
        assert (fresh.requests_left, fresh.tokens_left) == (0, 0)  # the rates have no part in it
        assert await trial.money(window=1000) == (100, 0)
        assert await trial.money(window=2000) == (0, 100)

    @running
    async def test_a_call_belongs_to_the_window_it_was_admitted_in(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=100, max_parallel=2)
        old = await trial.admit(window=1000, worst=60)
        gone = await trial.admit(window=1000, worst=40)
        assert (await trial.admit(window=2000, worst=50)).refusal == PARALLEL  # under way in any window
        await trial.release(gone)
        new = await trial.admit(window=2000, worst=50)
        await trial.settle(old, 0, 55)
        await trial.settle(new, 0, 45)
        assert await trial.money(window=1000) == (55, 0)
        assert await trial.money(window=2000) == (45, 0)

    # Corrections

    @running
    async def test_a_correction_counts_once_however_often_it_is_told(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=100)
        claim = await trial.admit(worst=100)
        await trial.settle(claim, 0, 100)
        assert (await trial.admit(worst=1)).refusal == BUDGET
        for _ in range(3):
            await trial.correct(1, -30)
        assert await trial.money() == (70, 0)
        assert (await trial.admit(worst=30)).refusal == ""
        await trial.correct(2, 5)
        await trial.correct(1, -30)
        await trial.correct(2, 5)
        assert await trial.money() == (75, 30)

    @running
    async def test_a_correction_is_of_one_key_and_one_window(self, trial: Trial) -> None:
        for key in (1, 2):
            for window in (1000, 2000):
                await trial.admit(key=key, window=window, worst=10)
        await trial.correct(1, 5, key=1, window=1000)
        await trial.correct(2, 7, key=2, window=2000)
        for _ in range(2):
            await trial.correct(3, 11, key=1, window=2000)
        assert [(await trial.left(key, window))[:2] for key in (1, 2) for window in (1000, 2000)] == [
            (5, 10), (11, 10), (0, 10), (7, 10),
        ]  # fmt: skip

    @running
    async def test_what_was_admitted_is_current(self, trial: Trial) -> None:
        claim = await trial.admit(worst=10)
        assert trial.limiter.is_current(claim)
