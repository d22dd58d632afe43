"""Both limiters decide and count alike, whatever they are asked in whatever order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limits.embedded import EmbeddedLimiter
from limits.link import Link
from limits.types import Claim, Correction, Past
from tests.limits.redis_servers import RedisServer
from tests.limits.shared_bench import SharedBench, connected, emptied
from tests.limits.trial import START, Limits

EXAMPLES: Final = 1000
KEYS: Final = st.sampled_from([1, 33])  # of one shard
WINDOWS: Final = st.sampled_from([0, 1_800_000_000])
MONEY: Final = st.sampled_from([0, 1, 40, 60, 100, 2**46])
TOKENS: Final = st.sampled_from([0, 1, 40, 60, 100])
LIMITS: Final = st.builds(
    Limits,
    rpm=st.sampled_from([1, 2, 5, 10**6]),
    tpd=st.sampled_from([50, 100, 10**9]),
    max_parallel=st.sampled_from([None, None, 1, 2]),
    budget_nanodollars=st.sampled_from([None, None, 0, 60, 100, 2**53 - 1]),
)
ADMIT: Final = st.tuples(
    st.sampled_from(["admit", "admit", "admit", "peek"]),
    KEYS,
    WINDOWS,
    st.sampled_from([0, 1]),
    TOKENS,
    MONEY,
    MONEY,
)
STEPS: Final = st.lists(
    ADMIT
    | st.tuples(st.sampled_from(["settle"]), st.integers(0, 20), TOKENS, MONEY)
    | st.tuples(st.sampled_from(["release"]), st.integers(0, 20))
    | st.tuples(
        st.sampled_from(["wait"]),
        st.sampled_from([1, 999, 1000, 30_000, 60_999, 61_000, 600_000, 86_400_000, 87_000_000]),
    )
    | st.tuples(st.sampled_from(["limit"]), LIMITS)
    | st.tuples(st.sampled_from(["correct"]), st.integers(1, 5), KEYS, WINDOWS, st.sampled_from([-10, 0, 7]))
    | st.tuples(st.sampled_from(["count"]), st.sampled_from(["a", "b"]), st.integers(1, 3)),
    min_size=5,
    max_size=40,
)
DECIDED: Final = (
    "refusal", "retry_after_ms", "requests_left", "requests_reset_ms", "tokens_left", "tokens_reset_ms",
    "spent_nanodollars", "reserved_nanodollars", "worst_nanodollars",
)  # fmt: skip


class Both:
    """The same, asked of both."""

    def __init__(self, shared: SharedBench) -> None:
        self.shared = shared
        self.now_ms = START
        self.embedded = EmbeddedLimiter(clock=lambda: self.now_ms)
        self.rules = Limits()
        self.claims: list[tuple[Claim, Claim]] = []
        self.used: set[tuple[int, int]] = set()

    async def step(self, name: str, *words: Any) -> None:
        self.shared.now_ms = self.now_ms
        if name == "wait":
            self.now_ms += words[0]
        elif name == "limit":
            (self.rules,) = words
        elif name in ("admit", "peek"):
            await self.ask(name, *words)
        elif name == "count":
            assert await self.shared.await_(self.shared.limiter.count(*words)) == self.embedded.count(*words)
        elif name == "correct":
            number, key_id, window, nanodollars = words
            if (key_id, window) not in self.used:
                return  # nothing was spent there that could be corrected
            correction = Correction(number, key_id, window, nanodollars)
            self.embedded.correct(correction)
            await self.shared.await_(self.shared.limiter.correct(correction))
        elif self.claims:
            at, *used = words
            ours, theirs = self.claims[at % len(self.claims)]
            getattr(self.embedded, name)(ours, *used)
            await self.shared.await_(getattr(self.shared.limiter, name)(theirs, *used))

    async def ask(self, name: str, *asked: int) -> None:
        ours, theirs = self.claim(*asked), self.claim(*asked)
        self.embedded.meet(ours.key_id, ours.window, Past())
        waiting = getattr(self.embedded, name)(ours)
        assert not inspect.isawaitable(waiting)
        await self.shared.await_(getattr(self.shared.limiter, name)(theirs))
        assert [getattr(ours, field) for field in DECIDED] == [getattr(theirs, field) for field in DECIDED]
        if name == "admit" and not ours.refusal:
            self.claims.append((ours, theirs))
            self.used.add((ours.key_id, ours.window))

    def claim(self, key_id: int, window: int, requests: int, tokens: int, worst: int, least: int) -> Claim:
        claim = Claim()
        claim.claim_id = f"claim-{len(self.claims)}"
        claim.key_id, claim.window, claim.requests, claim.tokens = key_id, window, requests, tokens
        claim.rules = self.rules
        claim.worst_nanodollars, claim.least_nanodollars = worst, min(least, worst)
        claim.incarnation = 0
        return claim


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One loop, and with it one connection, for all examples."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def link(redis_server: RedisServer, runner: asyncio.Runner) -> Iterator[Link]:
    link = runner.run(connected(redis_server.url))
    yield link
    link.close()


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_both_limiters_decide_and_count_alike(
    redis_server: RedisServer, runner: asyncio.Runner, link: Link, steps: list[tuple[Any, ...]]
) -> None:
    async def run() -> None:
        both = Both(await emptied(link, redis_server.url))
        for step in steps:
            await both.step(*step)
        for key_id in (1, 33):
            for window in (0, 1_800_000_000):
                await both.step("peek", key_id, window, 0, 0, 0, 0)

    runner.run(run())
