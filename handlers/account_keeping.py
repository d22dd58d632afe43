"""What accounts do with themselves and admins with accounts: the one way there for pages and API.

The command line calls the same verbs of the store. Refuses what is not the account's own, and to lock the
last admin out.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from handlers import second_factor
from handlers.errors import Refused
from handlers.passwords import Passwords
from handlers.signing_in import SignIn, Visitor
from store.audit import PAGE, Actor, AuditLog
from store.credentials import Credential, Credentials
from store.database import Database
from store.errors import Invalid
from store.invites import Invite, Invites
from store.login_failures import LoginFailures
from store.sessions import Account, Session, Sessions
from store.settings import Settings
from store.users import User, Users

ISSUER: Final = "Rooya"
OPEN: Final = "open"
LONGEST_NAME: Final = 100
SALT: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom an OpenID provider means. subject: issuer and subject; email: verified."""

    subject: str
    email: str


@dataclass(frozen=True, slots=True)
class AccountTables:
    """The tables that accounts are in."""

    users: Users
    credentials: Credentials
    sessions: Sessions
    invites: Invites
    audit: AuditLog


class AccountKeeper:
    """registration: open, invite or closed. clock: Unix seconds."""

    def __init__(
        self,
        tables: AccountTables,
        *,
        passwords: Passwords,
        sign_in: SignIn,
        registration: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tables = tables
        self.sign_in = sign_in
        self._passwords = passwords
        self._registration = registration
        self._clock = clock

    # Getting an account

    async def register(self, email: str, password: str, *, way: str) -> User:
        """Without a link. Raises Refused (registration_closed, busy), Invalid."""
        if self._registration != OPEN:
            raise Refused("registration_closed")
        await self._passwords.judge(password, email)
        return await self.tables.invites.register(email, await self._passwords.hash(password), way=way)

    async def of_provider(self, identity: Identity) -> Credential:
        """The account of whom an OpenID provider has signed in. Raises Refused, Invalid.

        Its address leads to an account only where nobody but the operator can have made it: who signed up
        with a password may have given an address that is not theirs.
        """
        credentials = self.tables.credentials
        found = await credentials.find_subject(identity.subject)
        if found is not None:
            return found
        by = Actor("OpenID provider", PAGE)
        found = await credentials.find(identity.email)
        if found is not None:
            if found.password_hash is not None or found.oidc_subject is not None:
                raise Refused("oidc_unlinked")
            await credentials.link(found.user_id, identity.subject, by=by)
            return found
        if await self.tables.users.is_known(identity.email, identity.subject):
            raise Refused("wrong_login")  # it is disabled
        if self._registration != OPEN:
            raise Refused("registration_closed")
        user = await self.tables.users.create(identity.email, subject=identity.subject, by=by)
        return Credential(user.id, user.email, None, None, 0, identity.subject)

    async def redeem(self, token: str, kind: str, email: str, password: str, *, way: str) -> User:
        """With one. Raises Refused (busy), Invalid."""
        if not await self.tables.invites.is_open(token, kind):
            raise Refused("link_spent")
        await self._passwords.judge(password, email)
        hashed = await self._passwords.hash(password)
        return await self.tables.invites.redeem(token, kind, email, hashed, way=way)

    # One's own account

    async def change_password(
        self, account: Account, current: str, new: str, visitor: Visitor, *, by: Actor
    ) -> None:
        """Ends every other session. Raises Refused (wrong_login, busy), LoginThrottled, Invalid."""
        await self.sign_in.confirm(account.email, current, visitor)
        await self._passwords.judge(new, account.email)
        hashed = await self._passwords.hash(new)
        await self.tables.credentials.set_password(account.id, hashed, by=by, keep_session=account.session_id)

    async def credential(self, account: Account) -> Credential:
        """What it signs in with. Raises Refused where it has just been disabled."""
        found = await self.tables.credentials.find_id(account.id)
        if found is None:
            raise Refused("not_signed_in")
        return found

    async def link(self, account: Account, identity: Identity, *, by: Actor) -> None:
        """Sign in by the OpenID provider from now on, too. Raises Invalid where another account does."""
        await self.tables.credentials.link(account.id, identity.subject, by=by)

    async def unlink(self, account: Account, password: str, visitor: Visitor, *, by: Actor) -> None:
        """By the password alone again. Raises Refused (wrong_login, busy), LoginThrottled."""
        await self.sign_in.confirm(account.email, password, visitor)
        await self.tables.credentials.link(account.id, None, by=by)

    def draw_second_factor(self, account: Account, salt: str = "") -> SecondFactor:
        """What to scan; nothing is stored before a code has proved that it was."""
        salt = salt or secrets.token_hex(16)
        secret = self.tables.credentials.totp_secret(account.id, salt)
        return SecondFactor(salt, secret, second_factor.uri(secret, account.email, ISSUER))

    async def enable_second_factor(self, account: Account, salt: str, code: str, *, by: Actor) -> list[str]:
        """The recovery codes, shown once. Raises Invalid where the code is not right."""
        steps = second_factor.steps_of(
            self.tables.credentials.totp_secret(account.id, salt), code, self._clock()
        )
        if not steps:
            raise Invalid("this is not the code that the authenticator shows now")
        return await self.tables.credentials.enable_totp(account.id, salt, steps[0], by=by)

    async def disable_second_factor(
        self, account: Account, password: str, visitor: Visitor, *, by: Actor
    ) -> None:
        """Raises Refused (wrong_login, busy), LoginThrottled."""
        await self.sign_in.confirm(account.email, password, visitor)
        await self.tables.credentials.disable_totp(account.id, by=by)

    async def sessions(self, account: Account) -> list[Session]:
        return await self.tables.sessions.list(account.id)

    async def create_token(self, account: Account, name: str, address: str, *, by: Actor) -> str:
        """A token of the management API: its plaintext, shown once. Raises Invalid."""
        return await self.tables.sessions.create_token(account.id, token_name(name), address, by=by)

    async def close_session(self, account: Account, session_id: int, *, by: Actor) -> None:
        """One of one's own. Raises NotFound."""
        await self.tables.sessions.close(account.id, session_id, by=by)

    # What admins do. The handlers see to it that only they come here.

    async def change_user(self, email: str, changes: dict[str, Any], *, by: Actor) -> User:
        """changes: of tier, is_admin, is_disabled. Raises NotFound, Invalid."""
        users = self.tables.users
        user = await users.find(email)
        if not changes:
            raise Invalid("nothing to change was given")
        if "tier" in changes and changes["tier"] != user.tier:
            user = await users.set_tier(email, changes["tier"], by=by)
        if "is_admin" in changes and changes["is_admin"] != user.is_admin:
            user = await users.set_admin(email, changes["is_admin"], by=by)
        if "is_disabled" in changes and changes["is_disabled"] != (user.disabled_at is not None):
            change = users.disable if changes["is_disabled"] else users.enable
            user = await change(email, by=by)
        return user

    async def invite(self, tier: str, *, by: Actor) -> tuple[int, str]:
        """An invitation's id and token, shown once. Raises Invalid."""
        self.tables.users.check_tier(tier)
        return await self.tables.invites.create(tier, by=by)

    async def invites(self) -> list[Invite]:
        return await self.tables.invites.list()


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A second factor that is about to be: the salt to come back with, and what to scan."""

    salt: str
    secret: str
    uri: str


def token_name(name: str) -> str:
    """Raises Invalid."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid(f"a token needs a name of at most {LONGEST_NAME} printable characters")
    return name


def user_row(user: User) -> dict[str, Any]:
    """An account as JSON."""
    return {
        "id": user.id,
        "email": user.email,
        "is_admin": user.is_admin,
        "tier": user.tier,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


def account_tables(database: Database, key: bytes, settings: Settings) -> AccountTables:
    """key: the installation's own secret."""
    return AccountTables(
        users=Users(database, tiers=settings.limits.tiers),
        credentials=Credentials(database, key),
        sessions=Sessions(database),
        invites=Invites(database),
        audit=AuditLog(database),
    )


def account_keeper(tables: AccountTables, failures: LoginFailures, settings: Settings) -> AccountKeeper:
    """Over the tables, with one set of threads for passwords."""
    passwords = Passwords()
    sign_in = SignIn(
        credentials=tables.credentials,
        failures=failures,
        sessions=tables.sessions,
        passwords=passwords,
    )
    return AccountKeeper(
        tables, passwords=passwords, sign_in=sign_in, registration=settings.server.registration
    )
