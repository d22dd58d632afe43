"""What every page and every endpoint of the management API shares: who asks, may they, and is it really them.

A page names its `role`; one that names none wants a signed-in account. What changes something needs the XSRF
token, but for a request with an API token, which no browser sends by itself. Pages carry no inline script or
style, so the policy forbids all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

import ujson
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from handlers import figures, wording
from handlers.base import BaseHandler
from handlers.errors import Refused
from store.sessions import BROWSER, LIFETIMES, TOKEN, Account, Sessions

ANONYMOUS: Final = "anonymous"
USER: Final = "user"
ADMIN: Final = "admin"
COOKIE: Final = "rooya_session"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What pages need to know of the gateway. public_url: empty = by the name that the request asks for.

    first_model: one that can be called, for examples. trouble: what is wrong with the gateway, or empty.
    oidc_name: of the OpenID provider that people can sign in with, or empty.
    """

    sessions: Sessions
    public_url: str
    registration: str
    first_model: Callable[[], str]
    trouble: Callable[[], str]
    oidc_name: str = ""

    async def signed_in(self, request: HTTPServerRequest) -> Account | None:
        """Whose session's cookie a request shows. Raises StoreUnavailable."""
        cookie = request.cookies.get(COOKIE)
        return await self.sessions.find(cookie.value, BROWSER) if cookie is not None else None


class PageHandler(BaseHandler):
    """A page in HTML. `account` is who is signed in, None at pages for anonymous visitors at the most."""

    role = USER
    section = ""  # which entry of the navigation it belongs to
    account: Account | None = None

    def initialize(self, site: Site) -> None:
        self.site = site

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        self.account = await self.find_account()
        if self.request.method not in SAFE and self.wants_xsrf:
            self.check_xsrf()
        if self.role != ANONYMOUS and self.account is None:
            self.refuse_anonymous()
        elif self.role == ADMIN and self.account is not None and not self.account.is_admin:
            raise Refused("not_allowed")
        else:
            await self.admitted()

    async def admitted(self) -> None:
        """Whoever asks may: what there is to do before the method itself."""

    async def find_account(self) -> Account | None:
        """Who shows the cookie of a session. Raises StoreUnavailable."""
        return await self.site.signed_in(self.request)

    @property
    def wants_xsrf(self) -> bool:
        """Could a browser have been made to send this?"""
        return True

    def refuse_anonymous(self) -> None:
        """To the login, and back to this page afterwards, where it is one that can be gone to."""
        uri = self.request.uri or "/"
        after = f"?next={quote(uri, safe='/')}" if self.request.method in SAFE else ""
        self.redirect(f"/login{after}", status=303)

    @property
    def signed_in(self) -> Account:
        """The account, at a page that is for accounts."""
        assert self.account is not None
        return self.account

    def check_xsrf(self) -> None:
        """Raises Refused."""
        try:
            self.check_xsrf_cookie()
        except HTTPError as error:
            raise Refused("xsrf") from error

    def open_cookie(self, plaintext: str) -> None:
        """The browser is signed in from now on."""
        self.set_cookie(COOKIE, plaintext, max_age=LIFETIMES[BROWSER], **self.cookie_flags())

    def close_cookie(self) -> None:
        """The browser is signed out."""
        self.set_cookie(COOKIE, "", max_age=0, **self.cookie_flags())

    def cookie_flags(self) -> dict[str, Any]:
        """No script reads it, no other site's form sends it, and where there is TLS it never goes without."""
        return {"httponly": True, "samesite": "Lax", "secure": self.base_url.startswith("https://")}

    @property
    def base_url(self) -> str:
        """Where clients reach this gateway."""
        return self.site.public_url.rstrip("/") or f"{self.request.protocol}://{self.request.host}"

    def next_path(self) -> str:
        """Where to go after the login: a path of ours, whatever the link says."""
        path = self.get_argument("next", "/dashboard")
        parts = urlsplit(path)
        is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc
        return path if is_ours and path.isprintable() else "/dashboard"

    def page(self, template: str, **values: Any) -> None:
        """Answer with a template. It sees `account`, `section`, `site`, `base_url` and what is given."""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        _ = self.render(template, **values)  # the future is for flow control

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "account": self.account,
            "section": self.section,
            "site": self.site,
            "base_url": self.base_url,
            "figures": figures,
            "money": figures.money,
            "moment": wording.moment,
            "ago": wording.ago,
            "number": figures.whole,
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """As a page, in the words that the API has for it."""
        answer = self.failure(status_code, kwargs)
        self.begin(answer)
        message = ujson.loads(answer.body)["error"]["message"]
        title = HTTPStatus(answer.status).phrase
        self.page("error.html", title=title, message=message, status=answer.status)


class ApiHandler(PageHandler):
    """An endpoint of the management API: JSON, by a session or an API token."""

    async def find_account(self) -> Account | None:
        """Whose token or, without one, whose session it is. Raises StoreUnavailable."""
        token = self.token
        if token is None:
            return await super().find_account()
        return await self.site.sessions.find(token, TOKEN)

    @property
    def token(self) -> str | None:
        """What the Authorization header carries."""
        words = self.request.headers.get("Authorization", "").split()
        return words[1] if len(words) == 2 and words[0].lower() == "bearer" else None

    @property
    def wants_xsrf(self) -> bool:
        return self.token is None and self.account is not None

    def refuse_anonymous(self) -> None:
        raise Refused("not_signed_in")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        BaseHandler.write_error(self, status_code, **kwargs)
