"""The values of the store's room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

NEVER: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One client key as a row. The plaintext is nowhere: `digest` is its SHA-256.

    rpm and tpd are what holds now (the key's own, else its tier's). Times are Unix seconds.
    budget_nanodollars: None = no budget; 0 = every call is refused. models: None = any.
    """

    id: int
    user_id: int | None
    name: str
    prefix: str
    last4: str
    digest: bytes = field(repr=False)
    tier: str
    rpm: int
    tpd: int
    budget_nanodollars: int | None
    budget_period: str
    models: frozenset[str] | None
    expires_at: int | None
    disabled_at: int | None
    created_at: int
    spend_reset_at: int | None = None
    max_parallel: int | None = None


@dataclass(slots=True, eq=False)
class Place:
    """Where calls go and what they cost there; made once, meant by every call that goes there.

    price: JSON; empty, with the source "unpriced", where none is known. The rest is the journal's: which one
    knows the place, what it calls it, and the last of its segments that says so.
    """

    model: str
    provider: str
    upstream_model: str
    endpoint: str
    price_source: str
    price: str
    owner: object = None
    number: int = 0
    defined_in: int = 0

    def words(self) -> tuple[str, ...]:
        return (
            self.model,
            self.provider,
            self.upstream_model,
            self.endpoint,
            self.price_source,
            self.price,
        )


class Tokens(Protocol):
    """What was used, in OpenAI's accounting: what follows the first two is a part of its side."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    source: str


class LedgerRecord(Protocol):
    """One attempt at a provider, as it is written down: the first part before it is sent, then the rest.

    window: when the key's budget window of the admission began, Unix seconds. ticket: the journal's own
    number. The words of status and usage.source are those of `store/records.py`. first_byte_ms and total_ms
    count from the start; NEVER where no byte came. details: a JSON object of what is rare, or empty.
    """

    place: Place
    request_id: str
    attempt: int
    is_stream: bool
    key_id: int
    window: int
    worst_nanodollars: int
    started_at_ms: int
    client_request_id: str
    ticket: int

    status: str
    used: Tokens
    cost_nanodollars: int
    first_byte_ms: int
    total_ms: int
    details: str


class LedgerRow(NamedTuple):
    """A finished attempt as the ledger's table has it, but for `place`, which stands for the price's id."""

    request_id: str
    attempt: int
    key_id: int
    window: int
    model: str
    provider: str
    upstream_model: str
    endpoint: str
    is_stream: int
    status: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_tokens: int
    cost_nanodollars: int
    usage_source: str
    place: Place
    started_at_ms: int
    first_byte_ms: int | None
    total_ms: int
    details: str | None
