"""What the pages and endpoints of accounts and keys share: what they work on, who acts, what a form says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ujson

from handlers import errors
from handlers.account_keeping import AccountKeeper
from handlers.errors import LoginThrottled, Refused
from handlers.key_keeping import KeyKeeper
from handlers.page import ApiHandler, PageHandler, Site
from handlers.payload import parse
from handlers.signing_in import Visitor
from store.audit import API, PAGE, Actor
from store.errors import Invalid

# What a person can put right by filling the form in again.
PROBLEMS = (Invalid, Refused, LoginThrottled)


@dataclass(frozen=True, slots=True)
class Desk:
    """What is kept of accounts and keys."""

    accounts: AccountKeeper
    keys: KeyKeeper


class DeskHandler(PageHandler):
    """A page on accounts or keys."""

    way = PAGE

    def initialize(self, site: Site, desk: Desk) -> None:  # type: ignore[override]
        super().initialize(site)
        self.accounts = desk.accounts
        self.keys = desk.keys

    @property
    def actor(self) -> Actor:
        """Who makes a change, for the audit log."""
        return Actor(self.signed_in.email, self.way, self.signed_in.id)

    @property
    def visitor(self) -> Visitor:
        """Where the request comes from."""
        return Visitor(self.request.remote_ip or "", self.request.headers.get("User-Agent", ""))

    def field(self, name: str) -> str:
        """Of the form, as it was typed; empty where it is missing."""
        return self.get_body_argument(name, "", strip=False)

    def problem(self, error: BaseException) -> str:
        """The words for a form that has to be filled in again; status and header lines go with them."""
        answer = errors.answer(error)
        self.begin(answer)
        message: str = ujson.loads(answer.body)["error"]["message"]
        return message


class DeskApiHandler(ApiHandler, DeskHandler):
    """An endpoint on accounts or keys."""

    way = API

    def document(self) -> dict[str, Any]:
        """The body's JSON object, an empty one where there is no body. Raises InvalidJSON."""
        return parse(self.request.body) if self.request.body else {}

    def words(self, *names: str) -> list[str]:
        """The strings of the body by these names, and no others. Raises InvalidJSON, Invalid."""
        document = self.document()
        unknown = sorted(set(document) - set(names))
        if unknown:
            raise Invalid(f"there is no field '{errors.shown(unknown[0])}' here")
        for name in names:
            if not isinstance(document.get(name), str):
                raise Invalid(f"{name}: expected a string")
        return [document[name] for name in names]
