"""One connection to a Redis server: commands go out as they are asked, answers come back in their order.

A protocol and two deques, without a task: a command costs a write, an answer a call. It knows RESP2 by
hiredis, and nothing of limits. Whatever goes wrong ends the connection; it is never opened again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis

from limits.errors import LimiterUnavailable, ScriptMissing

CONNECT_SECONDS: Final = 0.25

Word = str | bytes | int


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, and who asks. path: of a unix socket, in place of host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0

    @property
    def name(self) -> str:
        """For the log."""
        return self.path or f"{self.host}:{self.port}"


class Connection(asyncio.Protocol):
    """An open connection. Made by `open`. lost: called once, with the reason, unless it was closed here."""

    def __init__(self, server: Server, lost: Callable[[str], None]) -> None:
        self._server = server
        self._lost = lost
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, server: Server, lost: Callable[[str], None]) -> Connection:
        """Raises LimiterUnavailable, within CONNECT_SECONDS."""
        connection = cls(server, lost)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection._connect()
        except (OSError, TimeoutError, LimiterUnavailable) as error:
            connection.close()
            raise LimiterUnavailable(f"{server.name}: {str(error) or 'no answer in time'}") from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self) -> None:
        server, loop = self._server, self._loop
        if server.path:
            await loop.create_unix_connection(lambda: self, server.path)
        else:
            name = server.host if server.tls is not None else None
            await loop.create_connection(
                lambda: self, server.host, server.port, ssl=server.tls, server_hostname=name
            )
        if server.password:
            who = (server.username,) if server.username else ()
            await self.ask("AUTH", *who, server.password)
        if server.database:
            await self.ask("SELECT", server.database)
        await self.ask("PING")

    def ask(self, *words: Word) -> asyncio.Future[Any]:
        """The answer, as hiredis reads it. Its future raises LimiterUnavailable where it is an error."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(LimiterUnavailable("the connection is closed"))
            return future
        self._waiting.append(future)
        self._transport.write(hiredis.pack_command(words))  # type: ignore[arg-type]
        return future

    def close(self) -> None:
        """Cut it; who waits gets LimiterUnavailable."""
        self._end("closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are of no common class

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not False:
                self._answered(answer)
        except hiredis.ProtocolError as error:
            self._break(f"no Redis answers: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._break("the connection was lost" if exc is None else str(exc))

    def _answered(self, answer: Any) -> None:
        if not self._waiting:
            self._break("an answer that nobody asked for")
            return
        future = self._waiting.popleft()
        if future.done():
            return
        if isinstance(answer, hiredis.ReplyError):
            kind = ScriptMissing if str(answer).startswith("NOSCRIPT") else LimiterUnavailable
            future.set_exception(kind(str(answer)))
        else:
            future.set_result(answer)

    def _break(self, reason: str) -> None:
        was_open = self._transport is not None
        self._end(reason)
        if was_open:
            self._lost(reason)

    def _end(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(LimiterUnavailable(reason))
