"""The dashboard put together: accounts, API keys, what was used.

Composition alone; `rooya.py` hands the parts in.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from handlers.account_keeping import account_keeper, account_tables
from handlers.catalogue import Catalogue
from handlers.key_keeping import KeyKeeper
from handlers.live import Live
from handlers.model_pages import ModelPages
from handlers.pacing import Pace
from handlers.page import Site
from handlers.page_rooms import Desk
from handlers.provider_states import ProviderStates
from handlers.provider_testing import ProviderTester
from handlers.refusals import Refusals
from handlers.reporting import GatewayState, Reporting, Wellness
from handlers.webhook_sending import Sender
from handlers.webhook_watching import Watcher
from providers.health import Health
from providers.model_fetch import ListReader
from providers.price_list import PriceList
from providers.router import Router
from providers.transport import Transport
from store.budgets import Budgets
from store.catalog import CatalogLists
from store.database import Database
from store.keyring import Keyring
from store.keys import ApiKeys
from store.login_failures import LoginFailures
from store.mover import Mover
from store.readers import Readers
from store.reports import Reports
from store.requests import LATE_MS, RequestLog
from store.secret import cookie_secret
from store.settings import Settings
from store.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Parts:
    """What the dashboard shows and changes. state: /health's word."""

    settings: Settings
    database: Database
    keys: ApiKeys
    keyring: Keyring
    mover: Mover
    router: Router
    health: Health
    pages: ModelPages
    transport: Transport
    prices: PriceList
    refusals: Refusals
    state: Callable[[], str]
    is_limiter_up: Callable[[], bool]
    is_draining: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """secret: signs cookies. setup_token: of the link that makes the first admin, None where there is one."""

    site: Site
    desk: Desk
    reporting: Reporting
    webhooks: Webhooks
    secret: bytes
    setup_token: str | None
    oidc_routes: list[Any]


async def open_dashboard(parts: Parts, closing: AsyncExitStack) -> Dashboard:
    """Raises StoreUnavailable, OSError."""
    settings = parts.settings
    secret = cookie_secret(settings.server.data_dir)
    tables = account_tables(parts.database, secret, settings)
    site = Site(
        sessions=tables.sessions,
        public_url=settings.server.public_url,
        registration=settings.server.registration,
        first_model=lambda: next(iter(parts.router.models()), "MODEL"),
        trouble=lambda: _wellness(parts).said,
        oidc_name=settings.oidc.name if settings.oidc.issuer else "",
    )
    keeper = KeyKeeper(
        keys=parts.keys,
        users=tables.users,
        tiers=settings.limits.tiers,
        refusals=parts.refusals,
        changed=parts.keyring.refresh,
    )
    desk = Desk(account_keeper(tables, LoginFailures(parts.database), settings), keeper)
    reporting = _reporting(parts, closing)
    return Dashboard(
        site=site,
        desk=desk,
        reporting=reporting,
        webhooks=_webhooks(parts, reporting, secret, closing),
        secret=secret,
        setup_token=await tables.invites.create_setup(),
        oidc_routes=_oidc_routes(parts, site, desk),
    )


def _oidc_routes(parts: Parts, site: Site, desk: Desk) -> list[Any]:
    """None where nobody signs in that way: then what it needs is not even imported."""
    if not parts.settings.oidc.issuer:
        return []
    client = importlib.import_module("handlers.oidc").OidcClient(parts.settings.oidc, parts.transport)
    found: list[Any] = importlib.import_module("handlers.oidc_pages").routes(site, desk, client)
    return found


def _webhooks(parts: Parts, reporting: Reporting, secret: bytes, closing: AsyncExitStack) -> Webhooks:
    webhooks = Webhooks(parts.database, secret)
    watcher = Watcher(
        webhooks=webhooks,
        budgets=Budgets(parts.database),
        refusals=parts.refusals,
        providers=reporting.providers,
    )
    sender = Sender(webhooks, parts.transport)
    for each in (watcher, sender):
        closing.push_async_callback(each.close)
        each.start()
    return webhooks


def _reporting(parts: Parts, closing: AsyncExitStack) -> Reporting:
    settings, journal = parts.settings, parts.mover.journal
    readers = Readers(settings.server.data_dir / "rooya.db")
    closing.push_async_callback(readers.close)
    reports = Reports(readers)
    live = Live(mark=reports.mark, open_keys=journal.open_keys, is_draining=parts.is_draining)
    closing.push_async_callback(live.close)
    return Reporting(
        reports=reports,
        log=RequestLog(readers, late_ms=max(LATE_MS, int(2000 * settings.timeouts.stream_s))),
        catalogue=Catalogue(router=parts.router, pages=parts.pages, prices=parts.prices, clock=time.time),
        providers=ProviderStates(
            router=parts.router,
            health=parts.health,
            lists=CatalogLists(parts.database),
            clock=asyncio.get_running_loop().time,
        ),
        tester=ProviderTester(parts.router, ListReader(parts.transport)),
        live=live,
        pace=Pace(time.monotonic),
        state=lambda: _wellness(parts),
        open_keys=journal.open_keys,
        clock=time.time,
    )


def _wellness(parts: Parts) -> GatewayState:
    journal = parts.mover.journal
    wellness = Wellness(
        word=parts.state(),
        has_redis=bool(parts.settings.limits.redis_url),
        is_redis_up=parts.is_limiter_up(),
        is_database_up=parts.keyring.is_database_up,
        is_ledger_behind=parts.mover.is_behind,
        is_ledger_full=journal.is_full,
    )
    return wellness.state(journal.open_keys().total())
