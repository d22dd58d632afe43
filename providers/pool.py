"""The connections of one origin: which are idle, how many there may be, who waits for one.

Pure book-keeping, no sockets. A *place* is the right to have one connection; it is taken before a
connection is made, stays with it while it lives, and goes with it to a caller in whose hands it
died. Idle connections are lent last in, first out; those who wait are served in order.
Invariant: nobody waits while a connection is idle or a place is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from providers import errors
from providers.connection import CLOSED, IDLE, LENT, Connection
from providers.errors import ProviderError
from providers.outbox import Outbox


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the transport; connections and queue per origin. Those of one target: `health.MOST_CALLS`."""

    max_connections: int = 12_000
    max_queued: int = 1000
    keepalive_s: float = 60.0
    max_header_bytes: int = 65536
    max_body_bytes: int = 256 * 1024 * 1024  # of a body that is read whole


class Counts(NamedTuple):
    """What an origin's pool holds at the moment."""

    idle: int
    active: int
    connecting: int
    queued: int


class Origin:
    """The pool of one scheme, host and port."""

    __slots__ = (
        "_places_taken", "_waiting", "connecting", "connections", "host", "idle", "limits", "lookup",
        "outbox", "port", "scheme",
    )  # fmt: skip

    def __init__(self, scheme: str, host: str, port: int, limits: PoolLimits) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.limits = limits
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.connecting: set[asyncio.Timeout] = set()
        self.outbox = Outbox()
        self.lookup: asyncio.Task[list[Any]] | None = None  # of the host's addresses, shared while it runs
        self._places_taken = 0
        self._waiting: deque[tuple[asyncio.Future[Connection | None], float]] = deque()

    def __repr__(self) -> str:
        return f"<Origin {self.name} {self.counts()}>"

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def counts(self) -> Counts:
        idle = len(self.idle)
        return Counts(idle, len(self.connections) - idle, len(self.connecting), len(self._waiting))

    @property
    def has_one_call(self) -> bool:
        """Is no more than one connection in use?"""
        return len(self.connections) - len(self.idle) <= 1

    def take_place(self) -> bool:
        """The right to make a connection, if the origin may have one more."""
        if self._places_taken >= self.limits.max_connections:
            return False
        self._places_taken += 1
        return True

    def free_place(self) -> None:
        """A connection is gone: its place goes to the first who waits."""
        if not self._hand_over(None):
            self._places_taken -= 1

    def forget(self, connection: Connection) -> None:
        """A connection closes: it is nobody's to lend any more. Its place is a matter of its own."""
        self.connections.discard(connection)
        if connection.state is IDLE:
            self.idle.remove(connection)

    def release(self, connection: Connection) -> None:
        """A connection is free again: it goes to the first who waits, or to the idle ones."""
        if not self._waiting or not self._hand_over(connection):
            connection.state = IDLE
            self.idle.append(connection)

    def _hand_over(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                if connection is not None:
                    connection.state = LENT
                waiter.set_result(connection)
                return True
        return False

    async def wait(self, deadline: float) -> Connection | None:
        """Queue for a connection, or for a place to make one in: then None."""
        if len(self._waiting) >= self.limits.max_queued:
            raise errors.too_many_wait()
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        entry = (waiter, deadline)
        self._waiting.append(entry)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    def _leave(self, entry: tuple[asyncio.Future[Connection | None], float]) -> None:
        """A cancelled caller may have been handed something in the same turn: it goes to the next."""
        waiter, _ = entry
        with suppress(ValueError):
            self._waiting.remove(entry)
        if waiter.cancelled() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None or connection.state is CLOSED:
            self.free_place()
        else:
            self.release(connection)

    def sweep(self, now: float) -> bool:
        """Enforce all bounds of time; True while there is anything that has one other than `keepalive_s`."""
        for connection in list(self.connections):
            connection.sweep(now)
        for connection in [one for one in self.idle if one.has_rested(now, self.limits.keepalive_s)]:
            connection.discard()
        for entry in [entry for entry in self._waiting if now >= entry[1]]:
            self._waiting.remove(entry)
            if not entry[0].done():
                entry[0].set_exception(waited_too_long())
        return bool(self._waiting) or len(self.connections) > len(self.idle)

    def close(self) -> None:
        """End everything; who waits or is in flight gets a failure."""
        for timer in self.connecting:
            if not timer.expired():
                timer.reschedule(0)
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(closed())
        for connection in list(self.connections):
            connection.fail(ProviderError(errors.INCOMPLETE, "the gateway is shutting down"))


def waited_too_long() -> ProviderError:
    """The call's deadline passed before a byte of it was sent."""
    return ProviderError(errors.TIMEOUT, "the call could not be sent in time", dispatched=False)


def closed() -> ProviderError:
    """A call that came after the end."""
    return ProviderError(errors.FAILED, "the gateway is shutting down", dispatched=False)
