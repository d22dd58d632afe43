"""The values of the store's room."""

from __future__ import annotations

from dataclasses import dataclass, field


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
