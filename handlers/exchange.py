"""One request and its answer, on one connection.

To the hot endpoints it offers exactly what they need (`read_body`, `respond`, `start`, `write_piece`,
`end`); to Tornado it is an `HTTPConnection`, so every ordinary RequestHandler runs on it unchanged.
It knows HTTP's framing and nothing of keys, models or errors' texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tornado import httputil
from tornado.concurrent import Future

from handlers.errors import Answer, Refused, answer
from handlers.head import Head
from store.types import ApiKey

if TYPE_CHECKING:
    from handlers.front import Connection

JSON: Final = b"Content-Type: application/json\r\n"
OVERLOADED: Final = {529: b"Overloaded"}  # no standard, but what clients of some APIs go by
REASONS: Final = OVERLOADED | {status.value: status.phrase.encode() for status in HTTPStatus}
BODILESS: Final = frozenset({204, 304})


class Context:
    """What Tornado asks of a connection: who is there, and over which scheme."""

    def __init__(self, remote_ip: str, protocol: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol

    def __str__(self) -> str:
        return self.remote_ip


class Exchange(httputil.HTTPConnection):
    """A request whose head is complete; its body may still be on the way.

    max_body_bytes: what `read_body` takes; a larger body is refused (Refused `body_too_large`).
    """

    # What most exchanges never change is kept by the class: there is one exchange a request.
    is_finished = False
    is_started = False
    is_abandoned = False
    is_running = False
    task: asyncio.Task[None] | None = None
    key: ApiKey | None = None  # once it is known whose request it is
    passing: Awaitable[int] | None = None  # says whether the client's address may call (see `gate.py`)
    envelope: Callable[[BaseException], Answer] = staticmethod(answer)  # tells the client of a failure
    _size = 0
    _is_wanted = False
    _is_streamed = False
    _is_chunked = False
    _waiter: asyncio.Future[None] | None = None
    _done: asyncio.Future[None] | None = None
    _close_callback: Callable[[], None] | None = None

    def __init__(self, connection: Connection, head: Head, request_id: str, max_body_bytes: int) -> None:
        self.head = head
        self.request_id = request_id
        self.max_body_bytes = max_body_bytes
        self.is_complete = head.length == 0
        self.keep_alive = head.keep_alive
        self.awaits_continue = head.expects_continue and not self.is_complete
        self._connection = connection
        self._parts: list[bytes] = []

    def __repr__(self) -> str:
        state = "finished" if self.is_finished else "started" if self.is_started else "open"
        return f"Exchange({self.head.method} {self.head.path}, {self.request_id}, {state})"

    @property
    def client_address(self) -> str:
        """The client as the trusted proxies tell it (see `client_address.py`)."""
        return self._connection.client_address(self.head)

    @property
    def context(self) -> Context:
        forwarded = self.head.field(b"x-forwarded-proto")
        protocol = "https" if forwarded == b"https" and self._connection.is_peer_trusted else "http"
        return Context(self.client_address, protocol)

    # The request's body

    async def read_body(self) -> bytes:
        """The whole body. Raises Refused(`body_too_large`) as soon as that is known."""
        self._want()
        while not self.is_complete:
            if self._size > self.max_body_bytes:
                raise Refused("body_too_large")
            await self._wait()
        if self._size > self.max_body_bytes:
            raise Refused("body_too_large")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def stream_body(self) -> AsyncIterator[bytes]:
        """The body as it comes. A slow consumer slows the client; no more than a read's worth is held."""
        self._is_streamed = True
        self._want()
        while True:
            if self._parts:
                parts, self._parts = self._parts, []
                self._size = 0
                self._connection.resume_body()
                yield b"".join(parts)
            elif self.is_complete:
                return
            else:
                await self._wait()

    def receive(self, data: bytes) -> None:
        """A piece of the body, from the connection."""
        if self.is_finished or (self._size > self.max_body_bytes and not self._is_streamed):
            return
        self._parts.append(data)
        self._size += len(data)
        if self._is_streamed or self._size > self.max_body_bytes:
            self._wake()
        if self._is_streamed or not self._is_wanted:
            self._connection.pause_body(self._size)

    def complete(self) -> None:
        """The body is whole, from the connection."""
        self.is_complete = True
        self._wake()

    def _want(self) -> None:
        length = self.head.length
        if length is not None and length > self.max_body_bytes and not self._is_streamed:
            raise Refused("body_too_large")
        if not self._is_wanted:
            self._is_wanted = True
            if self.awaits_continue and not self._parts:
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.awaits_continue = False
            self._connection.resume_body()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The answer, as the hot endpoints give it

    def respond(self, status: int, body: bytes, headers: bytes = JSON) -> None:
        """A whole answer in one write. headers: ready lines, each with its CR LF."""
        self.is_started = True
        shown = b"" if self.head.method == "HEAD" else body
        self._connection.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nX-Request-ID: %b\r\n%b\r\n%b"
            % (
                status,
                REASONS[status],
                headers,
                len(body),
                self.request_id.encode(),
                self._connection.closing_fields(self),
                shown,
            )
        )
        self._finished()

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length; `write_piece` and `end` follow."""
        self.is_started = True
        self._is_chunked = self.head.is_http11
        if not self._is_chunked:
            self.keep_alive = False
        coding = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        self._connection.write(
            b"HTTP/1.1 %d %b\r\n%b%bX-Request-ID: %b\r\n%b\r\n"
            % (
                status,
                REASONS[status],
                headers,
                coding,
                self.request_id.encode(),
                self._connection.closing_fields(self),
            )
        )

    def write_piece(self, data: bytes) -> None:
        """Send a piece now. Look at `is_clogged` afterwards and await `drain` where it says so."""
        if data and self.head.method != "HEAD":
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """The answer is complete."""
        if self._is_chunked and self.head.method != "HEAD":
            self._connection.write(b"0\r\n\r\n")
        self._finished()

    @property
    def is_clogged(self) -> bool:
        """Does the client read more slowly than we write?"""
        return self._connection.is_clogged

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written."""
        await self._connection.drain()

    def _finished(self) -> None:
        self.is_finished = True
        self._close_callback = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        self._connection.exchange_finished(self)

    # The answer, as Tornado gives it (tornado.httputil.HTTPConnection)

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        assert isinstance(start_line, httputil.ResponseStartLine)
        status = start_line.code
        if status == 304:
            headers.pop("Content-Length", None)
        self._is_chunked = (
            self.head.is_http11
            and status not in BODILESS
            and "Content-Length" not in headers
            and "Transfer-Encoding" not in headers
        )
        if "Content-Length" not in headers and not self._is_chunked and status not in BODILESS:
            self.keep_alive = False
        lines = [f"HTTP/1.1 {status} {start_line.reason}", f"X-Request-ID: {self.request_id}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("newline in a response header")
        self.is_started = True
        closing = self._connection.closing_fields(self, has_date="Date" in headers)
        self._connection.write("\r\n".join(lines).encode("utf-8") + b"\r\n" + closing + b"\r\n")
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> Future[None]:
        self.write_piece(chunk)
        if self.is_clogged:
            return asyncio.ensure_future(self.drain())
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def finish(self) -> None:
        self.end()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Tornado's way to hear that the client has gone."""
        self._close_callback = callback

    async def wait_finished(self) -> None:
        """Return when the answer is complete."""
        if not self.is_finished:
            self._done = asyncio.get_running_loop().create_future()
            await self._done

    def abort(self) -> None:
        """Cut the connection: the answer cannot be completed."""
        self._connection.abort()

    def abandon(self) -> None:
        """The client is gone before its answer was complete."""
        self.is_abandoned = True
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            callback()
        self.cancel()

    def cancel(self) -> None:
        """Stop what works on the answer."""
        if self.task is not None:
            self.task.cancel()
            if not self.is_running:
                self._connection.exchange_ended(self)
