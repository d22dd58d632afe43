"""Bytes to a vendor and back: the only file that opens connections to vendors.

A keep-alive pool per origin, each request one write, each answer read as it comes. All bounds of
time are kept by one coarse sweep, so a call costs no timer and no look at the clock. Every failure
is a ProviderError whose message holds no secret, no query and no part of a body. Retried here is
only one thing: a connection used before that died without a byte of an answer, once, on a new one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

from providers import errors
from providers.connection import CLOSED, Connection, StaleConnection
from providers.errors import ProviderError
from providers.heads import parse_fields
from providers.pool import Counts, Origin, PoolLimits, closed, waited_too_long
from providers.types import Endpoint, Timeouts, UpstreamRequest

__all__ = ["Counts", "PoolLimits", "Response", "Transport"]

DEFAULT_LIMITS: Final = PoolLimits()
SWEEP_SECONDS: Final = 0.1
RESTING_SWEEP_SECONDS: Final = 1.0  # when all that is left to watch is idle connections
CLOSING_TURNS: Final = 100  # of the event loop, for its transports to say goodbye


class Response:
    """An answer whose head has arrived. One reader at a time; `status` is the final one, 1xx are skipped.

    For the transport only: `waiter` is done when something happened, `failure` is what went wrong.
    """

    __slots__ = ("_connection", "_fields", "_head", "_rest", "failure", "status", "waiter")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection  # None once the body is whole, cut or unwanted
        self._fields: dict[bytes, bytes] | None = None
        self._head = b""
        self._rest = b""
        self.failure: ProviderError | None = None
        self.status = 0
        self.waiter: asyncio.Future[None] = connection.loop.create_future()

    def __repr__(self) -> str:
        return f"<Response {self.status or '-'} {'whole' if self._connection is None else 'open'}>"

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Names in lower case; repeated fields joined with a comma. Trailers are not among them."""
        if self._fields is None:
            self._fields = parse_fields(self._head)
        return self._fields

    async def read(self) -> bytes:
        """The rest of the body, whole. Raises ProviderError where it was cut or is too large."""
        if self._connection is not None:
            self._connection.gather()
            await self._wait(self._connection)
        if self.failure is not None:
            raise self.failure
        rest, self._rest = self._rest, b""
        return rest

    async def chunk(self) -> bytes:
        """All that has arrived since the last call, waiting only if that is nothing; b"" is the clean end."""
        connection = self._connection
        if connection is not None and not connection.parts:
            await self._wait(connection)
            connection = self._connection
        if connection is not None:
            return connection.take()
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        if self.failure is not None:
            raise self.failure
        return b""

    async def _wait(self, connection: Connection) -> None:
        waiter = self.waiter = connection.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def finish(self) -> None:
        """The caller has all it wants: if the body ends soon the connection is kept, else closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drain()

    def close(self) -> None:
        """Abandon the answer: closes the connection at once unless the body is whole or `finish` came."""
        if self._connection is not None:
            failure = ProviderError(errors.INCOMPLETE, "the call was abandoned")
            self._connection.fail(failure)

    # For the connection

    def settle(self, rest: bytes, failure: ProviderError | None) -> None:
        """Nothing more will come: the end of the body, or of the connection."""
        self._connection = None
        self._rest = rest
        self.failure = failure
        if not self.waiter.done():
            self.waiter.set_result(None)

    def begin(self, head: bytes) -> None:
        """The head is there: all bytes up to its end at least."""
        self._head = head

    @property
    def has_begun(self) -> bool:
        """Is there a head to hand out, whatever happened after it?"""
        return bool(self._head)

    @property
    def ends_with_connection(self) -> bool:
        """Has the body no other mark of its end? (RFC 9112, section 6.3, rule 8.)"""
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers


class Transport:
    """All connections of this process to vendors. Belongs to the event loop it is first used in."""

    def __init__(
        self, *, limits: PoolLimits = DEFAULT_LIMITS, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._limits = limits
        self._ssl_context = ssl_context
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_resting = True  # the sweep is slow or stopped
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Transport {self.counts()}>"

    def counts(self) -> dict[str, Counts]:
        """Connections and queued calls by origin, such as `https://api.example.org:443`."""
        return {origin.name: origin.counts() for origin in self._origins.values()}

    async def send(self, request: UpstreamRequest, timeouts: Timeouts, deadline: float) -> Response:
        """Send a request; returns when the head of the final answer is there.

        deadline: of the whole call, in the event loop's time. Cancelling closes the connection.
        """
        endpoint = request.endpoint
        origin = self._origins.get((endpoint.scheme, endpoint.host, endpoint.port)) or self._origin(endpoint)
        idle = origin.idle
        connection = idle.pop() if idle else await self._connection(origin, timeouts, deadline)
        if self._is_resting:
            self._sweep_often()
        response = Response(connection)
        request.is_sent = True
        connection.begin(request, response, timeouts, deadline)
        try:
            await response.waiter
        except asyncio.CancelledError:
            self._abandon(response, origin)
            raise
        if response.failure is None:
            return response
        if isinstance(response.failure, StaleConnection):
            response = await self._send_again(origin, request, timeouts, deadline)
        if not response.has_begun and response.failure is not None:
            raise response.failure
        return response

    async def close(self) -> None:
        """Close everything; calls in flight and in the queue fail."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        origins = list(self._origins.values())
        closing = [connection for origin in origins for connection in origin.connections]
        for origin in origins:
            origin.close()
        for _ in range(CLOSING_TURNS):
            if not any(connection.is_attached for connection in closing):
                break
            await asyncio.sleep(0)

    async def _send_again(
        self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts, deadline: float
    ) -> Response:
        """The one retry. The connection that died left us its place."""
        try:
            connection = await self._open(origin, timeouts, deadline)
        except ProviderError as failure:
            failure.dispatched = True  # by the first attempt
            raise
        response = Response(connection)
        connection.begin(request, response, timeouts, deadline)
        try:
            await response.waiter
        except asyncio.CancelledError:
            response.close()
            raise
        return response

    @staticmethod
    def _abandon(response: Response, origin: Origin) -> None:
        response.close()
        if isinstance(response.failure, StaleConnection):
            origin.free_place()  # it was ours for the retry that will not be

    # Connections

    def _origin(self, endpoint: Endpoint) -> Origin:
        key = (endpoint.scheme, endpoint.host, endpoint.port)
        origin = self._origins[key] = Origin(*key, self._limits)
        return origin

    async def _connection(self, origin: Origin, timeouts: Timeouts, deadline: float) -> Connection:
        """A connection when none is idle: a new one, or the one of whoever ends first."""
        if self._is_closed:
            raise closed()
        if origin.take_place():
            return await self._open(origin, timeouts, deadline)
        self._sweep_often()
        connection = await origin.wait(deadline)
        if connection is None or connection.state is CLOSED:
            return await self._open(origin, timeouts, deadline)
        return connection

    async def _open(self, origin: Origin, timeouts: Timeouts, deadline: float) -> Connection:
        """Connect, in a place that is already ours; it is given back if that fails."""
        now = asyncio.get_running_loop().time()
        bound = min(deadline, now + timeouts.connect_s) if timeouts.connect_s else deadline
        connection: Connection | None = None
        timer = asyncio.timeout_at(bound)
        try:
            if self._is_closed:
                raise closed()
            origin.connecting.add(timer)
            async with timer:
                connection = await self._connect(origin, bound)
        except (OSError, ValueError) as error:
            if timer.expired():
                raise self._late(bound == deadline) from error
            raise connect_failure(origin.host, error) from error
        finally:
            origin.connecting.discard(timer)
            if connection is None:
                origin.free_place()
        origin.connections.add(connection)
        self._sweep_often()
        return connection

    async def _connect(self, origin: Origin, bound: float) -> Connection:
        """Try the origin's addresses in turn; one that hangs may take its share of the time, no more."""
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(origin)
        for left in range(len(addresses), 1, -1):
            try:
                async with asyncio.timeout((bound - loop.time()) / left):
                    return await self._connect_to(origin, addresses[-left])
            except ssl.SSLError:
                raise  # the vendor is there: another of its addresses would say the same
            except OSError:
                continue
        return await self._connect_to(origin, addresses[-1])

    async def _connect_to(self, origin: Origin, address: str) -> Connection:
        is_secure = origin.scheme == "https"
        if is_secure and self._ssl_context is None:
            self._ssl_context = default_context()
        loop = asyncio.get_running_loop()
        connection = Connection(origin, loop)
        is_open = False
        try:
            await loop.create_connection(
                lambda: connection,
                address,
                origin.port,
                ssl=self._ssl_context if is_secure else None,
                server_hostname=origin.host if is_secure else None,
            )
            is_open = connection.state is not CLOSED
        finally:
            if not is_open:
                connection.discard()
        if not is_open:
            raise ConnectionResetError("closed at once")
        return connection

    async def _addresses(self, origin: Origin) -> list[str]:
        """Look the name up, once for all who connect now: lookups take threads, of which there are few."""
        lookup = origin.lookup
        if lookup is None or lookup.done():
            loop = asyncio.get_running_loop()
            found = loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            lookup = origin.lookup = loop.create_task(found)
            lookup.add_done_callback(_look_away)
        await asyncio.wait((lookup,))  # a caller who is cancelled here leaves it to the others
        return [str(one[4][0]) for one in lookup.result()]

    def _late(self, is_past_deadline: bool) -> ProviderError:
        if self._is_closed:
            return closed()
        return waited_too_long() if is_past_deadline else could_not_connect("it took too long")

    # Time

    def _sweep_often(self) -> None:
        if self._is_resting:
            self._is_resting = False
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_busy = False
        has_idle = False
        for origin in self._origins.values():
            is_busy = origin.sweep(now) or is_busy
            has_idle = has_idle or bool(origin.idle)
        self._is_resting = not is_busy
        pause = SWEEP_SECONDS if is_busy else RESTING_SWEEP_SECONDS
        self._sweeper = loop.call_later(pause, self._sweep) if is_busy or has_idle else None


def _look_away(lookup: asyncio.Task[list[Any]]) -> None:
    """Its callers may all have gone: then nobody else asks how it ended."""
    if not lookup.cancelled():
        lookup.exception()


def default_context() -> ssl.SSLContext:
    """Made at the first TLS connection: reading the machine's certificates takes a while."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def could_not_connect(why: str) -> ProviderError:
    return ProviderError(errors.FAILED, f"could not connect: {why}", retryable=True, dispatched=False)


def connect_failure(host: str, error: Exception) -> ProviderError:
    """In plain words: what OpenSSL and the operating system say is for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"TLS certificate of {host} was not accepted"
        return ProviderError(errors.FAILED, message, retryable=True, dispatched=False)
    if isinstance(error, ssl.SSLError):
        return could_not_connect(f"no TLS session with {host}")
    if isinstance(error, ConnectionRefusedError):
        return could_not_connect("connection refused")
    if isinstance(error, socket.gaierror):
        return could_not_connect("the name was not found")
    return could_not_connect("the network failed")
