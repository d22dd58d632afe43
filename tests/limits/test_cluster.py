"""The limiter in Redis keeps the contract on a cluster, and says when a part of it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from limits import rebuild
from limits.errors import LimiterUnavailable
from limits.link import link_from_url
from tests.limits.contract import LimiterContract
from tests.limits.redis_servers import Cluster
from tests.limits.shared_bench import NOTHING, NUMBER, SharedBench, bench
from tests.limits.trial import Trial


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


class TestOnACluster(LimiterContract):
    @pytest.fixture(autouse=True)
    def _on(self, cluster: Cluster) -> None:
        self.url = cluster.url

    async def make(self) -> SharedBench:  # type: ignore[override]
        return await bench(self.url)


def test_the_subjects_are_spread_over_all_nodes(cluster: Cluster) -> None:
    async def run() -> None:
        made = await bench(cluster.url)
        try:
            await rebuild.check(made.link)
            trial = Trial(made)
            trial.limit(rpm=2)
            claims = await asyncio.gather(*(trial.admit(key=key // 2) for key in range(256)))
            assert {claim.requests_left for claim in claims} == {0, 1}
            waits = await asyncio.gather(*(trial.count(f"192.0.2.{n}", 1) for n in range(100)))
            assert set(waits) == {0}
            sizes = await made.link.everywhere("DBSIZE")
            assert len(sizes) == 3 and min(sizes) > 20
            assert await rebuild.verify(made.link, NUMBER)
            await rebuild.rebuild(made.link, NUMBER + 1, NOTHING)
            await rebuild.remove_earlier(made.link, NUMBER + 1)
            left = [name for names in await made.link.everywhere("KEYS", f"*:{NUMBER}:*") for name in names]
            assert not left
        finally:
            await made.close()

    asyncio.run(run())


def test_a_slot_that_has_moved_is_found_again() -> None:
    async def run(cluster: Cluster) -> None:
        made = await bench(cluster.url)
        trial = Trial(made)
        try:
            await trial.admit(key=1)
            cluster.move("1")
            with pytest.raises(LimiterUnavailable, match="MOVED"):
                await made.limiter.admit(trial.claim(key=1))
            assert len(made.failures) == 1
            await made.link.connect()
            await rebuild.rebuild(made.link, NUMBER, NOTHING)
            made.limiter.resume()
            assert (await trial.admit(key=1)).refusal == ""
        finally:
            await made.close()

    with Cluster() as cluster:
        asyncio.run(run(cluster))


def test_a_node_that_dies_fails_the_cluster() -> None:
    async def run(cluster: Cluster) -> None:
        made = await bench(cluster.url)
        trial = Trial(made)
        try:
            cluster.servers[2].stop()
            async with asyncio.timeout(5):
                while not made.failures:
                    await asyncio.sleep(0.01)
            with pytest.raises(LimiterUnavailable):
                await made.limiter.admit(trial.claim())
            link = link_from_url(cluster.url)
            with pytest.raises(LimiterUnavailable):
                await link.connect()
        finally:
            await made.close()

    with Cluster() as cluster:
        asyncio.run(run(cluster))
