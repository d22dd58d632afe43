"""The limiter in the process."""

from __future__ import annotations

import inspect
from typing import Any

from limits.embedded import EmbeddedLimiter
from tests.limits.contract import LimiterContract
from tests.limits.trial import START


class EmbeddedBench:
    def __init__(self) -> None:
        self.now_ms = START
        self.limiter = EmbeddedLimiter(clock=lambda: self.now_ms)

    async def await_(self, waiting: Any) -> Any:
        return await waiting if inspect.isawaitable(waiting) else waiting

    async def close(self) -> None:
        pass


class TestEmbedded(LimiterContract):
    def make(self) -> EmbeddedBench:
        return EmbeddedBench()
