"""The limiter in Redis on trial: on a real server, with counters of its own, at times that a test sets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Final

from limits import rebuild
from limits.errors import LimiterUnavailable
from limits.link import Link, link_from_url
from limits.shared import SharedLimiter
from tests.limits.redis_servers import RedisServer
from tests.limits.trial import Trial

NUMBER: Final = 7
PLACE: Final = "0.1"
CONNECT_SECONDS: Final = 10
NOTHING: Final = rebuild.State(spent={}, correction=0, open=(), tokens=(), reached={})


class SharedBench:
    """A limiter, and what it said of itself: `failures` of Redis, settlements that came to other counters.

    number: of the counters, as the limiter is told.
    """

    def __init__(self, link: Link, url: str, place: str = PLACE) -> None:
        self.link = link
        self.url = url
        self.now_ms = 0
        self.number = NUMBER
        self.failures: list[str] = []
        self.unsettled: list[tuple[str, int, int]] = []
        self.limiter = SharedLimiter(
            link=link, number=lambda: self.number, place=place, now=lambda: self.now_ms or ""
        )
        self.limiter.listen(
            failed=self.failures.append,
            unsettled=lambda claim, *used: self.unsettled.append((claim.claim_id, *used)),
            count_alone=lambda address, rpm: -rpm,
        )

    async def await_(self, waiting: Any) -> Any:
        answer = await waiting if inspect.isawaitable(waiting) else waiting
        await self.sent()
        await self.link.everywhere("PING")
        return answer

    async def sent(self) -> None:
        """Until what was told without an answer is under way: what is asked now comes after it."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def dump(self) -> dict[bytes, Any]:
        """All that is in Redis, to the bit."""
        names = await self.link.ask("", "KEYS", "*")
        return {name: await self.link.ask("", "DUMP", name) for name in names}

    async def close(self) -> None:
        self.link.close()


async def connected(url: str) -> Link:
    """However busy the machine is."""
    link = link_from_url(url)
    async with asyncio.timeout(CONNECT_SECONDS):
        while True:
            try:
                await link.connect()
                return link
            except LimiterUnavailable:
                await asyncio.sleep(0.01)


async def bench(url: str) -> SharedBench:
    return await emptied(await connected(url), url)


async def emptied(link: Link, url: str) -> SharedBench:
    """A limiter on a Redis that has nothing."""
    await link.everywhere("FLUSHALL")
    await rebuild.rebuild(link, NUMBER, NOTHING)
    return SharedBench(link, url)


def on_redis(
    scenario: Callable[[Trial, SharedBench], Coroutine[Any, Any, None]],
) -> Callable[[RedisServer], None]:
    """A test of a limiter on the server of all tests."""

    async def run(url: str) -> None:
        made = await bench(url)
        try:
            await scenario(Trial(made), made)
        finally:
            await made.close()

    def test(redis_server: RedisServer) -> None:
        asyncio.run(run(redis_server.url))

    test.__name__ = scenario.__name__  # and no __wrapped__: pytest would look for fixtures of its parameters
    test.__doc__ = scenario.__doc__
    return test
