"""GET /v1/key: what a key's holder may know of it: limits, what is left, when it comes back.

Counts as no request of the key. It answers also where the key has nothing left.
"""

from __future__ import annotations

import time
from typing import Any

from handlers.base import BaseHandler
from handlers.command_values import usd
from handlers.gate import Gate
from handlers.inference import Authenticator
from limits.types import Claim
from store.types import ApiKey


class KeyedHandler(BaseHandler):
    """Has a key first. Raises Refused, KeyRefused, StoreUnavailable, LimiterUnavailable."""

    def initialize(self, authenticator: Authenticator, gate: Gate) -> None:
        self._authenticator = authenticator
        self._gate = gate

    async def find_key(self) -> tuple[ApiKey, Claim]:
        """The request's key, and what it has left, which the answer's headers tell."""
        authorization = self.request.headers.get("Authorization")
        digest, key = self._authenticator.find(authorization.encode("latin-1") if authorization else None)
        if key is None:
            key = await self._authenticator.look_up(digest)
        left = await self._gate.left(key)
        for line in self._gate.fields(left).decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            self.set_header(name, value)
        return key, left


class KeyHandler(KeyedHandler):
    """The key that the request comes with."""

    async def get(self) -> None:
        key, left = await self.find_key()
        self.write_json(row(key, left, self._gate.reset_at(key), time.time()))


def row(key: ApiKey, left: Claim, reset_at: int | None, now: float) -> dict[str, Any]:
    """A key as its holder sees it. Times are Unix seconds."""
    budget = None
    if key.budget_nanodollars is not None:
        budget = {
            "limit_usd": usd(key.budget_nanodollars),
            "spent_usd": usd(left.spent_nanodollars),
            "reserved_usd": usd(left.reserved_nanodollars),
            "period": key.budget_period,
            "reset_at": reset_at,
        }
    return {
        "id": key.id,
        "name": key.name,
        "tier": key.tier,
        "rpm": _window(key.rpm, left.requests_left, left.requests_reset_ms, now),
        "tpd": _window(key.tpd, left.tokens_left, left.tokens_reset_ms, now),
        "budget": budget,
        "max_parallel": key.max_parallel,
        "expires_at": key.expires_at,
    }


def _window(limit: int, remaining: int, reset_ms: int, now: float) -> dict[str, int]:
    return {"limit": limit, "remaining": remaining, "reset_at": -int(-(now + reset_ms / 1000) // 1)}
