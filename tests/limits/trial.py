"""A limiter on trial: how the tests of every limiter ask it, in short words, at times that they set.

Nothing here knows how counters are kept: only what was asked and what was answered.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from limits.types import Claim, Correction, Limiter

START: Final = 1_800_000_000_000  # Unix ms, where a bucket of each kind begins
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
MOST: Final = 2**53 - 1  # up to here a Lua number is exact


@dataclass(frozen=True, slots=True)
class Limits:
    """Rules that bound nothing but what a test bounds."""

    rpm: int = 1_000_000
    tpd: int = MOST
    max_parallel: int | None = None
    budget_nanodollars: int | None = None


class Bench(Protocol):
    """A limiter to try. now_ms: its clock's, which a test may set forward.

    `await_` awaits what a method returned, if that is awaitable, and answers what it came to; afterwards all
    that the limiter was told before, settlements too, is in effect.
    """

    limiter: Limiter
    now_ms: int

    async def await_(self, waiting: Any) -> Any: ...

    async def close(self) -> None: ...


class Trial:
    """Short words for what a test does with a limiter. rules: of every claim, until the test changes them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._ids = itertools.count(1)
        self.limiter = bench.limiter
        self.rules = Limits()
        bench.now_ms = START

    @property
    def now_ms(self) -> int:
        return self._bench.now_ms

    def limit(self, **limits: int | None) -> None:
        self.rules = replace(self.rules, **limits)  # type: ignore[arg-type]

    def wait(self, ms: int) -> None:
        self._bench.now_ms += ms

    def claim(self, *, worst: int = 0, least: int | None = None, **asked: int) -> Claim:
        claim = Claim()
        claim.claim_id = f"attempt-{next(self._ids)}"
        claim.rules = self.rules
        claim.key_id = asked.get("key", 1)
        claim.requests = asked.get("requests", 1)
        claim.tokens = asked.get("tokens", 0)
        claim.window = asked.get("window", 0)
        claim.worst_nanodollars = worst
        claim.least_nanodollars = worst if least is None else least
        claim.incarnation = 0
        return claim

    async def admit(self, **asked: Any) -> Claim:
        claim = self.claim(**asked)
        await self._bench.await_(self.limiter.admit(claim))
        return claim

    async def peek(self, **asked: Any) -> Claim:
        claim = self.claim(**asked)
        await self._bench.await_(self.limiter.peek(claim))
        return claim

    async def left(self, key: int = 1, window: int = 0) -> tuple[int, ...]:
        """All that is told of a key: money spent and reserved; of both rates, what is left and the reset."""
        claim = await self.peek(requests=0, key=key, window=window)
        return (
            claim.spent_nanodollars, claim.reserved_nanodollars,
            claim.requests_left, claim.tokens_left,
            claim.requests_reset_ms, claim.tokens_reset_ms,
        )  # fmt: skip

    async def money(self, window: int = 0) -> tuple[int, int]:
        """Spent and reserved."""
        spent, reserved, *_ = await self.left(window=window)
        return spent, reserved

    async def settle(self, claim: Claim, tokens: int = 0, nanodollars: int = 0) -> None:
        await self._bench.await_(self.limiter.settle(claim, tokens, nanodollars))

    async def release(self, claim: Claim) -> None:
        await self._bench.await_(self.limiter.release(claim))

    async def correct(self, number: int, nanodollars: int, *, key: int = 1, window: int = 0) -> None:
        await self._bench.await_(self.limiter.correct(Correction(number, key, window, nanodollars)))

    async def count(self, address: str, rpm: int) -> int:
        return await self._bench.await_(self.limiter.count(address, rpm))

    async def refusals(self, count: int, **asked: Any) -> list[str]:
        """Of so many claims, all asked for at once."""
        return [claim.refusal for claim in await asyncio.gather(*(self.admit(**asked) for _ in range(count)))]


def running(
    scenario: Callable[[Any, Trial], Coroutine[Any, Any, None]],
) -> Callable[[Trials], None]:
    """A test of what a scenario does with a new limiter."""

    def test(self: Trials) -> None:
        asyncio.run(self.run(scenario))

    test.__name__ = scenario.__name__  # and no __wrapped__: pytest would ask for a fixture named `trial`
    test.__doc__ = scenario.__doc__
    return test


class Trials:
    """Tests of a limiter: a mixin. `make` is called in the running event loop, once for each test."""

    def make(self) -> Bench | Awaitable[Bench]:
        raise NotImplementedError

    async def run(self, scenario: Callable[[Any, Trial], Coroutine[Any, Any, None]]) -> None:
        made = self.make()
        bench = await made if isinstance(made, Awaitable) else made
        try:
            await scenario(self, Trial(bench))
        finally:
            await bench.close()
