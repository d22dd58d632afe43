"""Many slow streams at once: what one relayed chunk costs and how late it comes.

Opens all streams of the paced upstream through a subject, lets them settle, then looks at a window of time.
A chunk's delay is from the upstream's write to this process's read; both share a core and add the same to
every subject, which the direct figures show.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

from answers import WrongAnswer
from load import percentile
from subjects import Subject

ROUTE = "paced"
STAMP = re.compile(rb"<(\d{19})>")
OPENED_AT_ONCE = 32
OPEN_S = 15.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many streams, for how long, after how long a while of settling."""

    streams: int
    seconds: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class ChunkFigures:
    """What the readers of the streams saw, and what the subject spent meanwhile."""

    chunks: int
    seconds: float
    cpu_ns: int
    rss_bytes: int
    p50_us: float
    p99_us: float


class Reader(asyncio.Protocol):
    """The client of one stream."""

    def __init__(self, audience: Audience, request: bytes) -> None:
        self._audience = audience
        self._request = request
        self._rest = b""
        self._has_begun = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if not self._has_begun:
            self._has_begun = True
            if not data.startswith(b"HTTP/1.1 200"):
                self._audience.failures.append(data[:500].decode(errors="replace"))
            self._audience.begun += 1
        data = self._rest + data
        # Only a stamp that is cut in two is kept: everything else of a chunk is padding.
        cut = data.rfind(b"<")
        self._rest = data[cut:] if cut > data.rfind(b">") else b""
        delays = self._audience.delays_ns
        for stamp in STAMP.findall(data):
            delays.append(now_ns - int(stamp))

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if not self._audience.is_leaving:
            self._audience.failures.append(f"a stream was cut: {error}")


class Audience:
    """What the readers have seen together."""

    def __init__(self) -> None:
        self.begun = 0
        self.is_leaving = False
        self.delays_ns: list[int] = []
        self.failures: list[str] = []

    def check(self, who: str) -> None:
        if self.failures:
            raise WrongAnswer(f"{who} failed {len(self.failures)} streams, one with: {self.failures[0]}")


def run(crowd: Crowd, subject: Subject) -> ChunkFigures:
    """Open the streams through a subject and measure; raises WrongAnswer when one fails."""
    # Thousands of small objects live here: a collection in mid-measurement would look like a late chunk.
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(crowd, subject))
    finally:
        gc.enable()


async def _measure(crowd: Crowd, subject: Subject) -> ChunkFigures:
    audience = Audience()
    readers = [Reader(audience, subject.request(ROUTE)) for _ in range(crowd.streams)]
    try:
        await _open(audience, readers, subject)
        await asyncio.sleep(crowd.settle_s)
        audience.delays_ns = []
        cpu_before, started = subject.cpu_ns(), time.monotonic()
        await asyncio.sleep(crowd.seconds)
        delays_ns, audience.delays_ns = audience.delays_ns, []
        cpu_after, seconds = subject.cpu_ns(), time.monotonic() - started
        rss = subject.rss_bytes()
        audience.check(subject.name)
        if not delays_ns:
            raise WrongAnswer(f"{subject.name} relayed no chunk in {seconds:.1f} s")
    finally:
        audience.is_leaving = True
        for reader in readers:
            if reader.transport is not None:
                reader.transport.abort()
        await asyncio.sleep(0.2)  # lets everybody notice that the clients have gone
    return ChunkFigures(
        chunks=len(delays_ns),
        seconds=seconds,
        cpu_ns=cpu_after - cpu_before,
        rss_bytes=rss,
        p50_us=percentile(delays_ns, 50) / 1000,
        p99_us=percentile(delays_ns, 99) / 1000,
    )


def _same(reader: Reader) -> Reader:
    return reader


async def _open(audience: Audience, readers: list[Reader], subject: Subject) -> None:
    loop = asyncio.get_running_loop()
    port, who = subject.ports[ROUTE], subject.name
    for first in range(0, len(readers), OPENED_AT_ONCE):
        batch = readers[first : first + OPENED_AT_ONCE]
        await asyncio.gather(*(loop.create_connection(partial(_same, r), "127.0.0.1", port) for r in batch))
    deadline = time.monotonic() + OPEN_S
    while audience.begun < len(readers):
        audience.check(who)
        if time.monotonic() > deadline:
            raise WrongAnswer(f"{who} began {audience.begun} of {len(readers)} streams in {OPEN_S:.0f} s")
        await asyncio.sleep(0.02)
