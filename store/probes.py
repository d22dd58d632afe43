"""What probes that cost money have said, and what they may still cost today, for all processes together.

A probe's worst case is taken from the day's cap before it is sent, and made good when its cost is known: so
no day costs more than its cap, whoever dies in between. Raises StoreUnavailable.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from store.database import Database

DAY_SECONDS: Final = 86_400
KEPT_DAYS: Final = 31
ALL: Final = "SELECT provider, model, probed_at, is_up, latency_ms FROM probes"
SPEND: Final = """INSERT INTO probe_days (day, nanodollars) SELECT ?, ? WHERE ? <= ?
    ON CONFLICT (day) DO UPDATE SET nanodollars = nanodollars + excluded.nanodollars
    WHERE nanodollars + excluded.nanodollars <= ? RETURNING day"""
LATELY: Final = "SELECT 1 FROM probes WHERE provider = ? AND model = ? AND probed_at > ? AND probed_at <= ?"
TURN: Final = """INSERT INTO probes (provider, model, probed_at) VALUES (?, ?, ?)
    ON CONFLICT (provider, model) DO UPDATE SET probed_at = excluded.probed_at"""
SAID: Final = "UPDATE probes SET is_up = ?, latency_ms = ? WHERE provider = ? AND model = ?"
REFUND: Final = "UPDATE probe_days SET nanodollars = nanodollars - ? WHERE day = ?"
FORGET: Final = "DELETE FROM probes WHERE probed_at < ?"
FORGET_DAYS: Final = "DELETE FROM probe_days WHERE day < ?"


class Probed(NamedTuple):
    """A model at a provider. probed_at: Unix seconds. is_up: None = it said nothing, or not yet."""

    provider: str
    model: str
    probed_at: int
    is_up: bool | None
    latency_ms: int | None


class Probes:
    """The two tables. cap: nano-dollars of a UTC day."""

    def __init__(self, database: Database, cap_nanodollars: int) -> None:
        self._database = database
        self.cap = cap_nanodollars

    async def all(self) -> list[Probed]:
        return [
            Probed(provider, model, at, None if is_up is None else bool(is_up), latency)
            for provider, model, at, is_up, latency in await self._database.fetch_all(ALL)
        ]

    async def take(self, provider: str, model: str, worst: int, now: int, every_seconds: int) -> bool:
        """May it be probed now, for so many nano-dollars at most? Then they count as spent from here on."""
        day = now // DAY_SECONDS
        async with self._database.transaction() as transaction:
            if await transaction.fetch_all(LATELY, (provider, model, now - every_seconds, now)):
                return False
            if not await transaction.fetch_all(SPEND, (day, worst, worst, self.cap, self.cap)):
                return False
            await transaction.execute(TURN, (provider, model, now))
            await transaction.execute(FORGET, (now - KEPT_DAYS * DAY_SECONDS,))
            await transaction.execute(FORGET_DAYS, (day - KEPT_DAYS,))
        return True

    async def say(self, probed: Probed, refund: int) -> None:
        """What came of a probe that was taken at `probed_at`; refund: nano-dollars that it did not cost."""
        async with self._database.transaction() as transaction:
            await transaction.execute(SAID, (probed.is_up, probed.latency_ms, probed.provider, probed.model))
            await transaction.execute(REFUND, (refund, probed.probed_at // DAY_SECONDS))
