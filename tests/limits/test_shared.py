"""The limiter in Redis keeps the contract, on one server and on a cluster, and says when Redis fails."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, Final

import pytest

from limits import rebuild
from limits.link import Link, link_from_url
from limits.shared import SharedLimiter
from tests.limits.contract import LimiterContract
from tests.limits.redis_servers import RedisServer, cluster

NUMBER: Final = 7
NOTHING: Final = rebuild.State(spent={}, correction=0, open=(), tokens=())


class SharedBench:
    """A limiter on counters of its own: whatever is in Redis is thrown away first."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.now_ms = 0
        self.limiter = SharedLimiter(link=link, number=lambda: NUMBER, place="0.1", now=lambda: self.now_ms)

    async def await_(self, waiting: Any) -> Any:
        answer = await waiting if inspect.isawaitable(waiting) else waiting
        await asyncio.sleep(0)  # what was told without an answer is sent now, and PING comes after it
        await asyncio.sleep(0)
        await self._link.everywhere("PING")
        return answer

    async def close(self) -> None:
        self._link.close()


async def bench(url: str) -> SharedBench:
    link = link_from_url(url)
    await link.connect()
    await link.everywhere("FLUSHALL")
    await rebuild.rebuild(link, NUMBER, NOTHING)
    return SharedBench(link)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with cluster() as url:
        yield url


class TestOnAServer(LimiterContract):
    @pytest.fixture(autouse=True)
    def _on(self, server: RedisServer) -> None:
        self.url = server.url

    async def make(self) -> SharedBench:  # type: ignore[override]
        return await bench(self.url)


class TestOnACluster(TestOnAServer):
    @pytest.fixture(autouse=True)
    def _on(self, cluster_url: str) -> None:  # type: ignore[override]
        self.url = cluster_url
