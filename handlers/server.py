"""The listening side: sockets, the set of open connections, their clock, and the drain.

One tick a second serves every connection's time-outs, so a request sets a number, not a timer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

from handlers import errors
from handlers.client_address import ClientAddresses
from handlers.exchange import Exchange
from handlers.front import Connection
from handlers.request_id import RequestIds
from providers.outbox import Outbox

log = logging.getLogger("rooya.front")

Endpoint = Callable[[Exchange], Coroutine[Any, Any, None]]
Explain = Callable[[Exchange, Exception], Coroutine[Any, Any, tuple[Exception, bytes]]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes in bytes and times in seconds. head_s: for a whole head; body_s and write_s: for any progress at
    all; idle_s: between requests; linger_s: for a refused client to read its answer; tick_s: their grain."""

    head_bytes: int = 32768
    body_bytes: int = 33554432
    head_s: float = 10
    body_s: float = 30
    idle_s: float = 75
    write_s: float = 60
    linger_s: float = 2
    tick_s: float = 1


async def unexplained(exchange: Exchange, error: Exception) -> tuple[Exception, bytes]:
    """There is no more to say of it."""
    return error, b""


class Server:
    """Accepts connections and hands their exchanges to `endpoint`, one task each.

    explain: a failed exchange -> what it is answered with after all, and further header lines.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        explain: Explain = unexplained,
        bounds: Bounds,
        addresses: ClientAddresses,
        request_ids: RequestIds,
    ) -> None:
        self._explain = explain
        self.bounds = bounds
        self.addresses = addresses
        self.request_ids = request_ids
        self.connections: set[Connection] = set()
        self.outbox = Outbox()
        self.is_draining = False
        self.now = 0.0
        self.date_field = b""
        self._endpoint = endpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[asyncio.Server] = []
        self._running: set[Exchange] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._owned_path: Path | None = None

    # Sockets

    async def listen_tcp(self, address: str, port: int) -> list[tuple[str, int]]:
        """Listen and return the bound addresses. Raises OSError (in use, no such address)."""
        loop = self._start()
        listener = await loop.create_server(lambda: Connection(self), address, port, backlog=4096)
        self._listeners.append(listener)
        return [sock.getsockname()[:2] for sock in listener.sockets]

    async def listen_unix(self, path: Path) -> None:
        """Listen on a unix socket that nginx's group can open (0660). A dead socket file is replaced.

        Raises OSError where a live server holds it.
        """
        loop = self._start()
        _remove_dead_socket(path)
        listener = await loop.create_unix_server(lambda: Connection(self), str(path), backlog=4096)
        path.chmod(0o660)
        self._owned_path = path
        self._listeners.append(listener)

    async def listen_inherited(self, sockets: list[socket.socket]) -> None:
        """Serve sockets that systemd opened for us (sd_listen_fds(3))."""
        loop = self._start()
        for sock in sockets:
            sock.setblocking(False)
            if sock.family == socket.AF_UNIX:
                listener = await loop.create_unix_server(lambda: Connection(self), sock=sock)
            else:
                listener = await loop.create_server(lambda: Connection(self), sock=sock)
            self._listeners.append(listener)

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._create_task = self._loop.create_task
            self._tick()
        return self._loop

    # Requests

    @property
    def has_one_exchange(self) -> bool:
        """Is no more than one request being answered?"""
        return len(self._running) <= 1

    def dispatch(self, exchange: Exchange) -> None:
        """Run the endpoint for an exchange. Called by its connection once the head is complete."""
        self._running.add(exchange)
        exchange.task = self._create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        exchange.is_running = True
        try:
            await self._endpoint(exchange)
            if not exchange.is_finished:
                raise RuntimeError("the endpoint left its exchange unfinished")
        except asyncio.CancelledError:
            if not exchange.is_abandoned and not exchange.is_finished:
                exchange.abort()
            raise
        except Exception as error:
            if not isinstance(error, errors.KNOWN) and not exchange.is_abandoned:
                log.error("%r failed", exchange, exc_info=error)
            if exchange.is_started:
                exchange.abort()
            else:
                error, fields = await self._explain(exchange, error)
                answer = exchange.envelope(error)
                exchange.respond(answer.status, answer.body, answer.headers + fields)
        finally:
            self.ended(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The exchange's task has ended, or was cancelled before its first step and never will begin."""
        self._running.discard(exchange)
        if self.is_draining:
            self._notice_quiet()

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if self.is_draining:
            self._notice_quiet()

    # Clock

    def _tick(self) -> None:
        assert self._loop is not None
        self.now = now = self._loop.time()
        self.date_field = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in [c for c in self.connections if c.deadline < now]:
            connection.expire(now)
        self._ticker = self._loop.call_later(self.bounds.tick_s, self._tick)

    # End

    async def drain(self, seconds: float) -> bool:
        """Stop accepting, let what runs finish within the seconds, close the rest. True if all finished."""
        assert self._loop is not None
        self.is_draining = True
        self._quiet = self._loop.create_future()
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        self._notice_quiet()
        try:
            await asyncio.wait_for(self._quiet, seconds)
            return True
        except TimeoutError:
            return False
        finally:
            self._end()

    def _notice_quiet(self) -> None:
        if not self._running and not self.connections and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    def _end(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in list(self.connections):
            connection.abort()
        if self._owned_path is not None:
            self._owned_path.unlink(missing_ok=True)


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd passed to this process, by LISTEN_PID and LISTEN_FDS (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=fd) for fd in range(3, 3 + count)]


def _remove_dead_socket(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
        else:
            raise OSError(f"{path} is in use by a running server")
