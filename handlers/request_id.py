"""Request ids: the gateway's own, unique, and ordered by time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable


class RequestIds:
    """Makes ids such as `019a2b3c4d5e7f00a1b2c3d4000001`: 12 hex digits of Unix milliseconds, 10 of this
    start of the process, 8 of a counter. Ids of one process sort by age, also when the clock steps back."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._start = secrets.token_hex(5)
        self._latest_ms = -1
        self._prefix = ""
        self._count = 0

    def next(self) -> str:
        now_ms = self._clock_ns() // 1_000_000
        if now_ms > self._latest_ms:
            self._latest_ms = now_ms
            self._prefix = f"{now_ms:012x}{self._start}"
        self._count = (self._count + 1) & 0xFFFFFFFF
        return f"{self._prefix}{self._count:08x}"
