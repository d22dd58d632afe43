"""The catalogue of running processes: a list is read by one, known to all, and kept where reading fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from handlers import catalog_keeping
from handlers.catalog_keeping import CatalogKeeper, CatalogSync, load
from providers.model_fetch import ListReader
from providers.router import Router
from providers.transport import Transport
from providers.types import ProviderSpec, Timeouts
from store.catalog import CatalogLists
from store.database import Database
from tests.fakes.vendor import Answer, Vendor, reply
from tests.store.stores import run, until

NOW = 1_790_000_000
LIST = "/v1/models"


def models(*names: str) -> Answer:
    return reply({"data": [{"id": name} for name in names]})


class Process:
    """What one process keeps of the catalogue."""

    def __init__(
        self,
        database: Database,
        transport: Transport,
        providers: Sequence[ProviderSpec],
        *,
        now: float,
        is_reading: bool,
    ) -> None:
        self.now = now
        self.changes = 0
        self.lists = CatalogLists(database)
        self.router = Router.from_specs(providers, [], Timeouts())
        self.keeper = CatalogKeeper(
            lists=self.lists,
            sync=CatalogSync(lists=self.lists, reader=ListReader(transport), clock=self.clock),
            router=self.router,
            is_reading=is_reading,
            changed=self.change,
            clock=self.clock,
        )

    def clock(self) -> float:
        return self.now

    def change(self) -> None:
        self.changes += 1

    def listed(self) -> list[str]:
        return list(self.router.models())


@contextlib.asynccontextmanager
async def process(
    directory: Path, *providers: ProviderSpec, now: float = NOW, is_reading: bool = True
) -> AsyncIterator[Process]:
    database = await Database.open(directory / "rooya.db")
    transport = Transport()
    one = Process(database, transport, providers, now=now, is_reading=is_reading)
    try:
        await one.keeper.start()
        yield one
    finally:
        await one.keeper.close()
        await transport.close()
        await database.close()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        vendor.answers[LIST] = models("a", "b")
        yield vendor


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look around often: what is due is still a matter of the tests' clock."""
    monkeypatch.setattr(catalog_keeping, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(catalog_keeping, "TURN_SECONDS", 0.02)


def lab(vendor: Vendor) -> ProviderSpec:
    return ProviderSpec("lab", "vllm", vendor.base_url)


@pytest.mark.usefixtures("hurry")
def test_of_several_processes_one_reads_and_all_know(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            every = [await stack.enter_async_context(process(tmp_path, lab(vendor))) for _ in range(3)]
            await until(lambda: all(one.listed() == ["a", "b"] for one in every))
            assert len(vendor.reads) == 1
            assert [one.changes for one in every] == [1, 1, 1]

    run(test)


@pytest.mark.usefixtures("hurry")
def test_a_list_is_read_again_after_an_hour_and_not_before(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        async with process(tmp_path, lab(vendor)) as one:
            await until(lambda: one.listed() == ["a", "b"])
            vendor.answers[LIST] = models("b", "c")
            one.now += 3600 * 0.89
            await asyncio.sleep(0.2)  # ten turns
            assert len(vendor.reads) == 1
            one.now = NOW + 3601
            await until(lambda: one.listed() == ["b", "c"])
            assert (len(vendor.reads), one.changes) == (2, 2)

    run(test)


@pytest.mark.usefixtures("hurry")
def test_a_list_that_fails_stays_and_is_tried_again_after_five_minutes(
    tmp_path: Path, vendor: Vendor
) -> None:
    async def test() -> None:
        async with process(tmp_path, lab(vendor)) as one:
            await until(lambda: one.listed() == ["a", "b"])
            vendor.answers[LIST] = reply(b"", 500)
            one.now += 3601
            await until(lambda: one.router.lists["lab"].failing_since == NOW + 3601)
            one.now += 299
            await asyncio.sleep(0.2)
            assert len(vendor.reads) == 2
            one.now += 1
            await until(lambda: len(vendor.reads) == 3)
            assert one.listed() == ["a", "b"] and one.router.lists["lab"].is_outage
            vendor.answers[LIST] = models("a")
            one.now += 300
            await until(lambda: one.listed() == ["a"])
            assert one.router.lists["lab"].failing_since is None

    run(test)


@pytest.mark.usefixtures("hurry")
def test_one_that_hangs_holds_no_other_up(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        with Vendor() as hanging:
            hanging.answers[LIST] = Answer(end="hang")
            slow = ProviderSpec("slow", "vllm", hanging.base_url)
            async with process(tmp_path, slow, lab(vendor)) as one:
                await until(lambda: one.listed() == ["a", "b"])
                assert len(hanging.reads) == 1 and one.router.lists["slow"].read_at is None

    run(test)


@pytest.mark.usefixtures("hurry")
def test_a_restart_reads_what_was_not_read_a_moment_ago(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        async with process(tmp_path, lab(vendor)) as one:
            await until(lambda: one.listed() == ["a", "b"])
        async with process(tmp_path, lab(vendor)) as one:
            assert one.listed() == ["a", "b"]  # before anything is read
            await asyncio.sleep(0.1)
            assert len(vendor.reads) == 1
        async with process(tmp_path, lab(vendor), now=NOW + 100):
            await until(lambda: len(vendor.reads) == 2)

    run(test)


def test_a_list_of_another_place_is_nobodys(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        database = await Database.open(tmp_path / "rooya.db")
        transport = Transport()
        try:
            lists = CatalogLists(database)
            sync = CatalogSync(lists=lists, reader=ListReader(transport), clock=lambda: NOW)
            (outcome,) = await sync.all([lab(vendor)])
            assert outcome.changes is not None and outcome.changes.new == ["a", "b"]
            assert set((await load(lists, [lab(vendor)]))[0]) == {"lab"}
            for moved in (
                ProviderSpec("lab", "vllm", "http://elsewhere/v1"),
                ProviderSpec("lab", "lmstudio", vendor.base_url),
                ProviderSpec("other", "vllm", vendor.base_url),
            ):
                assert (await load(lists, [moved]))[0] == {}
        finally:
            await transport.close()
            await database.close()

    run(test)


@pytest.mark.usefixtures("hurry")
def test_a_gateway_that_is_told_not_to_reads_nothing(tmp_path: Path, vendor: Vendor) -> None:
    async def test() -> None:
        async with process(tmp_path, lab(vendor), is_reading=False):
            await asyncio.sleep(0.1)
            assert not vendor.reads

    run(test)
