"""Rooya's command line and composition root: read settings, build the rooms, serve, drain.

It knows every room and no request. Everything is built here and handed down by keyword.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from redis.asyncio import Redis

from handlers import commands
from handlers.accounting import Accounts, Bookkeeping
from handlers.answering import NANODOLLARS
from handlers.catalog_keeping import CatalogKeeper, CatalogSync
from handlers.client_address import ClientAddresses
from handlers.console import announce
from handlers.dashboard import Dashboard, Parts, open_dashboard
from handlers.gate import Addresses, Gate
from handlers.health_keeping import HealthKeeper
from handlers.inference import Authenticator
from handlers.limiting import Limiting
from handlers.model_pages import ListHealth, ModelPages, Source, TrafficHealth
from handlers.price_keeping import PriceKeeper
from handlers.probing import Means, Prober
from handlers.refusals import Refusals
from handlers.relay import Relay
from handlers.request_id import RequestIds
from handlers.routes import Rooms, Routes
from handlers.routing import build_router, conduct
from handlers.server import Bounds, Server, inherited_sockets
from handlers.terms import TermsBook
from limits.errors import LimiterUnavailable
from limits.types import Limiter
from providers import price_edition, vendors
from providers.estimate import Estimator
from providers.health import Health
from providers.model_fetch import ListReader
from providers.price_list import PriceList
from providers.transport import Transport
from store.catalog import CatalogLists
from store.database import Database
from store.incarnation import Incarnation
from store.keyring import Keyring
from store.keys import ApiKeys
from store.mover import Books, Mover
from store.past import PastReader
from store.prices import Prices
from store.probes import Probes
from store.recovery import Tell
from store.rests import Rests
from store.retention import Keep
from store.settings import Settings
from store.syncing import GroupSync

log = logging.getLogger("rooya")

REDIS_WAIT_SECONDS: Final = 0.25
GC_THRESHOLDS: Final = (10_000, 20, 50)  # calls make many containers, hardly a cycle


class Gateway:
    """One serving process: `start`, `wait`, `drain`. `closing` closes what it opened, the last first."""

    def __init__(self, settings: Settings, closing: AsyncExitStack) -> None:
        self._settings = settings
        self._closing = closing
        self._started_at = time.monotonic()
        self._refusals = Refusals()
        self._stop = asyncio.Event()
        self.places: list[str] = []
        self.warnings = settings.warnings()

    async def start(self) -> None:
        """Open everything and listen. Raises what `commands.REFUSALS` names, and OSError."""
        settings = self._settings
        self._health = Health()
        self.router = build_router(settings, self._health)
        closing = self._closing
        database = await Database.open(settings.server.data_dir / "rooya.db")
        closing.push_async_callback(database.close)
        await self._keep_health(database)
        self.keys = ApiKeys(database, settings.limits.tiers)
        redis = redis_client(settings.limits.redis_url)
        if redis is not None:
            closing.push_async_callback(redis.aclose)
        self._keyring = Keyring(self.keys, redis=redis)
        closing.push_async_callback(self._keyring.close)
        await self._keyring.start()
        self._books = books(settings)
        self._mover = await self._keep_books()
        closing.push_async_callback(asyncio.to_thread, self._mover.stop)
        self._transport = Transport()
        closing.push_async_callback(self._transport.close)
        self._limiting = Limiting(settings, PastReader(database), closing)
        limiter = await self._limiting.build(self._books, self._mover, self._incarnation)
        self.warnings += self._limiting.warnings
        accounts = await self._keep_accounts(database, limiter)
        dashboard = await open_dashboard(self._shown(database), closing)
        self.setup_token = dashboard.setup_token
        self._server = self._build_server(accounts, limiter, dashboard)
        await self._listen()
        gc.freeze()  # what start-up made lives on: the collector need not walk it again and again
        gc.set_threshold(*GC_THRESHOLDS)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def _keep_health(self, database: Database) -> None:
        clock = asyncio.get_running_loop().time
        keeper = HealthKeeper(
            health=self._health,
            rests=Rests(database),
            clock=clock,
            unix_ms=lambda: time.time_ns() // 1_000_000,
        )
        self._closing.push_async_callback(keeper.close)
        await keeper.start()

    async def _keep_books(self) -> Mover:
        """The journal; what died calls had reserved in Redis is made good by filling it anew."""
        tell: Tell | None = None
        self._incarnation: Incarnation | None = None
        if self._settings.limits.redis_url:
            self._incarnation = Incarnation(self._settings.server.data_dir)
            self._closing.callback(self._incarnation.close)
            tell = partial(outdate, self._incarnation)
        return await asyncio.to_thread(Mover.start, self._books, tell)

    async def _keep_accounts(self, database: Database, limiter: Limiter) -> Accounts:
        """What calls cost: prices, and the journal that they are written to."""
        settings = self._settings
        self._price_list = price_list = PriceList()
        self._closing.push_async_callback(price_list.close)
        estimator = Estimator()
        terms = TermsBook(router=self.router, prices=price_list, estimator=estimator, clock=time.time)
        keeper = PriceKeeper(
            prices=Prices(database, time.time),
            price_list=price_list,
            terms=terms,
            edition=partial(price_edition.current, settings.server.data_dir),
            wanted=self.router.served,
        )
        self._closing.push_async_callback(keeper.close)
        await keeper.start()
        await self._keep_catalog(CatalogLists(database), keeper)
        if settings.health.paid_probe_usd_per_day:
            await self._keep_probing(database, terms)
        journal = self._mover.journal
        is_always_synced = settings.ledger.journal_sync == "always"
        sync = GroupSync(journal).wait if is_always_synced else None
        return Accounts(
            books=Bookkeeping(journal, settings.ledger.journal_required, sync),
            limiter=limiter,
            terms=terms,
            estimator=estimator,
            clock=time.time,
        )

    async def _keep_catalog(self, lists: CatalogLists, prices: PriceKeeper) -> None:
        """What can be asked for, and how it does."""
        keeper = CatalogKeeper(
            lists=lists,
            sync=CatalogSync(lists=lists, reader=ListReader(self._transport), clock=time.time),
            router=self.router,
            is_reading=self._settings.server.sync_catalog,
            changed=prices.look_again,
            clock=time.time,
        )
        self._closing.push_async_callback(keeper.close)
        await keeper.start()
        self._sources: list[Source] = [
            TrafficHealth(self._health, asyncio.get_running_loop().time),
            ListHealth(lambda: self.router.lists, time.time),
        ]
        self._pages = ModelPages(router=self.router, health=self._sources, clock=time.monotonic)

    async def _keep_probing(self, database: Database, terms: TermsBook) -> None:
        prober = Prober(
            Means(self.router, terms, self._transport, self._health),
            Probes(database, round(self._settings.health.paid_probe_usd_per_day * NANODOLLARS)),
            tuple(self._sources),
            unix=time.time,
            clock=asyncio.get_running_loop().time,
            next_id=RequestIds().next,
        )
        self._closing.push_async_callback(prober.close)
        await prober.start()
        self._sources.append(prober)

    def _build_server(self, accounts: Accounts, limiter: Limiter, dashboard: Dashboard) -> Server:
        settings = self._settings
        gate = Gate(
            limiter=limiter,
            refusals=self._refusals,
            addresses=Addresses(settings.limits.ip_exempt),
            ip_rpm=settings.limits.ip_rpm,
            is_for_all=settings.limits.ip_scope == "all",
            clock=time.time,
        )
        rooms = Rooms(
            authenticator=Authenticator(self._keyring),
            gate=gate,
            relay=self._build_relay(accounts),
            router=self.router,
            estimator=accounts.estimator,
            pages=self._pages,
            dashboard=dashboard,
            settings=settings,
            state=self.state,
            uptime_seconds=lambda: time.monotonic() - self._started_at,
        )
        return Server(
            Routes(rooms),
            explain=gate.explain,
            bounds=Bounds(body_bytes=settings.server.max_body_bytes),
            addresses=ClientAddresses(settings.server.trusted_proxies),
            request_ids=RequestIds(),
        )

    def _shown(self, database: Database) -> Parts:
        return Parts(
            settings=self._settings,
            database=database,
            keys=self.keys,
            keyring=self._keyring,
            mover=self._mover,
            router=self.router,
            health=self._health,
            pages=self._pages,
            transport=self._transport,
            prices=self._price_list,
            state=self.state,
            refusals=self._refusals,
            is_limiter_up=self._limiting.is_up,
            is_draining=lambda: self._server.is_draining,
        )

    def _build_relay(self, accounts: Accounts) -> Relay:
        return Relay(
            router=self.router,
            transport=self._transport,
            accounts=accounts,
            health=self._health,
            conduct=conduct(self._settings),
            clock=asyncio.get_running_loop().time,
        )

    async def _listen(self) -> None:
        server = self._settings.server
        inherited = inherited_sockets(os.environ)
        if inherited:
            await self._server.listen_inherited(inherited)
            self.places = ["the sockets systemd passed"]
        elif server.unix:
            await self._server.listen_unix(Path(server.unix))
            self.places = [f"unix:{server.unix}"]
        else:
            for address, port in await self._server.listen_tcp(server.address, server.port):
                self.places.append(f"http://{f'[{address}]' if ':' in address else address}:{port}")

    def state(self) -> str:
        """What /health says: keys in memory go on without the database, but no others; without room for the
        journal no calls do."""
        if self._server.is_draining:
            return "draining"
        is_well = self._keyring.is_database_up and not self._mover.is_behind and self._limiting.is_up()
        return "ok" if is_well else "degraded"

    async def wait(self) -> None:
        """Return when the process is told to stop."""
        await self._stop.wait()

    async def drain(self) -> None:
        """Let what runs finish, streams up to their own bound."""
        if not await self._server.drain(self._settings.timeouts.stream_s):
            log.warning("calls were still running at the end of the drain and have been cut")


def books(settings: Settings) -> Books:
    """Where and how this process keeps its books."""
    keep = Keep(settings.ledger.retention_days, settings.ledger.retention_bytes)
    return Books(
        settings.server.data_dir,
        is_alone=not settings.limits.redis_url,
        keep=keep,
        is_always_synced=settings.ledger.journal_sync == "always",
    )


def outdate(incarnation: Incarnation, slot: int, start: int, costs: Mapping[str, int]) -> None:
    """A process was found dead at the start (`store.recovery.Tell`): what Redis holds may miss its calls."""
    incarnation.outdate()


def redis_client(url: str) -> Redis | None:
    """A client for the cache of keys, with bounded waits; None without Redis, and with several of them."""
    if not url or "+" in url.partition(":")[0]:
        return None
    return Redis.from_url(
        url, socket_timeout=REDIS_WAIT_SECONDS, socket_connect_timeout=REDIS_WAIT_SECONDS, protocol=3
    )


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with AsyncExitStack() as closing:
        gateway = Gateway(settings, closing)
        await gateway.start()
        announce(
            settings,
            places=gateway.places,
            warnings=gateway.warnings,
            model=next(iter(gateway.router.models()), "MODEL"),
            has_keys=bool(await gateway.keys.list()),
            setup_token=gateway.setup_token,
        )
        await gateway.wait()
        await gateway.drain()


def serve(options: Namespace, world: commands.World) -> int:
    """The `serve` verb: 0 after a drain, 1 with the reason on stderr where it cannot start."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a shell's 1,024 would be 500 calls at once
    try:
        uvloop.run(run(world.settings(options)))
    except (*commands.REFUSALS, LimiterUnavailable, OSError) as error:
        print(f"rooya: {error}", file=world.stderr)
        return 1
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run a verb; the process's exit status."""
    options = commands.parse(arguments)
    world = commands.World(
        environ=os.environ,
        stdout=sys.stdout,
        stderr=sys.stderr,
        kinds=vendors.kinds(),
        vendors_env=vendors.env_kinds(),
        build_router=build_router,
    )
    return serve(options, world) if options.verb == "serve" else commands.run(options, world)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # whoever read our output has seen enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
