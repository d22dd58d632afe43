"""Asks models of which nobody knows how they do a word, for no more a day than the operator allows.

Off unless he names a cap. Only models without other evidence are asked, chat and embeddings, one at a time in
each process, and so seldom that the cap lasts for the day. What has no price is not asked: its cost has no
bound. What a probe says holds until the next one is due, in all processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple

import ujson

from handlers.model_pages import Source
from handlers.terms import Terms, TermsBook
from providers import errors
from providers.bounds import input_tokens
from providers.errors import ProviderError, Unsupported
from providers.health import DOWN, HEALTHY, UNKNOWN, Health
from providers.pricing import cost
from providers.router import Router
from providers.transport import Transport
from providers.types import CHAT, EMBEDDINGS, Call, Reply, Target
from store.errors import StoreUnavailable
from store.probes import DAY_SECONDS, Probed, Probes

log = logging.getLogger("rooya.probes")

TURN_SECONDS: Final = 60.0
LEAST_SECONDS: Final = 300  # between two probes of one model
BOUND_SECONDS: Final = 30.0  # of a probe
ANSWER_TOKENS: Final = 16  # the least that every vendor takes
QUESTIONS: Final[dict[str, dict[str, Any]]] = {
    CHAT: {"messages": [{"role": "user", "content": "ping"}], "max_tokens": ANSWER_TOKENS},
    EMBEDDINGS: {"input": "ping"},
}
OUTAGES: Final = (
    errors.AUTH,
    errors.NOT_FOUND,
    errors.TIMEOUT,
    errors.OVERLOADED,
    errors.FAILED,
    errors.INCOMPLETE,
)
OPERATIONS: Final = {"chat": CHAT, "embedding": EMBEDDINGS}


class Probe(NamedTuple):
    """A probe that could be made, and the most that it costs in nano-dollars."""

    call: Call
    target: Target
    terms: Terms
    worst: int


class Means(NamedTuple):
    """What a call is made with."""

    router: Router
    terms: TermsBook
    transport: Transport
    health: Health


class Prober:
    """Also a `model_pages.Source`. sources: what else is known of models. unix, clock: Unix seconds, and
    those of the event loop, by which calls are timed. next_id: makes request ids."""

    def __init__(
        self,
        means: Means,
        probes: Probes,
        sources: Sequence[Source],
        *,
        unix: Callable[[], float],
        clock: Callable[[], float],
        next_id: Callable[[], str],
    ) -> None:
        self._means = means
        self._probes = probes
        self._sources = sources
        self._unix = unix
        self._clock = clock
        self._next_id = next_id
        self._said: dict[tuple[str, str], Probed] = {}
        self._every_seconds = LEAST_SECONDS
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        await self._read()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        said = self._said.get((provider, model))
        if said is None or said.is_up is None:
            return UNKNOWN, None
        if self._unix() - said.probed_at > self._every_seconds + 2 * TURN_SECONDS:
            return UNKNOWN, None
        return (HEALTHY, said.latency_ms) if said.is_up else (DOWN, None)

    async def _keep(self) -> None:
        while True:
            try:
                await self._read()
                await self.turn()
            except StoreUnavailable as error:
                log.warning("no model is probed: %s", error)
            await asyncio.sleep(TURN_SECONDS)

    async def _read(self) -> None:
        self._said = {(said.provider, said.model): said for said in await self._probes.all()}

    async def turn(self) -> None:
        """Probe all that are due. Raises StoreUnavailable."""
        due = [probe async for probe in self._unknown()]
        a_round = sum(probe.worst for probe in due)
        self._every_seconds = max(LEAST_SECONDS, DAY_SECONDS * a_round // max(self._probes.cap, 1))
        for probe in sorted(due, key=self._last):
            now = int(self._unix())
            place = probe.target.provider, probe.target.model
            if await self._probes.take(*place, probe.worst, now, self._every_seconds):
                said, cost_nanodollars = await self._ask(probe, now)
                self._said[place] = said
                await self._probes.say(said, probe.worst - cost_nanodollars)

    def _last(self, probe: Probe) -> int:
        said = self._said.get((probe.target.provider, probe.target.model))
        return 0 if said is None else said.probed_at

    async def _unknown(self) -> AsyncIterator[Probe]:
        """One for each model at a provider that has a price, and of which nobody knows how it does."""
        router, seen = self._means.router, set()
        for name, model in list(router.models().items()):
            operation = OPERATIONS.get(model.type)
            if operation is None:
                continue
            for place in router.places(name):
                where = place.provider, place.model
                if where not in seen and all(source.seen(*where)[0] == UNKNOWN for source in self._sources):
                    seen.add(where)
                    probe = await self._probe(name, operation, router.target_at(name, place))
                    if probe is not None:
                        yield probe

    async def _probe(self, name: str, operation: str, target: Target) -> Probe | None:
        adapter = target.adapter
        if adapter.local or not adapter.offers(operation):
            return None
        payload = {"model": name, **QUESTIONS[operation]}
        body = ujson.dumps(payload).encode()
        call = Call(operation, name, payload, body, stream=False, verbatim=True, request_id=self._next_id())
        terms = self._means.terms.find(call, target) or await self._means.terms.learn(call, target)
        if terms.price is None:
            return None
        return Probe(call, target, terms, terms.worst(input_tokens(call, terms.an_image), ANSWER_TOKENS))

    async def _ask(self, probe: Probe, now: int) -> tuple[Probed, int]:
        """What it says, and what that cost: the worst where the vendor may have charged and did not say."""
        target, health = probe.target, self._means.health
        began = self._clock()
        cost_nanodollars, is_up, latency_ms = probe.worst, None, None
        target.lane.in_flight += 1
        try:
            reply = await self._fetch(probe, began + BOUND_SECONDS)
        except ProviderError as failure:
            health.failed(target.lane, self._clock(), failure)
            if not failure.dispatched or failure.status is not None:
                cost_nanodollars = 0
            is_up = False if failure.kind in OUTAGES else None
        except Unsupported:
            cost_nanodollars = 0
        else:
            ended = self._clock()
            health.succeeded(target.lane, ended, ended - began)
            is_up, latency_ms = True, int((ended - began) * 1000)
            if reply.usage is not None and probe.terms.price is not None:
                cost_nanodollars = min(cost(probe.terms.price, reply.usage), probe.worst)
        finally:
            target.lane.in_flight -= 1
        return Probed(target.provider, target.model, now, is_up, latency_ms), cost_nanodollars

    async def _fetch(self, probe: Probe, deadline: float) -> Reply:
        """Raises ProviderError, Unsupported."""
        call, target = probe.call, probe.target
        codec = target.adapter.codec_for(call, target)
        if codec is None:
            raise Unsupported("model", "no codec")
        response = await self._means.transport.send(codec.encode(call, target), target.timeouts, deadline)
        try:
            body = await response.read()
        finally:
            response.close()
        if response.status != 200:
            raise target.adapter.error(response.status, response.headers, body)
        return codec.decode(call, body)
