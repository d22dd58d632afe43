"""The limiter in the process: no server, and no wait but for what the ledger knows of a key it meets.

All state is derived: spend and windows are read from the ledger when a key, or a window of its budget, is
first met, and kept while the key is in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from limits.addresses import Addresses
from limits.sliding import Sliding
from limits.types import (
    BUDGET,
    PARALLEL,
    PARALLEL_RETRY_MS,
    REQUEST_BUCKET_MS,
    REQUESTS,
    TOKEN_BUCKET_MS,
    TOKENS,
    Claim,
    Correction,
    Past,
)

IDLE_MS: Final = 600_000  # without a call a key is forgotten after this long


class Spend:
    """Of one window of a budget: what calls have cost, and what those under way may cost."""

    __slots__ = ("committed", "correction", "reserved")

    def __init__(self, committed: int, correction: int) -> None:
        self.committed = committed
        self.reserved = 0
        self.correction = correction


class Subject:
    """What is known of a key."""

    __slots__ = ("parallel", "requests", "spend", "tokens", "used_ms")

    def __init__(self) -> None:
        self.requests = Sliding.of_requests()
        self.tokens = Sliding.of_tokens()
        self.spend: dict[int, Spend] = {}
        self.parallel = 0
        self.used_ms = 0

    def advance(self, now: int) -> None:
        """Once a second is enough."""
        self.used_ms = now
        self.requests.advance(now // REQUEST_BUCKET_MS)
        self.tokens.advance(now // TOKEN_BUCKET_MS)

    def hold(self, claim: Claim, spend: Spend) -> None:
        """Take what is claimed."""
        requests, tokens = self.requests, self.tokens
        if claim.requests:
            requests.take(claim.requests)
        if claim.tokens:
            tokens.take(claim.tokens)
        claim.second = requests.head
        claim.bucket = tokens.head
        spend.reserved += claim.worst_nanodollars
        self.parallel += 1


class EmbeddedLimiter:
    """clock: Unix milliseconds, never stepping back. load: what the ledger knows of (key, window).

    See `types.Limiter` for what its methods promise. `load` may raise; then the claim's await raises that.
    """

    def __init__(
        self, *, clock: Callable[[], int], load: Callable[[int, int], Awaitable[Past]] | None = None
    ) -> None:
        self._clock = clock
        self._load = load
        self._subjects: dict[int, Subject] = {}
        self._open: dict[str, Claim] = {}
        self._loading: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._told: list[Correction] = []  # while something is read
        self._addresses = Addresses()
        self._spent: Mapping[tuple[int, int], int] | None = None  # all there is, where that was told
        self._correction = 0

    def admit(self, claim: Claim) -> Awaitable[None] | None:
        subject = self._subjects.get(claim.key_id)
        if subject is None or (spend := subject.spend.get(claim.window)) is None:
            return self._met(claim, self.admit)
        now = self._clock()
        _decide(claim, subject, spend, now)
        if not claim.refusal:
            subject.hold(claim, spend)
            self._open[claim.claim_id] = claim
        _describe(claim, subject, now)
        return None

    def peek(self, claim: Claim) -> Awaitable[None] | None:
        subject = self._subjects.get(claim.key_id)
        if subject is None or (spend := subject.spend.get(claim.window)) is None:
            return self._met(claim, self.peek)
        now = self._clock()
        _decide(claim, subject, spend, now)
        _describe(claim, subject, now)
        return None

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        held = self._open.pop(claim.claim_id, None)
        if held is None:
            return
        subject = self._subjects[held.key_id]
        spend = subject.spend[held.window]
        spend.reserved -= held.worst_nanodollars
        spend.committed += nanodollars
        subject.parallel -= 1
        if tokens != held.tokens:
            subject.tokens.change(held.bucket, tokens - held.tokens)

    def release(self, claim: Claim) -> None:
        held = self._open.get(claim.claim_id)
        if held is not None:
            self.settle(held, 0, 0)
            if held.requests:
                self._subjects[held.key_id].requests.change(held.second, -held.requests)

    def count(self, address: str, rpm: int) -> int:
        return self._addresses.count(address, rpm, self._clock())

    def correct(self, correction: Correction) -> None:
        subject = self._subjects.get(correction.key_id)
        spend = None if subject is None else subject.spend.get(correction.window)
        if spend is None:
            if (correction.key_id, correction.window) in self._loading:
                self._told.append(correction)  # what is being read may have it in it, or not
        elif spend.correction < correction.number:
            spend.correction = correction.number
            spend.committed += correction.nanodollars

    def is_current(self, claim: Claim) -> bool:
        return True

    def keep(self, claim: Claim) -> bool:
        return True

    def forget_idle(self) -> None:
        """Let go of keys that nobody uses. The ledger must have all of their calls by now."""
        if self._spent is not None:
            return  # what has been spent since is nowhere else
        now = self._clock()
        for key_id, subject in list(self._subjects.items()):
            if not subject.parallel and now - subject.used_ms > IDLE_MS:
                del self._subjects[key_id]

    def meet(self, key_id: int, window: int, past: Past) -> None:
        """Begin to count a key, or a further window of its budget, from what the ledger knows."""
        subject = self._subjects.get(key_id)
        if subject is None:
            subject = self._subjects[key_id] = Subject()
            subject.advance(self._clock())
            for at_ms, amount in past.requests:
                subject.requests.remember(at_ms, amount)
            for at_ms, amount in past.tokens:
                subject.tokens.remember(at_ms, amount)
        if window not in subject.spend:
            subject.spend[window] = Spend(past.spent_nanodollars, past.correction)

    def assume(self, spent: Mapping[tuple[int, int], int], correction: int, claims: Iterable[Claim]) -> None:
        """Forget what was believed of money and of calls under way, and take this for all there is of it.

        Windows of requests and tokens go on. From now on every key is known: nothing is read for it.
        """
        for subject in self._subjects.values():
            subject.spend.clear()
            subject.parallel = 0
        self._open.clear()
        self._spent, self._correction = spent, correction
        for claim in claims:
            subject, spend = self._assumed(claim)
            subject.advance(self._clock())
            subject.hold(claim, spend)
            self._open[claim.claim_id] = claim

    def _assumed(self, claim: Claim) -> tuple[Subject, Spend]:
        assert self._spent is not None
        spent = self._spent.get((claim.key_id, claim.window), 0)
        self.meet(claim.key_id, claim.window, Past(spent, correction=self._correction))
        subject = self._subjects[claim.key_id]
        return subject, subject.spend[claim.window]

    def _met(self, claim: Claim, then: Callable[[Claim], Awaitable[None] | None]) -> Awaitable[None] | None:
        if self._spent is None:
            return self._met_slowly(claim, then)
        self._assumed(claim)
        return then(claim)

    async def _met_slowly(self, claim: Claim, then: Callable[[Claim], Awaitable[None] | None]) -> None:
        """Learn of the key from the ledger, once for all who wait for it."""
        place = claim.key_id, claim.window
        task = self._loading.get(place)
        if task is None:
            task = self._loading[place] = asyncio.create_task(self._learn(*place))
            task.add_done_callback(lambda done: self._learned(place, done))
        await asyncio.shield(task)
        further = then(claim)
        if further is not None:  # forgotten again meanwhile
            await further

    async def _learn(self, key_id: int, window: int) -> None:
        self.meet(key_id, window, Past() if self._load is None else await self._load(key_id, window))
        for correction in [each for each in self._told if (each.key_id, each.window) == (key_id, window)]:
            self.correct(correction)

    def _learned(self, place: tuple[int, int], task: asyncio.Task[None]) -> None:
        self._loading.pop(place, None)
        if not self._loading:
            self._told.clear()
        if not task.cancelled():
            task.exception()  # who waits has it; without anybody it is not worth a line


def _decide(claim: Claim, subject: Subject, spend: Spend, now: int) -> None:
    if now // REQUEST_BUCKET_MS != subject.requests.head:
        subject.advance(now)
    rules = claim.rules
    claim.refusal = ""
    claim.retry_after_ms = None
    claim.spent_nanodollars = spend.committed
    claim.reserved_nanodollars = spend.reserved
    budget = rules.budget_nanodollars
    if budget is not None:
        left = budget - spend.committed - spend.reserved
        if not budget or left < claim.least_nanodollars:
            claim.refusal = BUDGET
            return
        if left < claim.worst_nanodollars:
            claim.worst_nanodollars = left
    is_tokens = subject.tokens.total + claim.tokens > rules.tpd
    is_requests = subject.requests.total + claim.requests > rules.rpm
    if is_tokens or is_requests:
        claim.refusal = TOKENS if is_tokens else REQUESTS
        waits = (
            subject.tokens.wait_ms(now, rules.tpd, claim.tokens),
            subject.requests.wait_ms(now, rules.rpm, claim.requests),
        )
        claim.retry_after_ms = None if None in waits else max(waits)  # type: ignore[type-var]
    elif rules.max_parallel is not None and subject.parallel >= rules.max_parallel:
        claim.refusal = PARALLEL
        claim.retry_after_ms = PARALLEL_RETRY_MS


def _describe(claim: Claim, subject: Subject, now: int) -> None:
    requests, tokens, rules = subject.requests, subject.tokens, claim.rules
    left = rules.rpm - requests.total
    claim.requests_left = left if left > 0 else 0
    left = rules.tpd - tokens.total
    claim.tokens_left = left if left > 0 else 0
    claim.requests_reset_ms = requests.reset_ms(now)
    claim.tokens_reset_ms = tokens.reset_ms(now)
