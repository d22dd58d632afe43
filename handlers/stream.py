"""Writes a stream to the client: server-sent events as they come, at the pace the client reads them.

All that arrived together leaves in one write; a client that reads slowly stops us from reading the
vendor. After the first byte a failure is an event of its own, without [DONE], and a clean end of the body.
"""

from __future__ import annotations

from typing import Final

from handlers import errors
from handlers.answering import Stream
from handlers.exchange import Exchange

HEADERS: Final = (
    b"Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
)


async def send(exchange: Exchange, stream: Stream, headers: bytes = b"") -> None:
    """Relay an open stream to its end. headers: further ready lines. Its opener closes the stream."""
    exchange.start(200, HEADERS + headers)
    chunks = stream.chunks
    while chunks:
        exchange.write_piece(chunks[0].data if len(chunks) == 1 else b"".join([c.data for c in chunks]))
        if exchange.is_clogged:
            await exchange.drain()
        chunks = await stream.next()
    if stream.failure is not None:
        exchange.write_piece(errors.event(stream.failure))
    exchange.end()
