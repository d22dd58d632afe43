"""What every limiter promises of its decisions, as claims about behaviour; of settlements, see `settling.py`.

A mixin: a subclass called Test... says how to `make` a limiter. Buckets are a second and ten minutes wide, so
capacity comes back at the end of the bucket that it was taken in, and never before the true window is over.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Final

from limits.types import (
    BUDGET,
    PARALLEL,
    PARALLEL_RETRY_MS,
    REQUEST_BUCKET_MS,
    REQUESTS,
    TOKEN_BUCKET_MS,
    TOKENS,
)
from tests.limits.settling import SettlingContract
from tests.limits.trial import DAY_MS, MINUTE_MS, MOST, START, Limits, Trial, running

PRECEDENCE: Final = (BUDGET, TOKENS, REQUESTS, PARALLEL)


class LimiterContract(SettlingContract):
    """All of it."""

    # What is refused

    @running
    async def test_requests_up_to_the_limit_pass_and_the_next_is_refused(self, trial: Trial) -> None:
        trial.limit(rpm=3)
        assert [(await trial.admit()).refusal for _ in range(5)] == ["", "", "", REQUESTS, REQUESTS]

    @running
    async def test_tokens_up_to_the_limit_pass_and_one_more_is_refused(self, trial: Trial) -> None:
        trial.limit(tpd=100)
        assert (await trial.admit(tokens=60)).refusal == ""
        assert (await trial.admit(tokens=41)).refusal == TOKENS
        assert (await trial.admit(tokens=40)).refusal == ""
        assert (await trial.admit(tokens=1)).refusal == TOKENS
        assert (await trial.admit(tokens=0)).refusal == ""

    @running
    async def test_money_up_to_the_budget_passes_and_one_more_is_refused(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=100)
        assert (await trial.admit(worst=60)).refusal == ""
        assert (await trial.admit(worst=41)).refusal == BUDGET
        assert (await trial.admit(worst=40)).refusal == ""
        refused = await trial.admit(worst=1)
        assert (refused.refusal, refused.retry_after_ms) == (BUDGET, None)

    @running
    async def test_no_more_calls_at_a_time_than_allowed_pass(self, trial: Trial) -> None:
        trial.limit(max_parallel=2)
        assert [(await trial.admit()).refusal for _ in range(3)] == ["", "", PARALLEL]
        trial.wait(2 * DAY_MS)  # time alone ends no call
        refused = await trial.admit()
        assert (refused.refusal, refused.retry_after_ms) == (PARALLEL, PARALLEL_RETRY_MS)

    @running
    async def test_a_budget_of_zero_refuses_even_what_is_free(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=0)
        assert (await trial.admit(worst=0)).refusal == BUDGET
        assert (await trial.admit(worst=1)).refusal == BUDGET

    @running
    async def test_whatever_else_is_exceeded_the_longest_lasting_is_said(self, trial: Trial) -> None:
        tight = {
            BUDGET: {"budget_nanodollars": 19}, TOKENS: {"tpd": 19}, REQUESTS: {"rpm": 1},
            PARALLEL: {"max_parallel": 1},
        }  # fmt: skip
        subsets = itertools.chain.from_iterable(itertools.combinations(PRECEDENCE, n) for n in range(5))
        for key, exceeded in enumerate(subsets, start=1):
            trial.rules = Limits()
            await trial.admit(key=key, tokens=10, worst=10)
            for limit in exceeded:
                trial.limit(**tight[limit])
            claim = await trial.admit(key=key, tokens=10, worst=10)
            assert claim.refusal == (exceeded[0] if exceeded else ""), exceeded

    @running
    async def test_a_refused_claim_changes_nothing(self, trial: Trial) -> None:
        await trial.admit(tokens=10, worst=10)
        trial.wait(1)
        before = await trial.left()
        for limit in ({"budget_nanodollars": 19}, {"tpd": 19}, {"rpm": 1}, {"max_parallel": 1}):
            trial.rules = replace(Limits(), **limit)
            refused = await trial.admit(tokens=10, worst=10)
            assert refused.refusal
            trial.rules = Limits()
            assert await trial.left() == before, limit
            await trial.settle(refused, 99, 99)
            await trial.release(refused)
            assert await trial.left() == before, limit
        trial.limit(max_parallel=2)
        assert await trial.refusals(2) == ["", PARALLEL]

    @running
    async def test_a_peek_decides_and_takes_nothing(self, trial: Trial) -> None:
        trial.limit(rpm=1, tpd=10, max_parallel=1, budget_nanodollars=10)
        for _ in range(3):
            assert (await trial.peek(tokens=10, worst=10)).refusal == ""
        peeked = await trial.peek()
        await trial.settle(peeked, 9, 9)
        assert await trial.left() == (0, 0, 1, 10, 0, 0)
        await trial.admit(tokens=10, worst=10)
        assert (await trial.peek(worst=1)).refusal == BUDGET
        trial.limit(budget_nanodollars=None)
        assert (await trial.peek(tokens=1)).refusal == TOKENS
        assert (await trial.peek()).refusal == REQUESTS
        assert (await trial.peek(requests=0)).refusal == PARALLEL

    @running
    async def test_of_claims_at_once_exactly_those_that_fit_pass(self, trial: Trial) -> None:
        for key, limits in enumerate(
            ({"rpm": 7}, {"tpd": 70}, {"max_parallel": 7}, {"budget_nanodollars": 70}), start=1
        ):
            trial.rules = replace(Limits(), **limits)
            refusals = await trial.refusals(50, key=key, tokens=10, worst=10)
            assert refusals.count("") == 7, limits

    @running
    async def test_claims_at_once_are_each_told_what_was_left_by_then(self, trial: Trial) -> None:
        trial.limit(rpm=20, tpd=200)
        claims = await asyncio.gather(*(trial.admit(tokens=10, worst=3) for _ in range(20)))
        assert sorted(claim.requests_left for claim in claims) == list(range(20))
        assert sorted(claim.tokens_left for claim in claims) == list(range(0, 200, 10))
        assert sorted(claim.reserved_nanodollars for claim in claims) == list(range(0, 60, 3))

    @running
    async def test_keys_have_nothing_to_do_with_each_other(self, trial: Trial) -> None:
        trial.limit(rpm=1, tpd=10, max_parallel=1, budget_nanodollars=10)
        claim = await trial.admit(key=1, tokens=10, worst=10)
        assert await trial.left(key=2) == (0, 0, 1, 10, 0, 0)
        assert (await trial.admit(key=2, tokens=10, worst=10)).refusal == ""
        before = await trial.left(key=2)
        await trial.settle(claim, 4, 4)
        assert await trial.left(key=2) == before

    # What is left, and when more will be

    @running
    async def test_what_is_left_is_the_limit_less_what_was_taken(self, trial: Trial) -> None:
        trial.limit(rpm=5, tpd=100, budget_nanodollars=1000)
        first = await trial.admit(tokens=30, worst=300)
        assert (first.requests_left, first.tokens_left) == (4, 70)
        assert (first.spent_nanodollars, first.reserved_nanodollars) == (0, 0)  # before the claim
        second = await trial.admit(tokens=20, worst=200)
        assert (second.requests_left, second.tokens_left) == (3, 50)
        assert (second.spent_nanodollars, second.reserved_nanodollars) == (0, 300)
        await trial.settle(first, 10, 100)
        refused = await trial.admit(tokens=71, worst=1)
        assert (refused.refusal, refused.requests_left, refused.tokens_left) == (TOKENS, 3, 70)
        assert (refused.spent_nanodollars, refused.reserved_nanodollars) == (100, 200)

    @running
    async def test_a_refused_request_passes_after_the_wait_and_not_before(self, trial: Trial) -> None:
        trial.limit(rpm=3)
        taken_ms = []
        for pause in (999, 1, 30_500):
            trial.wait(pause)
            taken_ms.append(trial.now_ms)
            await trial.admit()
        for oldest_ms in taken_ms:
            refused = await trial.admit()
            assert refused.refusal == REQUESTS
            back_ms = trial.now_ms + refused.retry_after_ms
            assert 0 <= back_ms - (oldest_ms + MINUTE_MS) <= REQUEST_BUCKET_MS
            trial.wait(refused.retry_after_ms - 1)
            assert (await trial.admit()).retry_after_ms == 1
            trial.wait(1)
            assert (await trial.admit()).refusal == ""

    @running
    async def test_refused_tokens_pass_after_the_wait_and_not_before(self, trial: Trial) -> None:
        trial.limit(tpd=100)
        await trial.admit(tokens=10)
        trial.wait(TOKEN_BUCKET_MS + 1)
        await trial.admit(tokens=30)
        trial.wait(TOKEN_BUCKET_MS)
        await trial.admit(tokens=60)
        for tokens, oldest_ms in (10, START), (30, START + TOKEN_BUCKET_MS + 1):
            refused = await trial.admit(tokens=tokens)
            assert refused.refusal == TOKENS
            back_ms = trial.now_ms + refused.retry_after_ms
            assert 0 <= back_ms - (oldest_ms + DAY_MS) <= TOKEN_BUCKET_MS
            trial.wait(refused.retry_after_ms - 1)
            assert (await trial.admit(tokens=tokens)).retry_after_ms == 1
            trial.wait(1)
            assert (await trial.admit(tokens=tokens)).refusal == ""

    @running
    async def test_the_wait_is_for_as_many_buckets_as_the_tokens_need(self, trial: Trial) -> None:
        trial.limit(tpd=100)
        for _ in range(4):
            await trial.admit(tokens=25)
            trial.wait(TOKEN_BUCKET_MS)
        whole_ms = DAY_MS + TOKEN_BUCKET_MS
        for tokens, buckets in (1, 0), (25, 0), (26, 1), (75, 2), (76, 3), (100, 3):
            refused = await trial.admit(tokens=tokens)
            assert refused.retry_after_ms == START + whole_ms + buckets * TOKEN_BUCKET_MS - trial.now_ms

    @running
    async def test_the_wait_is_for_the_longer_of_both_rates(self, trial: Trial) -> None:
        trial.limit(rpm=1, tpd=10)
        await trial.admit(requests=0, tokens=10)
        trial.wait(DAY_MS + TOKEN_BUCKET_MS - 2000)
        await trial.admit()
        assert (await trial.admit(requests=0, tokens=1)).retry_after_ms == 2000
        refused = await trial.admit(tokens=1)
        assert (refused.refusal, refused.retry_after_ms) == (TOKENS, 61_000)
        trial.wait(60_000)
        await trial.admit(requests=0, tokens=10)
        refused = await trial.admit(tokens=1)
        assert (refused.refusal, refused.retry_after_ms) == (TOKENS, DAY_MS + TOKEN_BUCKET_MS - 58_000)

    @running
    async def test_there_is_no_wait_for_what_is_larger_than_the_limit(self, trial: Trial) -> None:
        trial.limit(tpd=100, rpm=1)
        await trial.admit(tokens=1)
        refused = await trial.admit(tokens=101)  # waiting for the request would help nothing
        assert (refused.refusal, refused.retry_after_ms) == (TOKENS, None)
        trial.limit(rpm=0)
        refused = await trial.admit(tokens=100)
        assert (refused.refusal, refused.retry_after_ms) == (TOKENS, None)
        refused = await trial.admit()
        assert (refused.refusal, refused.retry_after_ms) == (REQUESTS, None)

    @running
    async def test_all_is_free_at_the_reset_and_not_before(self, trial: Trial) -> None:
        trial.limit(rpm=2, tpd=20)
        await trial.admit(tokens=1)
        trial.wait(1500)
        assert (await trial.admit(tokens=1)).requests_reset_ms == 60_500
        trial.wait(60_499)
        assert (await trial.left())[2:] == (1, 18, 1, DAY_MS + TOKEN_BUCKET_MS - 61_999)
        trial.wait(1)
        assert (await trial.left())[2:] == (2, 18, 0, DAY_MS + TOKEN_BUCKET_MS - 62_000)
        trial.wait(DAY_MS + TOKEN_BUCKET_MS - 62_001)
        assert (await trial.left())[2:] == (2, 18, 0, 1)
        trial.wait(1)
        assert (await trial.left())[2:] == (2, 20, 0, 0)

    # Money that is nearly spent

    @running
    async def test_a_budget_that_cannot_pay_the_worst_case_grants_what_is_left(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=100)
        assert (await trial.admit(worst=100, least=10)).worst_nanodollars == 100
        trial.limit(budget_nanodollars=170)
        lowered = await trial.admit(worst=100, least=70)
        assert (lowered.refusal, lowered.worst_nanodollars) == ("", 70)
        assert await trial.money() == (0, 170)
        trial.limit(budget_nanodollars=171)
        assert (await trial.admit(worst=100, least=2)).refusal == BUDGET
        assert (await trial.admit(worst=100, least=1)).worst_nanodollars == 1
        await trial.settle(lowered, nanodollars=70)
        assert await trial.money() == (70, 101)

    @running
    async def test_a_free_call_passes_while_its_budget_is_not_overspent(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=10)
        claim = await trial.admit(worst=10)
        assert (await trial.admit(worst=0)).refusal == ""
        await trial.settle(claim, nanodollars=11)
        assert (await trial.admit(worst=0)).refusal == BUDGET

    # Limits that change between calls

    @running
    async def test_a_limit_changed_between_calls_holds_at_the_next(self, trial: Trial) -> None:
        for _ in range(3):
            await trial.admit(tokens=10, worst=10)
        for kind, limit, used in (
            (BUDGET, "budget_nanodollars", 30), (TOKENS, "tpd", 30), (REQUESTS, "rpm", 3),
        ):  # fmt: skip
            amount = 1 if kind == REQUESTS else 10
            for bound, refusal in ((used, kind), (used + amount, ""), (1, kind), (used + amount - 1, kind)):
                trial.rules = replace(Limits(), **{limit: bound})
                peeked = await trial.peek(tokens=10, worst=10)
                assert (peeked.refusal, limit, bound) == (refusal, limit, bound)
                assert peeked.requests_left == max(0, trial.rules.rpm - 3)
                assert peeked.tokens_left == max(0, trial.rules.tpd - 30)
        trial.rules = Limits(max_parallel=3)
        assert (await trial.admit()).refusal == PARALLEL
        trial.rules = Limits(max_parallel=4)
        assert await trial.refusals(2) == ["", PARALLEL]

    @running
    async def test_what_a_key_spends_without_a_budget_counts_once_it_has_one(self, trial: Trial) -> None:
        trial.limit(budget_nanodollars=10)
        assert (await trial.admit(worst=11)).refusal == BUDGET
        trial.limit(budget_nanodollars=None)
        claim = await trial.admit(worst=500)
        assert (claim.refusal, claim.worst_nanodollars) == ("", 500)
        await trial.settle(claim, nanodollars=400)
        await trial.admit(worst=50)
        trial.limit(budget_nanodollars=451)
        assert (await trial.admit(worst=2)).refusal == BUDGET
        assert (await trial.admit(worst=1)).refusal == ""

    @running
    async def test_a_claim_is_given_back_as_it_was_taken_whatever_the_limits_are_by_then(
        self, trial: Trial
    ) -> None:
        claim = await trial.admit(tokens=50, worst=50)
        trial.rules = claim.rules = Limits(rpm=1, tpd=1, max_parallel=1, budget_nanodollars=1)
        await trial.release(claim)
        assert await trial.left() == (0, 0, 1, 1, 0, 0)

    # Further attempts of a call, and numbers of any size

    @running
    async def test_a_further_attempt_of_a_call_is_no_further_request(self, trial: Trial) -> None:
        trial.limit(rpm=1)
        first = await trial.admit(tokens=5, worst=5)
        assert first.requests_left == 0
        await trial.settle(first, 5, 5)
        trial.wait(10_000)
        further = await trial.admit(requests=0, tokens=7, worst=7)
        assert (further.refusal, further.requests_left, further.requests_reset_ms) == ("", 0, 51_000)
        assert (await trial.admit()).refusal == REQUESTS
        await trial.release(further)  # takes no request from the first
        assert await trial.left() == (5, 0, 0, MOST - 5, 51_000, DAY_MS + TOKEN_BUCKET_MS - 10_000)

    @running
    async def test_the_largest_numbers_are_exact(self, trial: Trial) -> None:
        trial.limit(rpm=MOST, tpd=MOST, budget_nanodollars=MOST)
        claim = await trial.admit(tokens=MOST - 1, worst=MOST - 1)
        assert (claim.refusal, claim.tokens_left, claim.requests_left) == ("", 1, MOST - 1)
        assert (await trial.admit(tokens=2)).refusal == TOKENS
        assert (await trial.admit(worst=2)).refusal == BUDGET
        assert (await trial.admit(tokens=1, worst=MOST, least=1)).worst_nanodollars == 1
        assert await trial.money() == (0, MOST)
        await trial.settle(claim, MOST - 1, MOST - 1)
        assert (await trial.left())[:4] == (MOST - 1, 1, MOST - 2, 0)
        assert (await trial.admit(worst=1)).refusal == BUDGET
        assert (await trial.admit(tokens=MOST)).retry_after_ms == DAY_MS + TOKEN_BUCKET_MS

    # Addresses

    @running
    async def test_an_address_passes_up_to_its_limit_and_again_after_the_wait(self, trial: Trial) -> None:
        taken_ms = []
        for pause in (500, 700, 20_000):
            trial.wait(pause)
            taken_ms.append(trial.now_ms)
            assert await trial.count("192.0.2.1", 3) == 0
        for oldest_ms in taken_ms:
            for _ in range(5):  # what is refused is not counted
                wait_ms = await trial.count("192.0.2.1", 3)
                assert 0 <= trial.now_ms + wait_ms - (oldest_ms + MINUTE_MS) <= REQUEST_BUCKET_MS
            trial.wait(wait_ms - 1)
            assert await trial.count("192.0.2.1", 3) == 1
            trial.wait(1)
            assert await trial.count("192.0.2.1", 3) == 0

    @running
    async def test_addresses_have_nothing_to_do_with_each_other_or_with_keys(self, trial: Trial) -> None:
        trial.limit(rpm=1)
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8::/64", "1"):
            assert await trial.count(address, 1) == 0
            assert await trial.count(address, 1) == 61_000
        assert (await trial.admit()).refusal == ""
        assert await trial.count("192.0.2.3", 1) == 0

    @running
    async def test_a_changed_limit_of_addresses_holds_at_the_next_request(self, trial: Trial) -> None:
        for _ in range(3):
            assert await trial.count("192.0.2.1", 3) == 0
        assert await trial.count("192.0.2.1", 4) == 0
        trial.wait(1000)
        assert await trial.count("192.0.2.1", 5) == 0
        assert await trial.count("192.0.2.1", 5) == 60_000
        assert await trial.count("192.0.2.1", 1) == 61_000  # all five have to be out of the minute

    @running
    async def test_of_requests_of_an_address_at_once_exactly_the_limit_passes(self, trial: Trial) -> None:
        waits = await asyncio.gather(*(trial.count("192.0.2.1", 10) for _ in range(40)))
        assert sorted(waits) == [0] * 10 + [61_000] * 30
