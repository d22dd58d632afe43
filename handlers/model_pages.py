"""What /v1/models and /v1/models/status answer, as bytes: made from memory, kept until something changes.

No read of them ever asks a provider anything. Health is what the first of some sources says that knows: real
traffic, then the free reading of the provider's own list. The status is looked at anew once a second at most,
in slices, so that thousands of models hold no call up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import NAMESPACE_URL, uuid5

import ujson

from providers import health
from providers.catalog import ProviderList, PublicModel
from providers.health import DOWN, HEALTHY, UNKNOWN
from providers.router import Router

LIST_PROVES_SECONDS: Final = 7200  # a list that was read so lately shows that its provider is there
OUTAGE_SECONDS: Final = 3600  # a provider whose list could not be had for so long is not
KEEP_SECONDS: Final = 1.0
SLICE: Final = 200  # models in one go: a millisecond


class Source(Protocol):
    """Who knows how a provider's model does."""

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        """`healthy`, `down` or `unknown`, the last latency in milliseconds. model: the provider's name."""


class TrafficHealth:
    """Health by the calls that went there. clock: theirs."""

    def __init__(self, health: health.Health, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        return self._health.seen(provider, model, self._clock())


class ListHealth:
    """Health by the reading of providers' lists. clock: Unix seconds."""

    def __init__(self, lists: Callable[[], Mapping[str, ProviderList]], clock: Callable[[], float]) -> None:
        self._lists = lists
        self._clock = clock

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        own = self._lists().get(provider)
        if own is None:
            return UNKNOWN, None
        now = self._clock()
        if own.failing_since is not None and own.is_outage and now - own.failing_since >= OUTAGE_SECONDS:
            return DOWN, None
        is_fresh = own.read_at is not None and now - own.read_at <= LIST_PROVES_SECONDS
        return (HEALTHY, own.latency_ms) if is_fresh and own.holds(model) else (UNKNOWN, None)


class StatusRow(NamedTuple):
    """One model at one provider. head: its JSON up to what changes."""

    provider: str
    model: str
    head: str


class ModelPages:
    """health: the sources, the one to believe first at the front. clock: seconds."""

    def __init__(self, *, router: Router, health: Sequence[Source], clock: Callable[[], float]) -> None:
        self._router = router
        self._health = health
        self._clock = clock
        self._listing: Mapping[str, PublicModel] | None = None  # what the following was made from
        self._models = b""
        self._rows: list[StatusRow] = []
        self._status = b""
        self._status_until = 0.0
        self._lock = asyncio.Lock()  # one makes the pages anew; who comes meanwhile takes what it made

    async def models(self) -> bytes:
        """The list of models."""
        if self._router.models() is not self._listing:
            async with self._lock:
                await self._renew()
        return self._models

    def model(self, model_id: str) -> bytes:
        """One model. Raises ModelNotFound."""
        return _json(shown(self._router.model(model_id))).encode()

    async def status(self) -> bytes:
        """How every model does at each of its providers."""
        if self._router.models() is not self._listing or self._clock() >= self._status_until:
            async with self._lock:
                await self._renew()
                if self._clock() >= self._status_until:
                    self._status = await self._render_status()
                    self._status_until = self._clock() + KEEP_SECONDS
        return self._status

    async def _renew(self) -> None:
        """What only depends on what is listed."""
        listing = self._router.models()
        if listing is self._listing:
            return
        models: list[str] = []
        rows: list[StatusRow] = []
        for number, model in enumerate(listing.values(), 1):
            models.append(_json(shown(model)))
            rows.extend(self._rows_of(model))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._models = f'{{"object":"list","data":[{",".join(models)}]}}'.encode()
        self._rows = rows
        self._listing = listing
        self._status_until = 0.0

    def _rows_of(self, model: PublicModel) -> Iterator[StatusRow]:
        """Of several models of one provider behind one name, the one that is tried first stands for it."""
        seen = set()
        for place in sorted(self._router.places(model.id), key=lambda place: place.priority):
            if place.provider not in seen:
                seen.add(place.provider)
                head = {
                    "id": str(uuid5(NAMESPACE_URL, f"rooya:{place.provider}/{model.id}")),
                    "model_id": model.id,
                    "provider": place.provider,
                    "model_type": model.type,
                }
                yield StatusRow(place.provider, place.model, _json(head)[:-1])

    async def _render_status(self) -> bytes:
        counts = {HEALTHY: 0, DOWN: 0, UNKNOWN: 0}
        rows: list[str] = []
        for number, row in enumerate(self._rows, 1):
            word, latency_ms = self.seen(row.provider, row.model)
            counts[word] += 1
            is_available = "false" if word == DOWN else "true"
            latency = "null" if latency_ms is None else latency_ms
            rows.append(
                f'{row.head},"is_available":{is_available},"health_status":"{word}",'
                f'"last_health_latency_ms":{latency}}}'
            )
            if number % SLICE == 0:
                await asyncio.sleep(0)
        sums = _json({"total": len(rows), **counts})
        return f'{{"object":"list","data":[{",".join(rows)}],{sums[1:]}'.encode()

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        """How a provider's model does, by the first source that knows. model: the provider's name."""
        for source in self._health:
            found = source.seen(provider, model)
            if found[0] != UNKNOWN:
                return found
        return UNKNOWN, None


def shown(model: PublicModel) -> dict[str, Any]:
    """A model in the reference's shape."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def _json(value: Any) -> str:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False)
