"""A claim that waits for the ledger while Redis begins to be filled waits for that too.

Else it would be admitted under the number of counters that were written without it, and its cost lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from limits.alone import NOWHERE, Position, Seen
from limits.embedded import EmbeddedLimiter
from limits.guarded import GuardedLimiter, Owed
from limits.types import Claim


class Shared:
    """Stands for Redis; keeps what it is asked."""

    def __init__(self) -> None:
        self.is_up = True
        self.admitted: list[Claim] = []
        self.failed: Callable[[str], None] = lambda reason: None

    def listen(self, *, failed: Callable[[str], None], **_: Any) -> None:
        self.failed = failed

    def admit(self, claim: Claim) -> Awaitable[None]:
        self.admitted.append(claim)
        return asyncio.sleep(0)

    def lose(self) -> None:
        self.is_up = False
        self.failed("gone")

    def resume(self) -> None:
        self.is_up = True


class Backing:
    """Reads the ledger, and fills Redis, when it is told to."""

    def __init__(self) -> None:
        self.value = 1
        self.may_read, self.may_raise, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def number(self) -> int:
        return self.value

    def others(self) -> int:
        return 0

    def position(self) -> Position:
        return NOWHERE

    async def owed(self) -> Owed:
        await self.may_read.wait()
        return Owed()

    async def restore(self, *, lost: int, raised: Callable[[], None]) -> Seen:
        await self.may_raise.wait()
        self.value += 1
        raised()
        await self.may_end.wait()
        return Seen(self.value)


def claim() -> Claim:
    made = Claim()
    made.claim_id, made.key_id, made.window = "c", 1, 0
    rules = {"rpm": 9, "tpd": 9, "max_parallel": None, "budget_nanodollars": 9}
    made.rules = type("Rules", (), rules)()
    made.requests = made.tokens = made.worst_nanodollars = made.least_nanodollars = 1
    made.incarnation = 0
    return made


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.expects_log("Redis is lost")
@pytest.mark.expects_log("Redis is back")
def test_who_waited_for_the_ledger_is_decided_by_what_holds_afterwards() -> None:
    async def job() -> None:
        shared, backing = Shared(), Backing()
        clock = asyncio.get_running_loop().time
        local = EmbeddedLimiter(clock=lambda: 0)
        any_shared: Any = shared
        guarded = GuardedLimiter(shared=any_shared, local=local, backing=backing, processes=1, clock=clock)
        shared.lose()
        asked = claim()
        waiting = asyncio.ensure_future(guarded.admit(asked))
        await turns()
        backing.may_raise.set()
        await turns()
        backing.may_read.set()
        await turns()
        assert not waiting.done()  # nothing is decided alone while Redis is being filled
        backing.may_end.set()
        await waiting
        assert shared.admitted == [asked]
        await guarded.close()

    asyncio.run(job())
