"""One HTTP/1.1 connection to a vendor, and the answer on it.

llhttp (httptools) finds where an answer begins and ends; its callbacks do next to nothing, since
they run for every answer: body pieces go to a list by the list's own `append`, header fields are
split only when somebody asks for them. Refused: upgrades, unasked bytes, a head over its bound.
Invariant: a connection is lent again only after an answer that ended exactly where it should.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools

from providers import errors
from providers.errors import ProviderError
from providers.heads import head_length
from providers.types import Timeouts, UpstreamRequest

if TYPE_CHECKING:
    from providers.pool import Origin
    from providers.transport import Response

UNREAD_BYTES: Final = 65536  # of a body that its reader has not taken; more pauses the vendor
DRAIN_BYTES: Final = 65536  # of an unwanted rest worth reading to keep the connection ...
DRAIN_SECONDS: Final = 0.25  # ... and the time it may take
JOINED_BYTES: Final = 65536  # a request up to this size is copied into one write
UNSENT_BYTES: Final = 4096  # a request up to this size always fits the socket of a resting connection

# States of a connection.
IDLE: Final = "idle"
LENT: Final = "lent"  # handed to a caller who has not begun yet
ACTIVE: Final = "active"
DRAINING: Final = "draining"  # its caller has all it wants; the rest of the body is read away
CLOSED: Final = "closed"

# How far the parser is in an answer.
AWAITED: Final = 0
BODY: Final = 1
WHOLE: Final = 2


class StaleConnection(ProviderError):
    """A connection used before died without a byte of an answer; its place in the pool is its caller's."""


class Connection(asyncio.Protocol):
    """One connection of an origin's pool, `LENT` from its making on. One parser serves all its answers."""

    __slots__ = (
        "_deadline", "_has_moved", "_head", "_held", "_is_gathering", "_is_paused", "_is_used",
        "_keeps_alive", "_may_be_unsent", "_moved_at", "_origin", "_parser", "_phase", "_response",
        "_timeouts", "_transport", "_unread", "loop", "on_body", "parts", "state",
    )  # fmt: skip

    def __init__(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self._origin = origin
        self.loop = loop
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._timeouts = Timeouts()
        self._deadline = 0.0
        self._has_moved = True  # something happened since the last sweep, which alone looks at the clock
        self._moved_at = 0.0
        self._head = b""  # what has come of a head that is not complete
        self._held = b""  # a request that leaves at the end of the turn
        self._phase = AWAITED
        self._unread = 0
        self._is_gathering = False
        self._is_paused = False
        self._is_used = False
        self._keeps_alive = False
        self._may_be_unsent = False
        self.state = LENT
        self.parts: list[bytes] = []
        self.on_body = self.parts.append
        self._parser = httptools.HttpResponseParser(self)

    def __repr__(self) -> str:
        return f"<Connection {self._origin.name} {self.state}>"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.state is CLOSED:  # its caller went away while it was being made
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(is_clean=exc is None)
        self._transport = None
        del self._parser  # it holds our methods: nothing is left for the garbage collector

    def eof_received(self) -> None:
        self._lose(is_clean=True)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self._receive_unwanted(data)
            return
        self._has_moved = True
        has_head = response.status != 0
        if not has_head:
            self._head += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._receive_malformed(response)
            return
        if self._phase == WHOLE:
            self._complete(response, may_reuse=True)
        elif has_head:
            self._deliver(response, len(data))
        else:
            self._receive_head(response)

    # httptools.HttpResponseParser

    def on_message_begin(self) -> None:
        if self._phase == WHOLE:
            raise ValueError("bytes behind the answer")  # stops the parser before it touches `parts`

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._phase = BODY
            if self._response is not None:
                self._response.status = status
        elif status < 100 or status == 101:
            raise ValueError("no status of an answer")

    def on_message_complete(self) -> None:
        if self._phase == BODY:  # else it was an interim answer
            self._phase = WHOLE
            self._keeps_alive = self._parser.should_keep_alive()  # the parser forgets it after this callback

    # For the transport

    def begin(
        self, request: UpstreamRequest, response: Response, timeouts: Timeouts, deadline: float
    ) -> None:
        """Send a request. The response's `waiter` is done when its head is there or `failure` is set."""
        body = request.body
        size = len(body)
        head = b"%b%d\r\n\r\n" % (request.endpoint.head, size)
        self.state = ACTIVE
        self._phase = AWAITED
        self._has_moved = True
        self._is_gathering = False
        self._unread = 0
        self._may_be_unsent = size > UNSENT_BYTES
        self._timeouts = timeouts
        self._deadline = deadline
        self._response = response
        transport = self._transport
        assert transport is not None
        if size > JOINED_BYTES:
            transport.writelines((head, body))
        elif self._origin.has_one_call:
            transport.write(head + body)
        else:
            self._held = head + body
            self._origin.outbox.add(self)

    def send_held(self) -> None:
        """For the origin's outbox."""
        held, self._held = self._held, b""
        if held and self._transport is not None:
            self._transport.write(held)

    def fail(self, failure: ProviderError) -> None:
        """Close at once; an answer in flight ends with `failure` after the bytes that have come."""
        response, self._response = self._response, None
        rest = b"".join(self.parts)
        self.discard()
        if response is not None:
            response.settle(rest, failure)

    def discard(self) -> None:
        """Close at once. Its place goes to whoever waits for one; that of a lent one is its caller's."""
        was = self.state
        self._shut()
        if was is not LENT and was is not CLOSED:
            self._origin.free_place()

    def sweep(self, now: float) -> None:
        """Enforce the bounds of time. Called every tenth of a second or so while anything is in flight."""
        if self._has_moved:
            self._has_moved = False
            self._moved_at = now
        if self.state is ACTIVE:
            if now >= self._deadline:
                self.fail(ProviderError(errors.TIMEOUT, "the provider did not answer in time"))
            else:
                self._check_progress(now)
        elif self.state is DRAINING and now >= self._deadline:
            self.discard()

    def has_rested(self, now: float, seconds: float) -> bool:
        """Has it been idle for that long?"""
        return self.state is IDLE and not self._has_moved and now - self._moved_at >= seconds

    def _check_progress(self, now: float) -> None:
        has_begun = self._has_begun
        bound = self._timeouts.idle_s if has_begun else self._timeouts.first_byte_s
        if not bound:
            return
        if self._is_paused or (self.parts and not self._is_gathering):
            self._has_moved = True  # it is the reader who is slow
        elif now - self._moved_at >= bound:
            what = "stopped in the middle of its answer" if has_begun else "did not begin to answer in time"
            self.fail(ProviderError(errors.TIMEOUT, f"the provider {what}"))

    @property
    def is_attached(self) -> bool:
        """Has the event loop not yet said goodbye to it?"""
        return self._transport is not None

    # For the response

    def take(self) -> bytes:
        """The body bytes that have come, all of them."""
        data = b"".join(self.parts)
        self.parts.clear()
        self._unread = 0
        if self._is_paused:
            self._resume()
        return data

    def gather(self) -> None:
        """The reader wants the body whole: nothing of it is delivered before its end."""
        self._is_gathering = True
        if self._is_paused:
            self._resume()

    def drain(self) -> None:
        """Nobody wants what is left of the body: read it away if that is soon done."""
        self._response = None
        self.parts.clear()
        self.state = DRAINING
        self._unread = 0
        self._deadline = self.loop.time() + DRAIN_SECONDS
        if self._is_paused:
            self._resume()

    # Reading

    def _receive_head(self, response: Response) -> None:
        """The first bytes of an answer that is not whole with them."""
        head = self._head
        limit = self._origin.limits.max_header_bytes
        end = head_length(head) if response.status else len(head)
        if end > limit:
            self.fail(_no_answer("the provider's response headers are too large"))
        elif response.status:
            self._head = b""
            response.begin(head[:end])  # a stream may live long: keep no more than its head
            self._deliver(response, len(head) - end)
            if not response.waiter.done():
                response.waiter.set_result(None)

    def _deliver(self, response: Response, size: int) -> None:
        self._unread += size
        if not self._is_gathering:
            if self._unread > UNREAD_BYTES and not self._is_paused:
                self._pause()
            if self.parts and not response.waiter.done():
                response.waiter.set_result(None)
        elif self._unread > self._origin.limits.max_body_bytes:
            self.parts.clear()
            self.fail(ProviderError(errors.FAILED, "the provider's answer is too large"))

    def _complete(self, response: Response, *, may_reuse: bool) -> None:
        if self._head:
            if len(self._head) > self._origin.limits.max_header_bytes < head_length(self._head):
                self.fail(_no_answer("the provider's response headers are too large"))
                return
            response.begin(self._head)
            self._head = b""
        self._response = None
        parts = self.parts
        rest = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        response.settle(rest, None)
        self._return(may_reuse)

    def _return(self, may_reuse: bool) -> None:
        """Back to the pool, if the next answer on this connection can only be the one that was asked for."""
        if may_reuse and self._keeps_alive and not self._has_unsent():
            self._is_used = True
            self._has_moved = True
            if self._is_paused:
                self._resume()
            self._origin.release(self)
        else:
            self.discard()

    def _has_unsent(self) -> bool:
        """Did the vendor answer before it read the whole request?"""
        if self._held or not self._may_be_unsent:
            return bool(self._held)
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _receive_unwanted(self, data: bytes) -> None:
        """Bytes that no caller waits for: the rest of a drained body, or what nobody asked for."""
        if self.state is not DRAINING:
            self.discard()
            return
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.discard()
            return
        self.parts.clear()
        if self._phase == WHOLE:
            self._return(may_reuse=True)
        elif self._unread > DRAIN_BYTES:
            self.discard()

    def _receive_malformed(self, response: Response) -> None:
        if self._phase == WHOLE:
            self._complete(response, may_reuse=False)
        elif response.status:
            self._begin_late(response)
            self.fail(ProviderError(errors.INCOMPLETE, "the provider's answer is malformed", retryable=True))
        else:
            self.fail(_no_answer("the provider did not answer in HTTP"))

    def _begin_late(self, response: Response) -> None:
        """A head that came together with the end of its connection is still the head of an answer."""
        if self._head:
            response.begin(self._head[: head_length(self._head)])
            self._head = b""

    # Ending

    @property
    def _has_begun(self) -> bool:
        return bool(self._head) or (self._response is not None and self._response.status != 0)

    def _lose(self, *, is_clean: bool) -> None:
        """The vendor closed, or the network did."""
        response = self._response
        if response is None:
            self.discard()
        elif response.status:
            if is_clean and response.ends_with_connection:
                self._complete(response, may_reuse=False)
            else:
                self.fail(ProviderError(errors.INCOMPLETE, "the provider's answer was cut", retryable=True))
        elif self._is_used and not self._has_begun:
            self._response = None
            self._shut()
            response.settle(b"", StaleConnection(errors.FAILED, "the connection was closed", retryable=True))
        else:
            self.fail(_no_answer("the provider closed the connection before it answered"))

    def _shut(self) -> None:
        if self.state is CLOSED:
            return
        self._origin.forget(self)
        self.state = CLOSED
        if self._transport is not None:
            self._transport.abort()
        self.parts.clear()
        self._head = self._held = b""

    def _pause(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._is_paused = True
            transport.pause_reading()

    def _resume(self) -> None:
        self._is_paused = False
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()


def _no_answer(message: str) -> ProviderError:
    return ProviderError(errors.FAILED, message, retryable=True)
