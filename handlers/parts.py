"""A client's call that its vendor can only answer in several requests: sent at once, answered as one.

It is one attempt with one account, which reserves for all requests together and is closed once. If one of
them fails, the others are cancelled and the call has failed; what the finished ones used is charged. Some
are under way at a time, never more than a bound, and a slow client slows all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from handlers.accounting import Account
from handlers.answering import Stream
from providers.adapter import Codec, Decoder
from providers.answers import joined
from providers.errors import ProviderError
from providers.transport import Response, Transport
from providers.types import Call, Chunk, Reply, Target, UpstreamRequest, Usage

AT_ONCE: Final = 16  # requests of one call; each takes a connection
MAX_AHEAD: Final = 4  # reads of parts that the client has not taken yet


class Parts:
    """The requests of one attempt. Raises Unsupported (of a part)."""

    def __init__(self, call: Call, calls: list[Call], target: Target, codec: Codec) -> None:
        self.call = call
        self.calls = calls
        self.codec = codec
        self.used: list[Usage | None] = [None] * len(calls)
        self._target = target
        self._requests = [codec.encode(each, target) for each in calls]
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Sampling hints that the vendor does not take."""
        return self._requests[0].dropped

    @property
    def is_sent(self) -> bool:
        """May the vendor have seen any of it?"""
        return any(request.is_sent for request in self._requests)

    def __len__(self) -> int:
        return len(self.calls)

    async def fetch(self, transport: Transport, deadline: float, account: Account) -> Reply:
        """The whole answer; what is used is noted as it comes. Raises ProviderError."""
        replies = await all_or_none(
            [self._fetch(at, transport, deadline, account) for at in range(len(self.calls))]
        )
        return joined(replies)

    async def _fetch(self, at: int, transport: Transport, deadline: float, account: Account) -> Reply:
        async with self._turns:
            response = await self.open(at, transport, deadline)
            try:
                body = await response.read()
            finally:
                response.close()
        reply = self.codec.decode(self.calls[at], body)
        self.note(at, reply.usage, account)
        return reply

    async def open(self, at: int, transport: Transport, deadline: float) -> Response:
        """Send one of them. Raises ProviderError for any status but 200."""
        request: UpstreamRequest = self._requests[at]
        response = await transport.send(request, self._target.timeouts, deadline)
        if response.status == 200:
            return response
        try:
            raise self._target.adapter.error(response.status, response.headers, await response.read())
        finally:
            response.close()

    def note(self, at: int, used: Usage | None, account: Account) -> None:
        """What a part has used so far; the account knows the sum of all that is known."""
        if used is not None:
            self.used[at] = used
            account.note_usage(total([each for each in self.used if each is not None], account))

    def usage(self, account: Account) -> Usage | None:
        """Of the whole call, None where a part told nothing."""
        known = [each for each in self.used if each is not None]
        return total(known, account) if len(known) == len(self.used) else None

    def turn(self) -> asyncio.Semaphore:
        """What a part that streams holds as long as it does."""
        return self._turns


class JoinedStream(Stream):
    """The streams of all parts as one: what arrives is handed on as it comes, the end comes once."""

    def __init__(self, account: Account, parts: Parts, transport: Transport, deadline: float) -> None:
        self.dropped = parts.dropped
        self.chunks = []
        self.failure = None
        self.account = account
        self._wants_cost = parts.call.wants_cost
        self._parts = parts
        self._text_bytes = [0] * len(parts)
        self._left = len(parts)
        self._is_over = False
        self._arrived: asyncio.Queue[tuple[int, list[Chunk]] | ProviderError | None] = asyncio.Queue(
            MAX_AHEAD
        )
        self._crash: BaseException | None = None
        self._tasks = [asyncio.create_task(self._pump(at, transport, deadline)) for at in range(len(parts))]
        for task in self._tasks:
            task.add_done_callback(self._note_end)

    async def next(self) -> list[Chunk]:
        while not self._is_over:
            arrived = await self._arrived.get()
            if self._crash is not None:
                raise self._crash
            if isinstance(arrived, ProviderError):
                self._cancel()
                self._fail(arrived)
            elif arrived is not None:
                at, chunks = arrived
                self.account.text_bytes = sum(self._text_bytes)
                for chunk in chunks:
                    self._parts.note(at, chunk.usage, self.account)
                if any(chunk.data for chunk in chunks):
                    return chunks
            elif self._is_last():
                return await self._ended()
        return []

    def close(self) -> None:
        self._cancel()
        self.account.text_bytes = sum(self._text_bytes)
        self.account.abandon(is_sent=self._parts.is_sent)

    def _is_last(self) -> bool:
        self._left -= 1
        return not self._left

    async def _ended(self) -> list[Chunk]:
        self._is_over = True
        account, parts = self.account, self._parts
        used = parts.usage(account)
        chunk = Chunk(parts.codec.ending(parts.call, used), used)
        if used is not None:
            self._note_usage(chunk)
        account.settle(used)
        if account.sync is not None:
            await account.sync()
        return [chunk]

    def _fail(self, failure: ProviderError) -> None:
        self.failure = failure
        self._is_over = True
        self.account.text_bytes = sum(self._text_bytes)
        self.account.fail(failure)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """What no vendor can have caused ends the stream too: nobody would wait for its part in vain."""
        if not task.cancelled() and task.exception() is not None:
            self._crash = task.exception()
            if self._arrived.empty():
                self._arrived.put_nowait(None)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _pump(self, at: int, transport: Transport, deadline: float) -> None:
        async with self._parts.turn():
            try:
                response = await self._parts.open(at, transport, deadline)
                self.account.note_first_byte()
                try:
                    await self._read(at, response, self._parts.codec.decoder(self._parts.calls[at]))
                finally:
                    response.close()
            except ProviderError as failure:
                await self._arrived.put(failure)
            else:
                await self._arrived.put(None)

    async def _read(self, at: int, response: Response, decoder: Decoder) -> None:
        while not decoder.done:
            data = await response.chunk()
            chunks = decoder.feed(data) if data else decoder.close()
            self._text_bytes[at] = decoder.text_bytes
            if chunks:
                await self._arrived.put((at, chunks))
            if decoder.failure is not None:
                raise decoder.failure
            if not data:
                break
        response.finish()


def total(used: Sequence[Usage], account: Account) -> Usage:
    """All of it as one; each request is priced by itself, as prices may depend on its size."""
    first, *others = used
    if not others:
        return first
    summed = first
    for each in others:
        summed = summed.plus(each)
    summed.requests = len(used)
    if account.terms.price is not None:
        summed.cost_nanodollars = sum(map(account.price, used))
    return summed


async def all_or_none(work: list[Coroutine[Any, Any, Reply]]) -> list[Reply]:
    """The results in their order; the first failure cancels the others and is raised once they are gone."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
