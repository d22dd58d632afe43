"""The story of one call: which targets, in which order, until one answers.

Plain Python: knows no vendor, no SQL, no HTTP status. A second target is tried only while no byte
has reached the client and only for failures that say so; past the deadline nothing is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from handlers.errors import Refused
from providers.adapter import Codec, Decoder
from providers.errors import OperationNotOffered, ProviderError
from providers.router import Router
from providers.transport import Response, Transport
from providers.types import Call, Chunk, Reply, Target, Usage

Served = TypeVar("Served")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take in all, in seconds, and how many further attempts it may make."""

    request_s: float = 30
    stream_s: float = 300
    retries: int = 2


@dataclass(slots=True)
class Answered:
    """A whole reply. dropped: sampling hints its vendor does not take."""

    reply: Reply
    dropped: tuple[str, ...] = ()


class Stream:
    """An open stream whose first event has arrived: `chunks` holds it.

    Go on with `next()` until it returns an empty list; `failure` then says whether the answer was cut
    (None = complete). `usage` is what the vendor has reported so far. Always `close()`.
    """

    def __init__(self, decoder: Decoder, response: Response, dropped: tuple[str, ...]) -> None:
        self.dropped = dropped
        self.chunks: list[Chunk] = []
        self.failure: ProviderError | None = None
        self.usage: Usage | None = None
        self._decoder = decoder
        self._response = response
        self._is_over = False

    async def begin(self) -> None:
        """Wait for the first event, so that an early failure can still be a status. Raises ProviderError."""
        while not any(b"data:" in chunk.data for chunk in self.chunks):
            chunks = await self.next()
            self.chunks += chunks
            if not chunks:
                if self.failure is not None:
                    raise self.failure
                return

    async def next(self) -> list[Chunk]:
        """The chunks that have arrived, in order; empty at the end."""
        decoder = self._decoder
        while not self._is_over:
            try:
                data = await self._response.chunk()
            except ProviderError as failure:
                self.failure = failure
                self._is_over = True
                break
            chunks = decoder.feed(data) if data else decoder.close()
            if decoder.failure is not None:
                self.failure = decoder.failure
                self._is_over = True
            elif decoder.done or not data:
                self._is_over = True
                self._response.finish()
            if chunks:
                self._note_usage(chunks)
                return chunks
        return []

    def _note_usage(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if chunk.usage is not None:
                self.usage = chunk.usage

    def close(self) -> None:
        """Let go of the vendor's connection: at once, if the answer is not complete."""
        self._response.close()


class LocalStream(Stream):
    """A stream of an adapter that answers by itself, one event a turn of the loop."""

    def __init__(self, source: Iterator[Chunk]) -> None:
        self.dropped = ()
        self.chunks = []
        self.failure = None
        self.usage = None
        self._source = source

    async def next(self) -> list[Chunk]:
        await asyncio.sleep(0)
        chunks = list(islice(self._source, 1))
        self._note_usage(chunks)
        return chunks

    def close(self) -> None:
        self._source = iter(())


class Relay:
    """Carries validated calls to the targets of their model."""

    def __init__(
        self, *, router: Router, transport: Transport, patience: Patience, clock: Callable[[], float]
    ) -> None:
        """clock: the event loop's; asking for the loop itself costs a system call on Python 3.11."""
        self._clock = clock
        self._router = router
        self._transport = transport
        self._patience = patience

    def fetch(self, call: Call, allowed: frozenset[str] | None) -> Coroutine[Any, Any, Answered]:
        """A whole answer. allowed: the models of the key, None = any.

        Raises Refused(`model_not_allowed`), ModelNotFound, OperationNotOffered, Unsupported, ProviderError.
        """
        spec = self._router.model_spec(call.model)
        seconds = self._patience.request_s if spec is None or spec.request_s is None else spec.request_s
        return self._try_each(call, allowed, self._fetch_from, seconds)

    def open(self, call: Call, allowed: frozenset[str] | None) -> Coroutine[Any, Any, Stream]:
        """A stream whose first event is there. Raises as `fetch` does."""
        spec = self._router.model_spec(call.model)
        seconds = self._patience.stream_s if spec is None or spec.stream_s is None else spec.stream_s
        return self._try_each(call, allowed, self._open_at, seconds)

    async def _try_each(
        self,
        call: Call,
        allowed: frozenset[str] | None,
        attempt: Callable[[Call, Target, float], Awaitable[Served]],
        seconds: float,
    ) -> Served:
        if allowed is not None and call.model not in allowed:
            raise Refused("model_not_allowed", param="model")
        targets = self._router.targets(call.model, call.operation)
        deadline = self._clock() + seconds
        at = 0
        for tries in range(self._patience.retries, -1, -1):
            try:
                return await attempt(call, targets[at], deadline)
            except ProviderError as failure:
                if not failure.is_learned:
                    at += 1
                    if not failure.retryable:
                        raise
                if not tries or at == len(targets):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _fetch_from(self, call: Call, target: Target, deadline: float) -> Answered:
        adapter = target.adapter
        if adapter.local:
            return Answered(adapter.answer(call))
        codec = self._codec(call, target)
        request = codec.encode(call, target)
        response = await self._transport.send(request, target.timeouts, deadline)
        try:
            body = await response.read()
        finally:
            response.close()
        if response.status != 200:
            raise adapter.error(response.status, response.headers, body)
        return Answered(codec.decode(call, body), request.dropped)

    async def _open_at(self, call: Call, target: Target, deadline: float) -> Stream:
        adapter = target.adapter
        if adapter.local:
            stream: Stream = LocalStream(adapter.stream(call))
            await stream.begin()
            return stream
        codec = self._codec(call, target)
        request = codec.encode(call, target)
        response = await self._transport.send(request, target.timeouts, deadline)
        stream = Stream(codec.decoder(call), response, request.dropped)
        try:
            if response.status != 200:
                raise adapter.error(response.status, response.headers, await response.read())
            await stream.begin()
        except BaseException:
            stream.close()
            raise
        return stream

    @staticmethod
    def _codec(call: Call, target: Target) -> Codec:
        codec = target.adapter.codec(call.operation)
        if codec is None:
            raise OperationNotOffered(call.model, call.operation)
        return codec
