"""Redis while it answers, and this process alone while it does not: no request waits long for either.

Alone, limits of rates hold at a share for each process. Money goes on only where no other process has part in
it, from the ledger's own sums. Whatever was decided alone, or was lost on the way, is made good by writing
everything to Redis anew, under a higher number, before Redis is trusted again; claims of an earlier number
are then not current, and have to be admitted once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from limits.embedded import EmbeddedLimiter
from limits.errors import LimiterUnavailable, Stale
from limits.shared import SharedLimiter
from limits.types import Claim, Correction, Rules

log = logging.getLogger("rooya.limits")

WAIT_SECONDS: Final = 0.25  # of one request, for Redis, in all
REST_SECONDS: Final = 0.1  # before Redis is tried again; doubled each time
LONGEST_REST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Owed:
    """What the ledger says of money at one moment. spent: by key and window. claims: those under way."""

    spent: dict[tuple[int, int], int] = field(default_factory=dict)
    correction: int = 0
    claims: Sequence[Claim] = ()


class Backing(Protocol):
    """What is behind the counters (see `handlers/limit_keeping.py`)."""

    def number(self) -> int:
        """Of the shared counters that hold now."""

    def others(self) -> int:
        """How many other processes have part in the limits at this moment."""

    async def owed(self) -> Owed:
        """Raises LimiterUnavailable."""

    async def restore(self, *, anew: bool, raised: Callable[[], None]) -> None:
        """Have Redis, connected afresh if need be, hold what the ledger says.

        anew: though it may seem to. raised: called once the number is a new one. Raises LimiterUnavailable.
        """


class Share:
    """A part of a key's limits; its budget is not divided."""

    __slots__ = ("budget_nanodollars", "max_parallel", "rpm", "tpd")

    def __init__(self, rules: Rules, parts: int) -> None:
        self.rpm = max(1, rules.rpm // parts)
        self.tpd = max(1, rules.tpd // parts)
        self.max_parallel = None if rules.max_parallel is None else max(1, rules.max_parallel // parts)
        self.budget_nanodollars = rules.budget_nanodollars


class GuardedLimiter:
    """A `types.Limiter` over both; it begins with a Redis that holds what it should.

    local: counts while Redis cannot. processes: how many are configured. clock: the event loop's.
    """

    def __init__(
        self,
        *,
        shared: SharedLimiter,
        local: EmbeddedLimiter,
        backing: Backing,
        processes: int,
        clock: Callable[[], float],
    ) -> None:
        self.is_up = True
        self._shared = shared
        self._local = local
        self._backing = backing
        self._processes = processes
        self._clock = clock
        self._parts = processes
        self._has_money = False
        self._is_switching = False
        self._work: asyncio.Task[None] | None = None  # makes Redis trustworthy, by one attempt after another
        self._attempt: asyncio.Task[None] | None = None
        self._taking_over: asyncio.Task[None] | None = None  # makes this process fit to be alone
        self._unsettled: list[tuple[Claim, int, int]] = []  # for Redis, once it can be told
        self._settled: list[tuple[Claim, int, int]] = []  # while this process takes over
        shared.listen(failed=self._fail, unsettled=self._keep, count_alone=self._count_alone)

    async def close(self) -> None:
        """Stop what runs beside the requests."""
        tasks = [task for task in (self._work, self._attempt, self._taking_over) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def admit(self, claim: Claim) -> Awaitable[None]:
        return self._decide(claim, self._shared.admit, self._local.admit)

    def peek(self, claim: Claim) -> Awaitable[None]:
        return self._decide(claim, self._shared.peek, self._local.peek)

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        if self.is_up:
            self._shared.settle(claim, tokens, nanodollars)
            return
        if self._is_switching:
            self._keep(claim, tokens, nanodollars)
        if self._taking_over is not None:
            self._settled.append((claim, tokens, nanodollars))
        self._local.settle(claim, tokens, nanodollars)

    def release(self, claim: Claim) -> None:
        (self._shared if self.is_up else self._local).release(claim)

    def count(self, address: str, rpm: int) -> Awaitable[int] | int:
        return self._shared.count(address, rpm) if self.is_up else self._count_alone(address, rpm)

    def correct(self, correction: Correction) -> None:
        if self.is_up:
            self._shared.correct(correction)
        self._local.correct(correction)

    def is_current(self, claim: Claim) -> bool:
        return claim.incarnation == self._backing.number()

    async def _decide(
        self,
        claim: Claim,
        ask: Callable[[Claim], Awaitable[None]],
        ask_alone: Callable[[Claim], Awaitable[None] | None],
    ) -> None:
        end = self._clock() + WAIT_SECONDS
        while True:
            if self._attempt is not None and (self.is_up or self._is_switching):
                if not await self._is_done(self._attempt, end):
                    self._give_up()
            elif self.is_up:
                try:
                    await ask(claim)
                    return
                except Stale:
                    self._begin(anew=False)
                except LimiterUnavailable as error:
                    self._fail(str(error))
            elif claim.rules.budget_nanodollars is not None and not self._has_money:
                await self._learn_of_money()  # and look again: Redis may be being filled by now
            else:
                self._decide_alone(claim, ask_alone)
                return

    async def _learn_of_money(self) -> None:
        """Wait until the ledger has said what is spent. Raises LimiterUnavailable."""
        if self._taking_over is None:
            raise LimiterUnavailable("several processes have lost Redis")
        await self._is_done(self._taking_over, self._clock() + WAIT_SECONDS)
        if not (self._has_money or self.is_up):
            raise LimiterUnavailable("budgets cannot be read from the ledger")

    def _decide_alone(self, claim: Claim, ask: Callable[[Claim], Awaitable[None] | None]) -> None:
        """Without a pause: what is decided under a number is on record before the number is another."""
        rules = claim.rules
        claim.incarnation = self._backing.number()
        claim.rules = Share(rules, self._parts) if self._parts > 1 else rules
        try:
            waiting = ask(claim)
            assert waiting is None, "the local limiter knows of every key"
        finally:
            claim.rules = rules

    async def _is_done(self, task: asyncio.Task[None], end: float) -> bool:
        """Wait for it up to the end."""
        done, _ = await asyncio.wait((task,), timeout=max(0.0, end - self._clock()))
        return bool(done)

    def _give_up(self) -> None:
        """The attempt takes longer than a request may wait. Raises LimiterUnavailable.

        Until the number is raised nobody relies on what Redis will hold, and this process may be alone for a
        while: one that was stopped in the middle of filling Redis must not stop the others.
        """
        if self._is_switching:
            raise LimiterUnavailable("the counters of limits are being restored")
        self._fail("it is not known to hold what it should")

    def _count_alone(self, address: str, rpm: int) -> int:
        return self._local.count(address, max(1, rpm // self._parts))

    # Redis lost, and found again

    def _keep(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        """Redis is to be told of it once it holds what it should."""
        self._unsettled.append((claim, tokens, nanodollars))
        self._begin(anew=False)

    def _fail(self, reason: str) -> None:
        """Redis cannot be trusted from here on."""
        if not self.is_up:
            return
        self.is_up = False
        others = self._backing.others()
        self._parts = max(self._processes, others + 1)
        shares = "each process allows its share of every rate"
        rates = shares if self._parts > 1 else "this process counts rates"
        money = "calls of keys with a budget are refused" if others else "budgets hold by the ledger"
        log.warning("Redis is lost (%s): %s, %s", reason, rates, money)
        self._has_money = False
        self._local.assume({}, 0, ())
        if not others:
            self._taking_over = asyncio.create_task(self._take_over())
        self._begin(anew=True)

    async def _take_over(self) -> None:
        """Learn what the ledger says of money, to decide alone."""
        try:
            owed = await self._backing.owed()
            self._local.assume(owed.spent, owed.correction, owed.claims)
            for settled in self._settled:
                self._local.settle(*settled)
            self._has_money = True
        except LimiterUnavailable as error:
            log.error("budgets cannot be read from the ledger: %s", error)
        finally:
            self._settled.clear()
            self._taking_over = None

    def _begin(self, *, anew: bool) -> None:
        if self._work is None:
            self._attempt = asyncio.create_task(self._try(anew))
            self._work = asyncio.create_task(self._restore())

    async def _restore(self) -> None:
        rest = REST_SECONDS
        try:
            while True:
                assert self._attempt is not None
                await self._attempt
                if self.is_up and not self._unsettled:
                    return
                if not self.is_up:
                    await asyncio.sleep(rest)
                    rest = min(2 * rest, LONGEST_REST_SECONDS)
                self._attempt = asyncio.create_task(self._try(False))
        finally:
            self._work = self._attempt = None

    async def _try(self, anew: bool) -> None:
        """Up, if Redis then holds what the ledger says."""
        is_anew = anew or not self.is_up
        try:
            await self._backing.restore(anew=is_anew, raised=self._raised)
            if is_anew or self.is_up:  # else it was lost meanwhile
                self._trust()
        except LimiterUnavailable as error:
            self._fail(str(error))
        finally:
            self._is_switching = False

    def _raised(self) -> None:
        self._is_switching = True

    def _trust(self) -> None:
        """Redis holds what the ledger says."""
        if not self.is_up:
            log.warning("Redis is back: limits are shared again")
        self.is_up = True
        self._shared.resume()
        unsettled, self._unsettled = self._unsettled, []
        for settled in unsettled:
            self._shared.settle(*settled)
