"""Body -> payload: RFC 8259 to the letter, and only one reading of a body.

The standard library's scanner is used, not ujson, which takes NaN, `01`, `1.`, `-`, raw control
characters and encoded surrogates: at these sizes the C scanner is as fast (1.4 µs for 1 KB both), and
proving the absence of ujson's liberties would double that. What the standard library itself lets
through (NaN, overflow, lone surrogates, depth, doubled keys) is refused here. A doubled key is
refused anywhere: a vendor might read the first where we validated, capped and billed the last.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

MAX_DEPTH: Final = 512
SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
ESCAPED_ASCII: Final = re.compile(rb"\\u00[2-7]")
BLANKS: Final = " \t\n\r"


class InvalidJSON(Exception):
    """A body that is no JSON object; the message says why without repeating any of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotJSON(ValueError):
    """From within the scanner; its message is fit for the client."""


def parse(body: bytes) -> dict[str, Any]:
    """The body's object. Raises InvalidJSON."""
    try:
        text = body.decode("utf-8")
        payload, end = SCAN(text, 0 if text[:1] == "{" else len(text) - len(text.lstrip(BLANKS)))
    except UnicodeDecodeError:
        raise InvalidJSON("it is not UTF-8.") from None
    except StopIteration:
        raise InvalidJSON("it is empty or begins with no value.") from None
    except json.JSONDecodeError as error:
        raise InvalidJSON(f"{error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidJSON(f"it is nested deeper than {MAX_DEPTH}.") from None
    except ValueError as error:
        raise InvalidJSON(str(error) if type(error) is NotJSON else "a number is too long.") from None
    if end != len(text) and text[end:].strip(BLANKS):
        raise InvalidJSON(f"there is more behind its end at character {end}.")
    if type(payload) is not dict:
        raise InvalidJSON("the top level must be an object.")
    if len(body) > 2 * MAX_DEPTH and _may_be_deep(body):
        _check_depth(payload)
    if b"\\" in body and SURROGATE.search(body):
        _check_surrogates(payload)
    return payload


def is_verbatim(body: bytes) -> bool:
    """May a key be found in the bytes by its quoted name? Not where ASCII is written as escapes."""
    return b"\\" not in body or ESCAPED_ASCII.search(body) is None


def _refuse_constant(name: str) -> Any:
    raise NotJSON(f"{name} is no JSON number.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotJSON("a number is too large.")
    return number


def _with_single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) != len(pairs):
        raise NotJSON("a key occurs twice in one object.")
    return node


def _may_be_deep(body: bytes) -> bool:
    """Splitting at a rare byte is memchr's speed; counting it is not (CPython 3.11)."""
    openings = len(body.split(b"[", MAX_DEPTH + 1)) + len(body.split(b"{", MAX_DEPTH + 1)) - 2
    return openings > MAX_DEPTH


def _check_depth(payload: dict[str, Any]) -> None:
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        values = (child for node in level for child in (node.values() if type(node) is dict else node))
        level = [child for child in values if type(child) is dict or type(child) is list]
        if not level:
            return
    raise InvalidJSON(f"it is nested deeper than {MAX_DEPTH}.")


def _check_surrogates(payload: dict[str, Any]) -> None:
    try:
        json.dumps(payload, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidJSON("it holds half of a surrogate pair.") from None


SCAN: Final = json.JSONDecoder(
    parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_with_single_keys
).scan_once  # type: ignore[attr-defined]
