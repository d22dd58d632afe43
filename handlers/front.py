"""The HTTP/1.1 server connection: bytes in, exchanges out.

An `asyncio.Protocol` over httptools (llhttp). Everything that is decided by bytes is decided here:
sizes, framing, pipelining, time-outs of reading, write backpressure, hang-ups. What is malformed gets
its 400 and a close. While one request is answered the bytes of the next wait unparsed, so answers
leave in order by construction. Refused: HTTP/0.9, HTTP/2 and every upgrade.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools

from handlers import errors
from handlers.client_address import UNIX_PEER
from handlers.exchange import Exchange
from handlers.head import BadHead, Head, check_beginning

if TYPE_CHECKING:
    from handlers.server import Server

END_OF_HEAD: Final = b"\r\n\r\n"
AHEAD_BYTES: Final = 65536  # of pipelined requests held while one is answered
BODY_AHEAD_BYTES: Final = 262144  # of a body that nobody has asked for yet
DISCARD_BYTES: Final = 65536  # of an unread body worth reading to keep the connection
NEVER: Final = float("inf")


class Connection(asyncio.Protocol):
    """One client connection. States: reading a head (`_exchange` is None), in an exchange, lingering."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._waiting = b""  # an incomplete head, or the bytes behind the current request
        self._remaining = 0  # bytes of a body of known length still to come
        self._held = b""  # what leaves at the end of the turn
        self._tail = b""  # the last bytes of a chunked body fed to the parser
        self._is_lingering = False
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._unsent = 0
        self._peer = UNIX_PEER
        self.deadline = server.now + server.bounds.head_s
        self.is_clogged = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer = str(peer[0])
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._transport = None
        self.is_clogged = False
        if self._drained is not None:
            self._drained.set_exception(ConnectionResetError("the client has gone"))
            self._drained.exception()  # its waiter is being cancelled and may never look
            self._drained = None
        if self._exchange is not None and not self._exchange.is_finished:
            self._exchange.abandon()

    def eof_received(self) -> None:
        """A client that stops sending has gone: the transport closes, which cancels what runs."""

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        exchange = self._exchange
        if exchange is None:
            self._read_head(data)
        elif not exchange.is_complete:
            self._read_body(exchange, data)
        else:
            self._waiting += data
            if len(self._waiting) > AHEAD_BYTES:
                self._pause()

    def pause_writing(self) -> None:
        self.is_clogged = True
        self._drained = asyncio.get_running_loop().create_future()
        self._unsent = self._buffered()
        self.deadline = self._server.now + self._server.bounds.write_s

    def resume_writing(self) -> None:
        self.is_clogged = False
        self.deadline = self._server.now + self._server.bounds.idle_s if self.is_idle else NEVER
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    # Reading

    def _read_head(self, data: bytes) -> None:
        data = self._waiting + data if self._waiting else data
        while data.startswith(b"\r\n"):  # RFC 9112, section 2.2
            data = data[2:]
        end = data.find(END_OF_HEAD) + 4
        limit = self._server.bounds.head_bytes
        try:
            if end > limit or (end < 4 and len(data) > limit):
                raise BadHead("head_too_large", "The request's header fields are too large.")
            if end < 4:
                if not self._waiting and data:
                    self.deadline = self._server.now + self._server.bounds.head_s
                self._waiting = data
                check_beginning(data)
                return
            head = Head(data[:end])
            self._parser.feed_data(head.for_parser())
        except BadHead as error:
            self._refuse(error.reason, error.message)
        except httptools.HttpParserError:
            self._refuse("malformed", "The request is malformed.")
        else:
            self._begin(head, data[end:])

    def _begin(self, head: Head, rest: bytes) -> None:
        server = self._server
        exchange = self._exchange = Exchange(self, head, server.request_ids.next(), server.bounds.body_bytes)
        self._waiting = b""
        self._tail = b""
        self._remaining = head.length or 0
        if exchange.is_complete:
            self.deadline = NEVER
            self._waiting = rest
        else:
            self.deadline = server.now + server.bounds.body_s
            if rest:
                self._read_body(exchange, rest)
        if not self._is_lingering:
            server.dispatch(exchange)

    def _read_body(self, exchange: Exchange, data: bytes) -> None:
        self.deadline = self._server.now + self._server.bounds.body_s
        if exchange.head.length is not None:
            rest = self._take_counted(exchange, data)
        else:
            try:
                rest = self._feed_chunked(exchange, data)
            except httptools.HttpParserError:
                self._fail_body(exchange)
                return
        if exchange.is_complete and self._exchange is not exchange:
            self._read_head(rest)  # it was being discarded; what follows is the next request
        elif rest:
            self._waiting = rest

    def _take_counted(self, exchange: Exchange, data: bytes) -> bytes:
        """Hand on what belongs to the body and return what lies behind it."""
        if len(data) <= self._remaining:
            mine, rest = data, b""
        else:
            mine, rest = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(mine)
        exchange.receive(mine)
        if not self._remaining:
            self._complete(exchange)
        return rest

    def _feed_chunked(self, exchange: Exchange, data: bytes) -> bytes:
        """Feed up to the end of the message and return what lies behind it.

        A chunked message can end only right after CR LF CR LF, so the parser is fed up to one at a
        time: it never sees a byte of the next request, whose head is not its business yet.
        """
        while data and not exchange.is_complete:
            seam = (self._tail + data[:3]).find(END_OF_HEAD)
            if seam >= 0:
                end = seam + 4 - len(self._tail)
            else:
                at = data.find(END_OF_HEAD)
                end = at + 4 if at >= 0 else len(data)
            mine, data = data[:end], data[end:]
            self._tail = (self._tail + mine[-3:])[-3:]
            self._parser.feed_data(mine)
        return data

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of a chunked body, without its framing."""
        if self._exchange is not None:
            self._exchange.receive(data)

    def on_message_complete(self) -> None:
        """httptools: a chunked body is whole, or a head whose body is none of the parser's business."""
        if self._exchange is not None:
            self._complete(self._exchange)

    def _complete(self, exchange: Exchange) -> None:
        """The request is whole. A body nobody wanted is read to here before the next request."""
        self.deadline = NEVER
        exchange.complete()
        if exchange.is_finished:
            self._exchange = None
            self.deadline = self._server.now + self._server.bounds.idle_s

    def _fail_body(self, exchange: Exchange) -> None:
        """Framing broke inside a body: nothing after it can be trusted."""
        if not exchange.is_started:
            self._exchange = None
            exchange.is_finished = True
            exchange.cancel()
            self._refuse("malformed", "The request body is malformed.")
        else:
            self.abort()

    def pause_body(self, size: int) -> None:
        """More of the body is held than its reader has taken."""
        if size > BODY_AHEAD_BYTES:
            self._pause()

    def resume_body(self) -> None:
        if self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    # Writing

    def write(self, data: bytes) -> None:
        """Send it, where others are being answered too at the end of the turn (see `providers/outbox.py`)."""
        if self._transport is None:
            return
        if self._held:
            self._held += data
        elif self._server.has_one_exchange:
            self._transport.write(data)
        else:
            self._held = data
            self._server.outbox.add(self)

    def send_held(self) -> None:
        """For the server's outbox."""
        held, self._held = self._held, b""
        if held and self._transport is not None and not self._transport.is_closing():
            self._transport.write(held)

    async def drain(self) -> None:
        """Wait for the client to read. Raises ConnectionResetError when it never will."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def closing_fields(self, exchange: Exchange, *, has_date: bool = False) -> bytes:
        """The fields that depend on the connection: Date, and whether it lives on after this answer."""
        if self._server.is_draining or (not exchange.is_complete and not self._is_worth_discarding(exchange)):
            exchange.keep_alive = False
        date = b"" if has_date else self._server.date_field
        if not exchange.keep_alive:
            return date + b"Connection: close\r\n"
        return date if exchange.head.is_http11 else date + b"Connection: keep-alive\r\n"

    def exchange_finished(self, exchange: Exchange) -> None:
        """The answer is written: go on with the next request, or end the connection."""
        if exchange is not self._exchange:
            return
        is_last = self._server.is_draining and exchange.is_complete and not self._waiting
        if not exchange.keep_alive or is_last:
            self._shut(is_clean=exchange.is_complete and not self._waiting)
        elif exchange.is_complete:
            self._exchange = None
            self.deadline = self._server.now + self._server.bounds.idle_s
            self.resume_body()
            if self._waiting:
                data, self._waiting = self._waiting, b""
                self._read_head(data)
        else:
            self.resume_body()

    def exchange_ended(self, exchange: Exchange) -> None:
        """The exchange was cancelled before its task began."""
        self._server.ended(exchange)

    def _is_worth_discarding(self, exchange: Exchange) -> bool:
        known = exchange.head.length is not None and not exchange.awaits_continue
        return known and self._remaining <= DISCARD_BYTES

    def _refuse(self, reason: str, message: str) -> None:
        """Answer bytes that are no request, and close."""
        answer = errors.answer(errors.Refused(reason, message))
        self.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nX-Request-ID: %b\r\nConnection: close\r\n%b\r\n%b"
            % (
                answer.status,
                answer.phrase,
                answer.headers,
                len(answer.body),
                self._server.request_ids.next().encode(),
                self._server.date_field,
                answer.body,
            )
        )
        self._shut(is_clean=False)

    def _shut(self, *, is_clean: bool) -> None:
        """Close after what is written. A client still sending would get a reset that can swallow its
        answer, so then only our side is closed first and what comes is dropped for a moment."""
        self._waiting = b""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.send_held()
        if is_clean or not transport.can_write_eof():
            transport.close()
            return
        self._is_lingering = True
        self._exchange = None
        self.deadline = self._server.now + self._server.bounds.linger_s
        self.resume_body()
        transport.write_eof()

    def abort(self) -> None:
        """Drop the connection at once; a running exchange is cancelled by that."""
        if self._transport is not None:
            self._transport.abort()

    # What the server's tick asks

    @property
    def is_idle(self) -> bool:
        return self._exchange is None and not self._waiting and not self._is_lingering

    def close_if_idle(self) -> None:
        if self.is_idle and self._transport is not None:
            self.send_held()
            self._transport.close()

    def expire(self, now: float) -> None:
        """The deadline has passed: whose time-out is it?"""
        exchange = self._exchange
        if self.is_clogged:
            unsent = self._buffered()
            if unsent < self._unsent:  # slow, but reading
                self._unsent = unsent
                self.deadline = now + self._server.bounds.write_s
            else:
                self.abort()
        elif self._is_lingering or self.is_idle:
            self.abort()
        elif exchange is None or not exchange.is_started:
            if exchange is not None:
                exchange.is_finished = True
                exchange.cancel()
            self._refuse("request_timeout", "The request did not arrive in time.")
        else:
            self.abort()

    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # Who is there

    @property
    def is_peer_trusted(self) -> bool:
        return self._server.addresses.is_trusted(self._peer)

    def client_address(self, head: Head) -> str:
        forwarded = head.field(b"x-forwarded-for")
        if forwarded is not None and head.occurs_again(b"x-forwarded-for"):
            forwarded = b",".join(head.all_of(b"x-forwarded-for"))
        return self._server.addresses.find(self._peer, forwarded)
