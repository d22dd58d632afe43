"""What admins see and do: accounts and their tiers, invitations, all keys, the audit log."""

from __future__ import annotations

from typing import Any

from handlers.page import ADMIN
from handlers.page_rooms import PROBLEMS, DeskHandler


class AdminPageHandler(DeskHandler):
    """A page for admins."""

    role = ADMIN
    section = "admin"

    async def show_users(self, problem: str = "", link: str = "") -> None:
        self.page(
            "admin_users.html",
            users=await self.accounts.tables.users.list(),
            invites=await self.accounts.invites(),
            tiers=self.keys.tiers,
            problem=problem,
            link=link,
        )


class AdminHandler(AdminPageHandler):
    """The first of the admin's pages."""

    async def get(self) -> None:
        self.redirect("/dashboard/admin/users", status=303)


class UsersHandler(AdminPageHandler):
    """Every account, and the invitations."""

    async def get(self) -> None:
        await self.show_users()


class UserHandler(AdminPageHandler):
    """A change of an account."""

    async def post(self, user_id: str) -> None:
        user = await self.accounts.tables.users.find_id(int(user_id))
        changes: dict[str, Any] = {}
        if self.field("tier"):
            changes["tier"] = self.field("tier")
        if self.field("role"):
            changes["is_admin"] = self.field("role") == "admin"
        if self.field("state"):
            changes["is_disabled"] = self.field("state") == "disabled"
        try:
            await self.accounts.change_user(user.email, changes, by=self.actor)
            await self.keys.refresh()
        except PROBLEMS as error:
            await self.show_users(self.problem(error))
            return
        self.redirect("/dashboard/admin/users", status=303)


class InvitesHandler(AdminPageHandler):
    """A new invitation: its link is shown once."""

    async def post(self) -> None:
        try:
            _, token = await self.accounts.invite(self.field("tier"), by=self.actor)
        except PROBLEMS as error:
            await self.show_users(self.problem(error))
            return
        await self.show_users(link=f"{self.base_url}/register?token={token}")


class InviteRevokeHandler(AdminPageHandler):
    """Takes an invitation back."""

    async def post(self, invite_id: str) -> None:
        await self.accounts.tables.invites.revoke(int(invite_id), by=self.actor)
        self.redirect("/dashboard/admin/users", status=303)


class AllKeysHandler(AdminPageHandler):
    """Everybody's keys."""

    async def get(self) -> None:
        self.page("admin_keys.html", sights=await self.keys.list(self.signed_in, of_all=True))


class AuditHandler(AdminPageHandler):
    """Who changed what, the newest first."""

    async def get(self) -> None:
        below = self.get_query_argument("below", "")
        number = int(below) if below.isascii() and below.isdigit() and len(below) < 16 else None
        subject = self.get_query_argument("subject", "")[:100]
        rows = await self.accounts.tables.audit.list(below=number, subject=subject)
        self.page("audit.html", rows=rows, subject=subject)
