"""Keeps the router's catalogue, the tables of the providers' own lists, and those lists together.

What the tables have is known before the first call. Then, in the background, lists are read at the start and
every hour, each by one process of several; a list that cannot be read stays as it was and is tried again
after five minutes. What any process or the command line has changed is in use here within a second.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from providers.catalog import ProviderList, provider_list
from providers.model_fetch import ListFailed, ListReader
from providers.model_lists import ListedModel
from providers.router import Router
from providers.types import ProviderSpec
from store.catalog import CatalogLists, Changes, ListPlace, ModelRow
from store.errors import StoreUnavailable

log = logging.getLogger("rooya.catalog")

POLL_SECONDS: Final = 1.0
TURN_SECONDS: Final = 60  # between looks at what is due; a start does not read again what was read so lately
LEASE_SECONDS: Final = 120  # for reading a list: then its reader has died, and another may
FRESH_SECONDS: Final = 3600
RETRY_SECONDS: Final = 300
JITTER: Final = 0.1


class Outcome(NamedTuple):
    """Of reading one list. failure: why it could not be read, empty where `changes` says what came of it."""

    provider: str
    changes: Changes | None
    failure: str = ""


class CatalogSync:
    """Reads lists and puts them into the tables. clock: Unix seconds."""

    def __init__(self, *, lists: CatalogLists, reader: ListReader, clock: Callable[[], float]) -> None:
        self._lists = lists
        self._reader = reader
        self._clock = clock

    async def all(self, providers: Sequence[ProviderSpec]) -> list[Outcome]:
        """All at once: one that hangs does not hold the others up."""
        return list(await asyncio.gather(*map(self._one, providers)))

    async def _one(self, provider: ProviderSpec) -> Outcome:
        try:
            return await self._keep(provider)
        except StoreUnavailable as error:
            return Outcome(provider.name, None, str(error))

    async def _keep(self, provider: ProviderSpec) -> Outcome:
        place = place_of(provider)
        try:
            read = await self._reader.read(provider)
        except ListFailed as failure:
            now = int(self._clock())
            await self._lists.fail(place, str(failure), failure.is_outage, now, now + RETRY_SECONDS)
            return Outcome(provider.name, None, str(failure))
        now = int(self._clock())
        due_at = now + round(FRESH_SECONDS * random.uniform(1 - JITTER, 1))
        rows = [ModelRow(*model) for model in read.models]
        return Outcome(provider.name, await self._lists.save(place, rows, read.latency_ms, now, due_at))


class CatalogKeeper:
    """is_reading: else it only goes by what the tables have. changed: called when there are other models than
    before. clock: Unix seconds."""

    def __init__(
        self,
        *,
        lists: CatalogLists,
        sync: CatalogSync,
        router: Router,
        is_reading: bool,
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._lists = lists
        self._sync = sync
        self._router = router
        self._is_reading = is_reading
        self._changed = changed
        self._clock = clock
        self._version = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, str] = {}

    async def start(self) -> None:
        """Take over what the tables have. Raises StoreUnavailable."""
        await self._load()
        self._tasks = [asyncio.create_task(self._follow())]
        if self._is_reading:
            self._tasks.append(asyncio.create_task(self._take_turns()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _load(self) -> None:
        found, self._version = await load(self._lists, self._router.listing_providers())
        before = _models(self._router.lists)
        self._router.use(found)
        if _models(found) != before:
            self._changed()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with suppress(StoreUnavailable):  # the lists that are known still hold
                if await self._lists.version() != self._version:
                    await self._load()

    async def _take_turns(self) -> None:
        providers = {provider.name: provider for provider in self._router.listing_providers()}
        places = [place_of(provider) for provider in providers.values()]
        since = int(self._clock()) - TURN_SECONDS
        while places:
            now = int(self._clock())
            try:
                taken = await self._lists.take_turns(places, now, now + LEASE_SECONDS, since)
                for outcome in await self._sync.all([providers[name] for name in taken]):
                    self._tell(outcome)
            except StoreUnavailable as error:
                log.warning("the list of models could not be kept: %s", error)
            await asyncio.sleep(random.uniform(1 - JITTER, 1) * TURN_SECONDS)

    def _tell(self, outcome: Outcome) -> None:
        """Once, until something else is wrong."""
        if outcome.failure and self._failures.get(outcome.provider) != outcome.failure:
            log.info("the models of %s could not be listed: %s", outcome.provider, outcome.failure)
        self._failures[outcome.provider] = outcome.failure


def _models(lists: Mapping[str, ProviderList]) -> dict[str, Mapping[str, ListedModel]]:
    return {name: each.models for name, each in lists.items() if each.models}


async def load(
    lists: CatalogLists, providers: Sequence[ProviderSpec]
) -> tuple[Mapping[str, ProviderList], int]:
    """The lists of these providers as the tables have them, and their version. Raises StoreUnavailable."""
    rows, models, version = await lists.load()
    places = {place_of(provider) for provider in providers}
    found: dict[str, ProviderList] = {}
    for row in rows:
        if row.place in places:
            name = row.place.provider
            found[name] = provider_list(
                [ListedModel(*model) for model in models.get(name, ())],
                read_at=row.read_at,
                latency_ms=row.latency_ms,
                failing_since=row.failing_since,
                is_outage=row.is_outage,
            )
            await asyncio.sleep(0)  # thousands of rows in all: calls go on between the lists
    return found, version


def place_of(provider: ProviderSpec) -> ListPlace:
    """What a list is kept under."""
    return ListPlace(provider.name, provider.kind, provider.base_url or "")
