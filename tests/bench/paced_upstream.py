"""An upstream of endless event streams: every request gets a 200-byte chunk each interval until it hangs up.

    python paced_upstream.py PORT INTERVAL_MS

A program of its own, so that it shares the upstream's core and not the measuring process's event loop. The
streams are spread over the interval, as independent ones are, and advanced by one timer a millisecond:
256 timers would cost more than the chunks. A stream whose reader is slow skips its turn.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import cast

import uvloop

from traffic import paced_chunk

TICK_S = 0.001
STAMP_DIGITS = 19
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Wheel:
    """The open streams in as many slots as the interval has ticks; each tick serves one slot."""

    def __init__(self, interval_ms: int) -> None:
        self.slots: list[set[Stream]] = [set() for _ in range(interval_ms)]
        chunk = paced_chunk(0)
        before, _, after = chunk.partition(b"0" * STAMP_DIGITS)
        self._framed = b"%x\r\n%b%%019d%b\r\n" % (len(chunk), before, after)

    def emptiest(self) -> set[Stream]:
        return min(self.slots, key=len)

    async def turn(self) -> None:
        """For ever: serve every slot whose moment has come by the clock, however many wake-ups there were."""
        loop = asyncio.get_running_loop()
        started, served = loop.time(), 0
        while True:
            due = int((loop.time() - started) / TICK_S)
            for tick in range(max(served, due - len(self.slots)), due):
                for stream in self.slots[tick % len(self.slots)]:
                    stream.send(self._framed % time.monotonic_ns())
            served = due
            await asyncio.sleep(TICK_S)


class Stream(asyncio.Protocol):
    """One connection: the first bytes that come are taken for a request and start the stream."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._slot: set[Stream] | None = None
        self._transport: asyncio.Transport | None = None
        self._is_clogged = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if data.startswith(b"GET"):
            self._transport.write(HEALTHY)
        elif self._slot is None:
            self._transport.write(HEAD)
            self._slot = self._wheel.emptiest()
            self._slot.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._slot is not None:
            self._slot.discard(self)

    def pause_writing(self) -> None:
        self._is_clogged = True

    def resume_writing(self) -> None:
        self._is_clogged = False

    def send(self, chunk: bytes) -> None:
        if self._transport is not None and not self._is_clogged:
            self._transport.write(chunk)


async def serve(port: int, interval_ms: int) -> None:
    """Until the process is ended."""
    wheel = Wheel(interval_ms)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Stream(wheel), "127.0.0.1", port, backlog=4096)
    gc.freeze()
    await wheel.turn()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
