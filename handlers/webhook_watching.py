"""Sees what webhooks are to be told: budgets that are nearly or wholly spent, providers that go and return.

Every process looks every few seconds; what one has told, the others do not tell again. Nothing is looked at
where there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from handlers.command_values import usd
from handlers.provider_states import ProviderStates
from handlers.refusals import Refusals
from limits.types import BUDGET
from limits.windows import Windows
from providers.health import DOWN, HEALTHY
from store.budgets import Budgets, Spent
from store.errors import StoreUnavailable
from store.webhooks import Webhooks

log = logging.getLogger("rooya.webhooks")

LOOK_SECONDS: Final = 2.0
NEARLY: Final = 80  # percent
WHOLLY: Final = 100


class Watcher:
    """clock: Unix seconds."""

    def __init__(
        self,
        *,
        webhooks: Webhooks,
        budgets: Budgets,
        refusals: Refusals,
        providers: ProviderStates,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._webhooks = webhooks
        self._budgets = budgets
        self._refusals = refusals
        self._providers = providers
        self._clock = clock
        self._windows = Windows()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Once. Raises StoreUnavailable."""
        if await self._webhooks.all():
            await self._look_at_budgets()
            await self._look_at_providers()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.debug("webhooks wait: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_at_budgets(self) -> None:
        now = self._clock()
        starts = {period: self._windows.start(period, None, now) for period in ("day", "week", "month")}
        for spent in await self._budgets.nearly_spent(starts, NEARLY):
            percent = WHOLLY if self._is_wholly(spent) else NEARLY
            # A budget that was changed is another one: all of it is told again.
            name, of = f"budget {spent.key_id}", f"{spent.window} {spent.budget_nanodollars}"
            if percent == NEARLY and await self._webhooks.mark(name) == f"{of} {WHOLLY}":
                continue  # a refusal that made it count as wholly spent is forgotten after a day
            value = f"{of} {percent}"
            event = f"budget.{'reached' if percent == WHOLLY else 'nearly_reached'}"
            await self._webhooks.tell_once(name, value, event, told(spent, percent))

    def _is_wholly(self, spent: Spent) -> bool:
        """A call is refused before a budget is wholly spent: no call may spend more than is left."""
        if spent.spent_nanodollars >= spent.budget_nanodollars:
            return True
        refusal = self._refusals.of(spent.key_id)
        return refusal is not None and refusal.reason == BUDGET and refusal.last_at >= spent.window

    async def _look_at_providers(self) -> None:
        for state in await self._providers.all():
            if state.word not in (DOWN, HEALTHY):
                continue
            name = f"provider {state.name}"
            before = await self._webhooks.mark(name)
            if before == state.word:
                continue
            event = "provider.down" if state.word == DOWN else "provider.up"
            is_news = before is not None or state.word == DOWN
            data = {"provider": state.name, "failure": state.failure}
            await self._webhooks.tell_once(name, state.word, event if is_news else None, data)


def told(spent: Spent, percent: int) -> dict[str, Any]:
    """A key's budget, without a secret."""
    return {
        "key_id": spent.key_id,
        "key_name": spent.name,
        "percent": percent,
        "budget_usd": usd(spent.budget_nanodollars),
        "spent_usd": usd(spent.spent_nanodollars),
        "budget_period": spent.budget_period,
    }
