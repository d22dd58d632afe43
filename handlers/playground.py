"""The playground: a page that talks to a model, and the call behind it, made as one of one's own API keys.

The call runs through the same endpoint as every other: the key's limits hold, its budget pays. Only who asks
is shown otherwise: by the session's cookie and the number of a key, in a header that no form of another site
can send. Refuses what a browser says comes from elsewhere.
"""

from __future__ import annotations

import time
from typing import Final

from tornado.httputil import parse_cookie

from handlers.catalogue import Catalogue
from handlers.errors import Refused
from handlers.exchange import Exchange
from handlers.inference import Inference
from handlers.key_keeping import KeyKeeper
from handlers.page import COOKIE, Site
from handlers.page_rooms import Desk, DeskHandler
from providers.types import CHAT
from store.errors import KeyRefused, NotFound
from store.sessions import BROWSER, Account
from store.types import ApiKey

PATH: Final = "/dashboard/playground/chat"
KEY_FIELD: Final = b"x-rooya-key"
FROM_HERE: Final = (None, b"same-origin")


class PlaygroundHandler(DeskHandler):
    """The page."""

    section = "playground"

    def initialize(  # type: ignore[override]
        self, site: Site, desk: Desk, catalogue: Catalogue
    ) -> None:
        super().initialize(site, desk)
        self.catalogue = catalogue

    async def get(self) -> None:
        sights = await self.keys.list(self.signed_in)
        keys = [sight.key for sight in sights if sight.state == "active"]
        models = [model.id for model in await self.catalogue.models() if model.type == CHAT]
        self.page("playground.html", keys=keys, models=models, path=PATH)


class Playground:
    """POST /dashboard/playground/chat: a chat completion as the key whose number `X-Rooya-Key` has."""

    def __init__(self, site: Site, keys: KeyKeeper, inference: Inference) -> None:
        self._site = site
        self._keys = keys
        self._inference = inference

    async def serve(self, exchange: Exchange) -> None:
        """Raises Refused, KeyRefused, StoreUnavailable, and what `Inference.serve` does."""
        account = await self._account(exchange)
        await self._inference.serve(exchange, CHAT, await self._key(exchange, account))

    async def _account(self, exchange: Exchange) -> Account:
        head = exchange.head
        if head.field(b"sec-fetch-site") not in FROM_HERE:
            raise Refused("xsrf")
        cookies = parse_cookie((head.field(b"cookie") or b"").decode("latin-1"))
        account = await self._site.sessions.find(cookies.get(COOKIE, ""), BROWSER)
        if account is None:
            raise Refused("not_signed_in")
        return account

    async def _key(self, exchange: Exchange, account: Account) -> ApiKey:
        number = exchange.head.field(KEY_FIELD)
        if number is None:
            raise Refused("xsrf")
        if not number.isdigit() or len(number) > 15:
            raise KeyRefused("unknown")
        try:
            key = (await self._keys.find(account, int(number))).key
        except NotFound as error:
            raise KeyRefused("unknown") from error
        if key.disabled_at is not None:
            raise KeyRefused("inactive")
        if key.expires_at is not None and key.expires_at <= time.time():
            raise KeyRefused("expired")
        return key
