"""Keys that have spent most of their budget, found by the sums of their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from store.database import Database


@dataclass(frozen=True, slots=True)
class Spent:
    """A key in the current window of its budget. Nano-dollars; window: when it began, Unix seconds."""

    key_id: int
    name: str
    budget_nanodollars: int
    budget_period: str
    window: int
    spent_nanodollars: int


class Budgets:
    """Reads alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nearly_spent(self, starts: Mapping[str, int], percent: int) -> list[Spent]:
        """Of active keys with a budget. starts: a period -> when its window began; `total` began at 0."""
        rows = await self._database.fetch_all(
            """SELECT k.id, k.name, k.budget_nanodollars, k.budget_period, s.window, s.cost_nanodollars
               FROM api_keys k JOIN key_spend s ON s.key_id = k.id
               AND s.window = max(coalesce(k.spend_reset_at, 0), CASE k.budget_period
                   WHEN 'day' THEN ? WHEN 'week' THEN ? WHEN 'month' THEN ? ELSE 0 END)
               WHERE k.budget_nanodollars > 0 AND k.disabled_at IS NULL
               AND s.cost_nanodollars * 100 >= k.budget_nanodollars * ?""",
            (starts["day"], starts["week"], starts["month"], percent),
        )
        return [Spent(*row) for row in rows]
