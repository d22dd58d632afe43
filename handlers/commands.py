"""The command line: `rooya.py VERB …`, on the database beside a running `serve`, with none of its locks.

Exit status 0, 1 (refused, the reason on stderr) or 2 (usage). `--json` prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from handlers import command_values as values
from handlers import models_commands, usage_commands, users_commands
from handlers.key_keeping import key_row
from handlers.verbs import Result, Tables
from limits.windows import Windows
from providers.errors import ProviderMisconfigured
from providers.router import Router
from store import standing
from store.catalog import CatalogLists
from store.credentials import Credentials
from store.database import Database
from store.errors import Invalid, NotFound, SchemaError, SettingsError, StoreUnavailable
from store.keys import PERIODS, ApiKeys, NewKey
from store.prices import Prices
from store.secret import cookie_secret
from store.sessions import Sessions
from store.settings import Settings
from store.types import ApiKey
from store.usage import UsageReader
from store.users import Users

REFUSALS: Final = (SettingsError, ProviderMisconfigured, Invalid, NotFound, SchemaError, StoreUnavailable)


@dataclass(frozen=True, slots=True)
class World:
    """What the composition root knows and a verb needs."""

    environ: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO
    kinds: Collection[str]
    vendors_env: Mapping[str, str]
    build_router: Callable[[Settings], Router]

    def settings(self, options: argparse.Namespace) -> Settings:
        """Raises SettingsError."""
        overrides = {
            "server.address": getattr(options, "address", None),
            "server.port": getattr(options, "port", None),
            "server.data_dir": options.data_dir,
        }
        return Settings.load(
            options.config, self.environ, overrides=overrides, kinds=self.kinds, vendors_env=self.vendors_env
        )


def run(options: argparse.Namespace, world: World) -> int:
    """Run any verb but `serve`; the process's exit status."""
    try:
        settings = world.settings(options)
        if options.verb == "check":
            return _check(settings, world)
        result = asyncio.run(_on_database(options, settings, world))
    except REFUSALS as error:
        print(f"rooya: {error}", file=world.stderr)
        return 1
    if options.json:
        print(json.dumps(result.document, indent=2), file=world.stdout)
    else:
        print("\n".join(result.lines), file=world.stdout)
    return result.status


def _check(settings: Settings, world: World) -> int:
    """`check`: can this configuration be started with? Opens and changes nothing."""
    world.build_router(settings)
    for line in settings.warnings():
        print(f"warning: {line}", file=world.stdout)
    print("The configuration is good.", file=world.stdout)
    return 0


async def _on_database(options: argparse.Namespace, settings: Settings, world: World) -> Result:
    database = await Database.open(settings.server.data_dir / "rooya.db")
    try:
        tables = Tables(
            settings=settings,
            keys=ApiKeys(database, settings.limits.tiers),
            users=Users(database, tiers=settings.limits.tiers),
            credentials=Credentials(database, cookie_secret(settings.server.data_dir)),
            sessions=Sessions(database),
            usage=UsageReader(database),
            prices=Prices(database, time.time),
            catalog=CatalogLists(database),
            router=partial(world.build_router, settings),
        )
        verb: Callable[..., Awaitable[Result]] = VERBS[options.verb, options.action]
        return await verb(options, tables)
    finally:
        await database.close()


# Keys


async def _keys_create(options: argparse.Namespace, tables: Tables) -> Result:
    user = await tables.users.find(options.user) if options.user else None
    new = NewKey(
        name=options.name,
        tier=options.tier,
        user_id=user.id if user else None,
        rpm=options.rpm,
        tpd=options.tpd,
        budget_nanodollars=options.budget,
        budget_period=options.budget_period,
        models=options.models,
        expires_at=options.expires,
        max_parallel=options.max_parallel,
    )
    key, plaintext = await tables.keys.create(new)
    return _with_plaintext(key, plaintext, "Created")


async def _keys_rotate(options: argparse.Namespace, tables: Tables) -> Result:
    key, plaintext = await tables.keys.rotate(options.id, options.grace)
    return _with_plaintext(key, plaintext, "Rotated")


def _with_plaintext(key: ApiKey, plaintext: str, done: str) -> Result:
    row = key_row(key)
    document = {"id": row.pop("id"), "key": plaintext, **row}
    lines = [
        f"{done} key {key.id} '{key.name}'. This is the only time the key is shown:",
        plaintext,
    ]
    return Result(document, lines)


async def _keys_list(options: argparse.Namespace, tables: Tables) -> Result:
    rows = [key_row(key) for key in await tables.keys.list()]
    heads = ("id", "name", "key", "state", "tier", "rpm", "tpd", "budget_usd", "expires_at")
    table = [heads, *(tuple(values.cell(_shown(row)[head]) for head in heads) for row in rows)]
    hint = ["There is no key yet: rooya.py keys create --name NAME"]
    return Result(rows, values.aligned(table) if rows else hint)


async def _keys_show(options: argparse.Namespace, tables: Tables) -> Result:
    key = await tables.keys.find(options.id)
    data_dir = tables.settings.server.data_dir
    owed = await asyncio.to_thread(standing.read, data_dir / "rooya.db", data_dir / "journal", values.now())
    place = key.id, Windows().start(key.budget_period, key.spend_reset_at, values.now())
    reserved = sum(call.worst_nanodollars for call in owed.open if (call.key_id, call.window) == place)
    money = {"spent_usd": values.usd(owed.spent.get(place, 0)), "reserved_usd": values.usd(reserved)}
    return _one(key, money)


async def _keys_activate(options: argparse.Namespace, tables: Tables) -> Result:
    return _one(await tables.keys.activate(options.id))


async def _keys_deactivate(options: argparse.Namespace, tables: Tables) -> Result:
    return _one(await tables.keys.deactivate(options.id))


async def _keys_update(options: argparse.Namespace, tables: Tables) -> Result:
    given = {name: value for name, value in vars(options).items() if value is not values.ABSENT}
    columns = {
        "budget": "budget_nanodollars",
        "budget_period": "budget_period",
        "rpm": "rpm",
        "tpd": "tpd",
        "models": "models",
        "expires": "expires_at",
        "max_parallel": "max_parallel",
    }
    changes = {column: given[name] for name, column in columns.items() if name in given}
    if options.reset_spend:
        changes["spend_reset_at"] = values.now()
    return _one(await tables.keys.update(options.id, changes))


def _one(key: ApiKey, more: Mapping[str, Any] | None = None) -> Result:
    row = {**key_row(key), **(more or {})}
    return Result(row, values.aligned([(name, values.cell(value)) for name, value in _shown(row).items()]))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A key's row as people read it."""
    shown = {**row, "key": f"{row['prefix']}…{row['last4']}"}
    for name in ("created_at", "expires_at", "disabled_at"):
        shown[name] = values.time_text(row[name])
    return {name: value for name, value in shown.items() if name not in ("prefix", "last4")}


VERBS: Final[Mapping[tuple[str, str], Callable[..., Awaitable[Result]]]] = {
    ("keys", "create"): _keys_create,
    ("keys", "list"): _keys_list,
    ("keys", "show"): _keys_show,
    ("keys", "activate"): _keys_activate,
    ("keys", "deactivate"): _keys_deactivate,
    ("keys", "rotate"): _keys_rotate,
    ("keys", "update"): _keys_update,
    ("users", "create"): users_commands.create,
    ("users", "list"): users_commands.list_users,
    ("users", "password"): users_commands.password,
    ("users", "disable"): users_commands.disable,
    ("users", "enable"): users_commands.enable,
    ("users", "token"): users_commands.token,
    ("models", "list"): models_commands.list_models,
    ("models", "sync"): models_commands.sync,
    ("usage", "report"): usage_commands.report,
    ("usage", "verify"): usage_commands.verify,
    ("usage", "correct"): usage_commands.correct,
}


# The grammar


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviation: `--bud` would mean something else once there is a second option like it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = _common()
    root = _Parser(prog="rooya.py", description="One API for every AI model, on one VM that you own.")
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", parents=[common], help="run the gateway")
    serve.add_argument("--address", metavar="A")
    serve.add_argument("--port", type=int, metavar="N")
    verbs.add_parser("check", parents=[common], help="is the configuration good?")
    output = _output(common)
    _add_keys(verbs.add_parser("keys", help="API keys"), output)
    users_commands.add_options(verbs.add_parser("users", help="accounts"), output)
    models_commands.add_options(verbs.add_parser("models", help="what can be asked for"), output)
    usage = verbs.add_parser("usage", parents=[output], help="what was used, and what it cost")
    # Below an action of its own an option that is not given must not undo the one given before it.
    usage_commands.add_options(usage, _output(_common(argparse.SUPPRESS), argparse.SUPPRESS))
    return root


def _common(default: Any = None) -> _Parser:
    common = _Parser(add_help=False)
    usual = "configuration (default: rooya.toml if present)"
    common.add_argument("--config", type=Path, metavar="FILE", default=default, help=usual)
    where = "where everything lasting is kept"
    common.add_argument("--data-dir", type=Path, metavar="D", default=default, help=where)
    return common


def _output(common: _Parser, default: Any = False) -> _Parser:
    output = _Parser(add_help=False, parents=[common])
    output.add_argument("--json", action="store_true", default=default, help="print one JSON document")
    return output


def _add_keys(parser: argparse.ArgumentParser, output: _Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", parents=[output], help="make a key; its plaintext is shown once")
    create.add_argument("--name", required=True, metavar="N")
    create.add_argument("--user", metavar="EMAIL")
    create.add_argument("--tier", default="free", metavar="free|pro|enterprise")
    create.add_argument("--rpm", type=values.positive, metavar="N")
    create.add_argument("--tpd", type=values.positive, metavar="N")
    create.add_argument("--max-parallel", type=values.positive_or_none, metavar="N")
    create.add_argument("--budget", type=values.nanodollars, metavar="USD")
    create.add_argument("--budget-period", default="total", choices=PERIODS)
    create.add_argument("--expires", type=values.moment, metavar="30d|2027-01-31")
    create.add_argument("--models", type=values.models, metavar="a,b")
    actions.add_parser("list", parents=[output], help="all keys")
    for action in ("show", "activate", "deactivate", "rotate"):
        one = actions.add_parser(action, parents=[output])
        one.add_argument("id", type=values.positive, metavar="ID")
        if action == "rotate":
            one.add_argument("--grace", type=values.duration, default=0, metavar="24h")
    update = actions.add_parser("update", parents=[output], help="change a key")
    update.add_argument("id", type=values.positive, metavar="ID")
    absent: Any = values.ABSENT
    update.add_argument("--budget", type=values.nanodollars, default=absent, metavar="USD|none")
    update.add_argument("--budget-period", default=absent, choices=PERIODS)
    update.add_argument("--rpm", type=values.positive, default=absent, metavar="N")
    update.add_argument("--tpd", type=values.positive, default=absent, metavar="N")
    update.add_argument("--max-parallel", type=values.positive_or_none, default=absent, metavar="N|none")
    update.add_argument("--models", type=values.models, default=absent, metavar="a,b|any")
    update.add_argument("--expires", type=values.moment, default=absent, metavar="T|never")
    update.add_argument("--reset-spend", action="store_true")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Exits with status 2 and the usage on stderr where the words are off."""
    return parser().parse_args(arguments)
