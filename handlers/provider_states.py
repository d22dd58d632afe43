"""How the configured providers do, for the operator: what calls say, what lists say, which secrets rest.

A secret shows as the beginning of its SHA-256, enough to tell two apart and to find the one that rests.
Health is this process's, with what the others have told of rests; no provider is asked anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from handlers.catalog_keeping import place_of
from providers.health import DOWN, HEALTHY, UNKNOWN, Health, Lane
from providers.router import Router
from providers.types import ProviderSpec
from store.catalog import CatalogLists, ListRow

FINGERPRINT_DIGITS: Final = 8
PARTLY: Final = "partly"


class SecretState(NamedTuple):
    """fingerprint: empty where the provider needs no secret. rests_s: seconds until it is called again."""

    fingerprint: str
    in_flight: int
    rests_s: int


class ProviderState(NamedTuple):
    """word: healthy, partly, down or unknown. models: how many are listed of it. down: those that do badly.

    Times are Unix seconds, None = never. failure: why its list could not be read, empty where it could.
    """

    name: str
    kind: str
    host: str
    word: str
    models: int
    down: list[str]
    secrets: list[SecretState]
    latency_ms: int | None
    read_at: int | None
    failing_since: int | None
    failure: str

    @property
    def in_flight(self) -> int:
        return sum(secret.in_flight for secret in self.secrets)


class ProviderStates:
    """clock: that of the calls' health."""

    def __init__(
        self, *, router: Router, health: Health, lists: CatalogLists, clock: Callable[[], float]
    ) -> None:
        self._router = router
        self._health = health
        self._lists = lists
        self._clock = clock

    async def all(self) -> list[ProviderState]:
        """In the order of the settings. Raises StoreUnavailable."""
        lists = {row.place: row for row in await self._lists.lists()}
        counts: dict[str, int] = {}
        for model in self._router.models():
            for place in self._router.places(model):
                counts[place.provider] = counts.get(place.provider, 0) + 1
        return [
            self._state(provider, lists.get(place_of(provider)), counts.get(provider.name, 0))
            for provider in self._router.providers()
        ]

    def _state(self, provider: ProviderSpec, own: ListRow | None, models: int) -> ProviderState:
        now = self._clock()
        lanes = self._health.lanes(provider.name)
        seen = {lane.condition.model: lane.condition.status(now) for lane in lanes}
        secrets = [
            _secret(secret, [lane for lane in lanes if lane.number == number], now)
            for number, secret in enumerate(provider.secrets)
        ]
        latencies = [lane.condition.latency_ms for lane in lanes if lane.condition.latency_ms is not None]
        return ProviderState(
            provider.name,
            provider.kind,
            urlsplit(provider.base_url or "").netloc.rpartition("@")[2],
            _word(set(seen.values()), secrets, own),
            models,
            sorted(model for model, word in seen.items() if word == DOWN),
            secrets,
            latencies[-1] if latencies else own and own.latency_ms,
            own and own.read_at,
            own and own.failing_since,
            "" if own is None else own.failure,
        )


def fingerprint(secret: str) -> str:
    """Of a secret, what may be shown."""
    return hashlib.sha256(secret.encode()).hexdigest()[:FINGERPRINT_DIGITS] if secret else ""


def _secret(secret: str, lanes: list[Lane], now: float) -> SecretState:
    rests = max((lane.rest.until - now for lane in lanes if lane.rest.until), default=0.0)
    return SecretState(fingerprint(secret), sum(lane.in_flight for lane in lanes), max(0, round(rests)))


def _word(seen: set[str], secrets: list[SecretState], own: ListRow | None) -> str:
    """By its calls; where there were none of late, by its list."""
    resting = [secret for secret in secrets if secret.rests_s]
    if secrets and len(resting) == len(secrets):
        return DOWN
    if DOWN in seen:
        return PARTLY if HEALTHY in seen else DOWN
    if HEALTHY in seen:
        return PARTLY if resting else HEALTHY
    if own is None or own.read_at is None:
        return DOWN if own is not None and own.is_outage else UNKNOWN
    return DOWN if own.is_outage else HEALTHY
