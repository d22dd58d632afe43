"""What may be done with API keys, and by whom: the one way there for the pages, the API and the command line.

An account sees and changes its own keys; they get its tier, and limits of their own only below that. What an
admin deactivated, only an admin activates. A change counts in this process at once, in others within 1 s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from handlers import command_values as values
from handlers.refusals import Refusal, Refusals
from limits.windows import Windows
from store.audit import Actor
from store.errors import Invalid, NotFound
from store.groups import Tier
from store.keys import ApiKeys, NewKey
from store.sessions import Account
from store.types import ApiKey
from store.users import Users

T = TypeVar("T")
MOST_GRACE_SECONDS: Final = 30 * 86400
MOST_KEYS: Final = 100  # of an account that is no admin
FOR_ADMINS: Final = frozenset({"tier", "user_id", "spend_reset_at"})


@dataclass(frozen=True, slots=True)
class KeySight:
    """A key as its owner sees it. spent_nanodollars: in the budget's current window."""

    key: ApiKey
    state: str
    spent_nanodollars: int
    resets_at: int | None
    used_at: int | None
    refusal: Refusal | None
    owner: str = ""

    @property
    def is_spent(self) -> bool:
        """Is there nothing left of the budget?"""
        budget = self.key.budget_nanodollars
        return budget is not None and self.spent_nanodollars >= budget


class KeyKeeper:
    """changed: makes a change count in this process. clock: Unix seconds."""

    def __init__(
        self,
        *,
        keys: ApiKeys,
        users: Users,
        tiers: Mapping[str, Tier],
        refusals: Refusals,
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._users = users
        self.tiers = tiers
        self._refusals = refusals
        self._changed = changed
        self._clock = clock
        self._windows = Windows()

    async def list(self, account: Account, *, of_all: bool = False) -> list[KeySight]:
        """One's own; `of_all`: everybody's, which is for admins."""
        is_all = of_all and account.is_admin
        keys = await self._keys.list() if is_all else await self._keys.list_of(account.id)
        owners = {user.id: user.email for user in await self._users.list()} if is_all else {}
        uses = await self._keys.uses()
        return [await self._sight(key, uses, owners) for key in keys]

    async def find(self, account: Account, key_id: int) -> KeySight:
        """Raises NotFound, also where it is somebody else's."""
        key = await self._own(account, key_id)
        owners = {user.id: user.email for user in await self._users.list()} if account.is_admin else {}
        return await self._sight(key, await self._keys.uses(), owners)

    async def create(self, account: Account, fields: Mapping[str, Any], *, by: Actor) -> tuple[ApiKey, str]:
        """A key and its plaintext, shown once. Raises Invalid."""
        fields = {"tier": account.tier, **fields}
        if "name" not in fields:
            raise Invalid("a key needs a name")
        if not account.is_admin:
            self._check_allowed(fields, fields["tier"], account.tier)
        new = NewKey(**{"user_id": account.id, **fields})
        return await self._counted(
            self._keys.create(new, by=by, most=None if account.is_admin else MOST_KEYS)
        )

    async def update(self, account: Account, key_id: int, fields: Mapping[str, Any], *, by: Actor) -> ApiKey:
        """Raises NotFound, Invalid."""
        key = await self._own(account, key_id)
        if not account.is_admin:
            self._check_allowed(fields, fields.get("tier", key.tier), key.tier)
        changed = await self._counted(self._keys.update(key_id, fields, by=by))
        self._refusals.forget(key_id)
        return changed

    async def deactivate(self, account: Account, key_id: int, *, by: Actor) -> ApiKey:
        """Raises NotFound."""
        await self._own(account, key_id)
        return await self._counted(self._keys.deactivate(key_id, by=by))

    async def activate(self, account: Account, key_id: int, *, by: Actor) -> ApiKey:
        """Raises NotFound, Invalid (an admin deactivated it)."""
        key = await self._own(account, key_id)
        if not account.is_admin and key.disabled_at is not None:
            if await self._keys.disabled_by(key_id) != account.id:
                raise Invalid("an admin deactivated this key: ask there")
        return await self._counted(self._keys.activate(key_id, by=by))

    async def rotate(
        self, account: Account, key_id: int, grace_seconds: int, *, by: Actor
    ) -> tuple[ApiKey, str]:
        """A new secret, shown once; the old one is good for the grace. Raises NotFound, Invalid."""
        if not 0 <= grace_seconds <= MOST_GRACE_SECONDS:
            raise Invalid("a grace period is at most 30 days")
        await self._own(account, key_id)
        return await self._counted(self._keys.rotate(key_id, grace_seconds, by=by))

    async def refresh(self) -> None:
        """After a change of accounts: their keys count by it at once."""
        await self._changed()

    async def _own(self, account: Account, key_id: int) -> ApiKey:
        key = await self._keys.find(key_id)
        if key.user_id != account.id and not account.is_admin:
            raise NotFound(f"API key {key_id}")
        return key

    def _check_allowed(self, fields: Mapping[str, Any], tier: str, own_tier: str) -> None:
        """What an account may choose for itself."""
        if tier != own_tier:
            raise Invalid("an admin chooses the tier of a key")
        for name in FOR_ADMINS.intersection(fields) - {"tier"}:
            raise Invalid(f"an admin chooses {name} of a key")
        limits = self.tiers.get(tier)
        for name in ("rpm", "tpd"):
            most = getattr(limits, name, 1)
            if (fields.get(name) or 0) > most:
                raise Invalid(f"{name} can be at most {most:,}, the limit of the tier '{tier}'")

    async def _sight(self, key: ApiKey, uses: Mapping[int, int], owners: Mapping[int, str]) -> KeySight:
        window = self._windows.start(key.budget_period, key.spend_reset_at, self._clock())
        return KeySight(
            key=key,
            state=values.state(key.disabled_at, key.expires_at),
            spent_nanodollars=await self._keys.spend(key.id, window),
            resets_at=self._windows.end(key.budget_period, self._clock()),
            used_at=min(uses[key.id], int(self._clock())) if key.id in uses else None,
            refusal=self._refusals.of(key.id),
            owner=owners.get(key.user_id or 0, ""),
        )

    async def _counted(self, change: Awaitable[T]) -> T:
        """A change is followed by its effect, also where whoever asked for it has left meanwhile."""

        async def both() -> T:
            done = await change
            await self._changed()
            return done

        return await asyncio.shield(asyncio.ensure_future(both()))


def key_row(key: ApiKey) -> dict[str, Any]:
    """A key as JSON: no secret in it."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "last4": key.last4,
        "state": values.state(key.disabled_at, key.expires_at),
        "user_id": key.user_id,
        "tier": key.tier,
        "rpm": key.rpm,
        "tpd": key.tpd,
        "max_parallel": key.max_parallel,
        "budget_usd": values.usd(key.budget_nanodollars),
        "budget_period": key.budget_period,
        "models": None if key.models is None else sorted(key.models),
        "expires_at": key.expires_at,
        "disabled_at": key.disabled_at,
        "created_at": key.created_at,
    }


def sight_row(sight: KeySight) -> dict[str, Any]:
    """A key with what it has done, as JSON."""
    return {
        **key_row(sight.key),
        "spent_usd": values.usd(sight.spent_nanodollars),
        "budget_resets_at": sight.resets_at,
        "last_used_at": sight.used_at,
        "refused": None if sight.refusal is None else asdict(sight.refusal),
    }
