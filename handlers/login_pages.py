"""Signing in and out, signing up, and the set-up of the first admin."""

from __future__ import annotations

from typing import Final

from handlers.errors import Refused
from handlers.page import ANONYMOUS
from handlers.page_rooms import PROBLEMS, DeskHandler
from store.audit import PAGE
from store.invites import INVITE, SETUP
from store.users import User

PENDING: Final = "rooya_login"
PENDING_DAYS: Final = 300 / 86400  # after the password, the code has five minutes


class EntryHandler(DeskHandler):
    """A page for who is not signed in yet."""

    role = ANONYMOUS

    async def let_in(self, user_id: int, next_path: str = "") -> None:
        """Open a session, in place of one there may be, and go on; where to, the request says otherwise."""
        if self.account is not None and self.account.session_id is not None:
            await self.accounts.close_session(self.account, self.account.session_id, by=self.actor)
        self.open_cookie(await self.accounts.sign_in.open(user_id, self.visitor))
        self.clear_cookie(PENDING)
        self.redirect(next_path or self.next_path(), status=303)


class LoginHandler(EntryHandler):
    """E-mail address and password."""

    async def get(self) -> None:
        if self.account is not None:
            self.redirect(self.next_path(), status=303)
            return
        await self.show("")

    async def post(self) -> None:
        email = self.field("email")
        try:
            found = await self.accounts.sign_in.check_password(email, self.field("password"), self.visitor)
        except PROBLEMS as error:
            await self.show(self.problem(error), email)
            return
        if found.totp_salt is None:
            await self.let_in(found.user_id)
            return
        flags = self.cookie_flags()
        self.set_signed_cookie(PENDING, str(found.user_id), expires_days=PENDING_DAYS, **flags)
        await self.ask_code("")

    async def show(self, problem: str, email: str = "") -> None:
        self.page(
            "login.html",
            problem=problem,
            email=email[:254],
            next_path=self.next_path(),
            is_set_up=await self.accounts.tables.users.has_admin(),
        )

    async def ask_code(self, problem: str) -> None:
        self.page("login_code.html", problem=problem, next_path=self.next_path())


class LoginCodeHandler(LoginHandler):
    """The second factor, after the password."""

    async def get(self) -> None:
        if self.get_signed_cookie(PENDING, max_age_days=PENDING_DAYS) is None:
            self.redirect("/login", status=303)
            return
        await self.ask_code("")

    async def post(self) -> None:
        pending = self.get_signed_cookie(PENDING, max_age_days=PENDING_DAYS)
        if pending is None:
            await self.show("The sign-in took too long: start again.")
            return
        try:
            found = await self.accounts.sign_in.check_code(int(pending), self.field("code"), self.visitor)
        except PROBLEMS as error:
            await self.ask_code(self.problem(error))
            return
        await self.let_in(found.user_id)


class LogoutHandler(DeskHandler):
    """Ends this session."""

    async def post(self) -> None:
        account = self.signed_in
        if account.session_id is not None:
            await self.accounts.close_session(account, account.session_id, by=self.actor)
        self.close_cookie()
        self.redirect("/login", status=303)


class RegisterHandler(EntryHandler):
    """An account for who has an invitation, or for everybody where registration is open."""

    kind = INVITE

    async def get(self) -> None:
        await self.show("")

    async def post(self) -> None:
        email, token = self.field("email"), self.token
        try:
            user = await self.make(token, email, self.field("password"))
        except PROBLEMS as error:
            await self.show(self.problem(error), email)
            return
        await self.let_in(user.id)

    @property
    def token(self) -> str:
        return self.get_argument("token", "")

    async def make(self, token: str, email: str, password: str) -> User:
        if token:
            return await self.accounts.redeem(token, self.kind, email, password, way=PAGE)
        return await self.accounts.register(email, password, way=PAGE)

    async def show(self, problem: str, email: str = "") -> None:
        token = self.token
        is_open = self.kind == INVITE and self.site.registration == "open" and not token
        may = is_open or (bool(token) and await self.accounts.tables.invites.is_open(token, self.kind))
        if not may and not problem:
            problem = self.problem(Refused("link_spent" if token else "registration_closed"))
        values = {"token": token, "may": may, "kind": self.kind, "email": email[:254]}
        self.page("register.html", problem=problem, **values)


class SetupHandler(RegisterHandler):
    """The first admin's account, by the link that `serve` prints."""

    kind = SETUP

    async def make(self, token: str, email: str, password: str) -> User:
        return await self.accounts.redeem(token, SETUP, email, password, way=PAGE)
