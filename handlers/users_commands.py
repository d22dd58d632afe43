"""`rooya.py users …`: accounts from the command line, for who can read the data directory anyway.

A password is asked for on the terminal or read from stdin, never taken as an argument: those are seen by
everybody on the machine.
"""

from __future__ import annotations

import argparse
import getpass
import sys

from handlers import command_values as values
from handlers.account_keeping import token_name, user_row
from handlers.passwords import Passwords
from handlers.verbs import Result, Tables
from store.audit import OPERATOR
from store.users import User


async def create(options: argparse.Namespace, tables: Tables) -> Result:
    """`users create`."""
    user = await tables.users.create(options.email, is_admin=options.admin, tier=options.tier)
    line = f"Created {'admin' if user.is_admin else 'user'} {user.id} {user.email}"
    return Result(user_row(user), [line, f"Its password: rooya.py users password {user.email}"])


async def list_users(options: argparse.Namespace, tables: Tables) -> Result:
    """`users list`."""
    rows = [user_row(user) for user in await tables.users.list()]
    heads = ("id", "email", "admin", "tier", "disabled")
    table = [heads, *(tuple(values.cell(cell) for cell in _cells(row)) for row in rows)]
    return Result(rows, values.aligned(table))


def _cells(row: dict[str, object]) -> tuple[object, ...]:
    return row["id"], row["email"], row["is_admin"], row["tier"], row["disabled_at"] is not None


async def password(options: argparse.Namespace, tables: Tables) -> Result:
    """`users password`: ends every session and token of the account."""
    user = await tables.users.find(options.email)
    new = getpass.getpass("New password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    passwords = Passwords()
    await passwords.judge(new, user.email)
    await tables.credentials.set_password(user.id, await passwords.hash(new), by=OPERATOR)
    return _one(user, f"{user.email} has a new password; its sessions and tokens have ended.")


async def disable(options: argparse.Namespace, tables: Tables) -> Result:
    """`users disable`: its keys and sessions are refused from now on."""
    user = await tables.users.disable(options.email)
    return _one(user, f"{user.email} is disabled, and so are its keys.")


async def enable(options: argparse.Namespace, tables: Tables) -> Result:
    """`users enable`."""
    user = await tables.users.enable(options.email)
    return _one(user, f"{user.email} is enabled.")


async def token(options: argparse.Namespace, tables: Tables) -> Result:
    """`users token`: for the management API."""
    user = await tables.users.find(options.email)
    name = token_name(options.name)
    plaintext = await tables.sessions.create_token(user.id, name, "command line", by=OPERATOR)
    lines = [f"A token of {user.email} for /api/v1. This is the only time it is shown:", plaintext]
    return Result({**user_row(user), "token": plaintext}, lines)


def _one(user: User, line: str) -> Result:
    return Result(user_row(user), [line])


def add_options(parser: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """The grammar of `users`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("create", parents=[output], help="make an account")
    new.add_argument("--email", required=True, metavar="E")
    new.add_argument("--admin", action="store_true")
    new.add_argument("--tier", default="free", metavar="free|pro|enterprise")
    actions.add_parser("list", parents=[output], help="all accounts")
    for action, text in (
        ("password", "set a password; it is read from the terminal or from stdin"),
        ("disable", "refuse its keys and sessions"),
        ("enable", "take that back"),
        ("token", "make a token of the management API; it is shown once"),
    ):
        one = actions.add_parser(action, parents=[output], help=text)
        one.add_argument("email", metavar="E")
        if action == "token":
            one.add_argument("--name", default="command line", metavar="N")
