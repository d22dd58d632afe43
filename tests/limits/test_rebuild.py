"""Redis holds what the ledger says once it was filled from it, and is not believed before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest

from limits import rebuild
from limits.errors import LimiterUnavailable, Stale
from limits.link import Link
from limits.rebuild import Open, State
from limits.types import PARALLEL, TOKEN_BUCKET_MS, Correction
from tests.limits.redis_servers import RedisServer
from tests.limits.shared_bench import NOTHING, NUMBER, PLACE, SharedBench, connected, on_redis
from tests.limits.trial import DAY_MS, START, Trial

NEXT: Final = NUMBER + 1


async def rebuilt(bench: SharedBench, state: State) -> None:
    """As the owner of the link does it."""
    bench.number += 1
    await rebuild.halt(bench.link)
    await rebuild.rebuild(bench.link, bench.number, state)


def state(**known: Any) -> State:
    return State(**{"spent": {}, "correction": 0, "open": (), "tokens": (), "reached": {}, **known})


def under_way(claim_id: str, key_id: int, worst: int, *, place: str = PLACE, window: int = 0) -> Open:
    return Open(place, claim_id, key_id, window, worst)


async def names(link: Link, pattern: str) -> list[bytes]:
    return [name for found in await link.everywhere("KEYS", pattern) for name in found]


# Filled


@on_redis
async def test_money_is_what_the_ledger_says(trial: Trial, bench: SharedBench) -> None:
    trial.limit(max_parallel=2)
    before = await trial.admit(worst=500, tokens=10)
    await rebuilt(
        bench,
        state(
            spent={(1, 0): 100, (1, 1000): 7, (2, 0): 2**53 - 1},
            correction=3,
            open=[under_way("a", 1, 20), under_way("b", 1, 5, place="1.4"), under_way("c", 3, 9, window=60)],
        ),
    )
    assert not trial.limiter.is_current(before)
    assert await trial.money() == (100, 25)
    assert await trial.money(window=1000) == (7, 0)
    assert (await trial.left(key=2))[:2] == (2**53 - 1, 0)
    assert (await trial.left(key=3, window=60))[:2] == (0, 9)
    assert (await trial.admit()).refusal == PARALLEL
    for number in (2, 3):
        await trial.correct(number, -50)
    assert await trial.money() == (100, 25)
    await trial.correct(4, -50)
    assert await trial.money() == (50, 25)


@on_redis
async def test_a_call_under_way_is_settled_under_the_new_number(trial: Trial, bench: SharedBench) -> None:
    trial.limit(max_parallel=1)
    claim = await trial.admit(worst=20, tokens=10)
    await rebuilt(bench, state(open=[under_way(claim.claim_id, 1, 20)]))
    assert await trial.money() == (0, 20)
    assert (await trial.admit()).refusal == PARALLEL
    for _ in range(2):
        await trial.settle(claim, 7, 15)
    assert await trial.money() == (15, 0)
    # What it had reserved is in the window or not: Redis may have been emptied. So both count, for a day.
    assert (await trial.left())[3] == trial.rules.tpd - 10 - 7
    assert await trial.refusals(2) == ["", PARALLEL]


@on_redis
async def test_windows_go_on(trial: Trial, bench: SharedBench) -> None:
    await trial.admit(tokens=10)
    before = await trial.left()
    await rebuilt(bench, state(tokens=[(1, START, 500)]))
    assert await trial.left() == before


@on_redis
async def test_tokens_of_a_key_that_redis_has_lost_come_from_the_ledger(
    trial: Trial, bench: SharedBench
) -> None:
    trial.limit(tpd=100)
    tokens = [(1, START - DAY_MS, 5), (1, START - TOKEN_BUCKET_MS, 20), (1, START - TOKEN_BUCKET_MS + 1, 30)]
    await bench.link.everywhere("FLUSHALL")
    await rebuilt(bench, state(tokens=tokens))
    assert (await trial.left())[2:] == (1_000_000, 45, 0, DAY_MS)
    assert (await trial.admit(tokens=46)).retry_after_ms == TOKEN_BUCKET_MS
    assert (await trial.admit(tokens=45)).refusal == ""
    trial.wait(DAY_MS + TOKEN_BUCKET_MS)
    assert (await trial.left())[3] == 100


@on_redis
async def test_a_ledger_whose_clock_is_ahead_closes_no_limit_for_longer(
    trial: Trial, bench: SharedBench
) -> None:
    trial.limit(tpd=100)
    await bench.link.everywhere("FLUSHALL")
    await rebuilt(bench, state(tokens=[(1, START + 10 * DAY_MS, 100)]))
    assert (await trial.admit(tokens=1)).retry_after_ms == DAY_MS + TOKEN_BUCKET_MS
    trial.wait(DAY_MS + TOKEN_BUCKET_MS)
    assert (await trial.admit(tokens=100)).refusal == ""


@on_redis
async def test_much_is_written_piece_by_piece(trial: Trial, bench: SharedBench) -> None:
    known = {(key, 0): key for key in range(3000)}
    calls = [under_way(f"c{n}", n % 700, 1) for n in range(1500)]
    await rebuilt(bench, state(spent=known, open=calls, tokens=[(key, START, key) for key in range(1, 3000)]))
    assert (await trial.left(key=2999))[:4] == (2999, 0, 1_000_000, trial.rules.tpd - 2999)
    assert (await trial.left(key=1))[:2] == (1, 3)


# Believed


@on_redis
async def test_only_all_shards_of_this_start_of_the_server_are_believed(
    trial: Trial, bench: SharedBench
) -> None:
    async def is_right(number: int = NUMBER) -> bool:
        return await rebuild.verify(bench.link, number)

    assert await is_right()
    assert not await is_right(NUMBER - 1)
    assert not await is_right(NEXT)
    name = "rooya:{31}:incarnation"
    await bench.link.ask("", "HSET", name, "r", "of another start")
    assert not await is_right()
    await bench.link.ask("", "DEL", name)
    assert not await is_right()
    await rebuild.rebuild(bench.link, NUMBER, NOTHING)
    assert await is_right()
    await bench.link.everywhere("FLUSHALL")
    assert not await is_right()


@on_redis
async def test_halted_redis_decides_nothing(trial: Trial, bench: SharedBench) -> None:
    claim = await trial.admit(worst=5)
    await rebuild.halt(bench.link)
    with pytest.raises(Stale):
        await trial.admit()
    await trial.settle(claim, 0, 5)
    assert bench.unsettled == [(claim.claim_id, 0, 5)]


def test_redis_emptied_while_it_is_filled_is_not_believed(redis_server: RedisServer) -> None:
    def tokens() -> Iterator[tuple[int, int, int]]:
        """Read once money has been written."""
        assert redis_server.ask("EXISTS", f"rooya:{{1}}:{NEXT}:budget:1:0") == "1"
        redis_server.ask("FLUSHALL")
        yield 1, START, 5

    @on_redis
    async def scenario(trial: Trial, bench: SharedBench) -> None:
        with pytest.raises(LimiterUnavailable):
            await rebuilt(bench, state(spent={(1, 0): 100}, tokens=tokens()))
        with pytest.raises(Stale):
            await trial.admit()
        await rebuilt(bench, state(spent={(1, 0): 100}))
        assert await trial.money() == (100, 0)

    scenario(redis_server)


@on_redis
async def test_only_what_is_left_of_earlier_numbers_is_removed(trial: Trial, bench: SharedBench) -> None:
    claim = await trial.admit(worst=5)
    await trial.count("192.0.2.1", 5)
    earlier = await names(bench.link, f"rooya:*:{NUMBER}:*")
    assert len(earlier) == 2
    await bench.link.ask("", "HSET", f"rooya:{{3}}:{NUMBER}:incarnation", "n", NUMBER)  # given up half-way
    await rebuilt(bench, state(spent={(1, 0): 5}, open=[under_way(claim.claim_id, 1, 5)]))
    await bench.link.ask("", "HSET", f"rooya:{{3}}:{NEXT + 1}:budget:3:0", "c", 5)  # by another process
    before = set(await names(bench.link, "*"))
    await rebuild.remove_earlier(bench.link, NEXT)
    removed = before - set(await names(bench.link, "*"))
    assert removed == {*earlier, f"rooya:{{3}}:{NUMBER}:incarnation".encode()}


# A process has died


@on_redis
async def test_what_a_dead_process_had_under_way_is_settled(trial: Trial, bench: SharedBench) -> None:
    trial.limit(max_parallel=3)
    lost = [await trial.admit(key=key, tokens=10, worst=50) for key in (1, 1, 33, 2)]
    never_sent = await trial.admit(key=1, tokens=7, worst=8)
    bench_of_other = SharedBench(bench.link, bench.url, place="1.1")
    bench_of_other.now_ms = bench.now_ms
    other = trial.claim(key=2, worst=3)
    await bench_of_other.limiter.admit(other)
    costs = {claim.claim_id: claim.worst_nanodollars for claim in lost}
    for _ in range(2):
        await rebuild.recovered(bench.link, NUMBER, PLACE, costs)
        assert await trial.money() == (100, 0)
        assert (await trial.left(key=33))[:2] == (50, 0)
        assert (await trial.left(key=2))[:2] == (50, 3)
    requests_left, tokens_left = (await trial.left())[2:4]
    assert (requests_left, tokens_left) == (1_000_000 - 2, trial.rules.tpd - 20)  # never sent, never counted
    assert await trial.refusals(4, key=1) == ["", "", "", PARALLEL]
    for claim in (*lost, never_sent):
        bench_of_other.limiter.settle(claim, 1, 1)
    await bench_of_other.await_(None)
    assert await trial.money() == (100, 0)


@on_redis
async def test_a_recovery_under_another_number_changes_nothing(trial: Trial, bench: SharedBench) -> None:
    claim = await trial.admit(worst=50)
    await rebuilt(bench, state(open=[under_way(claim.claim_id, 1, 50)]))
    await rebuild.recovered(bench.link, NUMBER, PLACE, {claim.claim_id: 50})
    assert await trial.money() == (0, 50)
    await rebuild.recovered(bench.link, NEXT, PLACE, {claim.claim_id: 50})
    assert await trial.money() == (50, 0)


def test_a_recovery_that_redis_refuses_is_told() -> None:
    async def run(server: RedisServer) -> None:
        link = await connected(server.url)
        await rebuild.rebuild(link, NUMBER, state(open=[under_way("a", 1, 5)]))
        await link.ask("", "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(LimiterUnavailable, match="OOM"):
            await rebuild.recovered(link, NUMBER, PLACE, {"a": 5})
        link.close()

    with RedisServer() as server:
        asyncio.run(run(server))


# At start


@on_redis
async def test_the_self_test_leaves_nothing_and_may_run_many_times_at_once(
    trial: Trial, bench: SharedBench
) -> None:
    before = await bench.dump()
    await asyncio.gather(*(rebuild.check(bench.link) for _ in range(20)))
    assert await bench.dump() == before


@pytest.mark.parametrize("denied", ["-evalsha", "-script", "-hset", "-info", "-rename"])
def test_a_redis_that_does_not_allow_what_is_needed_is_found_at_start(
    denied: str, redis_server: RedisServer
) -> None:
    async def run() -> None:
        link = await connected(f"unix://meagre:sesame@{redis_server.socket}")
        try:
            with pytest.raises(LimiterUnavailable, match="NOPERM|permission"):
                await rebuild.check(link)
                await rebuild.rebuild(link, NUMBER, NOTHING)
        finally:
            link.close()

    redis_server.ask("ACL", "SETUSER", "meagre", "reset")
    redis_server.ask("ACL", "SETUSER", "meagre", "on", ">sesame", "~*", "+@all", denied)
    asyncio.run(run())


def test_a_redis_that_may_evict_counters_is_warned_of() -> None:
    async def run(server: RedisServer) -> None:
        link = await connected(server.url)
        server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        assert await rebuild.warnings(link) == []
        server.ask("CONFIG", "SET", "maxmemory", "100mb")
        (warning,) = await rebuild.warnings(link)
        assert "allkeys-lru" in warning and "noeviction" in warning
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert await rebuild.warnings(link) == []
        server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        server.ask("ACL", "SETUSER", "default", "-config")
        assert await rebuild.warnings(link) == []
        link.close()

    with RedisServer() as server:
        asyncio.run(run(server))


@on_redis
async def test_a_correction_told_while_redis_is_down_is_not_sent(trial: Trial, bench: SharedBench) -> None:
    await trial.admit(worst=5)
    before = await bench.dump()
    bench.limiter.fail("for the test")
    bench.limiter.correct(Correction(1, 1, 0, 5))
    await bench.link.connect()
    assert await bench.dump() == before
