"""Webhooks, for admins: who is told of budgets and providers. The page and the endpoints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from handlers.page import ADMIN, Site
from handlers.page_rooms import PROBLEMS, Desk, DeskApiHandler, DeskHandler
from store.errors import Invalid
from store.webhooks import MOST, Webhooks

LONGEST_URL: Final = 2000


class WebhookPageHandler(DeskHandler):
    """What page and endpoints share."""

    role = ADMIN
    section = "admin"

    def initialize(self, site: Site, desk: Desk, webhooks: Webhooks) -> None:  # type: ignore[override]
        super().initialize(site, desk)
        self.webhooks = webhooks

    async def make(self, url: str) -> tuple[int, str]:
        """Raises Invalid."""
        if len(await self.webhooks.all()) >= MOST:
            raise Invalid(f"there are at most {MOST} webhooks")
        return await self.webhooks.create(checked(url), by=self.actor)

    async def show(self, **values: Any) -> None:
        given = {"problem": "", "secret": "", **values}
        self.page("admin_webhooks.html", webhooks=await self.webhooks.all(), **given)


class WebhooksHandler(WebhookPageHandler):
    """The list; POST makes one, whose secret is shown this once."""

    async def get(self) -> None:
        await self.show()

    async def post(self) -> None:
        try:
            _, secret = await self.make(self.field("url"))
        except PROBLEMS as error:
            await self.show(problem=self.problem(error))
            return
        await self.show(secret=secret)


class WebhookActionHandler(WebhookPageHandler):
    """POST …/delete, …/test."""

    async def post(self, number: str, action: str) -> None:
        if action == "delete":
            await self.webhooks.delete(int(number), by=self.actor)
        else:
            await self.webhooks.tell("test", {}, to=int(number))
        self.redirect("/dashboard/admin/webhooks", status=303)


class WebhooksApiHandler(DeskApiHandler, WebhookPageHandler):
    """The list; POST {url} makes one."""

    async def get(self) -> None:
        rows = [asdict(webhook) for webhook in await self.webhooks.all()]
        self.write_json({"object": "list", "data": rows})

    async def post(self) -> None:
        (url,) = self.words("url")
        number, secret = await self.make(url)
        self.set_status(201)
        self.write_json({"id": number, "url": url.strip(), "secret": secret})


class WebhookApiHandler(DeskApiHandler, WebhookPageHandler):
    """DELETE ends it."""

    async def delete(self, number: str) -> None:
        await self.webhooks.delete(int(number), by=self.actor)
        self.write_json({"id": int(number), "deleted": True})


class WebhookTestApiHandler(DeskApiHandler, WebhookPageHandler):
    """POST sends a message of the type `test`."""

    async def post(self, number: str) -> None:
        await self.webhooks.tell("test", {}, to=int(number))
        self.write_json({"id": int(number), "is_sent": True})


def checked(url: str) -> str:
    """An address that can be called. Raises Invalid."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or len(url) > LONGEST_URL or not url.isprintable() or not url.isascii() or " " in url:
        raise Invalid("url: expected an http or https URL")
    if parts.username is not None:
        raise Invalid("url: it may hold no user name or password: everybody who may see it would")
    return url
