"""The management API on accounts: one's own, and for admins everybody's, invitations and the audit log."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from handlers.account_keeping import SALT, user_row
from handlers.page import ADMIN
from handlers.page_rooms import DeskApiHandler
from store.errors import Invalid

CHANGES: Final[dict[str, type]] = {"tier": str, "is_admin": bool, "is_disabled": bool}


class MeHandler(DeskApiHandler):
    """Who asks."""

    async def get(self) -> None:
        account = self.signed_in
        self.write_json(
            {
                "id": account.id,
                "email": account.email,
                "is_admin": account.is_admin,
                "tier": account.tier,
                "has_second_factor": (await self.accounts.credential(account)).totp_salt is not None,
            }
        )


class MyPasswordHandler(DeskApiHandler):
    """POST {current, new}."""

    async def post(self) -> None:
        current, new = self.words("current", "new")
        await self.accounts.change_password(self.signed_in, current, new, self.visitor, by=self.actor)
        self.write_json({"changed": True})


class MySecondFactorHandler(DeskApiHandler):
    """POST {} draws a secret to scan; POST {salt, code} proves it; DELETE {password} switches it off."""

    async def post(self) -> None:
        if not self.document():
            self.write_json(asdict(self.accounts.draw_second_factor(self.signed_in)))
            return
        salt, code = self.words("salt", "code")
        if not SALT.fullmatch(salt):
            raise Invalid("salt: expected the one that was drawn")
        codes = await self.accounts.enable_second_factor(self.signed_in, salt, code, by=self.actor)
        self.write_json({"recovery_codes": codes})

    async def delete(self) -> None:
        (password,) = self.words("password")
        await self.accounts.disable_second_factor(self.signed_in, password, self.visitor, by=self.actor)
        self.write_json({"deleted": True})


class MySessionsHandler(DeskApiHandler):
    """One's sessions and tokens."""

    async def get(self) -> None:
        rows = [asdict(row) for row in await self.accounts.sessions(self.signed_in)]
        for row in rows:
            row["is_current"] = row["id"] == self.signed_in.session_id
        self.write_json({"object": "list", "data": rows})


class MySessionHandler(DeskApiHandler):
    """DELETE ends it."""

    async def delete(self, session_id: str) -> None:
        await self.accounts.close_session(self.signed_in, int(session_id), by=self.actor)
        self.write_json({"id": int(session_id), "deleted": True})


class MyTokensHandler(DeskApiHandler):
    """POST {name} makes a token; it is shown this once."""

    async def post(self) -> None:
        (name,) = self.words("name")
        plaintext = await self.accounts.create_token(
            self.signed_in, name, self.visitor.address, by=self.actor
        )
        self.set_status(201)
        self.write_json({"name": name.strip(), "token": plaintext})


class AdminApiHandler(DeskApiHandler):
    """An endpoint for admins."""

    role = ADMIN


class UsersApiHandler(AdminApiHandler):
    """Every account."""

    async def get(self) -> None:
        rows = [user_row(user) for user in await self.accounts.tables.users.list()]
        self.write_json({"object": "list", "data": rows})


class UserApiHandler(AdminApiHandler):
    """One account; PATCH {tier, is_admin, is_disabled}."""

    async def get(self, user_id: str) -> None:
        self.write_json(user_row(await self.accounts.tables.users.find_id(int(user_id))))

    async def patch(self, user_id: str) -> None:
        changes = self.document()
        for name, value in changes.items():
            if name not in CHANGES:
                raise Invalid(f"these can be changed: {', '.join(CHANGES)}")
            if type(value) is not CHANGES[name]:
                raise Invalid(f"{name}: expected a {'string' if CHANGES[name] is str else 'boolean'}")
        user = await self.accounts.tables.users.find_id(int(user_id))
        changed = await self.accounts.change_user(user.email, changes, by=self.actor)
        await self.keys.refresh()
        self.write_json(user_row(changed))


class InvitesApiHandler(AdminApiHandler):
    """Invitations; POST {tier} makes one, whose link is shown this once."""

    async def get(self) -> None:
        rows = [asdict(invite) for invite in await self.accounts.invites()]
        self.write_json({"object": "list", "data": rows})

    async def post(self) -> None:
        (tier,) = self.words("tier")
        invite_id, token = await self.accounts.invite(tier, by=self.actor)
        self.set_status(201)
        url = f"{self.base_url}/register?token={token}"
        self.write_json({"id": invite_id, "tier": tier, "url": url})


class InviteApiHandler(AdminApiHandler):
    """DELETE takes it back."""

    async def delete(self, invite_id: str) -> None:
        await self.accounts.tables.invites.revoke(int(invite_id), by=self.actor)
        self.write_json({"id": int(invite_id), "deleted": True})


class AuditApiHandler(AdminApiHandler):
    """GET ?below=ID&subject=…: who changed what, a hundred at a time, the newest first."""

    async def get(self) -> None:
        below = self.get_query_argument("below", "")
        if below and not (below.isascii() and below.isdigit() and len(below) < 16):
            raise Invalid("below: expected the id of a row")
        rows = await self.accounts.tables.audit.list(
            below=int(below) if below else None, subject=self.get_query_argument("subject", "")[:100]
        )
        self.write_json({"object": "list", "data": [_audit_row(asdict(row)) for row in rows]})


def _audit_row(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("before", "after"):
        row[name] = None if row[name] is None else json.loads(row[name])
    return row
