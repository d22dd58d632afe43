"""The URLs of the dashboard and of the management API, one line a route."""

from __future__ import annotations

from typing import Any

from handlers import (
    account_api,
    account_pages,
    admin_pages,
    key_api,
    key_pages,
    login_pages,
    webhook_pages,
)
from handlers.errors import Refused
from handlers.page import ANONYMOUS, ApiHandler, PageHandler, Site
from handlers.page_rooms import Desk
from store.webhooks import Webhooks

Route = tuple[str, type[PageHandler], dict[str, Any]]
ID = r"([0-9]{1,15})"


class StartHandler(PageHandler):
    """`/`: where to begin."""

    role = ANONYMOUS

    async def get(self) -> None:
        self.redirect("/dashboard" if self.account else "/login", status=303)


class NoPageHandler(PageHandler):
    """A path of the dashboard that is not there."""

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            raise Refused("not_found")


class NoEndpointHandler(ApiHandler):
    """A path of the management API that is not there."""

    async def prepare(self) -> None:
        await super().prepare()
        raise Refused("not_found")


def site_routes(site: Site, desk: Desk, webhooks: Webhooks) -> list[Route]:
    """Every page and every endpoint."""
    page, rooms = {"site": site}, {"site": site, "desk": desk}
    return [
        (r"/", StartHandler, page),
        *entry_routes(rooms),
        *page_routes(rooms),
        *api_routes(rooms),
        *webhook_routes({**rooms, "webhooks": webhooks}),
        (r"/dashboard/.*", NoPageHandler, page),
        (r"/api/.*", NoEndpointHandler, page),
    ]


def webhook_routes(rooms: dict[str, Any]) -> list[Route]:
    """Who is told what happens: the page, and the same as JSON."""
    return [
        (r"/dashboard/admin/webhooks", webhook_pages.WebhooksHandler, rooms),
        (rf"/dashboard/admin/webhooks/{ID}/(delete|test)", webhook_pages.WebhookActionHandler, rooms),
        (r"/api/v1/webhooks", webhook_pages.WebhooksApiHandler, rooms),
        (rf"/api/v1/webhooks/{ID}", webhook_pages.WebhookApiHandler, rooms),
        (rf"/api/v1/webhooks/{ID}/test", webhook_pages.WebhookTestApiHandler, rooms),
    ]


def entry_routes(rooms: dict[str, Any]) -> list[Route]:
    """The ways in and out."""
    return [
        (r"/login", login_pages.LoginHandler, rooms),
        (r"/login/code", login_pages.LoginCodeHandler, rooms),
        (r"/logout", login_pages.LogoutHandler, rooms),
        (r"/register", login_pages.RegisterHandler, rooms),
        (r"/setup", login_pages.SetupHandler, rooms),
    ]


def page_routes(rooms: dict[str, Any]) -> list[Route]:
    """The pages on keys and accounts."""
    return [
        (r"/dashboard/keys", key_pages.KeysHandler, rooms),
        (r"/dashboard/keys/new", key_pages.NewKeyHandler, rooms),
        (rf"/dashboard/keys/{ID}", key_pages.KeyHandler, rooms),
        (rf"/dashboard/keys/{ID}/(activate|deactivate|rotate)", key_pages.KeyActionHandler, rooms),
        (r"/dashboard/account", account_pages.AccountHandler, rooms),
        (r"/dashboard/account/password", account_pages.PasswordHandler, rooms),
        (r"/dashboard/account/second-factor", account_pages.SecondFactorHandler, rooms),
        (r"/dashboard/account/second-factor/off", account_pages.SecondFactorOffHandler, rooms),
        (r"/dashboard/account/tokens", account_pages.TokensHandler, rooms),
        (rf"/dashboard/account/sessions/{ID}/end", account_pages.SessionEndHandler, rooms),
        (r"/dashboard/admin", admin_pages.AdminHandler, rooms),
        (r"/dashboard/admin/users", admin_pages.UsersHandler, rooms),
        (rf"/dashboard/admin/users/{ID}", admin_pages.UserHandler, rooms),
        (r"/dashboard/admin/invites", admin_pages.InvitesHandler, rooms),
        (rf"/dashboard/admin/invites/{ID}/revoke", admin_pages.InviteRevokeHandler, rooms),
        (r"/dashboard/admin/keys", admin_pages.AllKeysHandler, rooms),
        (r"/dashboard/admin/audit", admin_pages.AuditHandler, rooms),
    ]


def api_routes(rooms: dict[str, Any]) -> list[Route]:
    """The same as JSON."""
    return [
        (r"/api/v1/me", account_api.MeHandler, rooms),
        (r"/api/v1/me/password", account_api.MyPasswordHandler, rooms),
        (r"/api/v1/me/second-factor", account_api.MySecondFactorHandler, rooms),
        (r"/api/v1/me/sessions", account_api.MySessionsHandler, rooms),
        (rf"/api/v1/me/sessions/{ID}", account_api.MySessionHandler, rooms),
        (r"/api/v1/me/tokens", account_api.MyTokensHandler, rooms),
        (r"/api/v1/users", account_api.UsersApiHandler, rooms),
        (rf"/api/v1/users/{ID}", account_api.UserApiHandler, rooms),
        (r"/api/v1/invites", account_api.InvitesApiHandler, rooms),
        (rf"/api/v1/invites/{ID}", account_api.InviteApiHandler, rooms),
        (r"/api/v1/audit", account_api.AuditApiHandler, rooms),
        (r"/api/v1/keys", key_api.KeysApiHandler, rooms),
        (rf"/api/v1/keys/{ID}", key_api.KeyApiHandler, rooms),
        (rf"/api/v1/keys/{ID}/(activate|deactivate|rotate)", key_api.KeyActionApiHandler, rooms),
    ]
