"""A real front on a real port with an endpoint of the test's own, and a raw client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from ipaddress import ip_network
from typing import Any

import uvloop

from handlers.client_address import ClientAddresses
from handlers.exchange import Exchange
from handlers.request_id import RequestIds
from handlers.server import Bounds, Server

PLAIN = b"Content-Type: text/plain\r\n"


async def echo(exchange: Exchange) -> None:
    """Answers with what it understood: method, path and body."""
    body = await exchange.read_body()
    text = f"{exchange.head.method} {exchange.head.path} ".encode()
    exchange.respond(200, text + body, PLAIN)


@contextlib.asynccontextmanager
async def front(
    endpoint: Callable[[Exchange], Coroutine[Any, Any, None]] = echo,
    *,
    bounds: Bounds | None = None,
    trusted: tuple[str, ...] = ("127.0.0.1", "::1"),
) -> AsyncIterator[tuple[Server, int]]:
    """A listening Server and its port; drained at the end."""
    server = Server(
        endpoint,
        bounds=bounds or Bounds(tick_s=0.05),
        addresses=ClientAddresses([ip_network(t) for t in trusted]),
        request_ids=RequestIds(),
    )
    ((_, port),) = await server.listen_tcp("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.drain(0.2)


class Client:
    """A raw connection: bytes out, answers in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers (lower case), body without its framing."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers, await self._body(headers)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await asyncio.wait_for(self.reader.readexactly(int(headers.get("content-length", 0))), 10)
        body = b""
        while size := int(await asyncio.wait_for(self.reader.readline(), 10), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return body

    async def rest(self) -> bytes:
        """Everything until the other side closes; a reset counts as a close."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.writer.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run an async test on uvloop, as in production."""

    async def within() -> None:
        await asyncio.wait_for(test(), 60)

    uvloop.run(within())


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition, polling; fails after the bound."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "waited in vain"
        await asyncio.sleep(0.002)
