"""An account's API keys: the list, a new one, one to look at and change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handlers import command_values as values
from handlers import key_fields
from handlers.key_keeping import KeySight
from handlers.page_rooms import PROBLEMS, DeskHandler
from store.keys import PERIODS
from store.types import ApiKey


class KeyPageHandler(DeskHandler):
    """What the pages of keys share."""

    section = "keys"

    def submitted(self) -> dict[str, Any]:
        """The form's fields as the store has them. Raises Invalid."""
        return key_fields.from_form(lambda name: self.get_body_argument(name, None))

    def typed(self) -> dict[str, str]:
        """The form's fields as they were typed, to be shown again."""
        return {name: self.field(name)[:500] for name in key_fields.FORM}

    def show_plaintext(self, key: ApiKey, plaintext: str, done: str) -> None:
        """The one page that shows a key."""
        model = next(iter(sorted(key.models or ())), self.site.first_model())
        message = {"role": "user", "content": "Hello!"}
        example = json.dumps({"model": model, "messages": [message]}, ensure_ascii=False)
        self.page("key_created.html", key=key, plaintext=plaintext, done=done, model=model, example=example)

    def show_form(self, problem: str, fields: Mapping[str, str], sight: KeySight | None = None) -> None:
        self.page(
            "key_form.html",
            problem=problem,
            fields=fields,
            sight=sight,
            tiers=self.keys.tiers,
            tier=self.keys.tiers.get(sight.key.tier if sight else self.signed_in.tier),
            periods=PERIODS,
        )


class KeysHandler(KeyPageHandler):
    """The list; a form that makes one."""

    async def get(self) -> None:
        self.page("keys.html", sights=await self.keys.list(self.signed_in))

    async def post(self) -> None:
        try:
            key, plaintext = await self.keys.create(self.signed_in, self.submitted(), by=self.actor)
        except PROBLEMS as error:
            self.show_form(self.problem(error), self.typed())
            return
        self.show_plaintext(key, plaintext, "is made")


class NewKeyHandler(KeyPageHandler):
    """The form for a new key."""

    async def get(self) -> None:
        self.show_form("", {})


class KeyHandler(KeyPageHandler):
    """One key, and the form that changes it."""

    async def get(self, key_id: str) -> None:
        sight = await self.keys.find(self.signed_in, int(key_id))
        self.show_form("", self.fields_of(sight.key), sight)

    async def post(self, key_id: str) -> None:
        sight = await self.keys.find(self.signed_in, int(key_id))
        shown = self.fields_of(sight.key)
        try:
            # What was left as it is shown is not sent on: an expiry that has passed may stay.
            same = {key_fields.FORM[name][0] for name in shown if self.field(name).strip() == shown[name]}
            fields = key_fields.from_form(
                lambda name: None if key_fields.FORM[name][0] in same else self.get_body_argument(name, None)
            )
            if fields:
                await self.keys.update(self.signed_in, sight.key.id, fields, by=self.actor)
        except PROBLEMS as error:
            self.show_form(self.problem(error), self.typed(), sight)
            return
        self.redirect(f"/dashboard/keys/{sight.key.id}", status=303)

    def fields_of(self, key: ApiKey) -> dict[str, str]:
        """A key as the form has it: a limit that is its tier's is left empty."""
        tier = self.keys.tiers.get(key.tier)
        budget = values.usd(key.budget_nanodollars)
        expires = values.time_text(key.expires_at)
        return {
            "name": key.name,
            "tier": key.tier,
            "rpm": "" if tier and key.rpm == tier.rpm else str(key.rpm),
            "tpd": "" if tier and key.tpd == tier.tpd else str(key.tpd),
            "max_parallel": str(key.max_parallel or ""),
            "budget": "" if budget is None else values.cell(budget),
            "budget_period": key.budget_period,
            "models": ", ".join(sorted(key.models or ())),
            "expires": (expires or "").replace(" ", "T"),
        }


class KeyActionHandler(KeyPageHandler):
    """What a button does to a key."""

    async def post(self, key_id: str, action: str) -> None:
        account, number = self.signed_in, int(key_id)
        try:
            if action == "rotate":
                grace = key_fields.grace_seconds(self.field("grace"))
                key, plaintext = await self.keys.rotate(account, number, grace, by=self.actor)
                self.show_plaintext(key, plaintext, "has a new secret")
                return
            change = self.keys.activate if action == "activate" else self.keys.deactivate
            await change(account, number, by=self.actor)
        except PROBLEMS as error:
            sight = await self.keys.find(account, number)
            self.page("key_refused.html", problem=self.problem(error), sight=sight)
            return
        self.redirect(f"/dashboard/keys/{number}", status=303)
