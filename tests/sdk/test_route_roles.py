"""Every route by every role: the table of who is answered what. A route that is not in it fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

import pytest
from tornado.web import RequestHandler

from handlers import oidc_pages
from handlers.playground import PATH as PLAYED
from handlers.routes import HOT, application
from tests.gateway import Gateway
from tests.visitor import PASSWORD, Visitor

ANONYMOUS, USER, OTHER, ADMIN, USER_TOKEN, ADMIN_TOKEN = (
    "anonymous", "user", "other user", "admin", "user's token", "admin's token",
)  # fmt: skip
ROLES: Final = (ANONYMOUS, USER, OTHER, ADMIN, USER_TOKEN, ADMIN_TOKEN)
EMAILS: Final = {USER: "user@example.org", OTHER: "other@example.org", ADMIN: "ada@example.org"}
KEY: Final = "1"  # the user's
LOGIN = 303  # a page that sends who is not signed in there


def public(status: int = 200) -> dict[str, int]:
    return dict.fromkeys(ROLES, status)


def page(status: int = 200, *, other: int | None = None, admin: int | None = None) -> dict[str, int]:
    """For who is signed in; a token signs nobody in at a page."""
    return {
        ANONYMOUS: LOGIN, USER: status, OTHER: other or status, ADMIN: admin or status,
        USER_TOKEN: LOGIN, ADMIN_TOKEN: LOGIN,
    }  # fmt: skip


def admin_page(status: int = 200) -> dict[str, int]:
    return {**page(status), USER: 403, OTHER: 403}


def data(status: int = 200, *, other: int | None = None, admin: int | None = None) -> dict[str, int]:
    """JSON, by session or token."""
    by_admin = admin or status
    return {
        ANONYMOUS: 401, USER: status, OTHER: other or status, ADMIN: by_admin,
        USER_TOKEN: status, ADMIN_TOKEN: by_admin,
    }  # fmt: skip


def admin_data(status: int = 200) -> dict[str, int]:
    return {**data(status), USER: 403, OTHER: 403, USER_TOKEN: 403}


# What a route is asked, `{key}` being the user's key; and what each role is answered. Bodies are empty, so
# that nothing is changed: what gets as far as its form is a 400, what refuses the person says so before.
TABLE: Final[dict[str, dict[str, tuple[str, dict[str, int]]]]] = {
    r"/health": {"GET": ("/health", public())},
    r"/v1/key": {"GET": ("/v1/key", public(401))},
    r"/v1/models": {"GET": ("/v1/models", public())},
    r"/v1/models/status": {"GET": ("/v1/models/status", public())},
    r"/v1/models/(.+)": {"GET": ("/v1/models/demo-echo", public())},
    r"/": {"GET": ("/", public(303))},
    r"/docs": {"GET": ("/docs", public())},
    r"/openapi\.json": {"GET": ("/openapi.json", public())},
    r"/login": {
        "GET": ("/login", {**public(), USER: 303, OTHER: 303, ADMIN: 303}),
        "POST": ("/login", public(401)),
    },
    r"/login/code": {"GET": ("/login/code", public(303)), "POST": ("/login/code", public())},
    r"/login/oidc": {"GET": ("/login/oidc", public(502))},  # the provider is not there
    r"/login/oidc/callback": {"GET": ("/login/oidc/callback", public(400))},
    r"/logout": {"POST": ("/logout", {**page(303), USER_TOKEN: 303, ADMIN_TOKEN: 303})},
    r"/register": {"GET": ("/register", public()), "POST": ("/register", public(400))},
    r"/setup": {"GET": ("/setup", public(403)), "POST": ("/setup", public(403))},
    r"/dashboard": {"GET": ("/dashboard", page())},
    r"/dashboard/events": {"GET": ("/dashboard/events?range=never", data(400))},
    r"/dashboard/requests": {"GET": ("/dashboard/requests", page())},
    r"/dashboard/requests\.csv": {"GET": ("/dashboard/requests.csv", data())},
    r"/dashboard/models": {"GET": ("/dashboard/models", page())},
    r"/dashboard/playground": {"GET": ("/dashboard/playground", page())},
    r"/dashboard/keys": {"GET": ("/dashboard/keys", page()), "POST": ("/dashboard/keys", page(400))},
    r"/dashboard/keys/new": {"GET": ("/dashboard/keys/new", page())},
    r"/dashboard/keys/([0-9]{1,15})": {
        "GET": ("/dashboard/keys/{key}", page(other=404)),
        "POST": ("/dashboard/keys/{key}", page(303, other=404)),
    },
    r"/dashboard/keys/([0-9]{1,15})/(activate|deactivate|rotate)": {
        "POST": ("/dashboard/keys/{key}/activate", page(303, other=404)),
    },
    r"/dashboard/account": {"GET": ("/dashboard/account", page())},
    r"/dashboard/account/password": {"POST": ("/dashboard/account/password", page(401))},
    r"/dashboard/account/second-factor": {
        "GET": ("/dashboard/account/second-factor", page()),
        "POST": ("/dashboard/account/second-factor", page(400)),
    },
    r"/dashboard/account/second-factor/off": {"POST": ("/dashboard/account/second-factor/off", page(401))},
    r"/dashboard/account/oidc/unlink": {"POST": ("/dashboard/account/oidc/unlink", page(401))},
    r"/dashboard/account/tokens": {"POST": ("/dashboard/account/tokens", page(400))},
    r"/dashboard/account/sessions/([0-9]{1,15})/end": {
        "POST": ("/dashboard/account/sessions/999999/end", page(404)),
    },
    r"/dashboard/admin": {"GET": ("/dashboard/admin", admin_page(303))},
    r"/dashboard/admin/users": {"GET": ("/dashboard/admin/users", admin_page())},
    r"/dashboard/admin/users/([0-9]{1,15})": {"POST": ("/dashboard/admin/users/1", admin_page(400))},
    r"/dashboard/admin/invites": {"POST": ("/dashboard/admin/invites", admin_page(400))},
    r"/dashboard/admin/invites/([0-9]{1,15})/revoke": {
        "POST": ("/dashboard/admin/invites/999999/revoke", admin_page(404)),
    },
    r"/dashboard/admin/keys": {"GET": ("/dashboard/admin/keys", admin_page())},
    r"/dashboard/admin/providers": {"GET": ("/dashboard/admin/providers", admin_page())},
    r"/dashboard/admin/providers/([^/]+)/test": {
        "POST": ("/dashboard/admin/providers/nobody/test", admin_page(404)),
    },
    r"/dashboard/admin/webhooks": {
        "GET": ("/dashboard/admin/webhooks", admin_page()),
        "POST": ("/dashboard/admin/webhooks", admin_page(400)),
    },
    r"/dashboard/admin/webhooks/([0-9]{1,15})/(delete|test)": {
        "POST": ("/dashboard/admin/webhooks/999999/test", admin_page(404)),
    },
    r"/dashboard/admin/audit": {"GET": ("/dashboard/admin/audit", admin_page())},
    r"/api/v1/usage": {"GET": ("/api/v1/usage", data())},
    r"/api/v1/requests": {"GET": ("/api/v1/requests", data())},
    r"/api/v1/models": {"GET": ("/api/v1/models", data())},
    r"/api/v1/providers": {"GET": ("/api/v1/providers", admin_data())},
    r"/api/v1/providers/([^/]+)/test": {"POST": ("/api/v1/providers/nobody/test", admin_data(404))},
    r"/api/v1/webhooks": {
        "GET": ("/api/v1/webhooks", admin_data()),
        "POST": ("/api/v1/webhooks", admin_data(400)),
    },
    r"/api/v1/webhooks/([0-9]{1,15})": {"DELETE": ("/api/v1/webhooks/999999", admin_data(404))},
    r"/api/v1/webhooks/([0-9]{1,15})/test": {"POST": ("/api/v1/webhooks/999999/test", admin_data(404))},
    r"/api/v1/state": {"GET": ("/api/v1/state", admin_data())},
    r"/api/v1/me": {"GET": ("/api/v1/me", data())},
    r"/api/v1/me/password": {"POST": ("/api/v1/me/password", data(400))},
    r"/api/v1/me/second-factor": {
        "POST": ("/api/v1/me/second-factor", data()),
        "DELETE": ("/api/v1/me/second-factor", data(400)),
    },
    r"/api/v1/me/sessions": {"GET": ("/api/v1/me/sessions", data())},
    r"/api/v1/me/sessions/([0-9]{1,15})": {"DELETE": ("/api/v1/me/sessions/999999", data(404))},
    r"/api/v1/me/tokens": {"POST": ("/api/v1/me/tokens", data(400))},
    r"/api/v1/users": {"GET": ("/api/v1/users", admin_data())},
    r"/api/v1/users/([0-9]{1,15})": {
        "GET": ("/api/v1/users/1", admin_data()),
        "PATCH": ("/api/v1/users/1", admin_data(400)),
    },
    r"/api/v1/invites": {
        "GET": ("/api/v1/invites", admin_data()),
        "POST": ("/api/v1/invites", admin_data(400)),
    },
    r"/api/v1/invites/([0-9]{1,15})": {"DELETE": ("/api/v1/invites/999999", admin_data(404))},
    r"/api/v1/audit": {"GET": ("/api/v1/audit", admin_data())},
    r"/api/v1/keys": {"GET": ("/api/v1/keys", data()), "POST": ("/api/v1/keys", data(400))},
    r"/api/v1/keys/([0-9]{1,15})": {
        "GET": ("/api/v1/keys/{key}", data(other=404)),
        "PATCH": ("/api/v1/keys/{key}", data(400, other=404)),
    },
    r"/api/v1/keys/([0-9]{1,15})/(activate|deactivate|rotate)": {
        "POST": ("/api/v1/keys/{key}/activate", data(other=404)),
    },
    r"/dashboard/.*": {"GET": ("/dashboard/not-there", page(404))},
    r"/api/.*": {"GET": ("/api/not-there", data(404))},
}
# Not of Tornado's table: API keys, and the playground's call.
OTHERS: Final = {
    **{path: {"POST": (path, public(401))} for path in (*HOT, "/v1/messages", "/v1/messages/count_tokens")},
    PLAYED: {"POST": (PLAYED, {**public(401), USER: 403, OTHER: 403, ADMIN: 403})},  # no key is named
}
STATIC: Final = {r"/static/(.*)", r"/(favicon\.ico)", r"/(robots\.txt)"}


def routes() -> dict[str, type[Any]]:
    """The application's own table."""
    nothing = SimpleNamespace(
        authenticator=None, gate=None, pages=None, state=None, uptime_seconds=None,
        settings=SimpleNamespace(server=SimpleNamespace(public_catalog=True, public_url="")),
        dashboard=SimpleNamespace(
            site=None, desk=None, webhooks=None, oidc_routes=oidc_pages.routes(None, None, None), secret=b"",
            reporting=SimpleNamespace(catalogue=None),
        ),
    )  # fmt: skip
    (host,) = application(nothing).default_router.rules[:1]  # type: ignore[arg-type]
    return {rule.matcher.regex.pattern.removesuffix("$"): rule.target for rule in host.target.rules}


def test_every_route_is_in_the_table_with_every_method_it_has() -> None:
    found = {pattern: handler for pattern, handler in routes().items() if pattern not in STATIC}
    assert set(found) == set(TABLE)
    for pattern, handler in found.items():
        own = {method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if offers(handler, method)}
        if not pattern.endswith(".*"):
            assert own == set(TABLE[pattern]), pattern


def offers(handler: type[Any], method: str) -> bool:
    return getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())


class Everybody:
    """A visitor of each role."""

    def __init__(self, gateway: Gateway) -> None:
        self.visitors = {role: Visitor(gateway) for role in (ANONYMOUS, USER, OTHER, ADMIN)}
        self.visitors[USER].sign_up(EMAILS[USER])
        self.visitors[OTHER].sign_up(EMAILS[OTHER])
        self.visitors[ADMIN].sign_in(EMAILS[ADMIN])
        for role, owner in ((USER_TOKEN, USER), (ADMIN_TOKEN, ADMIN)):
            token = gateway.run("users", "token", EMAILS[owner])["token"]
            self.visitors[role] = Visitor(gateway, token=token)
        number, _ = self.visitors[USER].make_key("the user's")
        assert str(number) == KEY

    def ask(self, role: str, method: str, path: str) -> int:
        visitor = self.visitors[role]
        path = path.replace("{key}", KEY)
        if method == "GET":
            return visitor.get(path).status_code
        if path.startswith("/api"):
            return visitor.send(method, path, {}).status_code
        if path == PLAYED:
            return visitor.http.post(path, json={}).status_code
        fields = {"_xsrf": visitor.xsrf(), "email": f"{role} at nowhere"}  # its own count of failures
        status = visitor.http.post(path, data=fields).status_code
        if path == "/logout" and role in EMAILS:
            visitor.sign_in(EMAILS[role])
        return status

    def close(self) -> None:
        for visitor in self.visitors.values():
            visitor.http.close()


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybody]:
    gateway = Gateway(
        tmp_path_factory.mktemp("roles"),
        '[server]\nregistration = "open"\n[limits]\nip_rpm = 0\n[oidc]\nissuer = "http://127.0.0.1:9"\n'
        'client_id = "x"\nclient_secret = "x"\n',
    )
    gateway.key = "none yet"
    gateway.secrets.add(PASSWORD)
    with gateway:
        with Visitor(gateway) as admin:
            admin.set_up()
        found = Everybody(gateway)
        yield found
        found.close()


@pytest.mark.parametrize(
    ("pattern", "method"),
    [(pattern, method) for pattern, methods in {**TABLE, **OTHERS}.items() for method in methods],
)
def test_every_role_is_answered_as_the_table_says(everybody: Everybody, pattern: str, method: str) -> None:
    path, expected = {**TABLE, **OTHERS}[pattern][method]
    assert {role: everybody.ask(role, method, path) for role in ROLES} == expected
