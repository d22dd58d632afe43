"""The transport on all ways an answer can be framed, and what the other transport tests stand on.

The vendor is a real listening socket that runs a script of raw bytes for each connection, in the same
event loop as the transport; every test runs on asyncio's loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from providers import errors
from providers.errors import ProviderError
from providers.heads import parse_fields
from providers.pool import Counts, PoolLimits
from providers.transport import Response, Transport
from providers.types import Endpoint, Timeouts, UpstreamRequest

SECRET = "sk-vendor-very-secret"
NO_BOUNDS = Timeouts()


def both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make a test of a coroutine function: once on asyncio's own loop, once on uvloop, bounded in time."""

    def on_loop(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await test(**arguments)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bounded())

    signature = inspect.signature(test)
    loop_parameter = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    on_loop.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), loop_parameter], return_annotation=None
    )
    on_loop.__name__ = test.__name__
    on_loop.__doc__ = test.__doc__
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return pytest.mark.parametrize("loop_factory", loops.values(), ids=loops)(on_loop)


async def until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until it is so; fail when it is not so in time."""
    end = asyncio.get_running_loop().time() + seconds
    while not is_so():
        assert asyncio.get_running_loop().time() < end, "still not so"
        await asyncio.sleep(0.005)


class Peer:
    """One connection as the vendor sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self.number = number  # of the connection, from 0
        self.sent = 0
        self.received = 0  # after the last request it asked for
        self.is_gone = False  # the other side closed

    async def request(self) -> bytes:
        """The next request, whole."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = int(parse_fields(head)[b"content-length"])
        return head + await self._reader.readexactly(size)

    async def request_head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def send_bytewise(self, data: bytes) -> None:
        for at in range(len(data)):
            await self.send(data[at : at + 1])
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the other side closes."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65536):
                self.received += len(data)
        self.is_gone = True

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close with an RST."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Vendor:
    """A listening socket that runs `script` for every connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self.port = 0
        self.scheme = "http"
        self.host = "127.0.0.1"

    @property
    def connections(self) -> int:
        return len(self.peers)

    def request(self, body: bytes = b"{}") -> UpstreamRequest:
        url = f"{self.scheme}://{self.host}:{self.port}/v1/chat/completions?query=private"
        return UpstreamRequest(Endpoint.from_url("POST", url, (("Authorization", f"Bearer {SECRET}"),)), body)

    def counts(self, transport: Transport) -> Counts:
        return transport.counts().get(f"{self.scheme}://{self.host}:{self.port}", Counts(0, 0, 0, 0))

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        self._tasks.add(asyncio.create_task(self._serve(peer)))

    async def _serve(self, peer: Peer) -> None:
        try:
            await self._script(peer)
            await peer.gone()
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):  # the last is uvloop's word
            peer.is_gone = True
        finally:
            peer.close()

    @contextlib.asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Vendor]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            failures = [one for one in results if isinstance(one, Exception)]
            assert not failures, failures


@contextlib.asynccontextmanager
async def serving(script: Script, **limits: Any) -> AsyncIterator[tuple[Vendor, Transport]]:
    """A vendor and a transport of the test's own."""
    async with Vendor(script).listening() as vendor:
        transport = Transport(limits=PoolLimits(**limits))
        try:
            yield vendor, transport
        finally:
            await transport.close()


def soon(seconds: float = 20.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def send(transport: Transport, vendor: Vendor, body: bytes = b"{}") -> Response:
    return await transport.send(vendor.request(body), NO_BOUNDS, soon())


async def failure_of(call: Awaitable[object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await call
    for private in (SECRET, "private"):
        assert private not in caught.value.message
        assert private not in repr(caught.value)
    return caught.value


def ok(body: bytes = b"hello", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)


def answering(answer: bytes, *, is_last: bool = False, is_bytewise: bool = False) -> Script:
    """Every request gets the same bytes; is_last: then the connection is closed."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await (peer.send_bytewise(answer) if is_bytewise else peer.send(answer))
            if is_last:
                return peer.close()

    return script


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

# name -> (bytes of the answer, does the vendor close, status, body, is the connection used again)
FRAMINGS: dict[str, tuple[bytes, bool, int, bytes, bool]] = {
    "content-length": (ok(), False, 200, b"hello", True),
    "empty": (ok(b""), False, 200, b"", True),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", False, 200, b"hello", True),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", False, 200, b"hello", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    "304 with a length": (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", False, 304, b"", True),
    "interim": (INTERIM + ok(), False, 200, b"hello", True),
    "empty lines first": (b"\r\n\r\r\n" + ok(), False, 200, b"hello", True),
    "no reason": (b"HTTP/1.1 500\r\nContent-Length: 2\r\n\r\nno", False, 500, b"no", True),
    "1.0 keep-alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", False, 200, b"hi", True,
    ),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, 200, b"hello", False),
    "connection close": (ok(fields=b"Connection: close\r\n"), False, 200, b"hello", False),
    "close-delimited": (b"HTTP/1.1 200 OK\r\n\r\nhello", True, 200, b"hello", False),
    "1.0 close-delimited": (b"HTTP/1.0 404 No\r\nServer: x\r\n\r\nhello", True, 404, b"hello", False),
    "garbage behind": (ok() + b"garbage", False, 200, b"hello", False),
    "half an answer behind": (ok() + b"HTTP/1.", False, 200, b"hello", False),
    "an answer behind": (ok() + ok(b"evil!"), False, 200, b"hello", False),
    "an answer behind chunks": (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + ok(b"evil!"), False, 200, b"hi", False),
}  # fmt: skip


@pytest.mark.parametrize("is_bytewise", [False, True], ids=["at once", "bytewise"])
@pytest.mark.parametrize("name", FRAMINGS)
@both_loops
async def test_every_framing_is_read_and_the_connection_kept_or_not(name: str, is_bytewise: bool) -> None:
    answer, is_last, status, body, is_reused = FRAMINGS[name]
    async with serving(answering(answer, is_last=is_last, is_bytewise=is_bytewise)) as (vendor, transport):
        for number in range(1, 4):
            response = await send(transport, vendor)
            assert response.status == status
            assert await response.read() == body
            assert await response.read() == b""
            if is_reused:
                assert vendor.counts(transport) == Counts(1, 0, 0, 0)
            else:
                await until(lambda number=number: sum(peer.is_gone for peer in vendor.peers) == number)  # type: ignore[misc]
                assert vendor.counts(transport) == Counts(0, 0, 0, 0)
        assert vendor.connections == (1 if is_reused else 3)


@both_loops
async def test_chunks_come_as_they_arrive_and_end_clean() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nhe\r\n")
        await go_on.wait()
        await peer.send(b"1\r\nl\r\n1\r\nl\r\n1\r\no\r\n")
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor)
        assert await response.chunk() == b"he"
        assert vendor.counts(transport).active == 1
        go_on.set()
        rest = []
        while piece := await response.chunk():
            rest.append(piece)
        assert b"".join(rest) == b"llo"
        assert len(rest) < 3  # what came together is handed out together
        assert await response.chunk() == b""
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)


MALFORMED: dict[str, bytes] = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a body alone": b'{"id": 1}',
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Huh\r\nContent-Length: 0\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "folded field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a field": b"HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n",
    "large head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70000,
    "large head, whole answer": ok(fields=b"A: " + b"a" * 70000 + b"\r\n"),
    "large head, open answer": CHUNKED[:-2] + b"A: " + b"a" * 70000 + b"\r\n\r\n2\r\nhe\r\n",
    "interim without end": INTERIM * 1500,
}


@pytest.mark.parametrize("name", MALFORMED)
@both_loops
async def test_what_is_no_answer_fails_and_closes(name: str) -> None:
    async with serving(answering(MALFORMED[name])) as (vendor, transport):
        failure = await failure_of(send(transport, vendor))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, True)
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)
        assert vendor.connections == 1


CUTS: dict[str, bytes] = {
    "content-length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    "chunked": CHUNKED + b"5\r\nhello\r\n",
    "chunked, no last line": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "chunk size": CHUNKED + b"5\r\nhello\r\nzz\r\n",
    "coding without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
}


@pytest.mark.parametrize("is_bytewise", [False, True], ids=["at once", "bytewise"])
@pytest.mark.parametrize("name", CUTS)
@both_loops
async def test_a_cut_body_is_incomplete_after_its_bytes(name: str, is_bytewise: bool) -> None:
    script = answering(CUTS[name], is_last=True, is_bytewise=is_bytewise)
    async with serving(script) as (vendor, transport):
        whole = await send(transport, vendor)
        assert (await failure_of(whole.read())).kind == errors.INCOMPLETE
        streamed = await send(transport, vendor)
        seen = b""
        while len(seen) < len(b"hello"):
            seen += await streamed.chunk()
        assert seen == b"hello"
        assert (await failure_of(streamed.chunk())).kind == errors.INCOMPLETE
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_a_reset_is_no_clean_end_of_a_close_delimited_body() -> None:
    has_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await has_read.wait()
        peer.reset()

    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor)
        assert await response.chunk() == b"hello"
        has_read.set()
        assert (await failure_of(response.chunk())).kind == errors.INCOMPLETE


@both_loops
async def test_the_request_is_head_length_and_body_and_nothing_else() -> None:
    seen = []

    async def script(peer: Peer) -> None:
        for _ in range(3):
            seen.append(await peer.request())
            await peer.send(ok())

    async with serving(script) as (vendor, transport):
        for body in (b"", b'{"a": 1}', b"x" * 200_000):
            await (await send(transport, vendor, body)).read()
            head = vendor.request().endpoint.head
            assert seen[-1] == head + str(len(body)).encode() + b"\r\n\r\n" + body
        assert vendor.connections == 1


@both_loops
async def test_a_whole_answer_is_read_without_suspension() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        reading = (await send(transport, vendor)).read()
        with pytest.raises(StopIteration) as stop:
            reading.send(None)
        assert stop.value.value == b"hello"


@both_loops
async def test_header_names_are_lower_case_and_repeated_fields_joined() -> None:
    answer = (
        INTERIM
        + CHUNKED[:-2]
        + b"Retry-After:  7 \r\nX-A: 1\r\nx-a: 2\r\nEmpty:\r\n\r\n0\r\nTrailer: t\r\n\r\n"
    )
    async with serving(answering(answer)) as (vendor, transport):
        response = await send(transport, vendor)
        assert response.headers == {
            b"transfer-encoding": b"chunked", b"retry-after": b"7", b"x-a": b"1, 2", b"empty": b"",
        }  # fmt: skip


@both_loops
async def test_no_repr_shows_a_secret() -> None:
    async with serving(answering(CHUNKED + b"2\r\nhe\r\n")) as (vendor, transport):
        request = vendor.request(b"private body")
        response = await transport.send(request, NO_BOUNDS, soon())
        (origin,) = transport._origins.values()
        (connection,) = origin.connections
        for one in (request, response, transport, origin, connection):
            assert SECRET not in repr(one)
            assert "private" not in repr(one)
        assert repr(connection) == f"<Connection http://127.0.0.1:{vendor.port} active>"
