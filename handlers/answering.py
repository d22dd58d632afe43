"""An open stream of one attempt: chunks as they come, and an account that is closed before the last of them.

It knows no HTTP and no vendor. Whatever ends it (the vendor's last word, a cut, a client that left), the
account is closed once, and before the end is handed on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Final

from handlers.accounting import Account
from providers.adapter import Decoder
from providers.errors import ProviderError
from providers.estimate import stream_text_bytes
from providers.transport import Response
from providers.types import Call, Chunk

NANODOLLARS: Final = 10**9
_USAGE: Final = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{')


class Stream:
    """An open stream whose first event has arrived: `chunks` holds it.

    Go on with `next()` until it returns an empty list; `failure` then says whether the answer was cut
    (None = complete). Always `close()`.
    """

    def __init__(
        self,
        account: Account,
        call: Call,
        decoder: Decoder,
        response: Response,
        dropped: tuple[str, ...],
    ) -> None:
        self.dropped = dropped
        self.chunks: list[Chunk] = []
        self.failure: ProviderError | None = None
        self.account = account
        self._wants_cost = call.wants_cost
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
        """The chunks that have arrived, in order; empty at the end. Raises LedgerFull: cut the answer."""
        decoder = self._decoder
        while not self._is_over:
            try:
                data = await self._response.chunk()
            except ProviderError as failure:
                self._fail(failure)
                break
            chunks = decoder.feed(data) if data else decoder.close()
            self.account.text_bytes = decoder.text_bytes
            for chunk in chunks:
                if chunk.usage is not None:
                    self._note_usage(chunk)
            if decoder.failure is not None:
                self._fail(decoder.failure)
            elif decoder.done or not data:
                self._is_over = True
                self._response.finish()
                self.account.settle(self.account.usage)
                if self.account.sync is not None:
                    await self.account.sync()
            if chunks:
                return chunks
        return []

    def close(self) -> None:
        """Let go of the vendor's connection: at once, if the answer is not complete."""
        self._response.close()
        self.account.text_bytes = self._decoder.text_bytes
        self.account.abandon(is_sent=True)

    def _fail(self, failure: ProviderError) -> None:
        self.failure = failure
        self._is_over = True
        self.account.text_bytes = self._decoder.text_bytes
        self.account.fail(failure)

    def _note_usage(self, chunk: Chunk) -> None:
        assert chunk.usage is not None
        self.account.note_usage(chunk.usage)
        if self._wants_cost and chunk.usage.cost_nanodollars is None:  # else the vendor's own is there
            chunk.data = with_cost(chunk.data, self.account.price(chunk.usage))


class LocalStream(Stream):
    """A stream of an adapter that answers by itself, one event a turn of the loop."""

    def __init__(self, account: Account, call: Call, source: Iterator[Chunk]) -> None:
        self.dropped = ()
        self.chunks = []
        self.failure = None
        self.account = account
        self._wants_cost = call.wants_cost
        self._source = source
        self._ahead = next(source, None)

    async def next(self) -> list[Chunk]:
        await asyncio.sleep(0)
        chunk = self._ahead
        if chunk is None:
            return []
        self.account.note_first_byte()
        if chunk.usage is not None:
            self._note_usage(chunk)
        self.account.text_bytes += stream_text_bytes(chunk.data)
        self._ahead = next(self._source, None)
        if self._ahead is None:
            self.account.settle(self.account.usage)
            if self.account.sync is not None:
                await self.account.sync()
        return [chunk]

    def close(self) -> None:
        self.account.abandon(is_sent=True)


def with_cost(events: bytes, nanodollars: int) -> bytes:
    """Events whose `usage` object also tells the cost, in USD; what hosts add comes behind it."""
    place = _USAGE.search(events)
    if place is None:
        return events
    end = place.end()
    return b'%b"cost":%b,%b' % (events[:end], usd(nanodollars).encode(), events[end:])


def usd(nanodollars: int) -> str:
    """A decimal number of dollars with all its decimals, without any that are zero at the end."""
    whole, rest = divmod(nanodollars, NANODOLLARS)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
