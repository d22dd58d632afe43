"""The limiter in the process against plain lists of times and amounts, on long random traces.

A trace is made of bursts: so many calls, so far apart, after a gap, with edges of buckets and windows among
the gaps. Of each decision: what was allowed kept every limit in the true windows, and what was refused would
have been refused by windows that are one bucket longer.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from limits.addresses import Addresses
from limits.embedded import EmbeddedLimiter
from limits.types import BUDGET, PARALLEL, REQUEST_BUCKET_MS, REQUESTS, TOKEN_BUCKET_MS, TOKENS, Claim, Past
from tests.limits.trial import DAY_MS, MINUTE_MS, START, Limits

EDGES_MS = st.sampled_from(
    [0, 1, 500, 999, 1000, 1001, 59_000, 59_999, 60_000, 60_001, 60_999, 61_000, 61_001, 122_000, 600_000]
)
GAPS_MS = EDGES_MS | st.integers(0, 180_000)
SPACES_MS = st.sampled_from([0, 0, 1, 7, 40, 333, 999, 1000, 1001, 2500])
BURSTS = st.lists(st.tuples(GAPS_MS, st.integers(1, 200), SPACES_MS), min_size=10, max_size=40)
TEN_MINUTES = [(60_000 - 999, 100, 10)] * 12  # a burst over the edge of each minute

DAY_EDGES_MS = st.sampled_from(
    [0, 1, 599_999, 600_000, 600_001, DAY_MS // 2, DAY_MS - 1, DAY_MS, DAY_MS + 599_999, DAY_MS + 600_000]
)
DAY_GAPS_MS = DAY_EDGES_MS | st.integers(0, DAY_MS // 4)
DAY_BURSTS = st.lists(
    st.tuples(DAY_GAPS_MS, st.integers(1, 60), st.sampled_from([0, 1, 1000, 60_000, 299_999, 600_000])),
    min_size=5,
    max_size=25,
)


def moments(bursts: list[tuple[int, int, int]]) -> Iterator[int]:
    now_ms = START
    for gap_ms, count, space_ms in bursts:
        now_ms += gap_ms
        for _ in range(count):
            yield now_ms
            now_ms += space_ms


class Taken:
    """What was taken and when, in the order of time: [time, amount]."""

    def __init__(self) -> None:
        self.entries: list[list[int]] = []

    def take(self, at_ms: int, amount: int) -> list[int]:
        entry = [at_ms, amount]
        self.entries.append(entry)
        return entry

    def within(self, now_ms: int, window_ms: int) -> int:
        """Taken in the window that ends now: its first moment is out of it, its last is in it."""
        young = itertools.takewhile(lambda entry: entry[0] > now_ms - window_ms, reversed(self.entries))
        return sum(amount for _, amount in young)


@settings(max_examples=60)
@given(BURSTS, st.integers(1, 150))
@example(TEN_MINUTES, 100)
@example(TEN_MINUTES * 5, 60)
def test_no_minute_has_more_requests_of_an_address_than_allowed_nor_a_refusal_too_many(
    bursts: list[tuple[int, int, int]], rpm: int
) -> None:
    addresses, taken = Addresses(), Taken()
    for now_ms in moments(bursts):
        addresses.count("another", 10, now_ms)
        if addresses.count("192.0.2.1", rpm, now_ms) == 0:
            taken.take(now_ms, 1)
            assert taken.within(now_ms, MINUTE_MS) <= rpm
        else:
            assert taken.within(now_ms, MINUTE_MS + REQUEST_BUCKET_MS) >= rpm


@dataclass
class Held:
    claim: Claim
    tokens: list[int]
    request: list[int]


class Ledger:
    """A key's calls as lists, and what has to hold of them."""

    def __init__(self, limits: Limits, seed: int) -> None:
        self.random = random.Random(seed)
        self.limits = limits
        self.now_ms = START
        self.limiter = EmbeddedLimiter(clock=lambda: self.now_ms)
        self.limiter.meet(1, 0, Past())
        self.requests, self.tokens = Taken(), Taken()
        self.held: list[Held] = []
        self.committed = 0
        self.ids = itertools.count()

    def claim(self) -> Claim:
        claim, draw = Claim(), self.random
        claim.claim_id = f"attempt-{next(self.ids)}"
        claim.key_id, claim.window, claim.rules = 1, 0, self.limits
        claim.requests = draw.choice((1, 1, 1, 0))
        claim.tokens = draw.choice((0, 1, draw.randint(0, self.limits.tpd + 1), self.limits.tpd // 20))
        claim.worst_nanodollars = draw.choice((0, 1, draw.randint(0, 100)))
        claim.least_nanodollars = draw.randint(0, claim.worst_nanodollars)
        return claim

    def admit(self) -> None:
        claim = self.claim()
        asked = claim.worst_nanodollars
        assert self.limiter.admit(claim) is None
        if claim.refusal:
            self._check_refused(claim, asked)
        else:
            self._check_allowed(claim, asked)
            self.held.append(
                Held(
                    claim,
                    self.tokens.take(self.now_ms, claim.tokens),
                    self.requests.take(self.now_ms, claim.requests),
                )
            )

    def _left(self) -> int:
        assert self.limits.budget_nanodollars is not None
        reserved = sum(held.claim.worst_nanodollars for held in self.held)
        return self.limits.budget_nanodollars - self.committed - reserved

    def _check_allowed(self, claim: Claim, asked: int) -> None:
        now_ms, limits = self.now_ms, self.limits
        assert self.requests.within(now_ms, MINUTE_MS) + claim.requests <= limits.rpm
        assert self.tokens.within(now_ms, DAY_MS) + claim.tokens <= limits.tpd
        assert limits.max_parallel is None or len(self.held) < limits.max_parallel
        assert claim.worst_nanodollars == min(asked, self._left())
        assert claim.worst_nanodollars >= claim.least_nanodollars

    def _check_refused(self, claim: Claim, asked: int) -> None:
        now_ms, limits = self.now_ms, self.limits
        longer_ms = MINUTE_MS + REQUEST_BUCKET_MS
        is_exceeded = {
            BUDGET: self._left() < claim.least_nanodollars,
            TOKENS: self.tokens.within(now_ms, DAY_MS + TOKEN_BUCKET_MS) + claim.tokens > limits.tpd,
            REQUESTS: self.requests.within(now_ms, longer_ms) + claim.requests > limits.rpm,
            PARALLEL: limits.max_parallel is not None and len(self.held) >= limits.max_parallel,
        }
        assert is_exceeded[claim.refusal]

    def end(self) -> None:
        """Any of the calls under way."""
        held = self.held.pop(self.random.randrange(len(self.held)))
        claim = held.claim
        if self.random.random() < 0.2:
            self.limiter.release(claim)
            held.tokens[1] = held.request[1] = 0
            return
        held.tokens[1] = self.random.choice((claim.tokens, 0, self.random.randint(0, 2 * claim.tokens)))
        cost = self.random.randint(0, claim.worst_nanodollars)
        self.committed += cost
        self.limiter.settle(claim, held.tokens[1], cost)

    def check_counters(self) -> None:
        """Nothing is negative, and money is exact."""
        told = Claim()
        told.key_id, told.window, told.rules = 1, 0, self.limits
        told.requests = told.tokens = told.worst_nanodollars = told.least_nanodollars = 0
        assert self.limiter.peek(told) is None
        assert told.spent_nanodollars == self.committed
        assert told.reserved_nanodollars == sum(held.claim.worst_nanodollars for held in self.held) >= 0
        assert told.spent_nanodollars + told.reserved_nanodollars <= self.limits.budget_nanodollars
        rates = (
            (self.requests, MINUTE_MS, REQUEST_BUCKET_MS, self.limits.rpm, told.requests_left),
            (self.tokens, DAY_MS, TOKEN_BUCKET_MS, self.limits.tpd, told.tokens_left),
        )
        for taken, window_ms, bucket_ms, limit, left in rates:
            most = max(0, limit - taken.within(self.now_ms, window_ms))
            least = max(0, limit - taken.within(self.now_ms, window_ms + bucket_ms))
            assert least <= left <= most


LIMITS = st.builds(
    Limits,
    rpm=st.integers(1, 150),
    tpd=st.integers(1, 200_000),
    max_parallel=st.none() | st.integers(1, 30),
    budget_nanodollars=st.integers(1, 100_000),
)


def drive(bursts: list[tuple[int, int, int]], ledger: Ledger) -> None:
    draw = ledger.random
    for now_ms in moments(bursts):
        ledger.now_ms = now_ms
        ledger.admit()
        while ledger.held and draw.random() < 0.5:
            ledger.end()
        if draw.random() < 0.1:
            ledger.check_counters()
    while ledger.held:
        ledger.end()
    ledger.check_counters()


@settings(max_examples=40)
@given(BURSTS, LIMITS, st.integers(0, 2**32))
@example(TEN_MINUTES, Limits(rpm=100, tpd=10**6, budget_nanodollars=10**6), 1)
@example(TEN_MINUTES * 3, Limits(rpm=60, tpd=10**6, max_parallel=5, budget_nanodollars=10**6), 2)
def test_every_decision_on_a_trace_of_minutes_is_one_that_plain_lists_allow(
    bursts: list[tuple[int, int, int]], limits: Limits, seed: int
) -> None:
    drive(bursts, Ledger(limits, seed))


@settings(max_examples=40)
@given(DAY_BURSTS, LIMITS, st.integers(0, 2**32))
def test_every_decision_on_a_trace_of_days_is_one_that_plain_lists_allow(
    bursts: list[tuple[int, int, int]], limits: Limits, seed: int
) -> None:
    drive(bursts, Ledger(limits, seed))
