"""A proxy in front of a real redis-server that fails in the ways a network does, switched while it runs.

It knows bytes, and of Redis only what a script's call looks like. What it holds back is not lost: as with a
network that stalls, it arrives once the fault is mended, whoever has given up on it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Final, Self

from tests.limits.redis_servers import RedisServer, free_port

BLOCK_BYTES: Final = 65_536
SCRIPT: Final = b"EVALSHA"
A_LITTLE: Final = 1e-6  # seconds: what is due at one moment comes in any order
BY_RESET: Final = struct.pack("ii", 1, 0)  # of SO_LINGER


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong; by default nothing does.

    is_refusing: nobody listens, and connections are reset. is_silent: they stay open, and nothing passes.
    delay_seconds: of every answer. most_bytes: of a connection's answers, then it is reset. scripts_to_reset:
    so many are run, and their connection is reset in place of the answer.
    """

    is_refusing: bool = False
    is_silent: bool = False
    delay_seconds: float = 0
    most_bytes: int | None = None
    scripts_to_reset: int = 0


class FaultProxy:
    """`with FaultProxy(server) as proxy:`; `proxy.url` is for those who are to meet its faults."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.fault = Fault()
        self.scripts_reset = 0  # since the fault began
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._changed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._callers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.break_(Fault(is_refusing=True))
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def break_(self, fault: Fault) -> None:
        """From here on this goes wrong, on connections that are open as well."""
        asyncio.run_coroutine_threadsafe(self._switch(fault), self._loop).result(10)

    def mend(self) -> None:
        self.break_(Fault())

    async def stalled(self) -> None:
        """Return once something may pass."""
        while self.fault.is_silent:
            await self._changed.wait()

    async def _switch(self, fault: Fault) -> None:
        self.fault = fault
        self.scripts_reset = 0
        self._changed.set()
        self._changed = asyncio.Event()
        if not fault.is_refusing:
            if self._listener is None:
                self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            return
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for caller in self._callers:
            _reset(caller)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers.add(writer)
        try:
            with contextlib.suppress(OSError):
                redis_reader, redis_writer = await asyncio.open_unix_connection(self.server.socket)
                try:
                    await Passage(self, writer).run(reader, redis_reader, redis_writer)
                finally:
                    redis_writer.close()
        finally:
            self._callers.discard(writer)
            _reset(writer)


class Passage:
    """One connection through the proxy: what is asked, and what is answered."""

    def __init__(self, proxy: FaultProxy, caller: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._caller = caller
        self._is_script = False  # is the last that was asked one?
        self._answered_bytes = 0
        self._due = 0.0  # the last answer, by the loop's clock

    async def run(
        self,
        asking: asyncio.StreamReader,
        answering: asyncio.StreamReader,
        redis: asyncio.StreamWriter,
    ) -> None:
        """Until either side ends it; what was asked before is passed on still."""
        answers = asyncio.create_task(self._answer(answering))
        try:
            while asked := await asking.read(BLOCK_BYTES):
                await self._proxy.stalled()
                self._is_script = SCRIPT in asked
                redis.write(asked)
                await redis.drain()
        finally:
            answers.cancel()

    async def _answer(self, answering: asyncio.StreamReader) -> None:
        proxy, caller = self._proxy, self._caller
        while answer := await answering.read(BLOCK_BYTES):
            await proxy.stalled()
            fault = proxy.fault
            if self._is_script and proxy.scripts_reset < fault.scripts_to_reset:
                proxy.scripts_reset += 1
                break
            self._answered_bytes += len(answer)
            excess = 0 if fault.most_bytes is None else self._answered_bytes - fault.most_bytes
            if excess > 0:
                self._write(answer[: max(0, len(answer) - excess)])
                break
            self._write_later(answer, fault.delay_seconds)
        _reset(caller)

    def _write_later(self, answer: bytes, delay_seconds: float) -> None:
        """Never before what was to be written earlier, though it was delayed for longer."""
        loop = asyncio.get_running_loop()
        self._due = max(loop.time() + delay_seconds, self._due + A_LITTLE)
        loop.call_at(self._due, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if not self._caller.is_closing():  # it may have gone since
            self._caller.write(answer)


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BY_RESET)
        writer.transport.abort()
