"""Redis while it answers, and this process alone while it does not: no request waits long for either.

Alone, limits of rates hold at a share for each process. Money goes on only where no other process has part in
it, from the ledger's own sums. Whatever was decided alone, or was lost on the way, is made good by having
everything written to Redis anew, under a higher number, before Redis is trusted again; claims of an earlier
number are then not current, and have to be admitted once more. What is decided alone under the higher number
already, because the writing takes longer than a request may wait, is told to Redis in the end (`alone.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from limits.alone import Position, Seen, Solos
from limits.embedded import EmbeddedLimiter
from limits.errors import LimiterUnavailable, Stale
from limits.shared import SharedLimiter
from limits.types import Claim, Correction, Rules

log = logging.getLogger("rooya.limits")

WAIT_SECONDS: Final = 0.2  # of the 250 ms that a request may wait for Redis; looking up its key has the rest
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

    def position(self) -> Position:
        """Where the journal of this process ends."""

    async def owed(self) -> Owed:
        """Raises LimiterUnavailable."""

    async def restore(self, *, lost: int, raised: Callable[[], None]) -> Seen:
        """Have Redis, connected afresh if need be, hold what the ledger says.

        lost: a number whose counters may not be used, though they seem to be in order; 0 = there is none.
        raised: called once the number is a new one. Raises LimiterUnavailable.
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
        self._trusted = backing.number()  # the last number whose counters this process went by
        self._lost = 0  # a number whose counters miss what was decided alone; 0 = none
        self._is_awaited = False  # may Redis be trusted within moments?
        self._has_money = False
        self._own_number = 0  # that the money decided alone counts under
        self._work: asyncio.Task[None] | None = None  # makes Redis trustworthy, by one attempt after another
        self._attempt: asyncio.Task[None] | None = None
        self._taking_over: asyncio.Task[None] | None = None  # makes this process fit to be alone
        self._unsettled: list[tuple[Claim, int, int]] = []  # for Redis, once it can be told
        self._settled: list[tuple[Claim, int, int]] = []  # while this process takes over
        self._solos = Solos()
        shared.listen(failed=self._fail, unsettled=self._keep, count_alone=self._count_alone)

    async def close(self) -> None:
        """Stop what runs beside the requests."""
        tasks = [task for task in (self._work, self._attempt, self._taking_over) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def admit(self, claim: Claim) -> Awaitable[None]:
        return self._decide(claim, self._shared.admit, self._admit_alone)

    def peek(self, claim: Claim) -> Awaitable[None]:
        return self._decide(claim, self._shared.peek, self._local.peek)

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        used = tokens, nanodollars
        is_solo = bool(self._solos) and self._solos.settle(claim, used, self._backing.position())
        if self.is_up:
            if not is_solo:
                self._shared.settle(claim, tokens, nanodollars)
            return
        if not is_solo and self._is_being_filled:
            self._unsettled.append((claim, tokens, nanodollars))
        if self._taking_over is not None:
            self._settled.append((claim, tokens, nanodollars))
        self._local.settle(claim, tokens, nanodollars)

    def release(self, claim: Claim) -> None:
        if self.is_up:
            self._shared.release(claim)
        else:
            self._solos.forget(claim)
            self._local.release(claim)

    def count(self, address: str, rpm: int) -> Awaitable[int] | int:
        return self._shared.count(address, rpm) if self.is_up else self._count_alone(address, rpm)

    def correct(self, correction: Correction) -> None:
        if self.is_up:
            self._shared.correct(correction)
        self._local.correct(correction)

    def is_current(self, claim: Claim) -> bool:
        return claim.incarnation == self._backing.number()

    def keep(self, claim: Claim) -> bool:
        if claim.rules.budget_nanodollars is not None:
            return False  # what others were granted since, together with this, may be more than there is
        claim.incarnation = self._backing.number()
        self._note(claim)
        self._begin()
        return True

    async def _decide(
        self,
        claim: Claim,
        ask: Callable[[Claim], Awaitable[None]],
        ask_alone: Callable[[Claim], Awaitable[None] | None],
    ) -> None:
        end = self._clock() + WAIT_SECONDS
        bound: float | None = None  # the first question to Redis has one of its own
        while True:
            if self._attempt is not None and (self.is_up or self._is_awaited):
                bound = end
                await self._wait_for(self._attempt, end)
            elif self.is_up:
                if await self._is_answered(ask(claim), bound):
                    return
            elif claim.rules.budget_nanodollars is None or self._is_fit:
                self._decide_alone(claim, ask_alone)
                return
            else:
                await self._become_fit()  # and look again: Redis may be back by now

    async def _is_answered(self, asked: Awaitable[None], bound: float | None) -> bool:
        """Has Redis decided?"""
        try:
            if bound is None:
                await asked
            else:
                async with asyncio.timeout_at(bound):
                    await asked
        except Stale:
            self._begin()
        except LimiterUnavailable as error:
            self._fail(str(error))
        except TimeoutError:
            self._shared.fail("no answer in time")
        else:
            return True
        return False

    async def _wait_for(self, attempt: asyncio.Task[None], end: float) -> None:
        """Up to the end. Who comes later waits no more: nobody knows how long it takes, or whether the
        process that fills Redis goes on at all."""
        if not await self._is_done(attempt, end):
            self._is_awaited = False
            self._fail("it is not known to hold what it should")

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

    @property
    def _is_fit(self) -> bool:
        """May budgets be decided about alone? Not by sums of a time when no other process was there."""
        return self._has_money and self._own_number == self._backing.number()

    async def _become_fit(self) -> None:
        """Learn what the ledger says, if this process is alone. Raises LimiterUnavailable."""
        if self._own_number != self._backing.number():
            self._go_alone()  # a process has come, or one that died was recovered
        taking_over = self._taking_over
        if taking_over is None:
            raise LimiterUnavailable("budgets cannot be decided about without Redis")
        if not await self._is_done(
            taking_over, self._clock() + WAIT_SECONDS
        ):  # for the ledger, not for Redis
            raise LimiterUnavailable("the ledger takes its time")

    def _admit_alone(self, claim: Claim) -> None:
        self._local.release(claim)  # of an earlier number
        self._local.admit(claim)
        if not claim.refusal:
            self._note(claim)

    def _note(self, claim: Claim) -> None:
        """Redis is to be told of it, should it be trusted under the number of this moment."""
        if not self._is_being_filled:
            return
        if self._solos.is_full:
            self._lost = self._backing.number()
            self._solos.clear()
        else:
            self._solos.note(claim)

    @property
    def _is_being_filled(self) -> bool:
        """May Redis be trusted under the number of this moment, with what the ledger said before it?"""
        return self._backing.number() != self._lost

    async def _is_done(self, task: asyncio.Task[None], end: float) -> bool:
        """Wait for it up to the end."""
        done, _ = await asyncio.wait((task,), timeout=max(0.0, end - self._clock()))
        return bool(done)

    def _count_alone(self, address: str, rpm: int) -> int:
        return self._local.count(address, max(1, rpm // self._parts))

    # Redis lost, and found again

    def _keep(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        """Redis is to be told of it once it holds what it should."""
        self._unsettled.append((claim, tokens, nanodollars))
        self._begin()

    def _fail(self, reason: str) -> None:
        """Redis cannot be trusted from here on."""
        if not self.is_up:
            return
        self.is_up = False
        self._lost = self._trusted
        others = self._go_alone()
        shares = "each process allows its share of every rate"
        rates = shares if self._parts > 1 else "this process counts rates"
        money = "calls of keys with a budget are refused" if others else "budgets hold by the ledger"
        log.warning("Redis is lost (%s): %s, %s", reason, rates, money)
        self._begin()

    def _go_alone(self) -> int:
        """From here on count alone what may be. Returns how many other processes there are."""
        others = self._backing.others()
        self._parts = max(self._processes, others + 1)
        self._own_number = self._backing.number()
        self._has_money = False
        self._local.assume({}, 0, ())
        if self._taking_over is not None:
            self._taking_over.cancel()
        self._settled.clear()
        self._taking_over = None if others else asyncio.create_task(self._take_over())
        return others

    async def _take_over(self) -> None:
        """Learn what the ledger says of money, to decide alone."""
        try:
            owed = await self._backing.owed()
        except LimiterUnavailable as error:
            log.error("budgets cannot be read from the ledger: %s", error)
        else:
            self._local.assume(owed.spent, owed.correction, owed.claims)
            for settled in self._settled:
                self._local.settle(*settled)
            self._has_money = True
        self._settled.clear()
        self._taking_over = None

    def _begin(self) -> None:
        if self._work is None:
            self._is_awaited = self.is_up
            self._attempt = asyncio.create_task(self._try())
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
                self._attempt = asyncio.create_task(self._try())
        finally:
            self._work = self._attempt = None

    async def _try(self) -> None:
        """Up, if Redis then holds what the ledger says."""
        was_connected = self._shared.is_up
        try:
            seen = await self._backing.restore(lost=self._lost, raised=self._raised)
            is_connected = self._shared.is_up or not was_connected  # else it was lost meanwhile
            if is_connected and self._lost != seen.number == self._backing.number():
                self._trust(seen)
        except LimiterUnavailable as error:
            self._shared.fail(str(error))
            self._fail(str(error))
        finally:
            self._is_awaited = False

    def _raised(self) -> None:
        self._is_awaited = True
        self._own_number = self._backing.number()

    def _trust(self, seen: Seen) -> None:
        """Redis holds what the ledger says, and is told what that does not have yet."""
        if not self.is_up:
            log.warning("Redis is back: limits are shared again")
        self.is_up = True
        self._lost = 0
        self._trusted = seen.number
        self._shared.resume()
        for solo, is_unknown in self._solos.take(seen):
            if is_unknown:
                self._shared.adopt(solo)
            if solo.used is not None:
                self._shared.settle(solo, *solo.used)
        unsettled, self._unsettled = self._unsettled, []
        for settled in unsettled:
            self._shared.settle(*settled)
