"""Rooya's command line and composition root: read settings, build the rooms, serve, drain.

It knows every room and no request. Everything is built here and handed down by keyword.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from redis.asyncio import Redis

from handlers import commands
from handlers.accounting import Accounts, Bookkeeping
from handlers.anthropic_inference import Messages
from handlers.catalog_keeping import CatalogKeeper, CatalogSync
from handlers.client_address import ClientAddresses
from handlers.gate import Addresses, Gate
from handlers.health_keeping import HealthKeeper
from handlers.inference import Authenticator, Inference
from handlers.limit_keeping import CorrectionWatch, Ledger, RedisBacking, forget_idle
from handlers.model_pages import ListHealth, ModelPages, Source, TrafficHealth
from handlers.price_keeping import PriceKeeper
from handlers.relay import Relay
from handlers.request_id import RequestIds
from handlers.routes import Rooms, Routes
from handlers.routing import build_router, conduct
from handlers.server import Bounds, Server, inherited_sockets
from handlers.terms import TermsBook
from limits import rebuild
from limits.clock import steady_clock
from limits.embedded import EmbeddedLimiter
from limits.errors import LimiterUnavailable
from limits.guarded import GuardedLimiter
from limits.link import link_from_url
from limits.shared import SharedLimiter
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
from store.recovery import Tell
from store.rests import Rests
from store.retention import Keep
from store.secret import cookie_secret
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
        self._stop = asyncio.Event()
        self.places: list[str] = []
        self.warnings = settings.warnings()
        self._is_redis_up: Callable[[], bool] = lambda: True

    async def start(self) -> None:
        """Open everything and listen. Raises what `commands.REFUSALS` names, and OSError."""
        settings = self._settings
        self._health = Health()
        self.router = build_router(settings, self._health)
        closing = self._closing
        database = await Database.open(settings.server.data_dir / "rooya.db")
        closing.push_async_callback(database.close)
        await self._keep_health(database)
        cookie_secret(settings.server.data_dir)
        self.keys = ApiKeys(database, settings.limits.tiers)
        redis = redis_client(settings.limits.redis_url)
        if redis is not None:
            closing.push_async_callback(redis.aclose)
        self._keyring = Keyring(self.keys, redis=redis)
        closing.push_async_callback(self._keyring.close)
        await self._keyring.start()
        self._mover = await self._keep_books()
        closing.push_async_callback(asyncio.to_thread, self._mover.stop)
        self._transport = Transport()
        closing.push_async_callback(self._transport.close)
        limiter = await self._keep_limits(database)
        accounts = await self._keep_accounts(database, limiter)
        self._server = self._build_server(accounts, limiter)
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
        if self._settings.limits.redis_url:
            self._incarnation = Incarnation(self._settings.server.data_dir)
            self._closing.callback(self._incarnation.close)
            tell = self._outdate
        return await asyncio.to_thread(Mover.start, books(self._settings), tell)

    def _outdate(self, slot: int, start: int, costs: Mapping[str, int]) -> None:
        self._incarnation.outdate()

    async def _keep_limits(self, database: Database) -> Limiter:
        """What keys may still do: counted in the process, or in Redis where that is configured."""
        past = PastReader(database)
        ledger = Ledger(books(self._settings), past, time.time)
        limiter: Limiter
        if self._settings.limits.redis_url:
            limiter = await self._share_limits(ledger)
        else:
            limiter = EmbeddedLimiter(clock=steady_clock(), load=ledger.past)
            forgetting = asyncio.create_task(forget_idle(limiter.forget_idle, self._mover))
            self._closing.callback(forgetting.cancel)
        watch = CorrectionWatch(past, limiter)
        self._closing.push_async_callback(watch.close)
        await watch.start()
        return limiter

    async def _share_limits(self, ledger: Ledger) -> Limiter:
        settings = self._settings
        try:
            link = link_from_url(settings.limits.redis_url)
        except ValueError:  # whose words may repeat a password
            raise LimiterUnavailable("limits.redis_url cannot be read: see the forms in README.md") from None
        backing = RedisBacking(link=link, ledger=ledger, incarnation=self._incarnation, mover=self._mover)
        self._closing.push_async_callback(backing.close)
        await link.connect()
        await rebuild.check(link)
        self.warnings += await rebuild.warnings(link)
        await backing.restore(lost=0, raised=lambda: None)
        limiter = GuardedLimiter(
            shared=SharedLimiter(link=link, number=backing.number, place=backing.place),
            local=EmbeddedLimiter(clock=steady_clock()),
            backing=backing,
            processes=settings.server.processes,
            clock=asyncio.get_running_loop().time,
        )
        self._closing.push_async_callback(limiter.close)
        backing.is_up = self._is_redis_up = lambda: limiter.is_up
        self._mover.tell = backing.tell
        return limiter

    async def _keep_accounts(self, database: Database, limiter: Limiter) -> Accounts:
        """What calls cost: prices, and the journal that they are written to."""
        settings = self._settings
        price_list = PriceList()
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
        health: list[Source] = [
            TrafficHealth(self._health, asyncio.get_running_loop().time),
            ListHealth(lambda: self.router.lists, time.time),
        ]
        self._pages = ModelPages(router=self.router, health=health, clock=time.monotonic)

    def _build_server(self, accounts: Accounts, limiter: Limiter) -> Server:
        settings = self._settings
        gate = Gate(
            limiter=limiter,
            addresses=Addresses(settings.limits.ip_exempt),
            ip_rpm=settings.limits.ip_rpm,
            is_for_all=settings.limits.ip_scope == "all",
            clock=time.time,
        )
        authenticator = Authenticator(self._keyring)
        relay = self._build_relay(accounts)
        rooms = Rooms(
            inference=Inference(
                authenticator=authenticator, gate=gate, relay=relay, is_strict=settings.compat.strict_params
            ),
            messages=Messages(
                authenticator=authenticator,
                gate=gate,
                relay=relay,
                router=self.router,
                estimator=accounts.estimator,
            ),
            gate=gate,
            authenticator=authenticator,
            pages=self._pages,
            is_catalog_public=settings.server.public_catalog,
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
        is_well = self._keyring.is_database_up and not self._mover.is_behind and self._is_redis_up()
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


def redis_client(url: str) -> Redis | None:
    """A client for the cache of keys, with bounded waits; None without Redis, and with several of them."""
    if not url or "+" in url.partition(":")[0]:
        return None
    return Redis.from_url(
        url, socket_timeout=REDIS_WAIT_SECONDS, socket_connect_timeout=REDIS_WAIT_SECONDS, protocol=3
    )


async def announce(gateway: Gateway, settings: Settings, environ: Mapping[str, str]) -> None:
    """Say on the console where it serves and what to do next."""
    say = print
    say(f"Rooya serves {', '.join(gateway.places)}  (data in {settings.server.data_dir})")
    for line in gateway.warnings:
        say(f"warning: {line}")
    model = next(iter(gateway.router.models()), "MODEL")
    if not settings.providers:
        say("No provider is configured, so a demo model answers. Set OPENAI_API_KEY or write rooya.toml.")
    if not await gateway.keys.list():
        say("There is no API key yet. In another terminal:")
        say(f"  {python_name()} rooya.py keys create --name first{data_dir_option(settings)}")
    base = gateway.places[0] if gateway.places[0].startswith("http") else "http://127.0.0.1:8000"
    say("Then call it:")
    say(f"  curl {base}/v1/chat/completions -H 'Authorization: Bearer sk-…' \\")
    say(f'''    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}' ''')
    sys.stdout.flush()


def python_name() -> str:
    """This interpreter as one would type it here."""
    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)


def data_dir_option(settings: Settings) -> str:
    """The option a command needs to find the same data, empty for the usual place."""
    usual = settings.server.data_dir == Path("data")
    return "" if usual else f" --data-dir {settings.server.data_dir}"


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with AsyncExitStack() as closing:
        gateway = Gateway(settings, closing)
        await gateway.start()
        await announce(gateway, settings, environ)
        await gateway.wait()
        await gateway.drain()


def serve(options: Namespace, world: commands.World) -> int:
    """The `serve` verb: 0 after a drain, 1 with the reason on stderr where it cannot start."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        uvloop.run(run(world.settings(options), world.environ))
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
