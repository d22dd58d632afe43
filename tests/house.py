"""The rules of the house that a module's source shows, kept by tests/test_house.py.

Each rule is a generator over one parsed module: it yields (line, name of the enclosing function, what is
wrong). A rule reads the syntax tree only, never imports what it judges, and has no options: a place with a
good reason to break one is named in the EXCEPTIONS of the test.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

ROOMS: Final = ("handlers", "providers", "limits", "store")

MAX_FILE_LINES: Final = 400
MAX_BODY_LINES: Final = 40
MAX_PARAMETERS: Final = 6

# room -> the rooms it may import; `handlers` is the only one that sees two
DOORS: Final = {
    "rooya": {"rooya", *ROOMS},
    "handlers": set(ROOMS),
    "providers": {"providers"},
    "limits": {"limits"},
    "store": {"store"},
}
# package -> where it may be imported: a path, or a folder with a slash at its end
GUARDED: Final = {
    "tornado.web": ("handlers/",),
    "redis": ("store/", "rooya.py"),
    "hiredis": ("limits/connection.py",),
    "aiosqlite": ("store/",),
    "sqlite3": ("store/",),
    "uvloop": ("rooya.py",),
    "http.client": (),
    "urllib.request": (),
    "tornado.httpclient": (),
    "tornado.simple_httpclient": (),
    "tornado.curl_httpclient": (),
}
VENDOR_SOCKETS: Final = ("providers/transport.py", "providers/pool.py")
SOCKETS: Final = (*VENDOR_SOCKETS, "limits/connection.py")
SOCKET_OPENERS: Final = {
    "create_connection", "open_connection", "create_unix_connection", "open_unix_connection", "sock_connect",
}  # fmt: skip
FORBIDDEN_NAMES: Final = {
    "utils", "util", "helpers", "helper", "common", "misc", "manager", "service", "core", "v2",
}  # fmt: skip
MUTABLE_CALLS: Final = {
    "list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "WeakSet",
    "WeakKeyDictionary", "WeakValueDictionary",
}  # fmt: skip
MUTABLE_DISPLAYS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
LAST_RESORTS: Final = ("handlers/relay.py", "store/mover.py")  # they log what they catch
TOO_BROAD: Final = {"Exception", "BaseException", "CancelledError"}
EXECUTORS: Final = {
    "execute", "executemany", "executescript", "execute_insert", "execute_fetchall", "fetch_one", "fetch_all",
}  # fmt: skip
SQL: Final = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|PRAGMA|ATTACH|BEGIN|WITH)\s"
)

Problem = tuple[int, str, str]


@dataclass(frozen=True)
class Module:
    """One source file; `path` is relative to the checkout."""

    path: str
    source: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        return self.name.split(".")[0]

    @functools.cached_property
    def nodes(self) -> list[tuple[ast.AST, str]]:
        """Every node with the dotted name of the function or class around it (its own, for a function)."""
        found: list[tuple[ast.AST, str]] = []

        def walk(node: ast.AST, scope: str) -> None:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                scope = f"{scope}.{node.name}".lstrip(".")
            found.append((node, scope))
            for child in ast.iter_child_nodes(node):
                walk(child, scope)

        walk(self.tree, "")
        return found

    @functools.cached_property
    def imports(self) -> list[tuple[ast.stmt, str]]:
        """Every import as a dotted name; `from a import b` is a.b."""
        found: list[tuple[ast.stmt, str]] = []
        for node, _ in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node, f"{node.module or ''}.{alias.name}") for alias in node.names]
        return found

    @functools.cached_property
    def typing_only(self) -> set[ast.AST]:
        """What stands under `if TYPE_CHECKING`: a door like any other, but no cycle."""
        return {
            inner
            for node, _ in self.nodes
            if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }


Rule = Callable[[Module], Iterator[Problem]]
RULES: Final[dict[str, Rule]] = {}


def rule(check: Rule) -> Rule:
    RULES[check.__name__] = check
    return check


def _name(node: ast.AST) -> str:
    """The last word of a name, an attribute or what is called; "" for anything else."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


@rule
def doors(module: Module) -> Iterator[Problem]:
    for node, name in module.imports:
        room = name.split(".")[0]
        if room in DOORS and room not in DOORS[module.room]:
            yield node.lineno, "", f"{module.room} must not import {room}"


@rule
def guarded_packages(module: Module) -> Iterator[Problem]:
    for node, name in module.imports:
        for package, places in GUARDED.items():
            is_at_home = any(
                module.path.startswith(place) if place.endswith("/") else module.path == place
                for place in places
            )
            if _is_within(name, package) and not is_at_home:
                yield node.lineno, "", f"{package} is only for {', '.join(places) or 'nobody'}"


@rule
def vendor_sockets(module: Module) -> Iterator[Problem]:
    if module.path in SOCKETS:
        return
    for node, scope in module.nodes:
        if isinstance(node, ast.Call) and _name(node) in SOCKET_OPENERS:
            yield node.lineno, scope, f"{_name(node)}() is only for {VENDOR_SOCKETS[0]}"
    for statement, name in module.imports:
        if module.room == "providers" and _is_within(name, "socket"):
            yield statement.lineno, "", f"socket in providers/ is only for {VENDOR_SOCKETS[0]}"


@rule
def module_names(module: Module) -> Iterator[Problem]:
    for part in module.name.split("."):
        if part in FORBIDDEN_NAMES or (part == "base" and module.name != "handlers.base"):
            yield 1, "", f"a module called {part} says nothing about what is in it"


@rule
def import_manners(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if scope:
            yield node.lineno, scope, "an import belongs at the top of the module"
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, scope, "imports are absolute"
        for alias in node.names:
            if alias.name == "*":
                yield node.lineno, scope, "no star imports"
            if isinstance(node, ast.ImportFrom) and re.match("_[^_]", alias.name):
                yield node.lineno, scope, f"{alias.name} is private to {node.module}"


@rule
def module_state(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno, scope, "no `global`: objects are built in rooya.py and handed down"
        if isinstance(node, FUNCTIONS):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(re.search(r"\bcache$|lru_cache\(maxsize=None\)$", text) for text in decorators):
                yield node.lineno, scope, "a cache without a bound"
    for statement in module.tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        is_constant = all(name.lstrip("_").isupper() or name == "__all__" for name in names) or (
            isinstance(statement, ast.AnnAssign) and "Final" in ast.dump(statement.annotation)
        )
        if isinstance(statement.value, ast.Call) and _name(statement.value).endswith("Cache"):
            yield statement.lineno, "", f"{names[0]} is state, and no constant"
        elif not is_constant and (
            isinstance(statement.value, MUTABLE_DISPLAYS)
            or (isinstance(statement.value, ast.Call) and _name(statement.value) in MUTABLE_CALLS)
        ):
            yield statement.lineno, "", f"{names[0]} can be changed: make it a constant (upper case or Final)"


@rule
def file_size(module: Module) -> Iterator[Problem]:
    lines = module.source.count("\n")
    if lines > MAX_FILE_LINES:
        yield lines, "", f"{lines} lines; {MAX_FILE_LINES} is the most"


@rule
def body_size(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if isinstance(node, FUNCTIONS) and (body := _body(node)):
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if lines > MAX_BODY_LINES:
                yield node.lineno, scope, f"a body of {lines} lines; {MAX_BODY_LINES} is the most"


@rule
def parameters(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if isinstance(node, FUNCTIONS):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if count > MAX_PARAMETERS:
                message = f"{count} parameters; over {MAX_PARAMETERS}, group them in a dataclass"
                yield node.lineno, scope, message


@rule
def docstrings(module: Module) -> Iterator[Problem]:
    if not ast.get_docstring(module.tree):
        yield 1, "", "a module begins with what it is for and what it refuses"


@rule
def signatures(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if not isinstance(node, FUNCTIONS) or node.name.startswith("_"):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if any(each.annotation is None and each.arg not in ("self", "cls") for each in arguments):
            yield node.lineno, scope, "a parameter without a type"
        if node.returns is None:
            yield node.lineno, scope, "no return type"


@rule
def broad_except(module: Module) -> Iterator[Problem]:
    """Nobody swallows everything, or a cancellation; clean-up that ends in a bare `raise` is none."""
    if module.path in LAST_RESORTS:
        return
    for node, scope in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            last = node.body[-1]
            caught = ["BaseException"] if node.type is None else [_name(each) for each in ast.walk(node.type)]
            if isinstance(last, ast.Raise) and last.exc is None:
                continue
        elif isinstance(node, ast.Call) and _name(node) == "suppress":
            caught = [_name(argument) for argument in node.args]
        else:
            continue
        for name in TOO_BROAD.intersection(caught):
            advice = "await it with asyncio.wait" if name == "CancelledError" else "name what can go wrong"
            yield node.lineno, scope, f"{name} is caught and not raised again: {advice}"


@rule
def todo(module: Module) -> Iterator[Problem]:
    for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX|HACK)\b(?!.*#\d)", token.string):
            yield token.start[0], "", "a TODO names its issue, as in `TODO #12`"


@rule
def parameterised_sql(module: Module) -> Iterator[Problem]:
    for node, scope in module.nodes:
        if isinstance(node, ast.Call) and _name(node) in EXECUTORS:
            if node.args and _is_composed(node.args[0]):
                yield node.lineno, scope, "SQL is a constant; values are parameters"
        elif isinstance(node, ast.expr) and _is_composed(node) and SQL.match(_first_text(node)):
            yield node.lineno, scope, "SQL put together from pieces; values are parameters"


def _is_composed(node: ast.AST) -> bool:
    """Does an f-string, `%`, `+` or `.format()` put anything but a constant of the module into a string?"""
    if isinstance(node, ast.JoinedStr):
        pieces = [piece.value for piece in node.values if isinstance(piece, ast.FormattedValue)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        pieces = [node.left, node.right]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        pieces = [*node.args, *(keyword.value for keyword in node.keywords)]
    else:
        return False
    return not all(isinstance(piece, ast.Constant) or _name(piece).isupper() for piece in pieces)


def _first_text(node: ast.AST) -> str:
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return next((text for text in texts if isinstance(text, str)), "")
