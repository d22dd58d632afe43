"""Signing in by an OpenID provider: there, and back. Loaded only where `[oidc]` is configured.

An account is known by the provider's issuer and subject. Who has none gets one where everybody may sign up;
who has one with a password links it from the account's page. A second factor of the account itself is asked
for as after a password.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import asdict
from typing import Any, Final, NoReturn

import ujson
from tornado.escape import url_escape

from handlers.account_keeping import Identity
from handlers.account_pages import AccountPageHandler
from handlers.errors import Refused
from handlers.login_pages import PENDING, PENDING_DAYS, EntryHandler
from handlers.oidc import Attempt, OidcClient, OidcFailed
from handlers.page import PageHandler, Site
from handlers.page_rooms import PROBLEMS, Desk

log = logging.getLogger("rooya.oidc")

UNDER_WAY: Final = "rooya_oidc"
UNDER_WAY_DAYS: Final = 600 / 86400
PATH: Final = "/login/oidc"
Route = tuple[str, type[PageHandler], dict[str, Any]]


class OidcHandler(EntryHandler):
    """To the provider; with `link=1`, from the account's own page, to link it."""

    def initialize(self, site: Site, desk: Desk, client: OidcClient) -> None:  # type: ignore[override]
        super().initialize(site, desk)
        self.client = client

    async def get(self) -> None:
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        attempt = Attempt(state, nonce, secrets.token_urlsafe(48), self.next_path(), self.account_to_link())
        try:
            url = await self.client.authorization_url(attempt, self.redirect_uri)
        except OidcFailed as error:
            self.refuse(error)
        flags = self.cookie_flags()
        self.set_signed_cookie(UNDER_WAY, ujson.dumps(asdict(attempt)), expires_days=UNDER_WAY_DAYS, **flags)
        self.redirect(url, status=303)

    def account_to_link(self) -> int | None:
        """Whose it is. It comes by a link, as no form may lead to another site, with a form's token."""
        if not self.get_query_argument("link", ""):
            return None
        self.check_xsrf()
        if self.account is None:
            raise Refused("not_signed_in")
        return self.account.id

    @property
    def redirect_uri(self) -> str:
        return f"{self.base_url}{PATH}/callback"

    def refuse(self, error: OidcFailed) -> NoReturn:
        """Raises Refused."""
        log.warning("a sign-in failed: %s", error)
        raise Refused("oidc_failed") from error


class OidcCallbackHandler(OidcHandler):
    """And back, with a code."""

    async def get(self) -> None:
        kept = self.get_signed_cookie(UNDER_WAY, max_age_days=UNDER_WAY_DAYS)
        self.clear_cookie(UNDER_WAY)
        attempt = Attempt(**ujson.loads(kept)) if kept else None
        given = self.get_query_argument("state", "")
        if attempt is None or not secrets.compare_digest(attempt.state.encode(), given.encode()):
            raise Refused("oidc_stale")
        code = self.get_query_argument("code", "")
        if not code:  # it was refused there
            raise Refused("oidc_failed")
        try:
            identity = await self.client.identity(attempt, code, self.redirect_uri)
        except OidcFailed as error:
            self.refuse(error)
        if attempt.account_id is None:
            await self.admit(identity, attempt.next_path)
        else:
            await self.link(identity, attempt)

    async def link(self, identity: Identity, attempt: Attempt) -> None:
        """To the account that began it, if it is still the one that is signed in."""
        if self.account is None or self.account.id != attempt.account_id:
            raise Refused("oidc_stale")
        await self.accounts.link(self.account, identity, by=self.actor)
        self.redirect(attempt.next_path, status=303)

    async def admit(self, identity: Identity, next_path: str) -> None:
        """Whoever it is."""
        found = await self.accounts.of_provider(identity)
        if found.totp_salt is None:
            await self.let_in(found.user_id, next_path)
            return
        flags = self.cookie_flags()
        self.set_signed_cookie(PENDING, str(found.user_id), expires_days=PENDING_DAYS, **flags)
        self.redirect(f"/login/code?next={url_escape(next_path)}", status=303)


class UnlinkHandler(AccountPageHandler):
    """Takes the password, which is the only way in afterwards."""

    async def post(self) -> None:
        try:
            await self.accounts.unlink(self.signed_in, self.field("password"), self.visitor, by=self.actor)
        except PROBLEMS as error:
            await self.show(problem=self.problem(error))
            return
        await self.show(done="The accounts are no longer linked.")


def routes(site: Site, desk: Desk, client: OidcClient) -> list[Route]:
    """There, and back."""
    rooms = {"site": site, "desk": desk, "client": client}
    return [
        (PATH, OidcHandler, rooms),
        (rf"{PATH}/callback", OidcCallbackHandler, rooms),
        ("/dashboard/account/oidc/unlink", UnlinkHandler, {"site": site, "desk": desk}),
    ]
