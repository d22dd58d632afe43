"""The limiter in Redis keeps the contract, asks for a turn of the loop at once, and says when Redis fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from limits import rebuild
from limits.errors import LimiterUnavailable
from limits.types import REQUESTS
from tests.limits.contract import LimiterContract
from tests.limits.redis_servers import RedisServer
from tests.limits.shared_bench import NOTHING, NUMBER, SharedBench, bench, connected, on_redis
from tests.limits.trial import Trial

SECONDS: Final = 5  # until a test gives up
ADDRESS: Final = "192.0.2.1"


class TestOnAServer(LimiterContract):
    @pytest.fixture(autouse=True)
    def _on(self, redis_server: RedisServer) -> None:
        self.url = redis_server.url

    async def make(self) -> SharedBench:  # type: ignore[override]
        return await bench(self.url)


# A turn of the loop


async def calls_of(bench: SharedBench, command: str) -> int:
    """How often a command has been run."""
    text = (await bench.link.ask("", "INFO", "commandstats")).decode()
    found = [line for line in text.splitlines() if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


@on_redis
async def test_what_is_asked_in_one_turn_goes_out_at_once(trial: Trial, bench: SharedBench) -> None:
    await bench.link.ask("", "CONFIG", "RESETSTAT")
    claims = [trial.claim(key=key % 5) for key in range(257)]
    await asyncio.gather(*map(bench.limiter.admit, claims))
    assert await calls_of(bench, "evalsha") == 3  # 128, 128, 1
    for claim in claims:
        bench.limiter.settle(claim, 1, 2)
    await trial.left()
    assert await calls_of(bench, "evalsha") == 3 + 1 + 3
    assert await trial.money() == (2 * 52, 0)


@on_redis
async def test_of_claims_by_two_processes_at_once_exactly_the_limit_passes(
    trial: Trial, bench: SharedBench
) -> None:
    other = SharedBench(await connected(bench.url), bench.url, place="1.1")
    other.now_ms = bench.now_ms
    trial.limit(rpm=60)
    try:
        claims = [trial.claim() for _ in range(200)]
        limiters = bench.limiter, other.limiter
        await asyncio.gather(*(limiters[n % 2].admit(claim) for n, claim in enumerate(claims)))
        assert sorted(claim.refusal for claim in claims) == [""] * 60 + [REQUESTS] * 140
        passed = [claim.requests_left for claim in claims if not claim.refusal]
        assert sorted(passed) == list(range(60))
    finally:
        await other.close()


@on_redis
async def test_scripts_that_redis_has_forgotten_are_told_again(trial: Trial, bench: SharedBench) -> None:
    for _ in range(3):
        await bench.link.ask("", "SCRIPT", "FLUSH")
        claims = await asyncio.gather(*(trial.admit(worst=10) for _ in range(5)))
        await bench.link.ask("", "SCRIPT", "FLUSH")
        bench.limiter.settle(claims[0], 0, 7)
        bench.limiter.release(claims[1])
        await trial.count(ADDRESS, 100)
        await bench.sent()
        await trial.settle(claims[2])
        await trial.settle(claims[3])
        await trial.settle(claims[4])
    assert await trial.money() == (21, 0)
    assert not bench.failures


@on_redis
async def test_a_claim_given_up_as_scripts_are_forgotten_takes_nothing(
    trial: Trial, bench: SharedBench
) -> None:
    for turns in range(6):
        await bench.link.ask("", "SCRIPT", "FLUSH")
        claim = trial.claim(tokens=10, worst=10)
        task = asyncio.ensure_future(bench.limiter.admit(claim))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await trial.release(claim)
        assert (await trial.left())[:2] == (0, 0), turns
    assert (await trial.left())[2:] == (trial.rules.rpm, trial.rules.tpd, 0, 0)


@on_redis
async def test_of_what_nobody_waits_for_any_more_the_answer_is_ignored(
    trial: Trial, bench: SharedBench
) -> None:
    given_up, kept = trial.claim(), trial.claim()
    waiting = bench.limiter.admit(given_up), bench.limiter.admit(kept), bench.limiter.count(ADDRESS, 1)
    waiting[0].cancel()  # type: ignore[attr-defined]
    waiting[2].cancel()  # type: ignore[attr-defined]
    await waiting[1]
    assert kept.requests_left == trial.rules.rpm - 2
    await trial.release(given_up)
    assert (await trial.left())[2] == trial.rules.rpm - 1


# Redis fails


def broken(
    scenario: Callable[[Trial, SharedBench, RedisServer], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """A test with a server of its own."""

    async def run() -> None:
        with RedisServer() as server:
            made = await bench(server.url)
            try:
                async with asyncio.timeout(SECONDS):
                    await scenario(Trial(made), made, server)
            finally:
                await made.close()

    def test() -> None:
        asyncio.run(run())

    test.__name__ = scenario.__name__
    return test


async def failed(bench: SharedBench) -> str:
    """Why, once it is known."""
    while not bench.failures:
        await asyncio.sleep(0.01)
    (reason,) = bench.failures
    return reason


async def assert_is_down(trial: Trial, bench: SharedBench) -> None:
    """Told once; from now on nothing is asked of Redis."""
    await failed(bench)
    for ask in (bench.limiter.admit, bench.limiter.peek):
        with pytest.raises(LimiterUnavailable):
            await ask(trial.claim())
    assert await bench.limiter.count(ADDRESS, 5) == -5  # alone
    for end in (bench.limiter.release, lambda claim: bench.limiter.settle(claim, 1, 1)):
        end(trial.claim())
    await asyncio.sleep(0)
    await failed(bench)


@broken
async def test_a_server_that_dies_fails_all_that_is_under_way_at_once(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    claims = [asyncio.ensure_future(bench.limiter.admit(trial.claim())) for _ in range(3)]
    counted = asyncio.ensure_future(bench.limiter.count(ADDRESS, 5))
    await bench.link.ask("", "PING")
    await asyncio.gather(*claims, counted)
    claims = [asyncio.ensure_future(bench.limiter.admit(trial.claim())) for _ in range(300)]
    counted = asyncio.ensure_future(bench.limiter.count(ADDRESS, 5))
    server.stop()
    answers = await asyncio.gather(*claims, return_exceptions=True)
    assert {type(answer) for answer in answers} == {LimiterUnavailable}
    assert await counted == -5
    await assert_is_down(trial, bench)


@broken
async def test_a_server_that_is_full_is_no_server(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    claim = await trial.admit(worst=5)
    await bench.link.ask("", "CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(LimiterUnavailable, match="OOM"):
        await bench.limiter.admit(trial.claim())
    assert "OOM" in await failed(bench)
    await assert_is_down(trial, bench)
    assert not bench.unsettled
    bench.limiter.settle(claim, 1, 1)


@broken
async def test_a_settlement_that_a_full_server_refuses_is_a_failure_too(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    claim = await trial.admit(worst=5)
    await bench.link.ask("", "CONFIG", "SET", "maxmemory", "1")
    bench.limiter.settle(claim, 1, 1)
    assert "OOM" in await failed(bench)
    assert not bench.unsettled  # to tell it once more would help nothing: the ledger has it
    await assert_is_down(trial, bench)


@broken
async def test_an_address_that_a_full_server_does_not_count_is_counted_alone(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    await bench.link.ask("", "CONFIG", "SET", "maxmemory", "1")
    assert await bench.limiter.count(ADDRESS, 5) == -5
    assert "OOM" in await failed(bench)


@broken
async def test_a_server_that_became_a_replica_is_no_server(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    await bench.link.ask("", "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(LimiterUnavailable, match="READONLY"):
        await bench.limiter.admit(trial.claim())
    assert "READONLY" in await failed(bench)


@broken
async def test_a_script_that_may_not_be_run_is_a_failure(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    await bench.link.ask("", "SCRIPT", "FLUSH")
    await bench.link.ask("", "ACL", "SETUSER", "default", "-script", "-eval")
    with pytest.raises(LimiterUnavailable, match="NOPERM"):
        await bench.limiter.admit(trial.claim())
    await assert_is_down(trial, bench)


@broken
async def test_a_server_that_does_not_answer_is_given_up(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    server.pause()
    asked = asyncio.gather(*(bench.limiter.admit(trial.claim()) for _ in range(3)), return_exceptions=True)
    counted = asyncio.ensure_future(bench.limiter.count(ADDRESS, 5))
    assert {type(answer) for answer in await asked} == {LimiterUnavailable}
    assert await counted == -5
    assert await failed(bench) == "no answer in time"
    await assert_is_down(trial, bench)


@broken
async def test_a_process_that_was_held_up_itself_does_not_blame_redis(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        asked = bench.limiter.admit(trial.claim())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        end = loop.time() + 0.4
        while loop.time() < end:
            pass
        await asked
    assert not bench.failures


@broken
async def test_after_it_was_filled_anew_redis_is_asked_again(
    trial: Trial, bench: SharedBench, server: RedisServer
) -> None:
    server.stop()
    await failed(bench)
    server.start()
    await bench.link.connect()
    bench.number += 1
    await rebuild.rebuild(bench.link, bench.number, NOTHING)
    bench.limiter.resume()
    claim = await trial.admit(worst=5)
    assert (claim.refusal, claim.incarnation) == ("", NUMBER + 1)
    assert bench.limiter.is_current(claim)
    server.stop()
    with pytest.raises(LimiterUnavailable):
        await bench.limiter.admit(trial.claim())
    assert len(bench.failures) == 2
