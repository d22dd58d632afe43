"""The values of the limits' room: what a call claims, what is decided, and the interface of the limiters.

Money is an int of nano-dollars, time an int of Unix milliseconds by the limiter's own clock, which never
steps back. A subject is an API key, by its number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

# Why a claim is refused, in the order of precedence: what lasts longest is said first.
BUDGET: Final = "budget_exceeded"
TOKENS: Final = "tpd_exceeded"
REQUESTS: Final = "rpm_exceeded"
PARALLEL: Final = "concurrency_exceeded"
ADDRESS: Final = "ip_rate_limited"
PARALLEL_RETRY_MS: Final = 1000  # a guess: nobody knows when a call ends

REQUEST_BUCKET_MS: Final = 1000
REQUEST_BUCKETS: Final = 61  # a bucket leaves when its last moment is out of the minute
TOKEN_BUCKET_MS: Final = 600_000
TOKEN_BUCKETS: Final = 145  # of a day


class Rules(Protocol):
    """A key's limits as they hold for its next call. max_parallel, budget_nanodollars: None = no bound."""

    @property
    def rpm(self) -> int: ...

    @property
    def tpd(self) -> int: ...

    @property
    def max_parallel(self) -> int | None: ...

    @property
    def budget_nanodollars(self) -> int | None: ...


class Claim:
    """What one attempt claims of its key, and what was decided; it is known by `claim_id` from then on.

    Asked. requests: 1, or 0 for a further attempt of the same call. tokens: to be reserved. window: when the
    budget's window began, Unix seconds. worst_nanodollars: to be reserved, and afterwards what was: a budget
    that cannot pay it grants what is left, down to least_nanodollars.

    Decided. refusal: empty, or one of the words above. *_left, *_reset_ms: after the decision; what is
    reserved counts as used, and the reset is when the whole of a limit is free if nothing else comes.
    retry_after_ms: how long to wait until it would pass, None where waiting does not help or nobody knows.
    spent_, reserved_nanodollars: in the window, before the claim. incarnation: under which number the shared
    counters were decided from, 0 in the process.
    """

    __slots__ = (
        "claim_id", "key_id", "least_nanodollars", "requests", "rules", "tokens", "window",
        "worst_nanodollars",
        "bucket", "incarnation", "refusal", "second", "requests_left", "requests_reset_ms",
        "reserved_nanodollars", "retry_after_ms", "spent_nanodollars", "tokens_left", "tokens_reset_ms",
    )  # fmt: skip

    claim_id: str
    key_id: int
    rules: Rules
    requests: int
    tokens: int
    window: int
    worst_nanodollars: int
    least_nanodollars: int

    refusal: str
    requests_left: int
    requests_reset_ms: int
    tokens_left: int
    tokens_reset_ms: int
    retry_after_ms: int | None
    spent_nanodollars: int
    reserved_nanodollars: int
    incarnation: int
    second: int  # when it was admitted, in buckets of requests and of tokens: the embedded limiter's own
    bucket: int


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows of a key. spent: in the window asked for. requests, tokens: (Unix ms, how many),
    of the last minute and day. correction: the number of the last correction that `spent` has in it."""

    spent_nanodollars: int = 0
    requests: Sequence[tuple[int, int]] = ()
    tokens: Sequence[tuple[int, int]] = ()
    correction: int = 0


@dataclass(frozen=True, slots=True)
class Correction:
    """The operator's: what a key has spent in a window was wrong by so much. number: ascending."""

    number: int
    key_id: int
    window: int
    nanodollars: int


class Limiter(Protocol):
    """Decides about claims. What returns an awaitable is decided when that has been awaited, None means now.

    Awaited or not, a claim that is allowed is held until `settle` or `release`; either does nothing for a
    claim that is not held.
    """

    def admit(self, claim: Claim) -> Awaitable[None] | None:
        """Take all that is claimed, or nothing; see `claim.refusal`."""

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        """Replace what is reserved by what was used."""

    def release(self, claim: Claim) -> None:
        """Give all of it back, the request too: it was never sent."""

    def peek(self, claim: Claim) -> Awaitable[None] | None:
        """Decide without taking anything."""

    def count(self, address: str, rpm: int) -> Awaitable[int] | int:
        """Count a request of an address: 0, or milliseconds until one would pass; then it is not counted."""

    def correct(self, correction: Correction) -> None:
        """Once for each number, however often it is told."""

    def is_current(self, claim: Claim) -> bool:
        """Are the counters still the ones that admitted it? If not, it has to be admitted again."""

    def keep(self, claim: Claim) -> bool:
        """It is written down, and only since then not current: will the counters have it? Else it must not
        be sent."""
