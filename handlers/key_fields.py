"""A key's fields as forms and JSON have them -> as the store has them. Raises Invalid, naming the field.

In a form an empty field is none; in JSON it is null. Names that are not known are refused, so that a slip of
the pen sets no key without the limit that was meant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final

from handlers import command_values as values
from store.errors import Invalid


def from_form(field: Callable[[str], str | None]) -> dict[str, Any]:
    """field: a name -> what was sent, None where the form does not have it."""
    found: dict[str, Any] = {}
    for name, (column, read) in FORM.items():
        text = field(name)
        if text is not None:
            found[column] = _read(name, read, text.strip())
    return found


def from_json(document: Any, *, is_new: bool) -> dict[str, Any]:
    """A JSON object. is_new: without what only a key has that is there."""
    if not isinstance(document, dict):
        raise Invalid("the body must be a JSON object")
    known = {name for name in JSON if not (is_new and name == "reset_spend")}
    unknown = sorted(set(document) - known)
    if unknown:
        raise Invalid(f"there is no field '{unknown[0][:50]}' (there are {', '.join(sorted(known))})")
    found = {}
    for name, value in document.items():
        column, read = JSON[name]
        found[column] = _read(name, read, value)
    if "spend_reset_at" in found and found["spend_reset_at"] is None:
        del found["spend_reset_at"]
    return found


def grace_seconds(text: str) -> int:
    """`24h`; empty = none. Raises Invalid."""
    return int(_read("grace", lambda given: values.duration(given) if given else 0, text.strip()))


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except argparse.ArgumentTypeError as error:
        raise Invalid(f"{name}: {error}") from error


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if text else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise argparse.ArgumentTypeError("expected a string")
    return value


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise argparse.ArgumentTypeError("expected a whole number or null")
    return values.positive(str(value))


def _money(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise argparse.ArgumentTypeError("expected a number of USD or null")
    return values.nanodollars(str(value))


def _names(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise argparse.ArgumentTypeError("expected an array of names or null")
    names = frozenset(name.strip() for name in value if name.strip())
    if not names or not all(name.isprintable() for name in names):
        raise argparse.ArgumentTypeError("name at least one model, or give null for any")
    return names


def _moment(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int and values.now() < value <= values.LAST:
        return value
    if isinstance(value, str):
        return values.moment(value)
    raise argparse.ArgumentTypeError("expected Unix seconds in the future, a time such as 30d, or null")


def _flag(value: Any) -> int | None:
    if type(value) is not bool:
        raise argparse.ArgumentTypeError("expected true or false")
    return values.now() if value else None


Reading = tuple[str, Callable[[Any], Any]]

# what a form or a document calls it -> the column, and how it is read
FORM: Final[Mapping[str, Reading]] = {
    "name": ("name", str),
    "tier": ("tier", str),
    "rpm": ("rpm", _or_none(values.positive)),
    "tpd": ("tpd", _or_none(values.positive)),
    "max_parallel": ("max_parallel", _or_none(values.positive)),
    "budget": ("budget_nanodollars", _or_none(values.nanodollars)),
    "budget_period": ("budget_period", str),
    "models": ("models", _or_none(values.models)),
    "expires": ("expires_at", _or_none(values.moment)),
}
JSON: Final[Mapping[str, Reading]] = {
    "name": ("name", _text),
    "tier": ("tier", _text),
    "rpm": ("rpm", _whole),
    "tpd": ("tpd", _whole),
    "max_parallel": ("max_parallel", _whole),
    "budget_usd": ("budget_nanodollars", _money),
    "budget_period": ("budget_period", _text),
    "models": ("models", _names),
    "expires_at": ("expires_at", _moment),
    "reset_spend": ("spend_reset_at", _flag),
}
