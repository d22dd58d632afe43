"""The house keeps its own rules: doors, sizes, manners (tests/house.py), no cycles, quiet imports, documents.

A place with a good reason to break a rule is a line in EXCEPTIONS, so that it is seen in review; a line that
no longer excuses anything fails as well. SAMPLES shows, for every rule, what breaks it and what does not.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

from tests.house import MAX_BODY_LINES, MAX_FILE_LINES, ROOMS, RULES, Module

ROOT: Final = Path(__file__).resolve().parent.parent

# (rule, "path" or "path:function") -> why this place may break it
EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    ("parameters", "providers/errors.py:ProviderError.__init__"): "the fields of a failure, keyword-only",
    ("broad_except", "handlers/server.py:Server._run"): "a request's last resort: logged, and answered 500",
    ("parameterised_sql", "store/database.py:_apply"): "a pragma takes no parameter; this is an int",
    ("parameterised_sql", "store/keys.py:ApiKeys.update"): "column names, checked against CHANGEABLE",
}

LONG_BODY: Final = "def f() -> None:\n    '''d\n\n    d'''\n" + "    pass\n" * MAX_BODY_LINES

# rule, path, source, whether the source keeps the rule
SAMPLES: Final[list[tuple[str, str, str, bool]]] = [
    ("doors", "providers/a.py", "import store.keys", False),
    ("doors", "providers/a.py", "from limits import types", False),
    ("doors", "store/a.py", "from handlers.errors import X", False),
    ("doors", "handlers/a.py", "import rooya", False),
    ("doors", "limits/a.py", "if TYPE_CHECKING:\n    from store.types import ApiKey", False),
    ("doors", "handlers/a.py", "import store.keys, limits.types\nfrom providers import router", True),
    ("doors", "limits/a.py", "import storelike, json\nfrom limits.types import Rule", True),
    ("guarded_packages", "store/a.py", "from tornado import web", False),
    ("guarded_packages", "rooya.py", "import tornado.web", False),
    ("guarded_packages", "limits/embedded.py", "from redis.asyncio import Redis", False),
    ("guarded_packages", "handlers/a.py", "import sqlite3", False),
    ("guarded_packages", "handlers/a.py", "import uvloop", False),
    ("guarded_packages", "providers/transport.py", "import urllib.request", False),
    ("guarded_packages", "handlers/a/b.py", "import tornado.web", True),
    ("guarded_packages", "limits/connection.py", "import hiredis", True),
    ("vendor_sockets", "providers/openai.py", "async def f():\n    await loop.create_connection(P)", False),
    (
        "vendor_sockets",
        "handlers/a.py",
        "from asyncio import open_connection\nopen_connection()",
        False,
    ),
    ("vendor_sockets", "providers/openai.py", "import socket", False),
    ("vendor_sockets", "providers/transport.py", "import socket\nloop.create_connection(P)", True),
    ("vendor_sockets", "handlers/server.py", "import socket\nloop.create_server(P)", True),
    ("module_names", "store/utils.py", "", False),
    ("module_names", "providers/base.py", "", False),
    ("module_names", "handlers/core/a.py", "", False),
    ("module_names", "handlers/base.py", "", True),
    ("import_manners", "store/a.py", "def f():\n    import json", False),
    ("import_manners", "store/a.py", "class A:\n    from json import loads", False),
    ("import_manners", "store/a.py", "from json import *", False),
    ("import_manners", "store/a.py", "from . import keys", False),
    ("import_manners", "store/a.py", "from store.keys import _row", False),
    (
        "import_manners",
        "store/a.py",
        "from store import __version__\nif TYPE_CHECKING:\n    import x",
        True,
    ),
    ("module_state", "store/a.py", "def f():\n    global x", False),
    ("module_state", "store/a.py", "seen = set()", False),
    ("module_state", "store/a.py", "seen: dict[str, int] = {}", False),
    ("module_state", "store/a.py", "KEYS: Final = TTLCache(10, 10)", False),
    ("module_state", "store/a.py", "@functools.cache\ndef f(): ...", False),
    ("module_state", "store/a.py", "@lru_cache(maxsize=None)\ndef f(): ...", False),
    ("module_state", "store/a.py", "TABLE = {1: 2}\n_ROWS = []\nrows: Final = {}\n__all__ = []", True),
    ("module_state", "store/a.py", "@lru_cache(maxsize=9)\ndef f():\n    local = {}", True),
    ("file_size", "store/a.py", "\n" * (MAX_FILE_LINES + 1), False),
    ("file_size", "store/a.py", "\n" * MAX_FILE_LINES, True),
    ("body_size", "store/a.py", LONG_BODY + "    pass\n", False),
    ("body_size", "store/a.py", LONG_BODY, True),
    ("parameters", "store/a.py", "def f(a, b, c, d, e, f, g): ...", False),
    ("parameters", "store/a.py", "class A:\n    async def f(self, a, b, c, /, d, *, e, f, g): ...", False),
    ("parameters", "store/a.py", "class A:\n    def f(self, a, b, c, /, d, *, e, f): ...", True),
    ("docstrings", "store/a.py", "import json", False),
    ("docstrings", "store/a.py", "'''What it is for.'''\nimport json", True),
    ("signatures", "store/a.py", "def f(a) -> None: ...", False),
    ("signatures", "store/a.py", "class A:\n    async def f(self): ...", False),
    ("signatures", "store/a.py", "class A:\n    def f(self, a: int) -> None: ...", True),
    ("broad_except", "store/a.py", "try: ...\nexcept Exception: pass", False),
    ("broad_except", "store/a.py", "try: ...\nexcept (KeyError, BaseException) as e: log(e)", False),
    ("broad_except", "store/a.py", "try: ...\nexcept: pass", False),
    ("broad_except", "store/a.py", "try: ...\nexcept asyncio.CancelledError: return", False),
    ("broad_except", "store/a.py", "try: ...\nexcept Exception as e: raise KeyError from e", False),
    ("broad_except", "store/a.py", "with contextlib.suppress(asyncio.CancelledError): ...", False),
    ("broad_except", "store/a.py", "try: ...\nexcept BaseException:\n    undo()\n    raise", True),
    ("broad_except", "store/a.py", "try: ...\nexcept KeyError: pass\nwith suppress(OSError): ...", True),
    ("broad_except", "handlers/relay.py", "try: ...\nexcept Exception: log()", True),
    ("todo", "store/a.py", "x = 1  # TODO: later", False),
    ("todo", "store/a.py", "# FIXME", False),
    ("todo", "store/a.py", "# TODO #12: later\nx = 'TODO'", True),
    ("parameterised_sql", "store/a.py", "db.execute(f'SELECT {x}')", False),
    ("parameterised_sql", "store/a.py", "db.execute(before + x)", False),
    ("parameterised_sql", "store/a.py", "db.executemany('SELECT %s' % x)", False),
    ("parameterised_sql", "store/a.py", "db.executescript(text.format(x))", False),
    ("parameterised_sql", "store/a.py", "sql = f'UPDATE keys SET {column} = ?'\ndb.execute(sql)", False),
    ("parameterised_sql", "store/a.py", "db.execute('SELECT ? FROM t', (f'{x}',))", True),
    ("parameterised_sql", "store/a.py", "db.execute(f'SELECT {COLUMNS} FROM keys')\nf'{x} SELECT'", True),
]


def rooms() -> list[Module]:
    paths = [ROOT / "rooya.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


@functools.cache
def problems() -> dict[tuple[str, str], list[str]]:
    """(rule, place) -> what is wrong there, over the whole house."""
    found: dict[tuple[str, str], list[str]] = {}
    for module in rooms():
        for name, check in RULES.items():
            for line, scope, message in check(module):
                place, within = (f"{module.path}:{scope}", f"{scope}: ") if scope else (module.path, "")
                found.setdefault((name, place), []).append(f"{module.path}:{line}: {within}{message}")
    return found


@pytest.mark.parametrize("name", RULES)
def test_the_house_keeps_the_rule(name: str) -> None:
    found = {key: texts for key, texts in problems().items() if key[0] == name and key not in EXCEPTIONS}
    broken = [text for texts in found.values() for text in texts]
    assert not broken, "\n" + "\n".join(broken)


def test_every_exception_still_excuses_something() -> None:
    assert not set(EXCEPTIONS) - set(problems())


@pytest.mark.parametrize(("name", "path", "source", "keeps"), SAMPLES)
def test_a_rule_sees_what_breaks_it_and_nothing_else(name: str, path: str, source: str, keeps: bool) -> None:
    assert (not list(RULES[name](Module(path, source)))) == keeps


def test_every_rule_has_samples_of_both_kinds() -> None:
    assert {(name, keeps) for name, _, _, keeps in SAMPLES} == {
        (name, keeps) for name in RULES for keeps in (True, False)
    }


def cycle(modules: list[Module]) -> list[str]:
    """The first circle of imports, an empty list if there is none. Imports for types alone do not count."""
    names = {module.name for module in modules}
    graph = {
        module.name: {
            target
            for node, name in module.imports
            if node not in module.typing_only
            for target in (name, name.rpartition(".")[0])
            if target in names and target != module.name
        }
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_goes_round_in_a_circle() -> None:
    assert not cycle(rooms())


def test_a_circle_of_imports_is_seen() -> None:
    one, two = Module("store/one.py", "from store import two"), Module("store/two.py", "import store.one")
    assert set(cycle([one, two])) == {"store.one", "store.two"}
    assert not cycle([one, Module("store/two.py", "if TYPE_CHECKING:\n    from store.one import X")])


# Runs in an interpreter of its own: loads what the rooms need from elsewhere, then imports each module in a
# fork that may neither write a file nor open a socket, a database or a process, nor leave a thread behind.
QUIET_IMPORT: Final = """
import importlib, json, os, sys, threading

sys.dont_write_bytecode = True
modules, foreign = json.loads(sys.argv[1])
sys.path.insert(0, os.getcwd())
for name in foreign:
    importlib.import_module(name)
loud = ("socket.", "sqlite3.connect", "subprocess.", "shutil.", "os.system", "os.mkdir", "os.remove")

def listen(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(loud):
        print(f"{current}: {event} {arguments}", flush=True)

for current in modules:
    if os.fork() == 0:
        sys.addaudithook(listen)
        importlib.import_module(current)
        if threading.active_count() > 1:
            print(f"{current}: a thread is left behind", flush=True)
        os._exit(0)
    if os.wait()[1]:
        print(f"{current}: cannot be imported on its own", flush=True)
"""


def what_imports_do(modules: list[Module], root: Path) -> str:
    own = {module.name for module in modules}
    foreign = {
        node.module if isinstance(node, ast.ImportFrom) else name
        for module in modules
        for node, name in module.imports
        if node not in module.typing_only and name.split(".")[0] not in ("rooya", "__future__", *ROOMS)
    }
    argument = json.dumps([sorted(own), sorted(name for name in foreign if name)])
    command = [sys.executable, "-c", QUIET_IMPORT, argument]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    return result.stdout + result.stderr


def test_importing_a_module_does_nothing_else() -> None:
    assert what_imports_do(rooms(), ROOT) == ""


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "import socket\nsocket.socket()",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "import store.absent",
    ],
)
def test_an_import_that_does_something_is_seen(source: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "loud.py").write_text(source)
    assert "store.loud" in what_imports_do([Module("store/loud.py", source)], tmp_path)


def lua_problems(source: str) -> list[str]:
    """A script opens with its purpose, every KEYS[i] and ARGV[i] that it uses, and what it returns."""
    header = re.match(r"(--[^\n]*\n)*", source)
    opening = header.group() if header else ""
    used = set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", source[len(opening) :]))
    missing = [f"{name} is not in the header" for name in sorted(used) if name not in opening]
    return missing + [f"the header lacks {word}" for word in ("KEYS", "ARGV", "eturn") if word not in opening]


def test_every_lua_script_opens_with_its_contract() -> None:
    scripts = sorted((ROOT / "limits").rglob("*.lua")) + sorted((ROOT / "store").rglob("*.lua"))
    assert {str(path): found for path in scripts if (found := lua_problems(path.read_text()))} == {}


def test_a_lua_script_without_its_contract_is_seen() -> None:
    body = "return redis.call('GET', KEYS[1]) + ARGV[1]\n"
    assert lua_problems(body)
    assert lua_problems("-- Adds.\n-- KEYS[1] a counter\n-- ARGV: none\n-- Returns the sum\n" + body)
    assert not lua_problems("-- Adds.\n-- KEYS[1] a counter\n-- ARGV[1] number\n-- Returns the sum\n" + body)


def migration_problems(names: list[str]) -> list[str]:
    wanted = [f"{number:04}_" for number in range(1, len(names) + 1)]
    return [
        f"{name} should begin with {prefix} and go on in lower-case words"
        for name, prefix in zip(sorted(names), wanted, strict=True)
        if not re.fullmatch(prefix + r"[a-z0-9]+(_[a-z0-9]+)*\.sql", name)
    ]


def test_migrations_are_numbered_without_a_gap() -> None:
    names = [path.name for path in (ROOT / "store" / "migrations").glob("*.sql")]
    assert names and not migration_problems(names)


def test_a_gap_in_the_migrations_is_seen() -> None:
    assert not migration_problems(["0002_ledger.sql", "0001_keys_and_users.sql"])
    assert migration_problems(["0001_keys.sql", "0003_ledger.sql"])
    assert migration_problems(["0001_keys.sql", "0001_users.sql"])
    assert migration_problems(["1_keys.sql"])


def documented_options(readme: str) -> dict[str, str]:
    """dotted name -> default, from the tables under Configuration; a row may name several."""
    section = readme.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z].*?) \|([^|]*)\|", section, re.M)
    return {name: default.strip() for names, default in rows for name in re.findall("`([^`]+)`", names)}


def test_every_option_is_documented_with_its_default() -> None:
    settings, table = importlib.import_module("store.settings"), importlib.import_module("store.options")
    repeated = {
        "limits.tiers.NAME": table.TIER,
        "providers": table.PROVIDER,
        "models": table.MODEL,
        "models.targets": table.TARGET,
        "models.price": table.PRICE,
    }
    defaults = {name: default for name, _, default, _ in settings.Settings.options()}
    fields = ((f"{above}.{each.name}", each.default) for above, rows in repeated.items() for each in rows)
    defaults |= dict(fields)
    written = documented_options((ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(written) == set(defaults)
    plain = {name: value for name, value in defaults.items() if isinstance(value, int | float | str | Path)}
    says = {name: json.loads(written[name].strip("`")) for name in plain}
    assert says == {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}


def test_the_tables_of_options_are_read() -> None:
    rows = "| Key | Default |\n| `a.b` | `80` | |\n| `A_B` | `x` |\n| `a.c`, `a.d` | 1, 2 | |"
    readme = f"| `z.z` | |\n\n## Configuration\n\n{rows}\n\n## More\n| `y.y` | |"
    assert documented_options(readme) == {"a.b": "`80`", "a.c": "1, 2", "a.d": "1, 2"}


def test_every_variable_that_is_read_is_documented() -> None:
    variables = {"ROOYA_CONFIG", *importlib.import_module("store.settings").ENVIRONMENT}
    variables |= set(importlib.import_module("providers.vendors").env_kinds())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not {name for name in variables if f"`{name}`" not in readme}
