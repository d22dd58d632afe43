"""One's own account: password, second factor, sessions and tokens."""

from __future__ import annotations

from typing import Any

from handlers import second_factor
from handlers.account_keeping import SALT
from handlers.page_rooms import PROBLEMS, DeskHandler
from store.errors import Invalid


class AccountPageHandler(DeskHandler):
    """What the account's pages share."""

    section = "account"

    async def show(self, **values: Any) -> None:
        """The account's page, with what has just been done or refused."""
        account = self.signed_in
        given = {"problem": "", "done": "", "plaintext": "", "codes": (), **values}
        self.page(
            "account.html",
            sessions=await self.accounts.sessions(account),
            credential=await self.accounts.credential(account),
            **given,
        )


class AccountHandler(AccountPageHandler):
    """All of it at a glance."""

    async def get(self) -> None:
        await self.show()


class PasswordHandler(AccountPageHandler):
    """A new password."""

    async def post(self) -> None:
        try:
            await self.accounts.change_password(
                self.signed_in, self.field("current"), self.field("new"), self.visitor, by=self.actor
            )
        except PROBLEMS as error:
            await self.show(problem=self.problem(error))
            return
        await self.show(done="The password is changed. Your other sessions and your tokens have ended.")


class SecondFactorHandler(AccountPageHandler):
    """Switching the second factor on: scan, then prove it with a code."""

    async def get(self) -> None:
        self.show_picture("")

    async def post(self) -> None:
        salt = self.field("salt")
        try:
            if not SALT.fullmatch(salt):
                raise Invalid("the form is broken: begin again")
            codes = await self.accounts.enable_second_factor(
                self.signed_in, salt, self.field("code"), by=self.actor
            )
        except PROBLEMS as error:
            self.show_picture(self.problem(error), salt)
            return
        await self.show(done="The second factor is on.", codes=codes)

    def show_picture(self, problem: str, salt: str = "") -> None:
        factor = self.accounts.draw_second_factor(self.signed_in, salt if SALT.fullmatch(salt) else "")
        self.page(
            "second_factor.html",
            problem=problem,
            factor=factor,
            picture=second_factor.picture(factor.uri),
        )


class SecondFactorOffHandler(AccountPageHandler):
    """Switching it off takes the password."""

    async def post(self) -> None:
        try:
            await self.accounts.disable_second_factor(
                self.signed_in, self.field("password"), self.visitor, by=self.actor
            )
        except PROBLEMS as error:
            await self.show(problem=self.problem(error))
            return
        await self.show(done="The second factor is off.")


class TokensHandler(AccountPageHandler):
    """A new token of the management API, shown once."""

    async def post(self) -> None:
        try:
            plaintext = await self.accounts.create_token(
                self.signed_in, self.field("name"), self.visitor.address, by=self.actor
            )
        except PROBLEMS as error:
            await self.show(problem=self.problem(error))
            return
        await self.show(plaintext=plaintext)


class SessionEndHandler(AccountPageHandler):
    """Ends a session or a token."""

    async def post(self, session_id: str) -> None:
        await self.accounts.close_session(self.signed_in, int(session_id), by=self.actor)
        self.redirect("/dashboard/account", status=303)
