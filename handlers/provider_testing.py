"""Is a provider there, and does it take our secrets? By the list of its models, which is free to read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NamedTuple

from handlers.provider_states import fingerprint
from providers.model_fetch import ListFailed, ListReader
from providers.router import Router
from providers.types import ProviderSpec
from store.errors import NotFound


class Tested(NamedTuple):
    """With one secret. models, latency_ms: None where it failed; failure: empty where it did not."""

    fingerprint: str
    models: int | None
    latency_ms: int | None
    failure: str


class ProviderTester:
    """One provider at a time, so that nobody has many asked at once."""

    def __init__(self, router: Router, reader: ListReader) -> None:
        self._router = router
        self._reader = reader
        self._turn = asyncio.Lock()

    async def test(self, name: str) -> list[Tested]:
        """Each of its secrets by itself. Raises NotFound."""
        for provider in self._router.providers():
            if provider.name == name:
                async with self._turn:
                    return [await self._try(provider, secret) for secret in provider.secrets or ("",)]
        raise NotFound(f"provider '{name}'")

    async def _try(self, provider: ProviderSpec, secret: str) -> Tested:
        alone = replace(provider, secrets=(secret,) if secret else ())
        try:
            read = await self._reader.read(alone)
        except ListFailed as failure:
            return Tested(fingerprint(secret), None, None, str(failure))
        return Tested(fingerprint(secret), len(read.models), read.latency_ms, "")
