"""What Redis scripts promise beyond the contract of limiters: of damage, of clocks, of what is kept."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from limits.errors import Stale
from limits.types import BUDGET, PARALLEL, REQUEST_BUCKET_MS, REQUESTS, TOKEN_BUCKET_MS, TOKENS
from tests.limits.shared_bench import NUMBER, SharedBench, on_redis
from tests.limits.trial import DAY_MS, Trial

KEY: Final = "rooya:{1}:key:1"
BUDGET_KEY: Final = f"rooya:{{1}}:{NUMBER}:budget:1:0"
OPEN_KEY: Final = f"rooya:{{1}}:{NUMBER}:open:0.1"
ADDRESS: Final = "192.0.2.1"
SECOND: Final = 1000
HOUR_MS: Final = 3_600_000


async def fields(bench: SharedBench, name: str) -> dict[str, str]:
    found = await bench.link.ask("", "HGETALL", name)
    return {field.decode(): value.decode() for field, value in zip(found[::2], found[1::2], strict=True)}


async def address_key(bench: SharedBench) -> Any:
    (name,) = await bench.link.ask("", "KEYS", "rooya:{a*}:address:*")
    return name


# What is refused changes nothing


@on_redis
async def test_what_is_refused_or_only_looked_at_changes_no_bit(trial: Trial, bench: SharedBench) -> None:
    await trial.admit(tokens=10, worst=10)
    await trial.count(ADDRESS, 1)
    trial.wait(2 * HOUR_MS)  # there is something to be let go of
    before = await bench.dump()
    for limit in ({"rpm": 0}, {"tpd": 19}, {"max_parallel": 1}, {"budget_nanodollars": 19}):
        trial.limit(rpm=10, tpd=100, max_parallel=None, budget_nanodollars=None)
        trial.limit(**limit)
        refused = await trial.admit(tokens=10, worst=10)
        assert refused.refusal
        assert await bench.dump() == before, limit
        await trial.settle(refused, 5, 5)
        await trial.release(refused)
        assert await bench.dump() == before, limit
    trial.limit(rpm=10, tpd=100, max_parallel=None, budget_nanodollars=None)
    assert (await trial.peek(tokens=10, worst=10)).refusal == ""
    assert await bench.dump() == before


@on_redis
async def test_an_address_that_is_refused_changes_no_bit(trial: Trial, bench: SharedBench) -> None:
    assert await trial.count(ADDRESS, 1) == 0
    before = await bench.dump()
    assert await trial.count(ADDRESS, 1) > 0
    assert await bench.dump() == before


# Damage


@on_redis
async def test_a_damaged_window_spoils_no_other_claim_and_begins_anew(
    trial: Trial, bench: SharedBench
) -> None:
    trial.limit(rpm=1)
    await bench.link.ask("", "SET", "rooya:{2}:key:2", "no hash")
    claims = await asyncio.gather(*(trial.admit(key=key) for key in (1, 2, 3)))
    assert [(claim.refusal, claim.requests_left) for claim in claims] == [("", 0)] * 3
    assert (await trial.admit(key=2)).refusal == REQUESTS
    assert not bench.failures


@pytest.mark.parametrize("damaged", ["rooya:{1}:incarnation", BUDGET_KEY, OPEN_KEY])
@pytest.mark.parametrize("verb", ["admit", "settle"])
def test_where_money_is_damaged_the_counters_of_the_shard_do_not_hold_any_more(
    damaged: str, verb: str, redis_server: Any
) -> None:
    @on_redis
    async def scenario(trial: Trial, bench: SharedBench) -> None:
        held, other = await trial.admit(worst=5), await trial.admit(key=2, worst=5)
        await bench.link.ask("", "DEL", damaged)
        await bench.link.ask("", "SET", damaged, "no hash")
        if verb == "admit":
            answers = await asyncio.gather(
                trial.admit(key=2), trial.admit(key=1, worst=1), trial.admit(key=3), return_exceptions=True
            )
            assert [isinstance(answer, Stale) for answer in answers] == [False, True, False]
        else:
            trial.limiter.settle(held, 0, 3)
            await trial.settle(other, 0, 3)
            assert bench.unsettled == [(held.claim_id, 0, 3)]
            assert await trial.left(key=2) == (3, 0, *(await trial.left(key=2))[2:])
        assert not bench.failures
        assert await bench.link.ask("", "EXISTS", "rooya:{1}:incarnation") == 0

    scenario(redis_server)


@on_redis
async def test_windows_lost_under_a_call_do_not_let_more_calls_at_once_pass(
    trial: Trial, bench: SharedBench
) -> None:
    trial.limit(max_parallel=1)
    claim = await trial.admit(tokens=10)
    await bench.link.ask("", "DEL", KEY)
    await trial.settle(claim, 5, 5)
    assert await bench.link.ask("", "EXISTS", KEY) == 0
    assert await trial.refusals(2) == ["", PARALLEL]


@on_redis
async def test_a_damaged_address_begins_anew(trial: Trial, bench: SharedBench) -> None:
    await trial.count(ADDRESS, 1)
    await bench.link.ask("", "SET", await address_key(bench), "no hash")
    waits = await asyncio.gather(*(trial.count(address, 1) for address in ("a", ADDRESS, "b", ADDRESS)))
    assert waits == [0, 0, 0, 61_000]


@on_redis
async def test_a_call_gives_back_no_more_than_the_window_has_of_it(trial: Trial, bench: SharedBench) -> None:
    trial.limit(rpm=5, tpd=500)
    settled, released = await trial.admit(tokens=100), await trial.admit(tokens=100)
    await bench.link.ask("", "DEL", KEY)
    await trial.admit(tokens=10)
    await trial.settle(settled, 0)
    await trial.release(released)
    requests_left, tokens_left = (await trial.left())[2:4]
    assert requests_left <= 5 and tokens_left <= 500


# A clock that is set back


@on_redis
async def test_what_is_taken_while_the_clock_is_a_little_back_leaves_with_the_rest(
    trial: Trial, bench: SharedBench
) -> None:
    trial.limit(rpm=4)
    trial.wait(1)
    for _ in range(2):
        await trial.admit()
        assert await trial.count(ADDRESS, 4) == 0
    trial.wait(-1000)
    for _ in range(2):
        await trial.admit()
        assert await trial.count(ADDRESS, 4) == 0
    assert (await trial.admit()).retry_after_ms == 61_000
    trial.wait(999 + 61_000)
    assert (await trial.left())[2] == 4
    assert [await trial.count(ADDRESS, 4) for _ in range(4)] == [0] * 4


@pytest.mark.parametrize("back_ms", [1, 1000, 2000, 2001, 10_000, HOUR_MS, 30 * DAY_MS, 3000 * DAY_MS])
def test_a_clock_set_back_opens_no_limit_and_closes_none_for_longer(back_ms: int, redis_server: Any) -> None:
    @on_redis
    async def scenario(trial: Trial, bench: SharedBench) -> None:
        trial.limit(rpm=3, tpd=300)
        for _ in range(3):
            await trial.admit(tokens=100)
            assert await trial.count(ADDRESS, 3) == 0
            trial.wait(2500)
        trial.wait(-back_ms)
        refused = await trial.admit()
        assert (refused.refusal, refused.requests_left) == (REQUESTS, 0)
        assert 0 < refused.retry_after_ms <= 61_000
        assert refused.requests_reset_ms <= 61_000
        refused = await trial.admit(tokens=1)
        assert (refused.refusal, refused.tokens_left) == (TOKENS, 0)
        assert 0 < refused.retry_after_ms <= DAY_MS + TOKEN_BUCKET_MS
        assert 0 < await trial.count(ADDRESS, 3) <= 61_000 + 2000
        trial.wait(61_000 + 2000)
        assert await trial.refusals(4) == ["", "", "", REQUESTS]
        assert [await trial.count(ADDRESS, 3) > 0 for _ in range(4)] == [False, False, False, True]
        trial.wait(DAY_MS + TOKEN_BUCKET_MS)
        assert (await trial.left())[2:] == (3, 300, 0, 0)

    scenario(redis_server)


@pytest.mark.parametrize("back_ms", [2001, 10_000, HOUR_MS])
def test_a_call_that_ends_after_the_clock_was_set_back_changes_what_it_took(
    back_ms: int, redis_server: Any
) -> None:
    @on_redis
    async def scenario(trial: Trial, bench: SharedBench) -> None:
        trial.limit(rpm=5, tpd=500)
        settled, overrun, released = [await trial.admit(tokens=100) for _ in range(3)]
        trial.wait(-back_ms)
        await trial.admit(tokens=100)
        await trial.settle(settled, 10, 0)
        await trial.settle(overrun, 120, 0)
        await trial.release(released)
        assert (await trial.left())[2:4] == (2, 500 - 100 - 10 - 120)
        trial.wait(DAY_MS + 2 * TOKEN_BUCKET_MS)
        assert (await trial.admit(tokens=500)).refusal == ""

    scenario(redis_server)


# What is kept


@on_redis
async def test_a_key_keeps_no_more_fields_than_its_windows_have_buckets(
    trial: Trial, bench: SharedBench
) -> None:
    for _ in range(200):
        await trial.settle(await trial.admit(tokens=10), 0)
        await trial.release(await trial.admit(tokens=10))
        trial.wait(7 * REQUEST_BUCKET_MS)
    for _ in range(200):
        await trial.release(await trial.admit(tokens=10))
        trial.wait(TOKEN_BUCKET_MS)
    claim = await trial.admit()
    kept = await fields(bench, KEY)
    assert len(kept) == 6 + 1 + 1, kept  # totals, heads, lasts; this second; the call under way
    await trial.release(claim)
    assert await fields(bench, OPEN_KEY) == {}
    assert set(await fields(bench, BUDGET_KEY)) == {"c", "r"}


@on_redis
async def test_windows_expire_and_budgets_do_not(trial: Trial, bench: SharedBench) -> None:
    await trial.admit(tokens=10, worst=10)
    assert DAY_MS < await bench.link.ask("", "PTTL", KEY) <= DAY_MS + 2 * TOKEN_BUCKET_MS
    for name in (BUDGET_KEY, OPEN_KEY, "rooya:{1}:incarnation"):
        assert await bench.link.ask("", "PTTL", name) == -1


@pytest.mark.parametrize("back_ms", [0, 1000, 10_000])
def test_addresses_expire_also_when_the_clock_was_set_back(back_ms: int, redis_server: Any) -> None:
    @on_redis
    async def scenario(trial: Trial, bench: SharedBench) -> None:
        await trial.count(ADDRESS, 9)
        trial.wait(-back_ms)
        await trial.count(ADDRESS, 9)
        assert 0 < await bench.link.ask("", "PTTL", await address_key(bench)) <= 61_000

    scenario(redis_server)


@on_redis
async def test_the_clock_is_that_of_redis(trial: Trial, bench: SharedBench) -> None:
    bench.now_ms = 0
    second = await trial.admit(tokens=1)
    assert (second.requests_reset_ms + 999) // 1000 in (61, 60)
    now_s = int((await bench.link.ask("", "TIME"))[0])
    assert now_s - int((await fields(bench, KEY))["rh"]) in range(60)
    assert 0 <= await trial.count(ADDRESS, 1) <= 61_000


# Other counters


@on_redis
async def test_under_another_number_nothing_is_changed(trial: Trial, bench: SharedBench) -> None:
    claim = await trial.admit(worst=5)
    bench.number += 1
    before = await bench.dump()
    for asked in (trial.admit(worst=5), trial.peek(worst=5)):
        with pytest.raises(Stale):
            await asked
    await trial.settle(claim, 3, 3)
    await trial.release(claim)
    await trial.correct(1, 5)
    assert await bench.dump() == before
    assert bench.unsettled == [(claim.claim_id, 3, 3), (claim.claim_id, 0, 0)]
    assert not trial.limiter.is_current(claim)


@on_redis
async def test_a_budget_is_told_of_in_whole_nanodollars_up_to_the_largest(
    trial: Trial, bench: SharedBench
) -> None:
    most = 2**53 - 1
    trial.limit(budget_nanodollars=most)
    await trial.release(await trial.admit(worst=most))
    small, claim = await trial.admit(worst=5), await trial.admit(worst=most, least=1)
    assert claim.worst_nanodollars == most - 5
    await trial.release(small)
    await trial.settle(claim, 0, most - 1)
    assert await fields(bench, BUDGET_KEY) == {"c": str(most - 1), "r": "0"}
    assert (await trial.admit(worst=2)).refusal == BUDGET
