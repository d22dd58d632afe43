"""Body -> payload: RFC 8259 to the letter, and only one reading of a body.

The standard library's scanner is used, not ujson, which takes NaN, `-01`, `-`, raw control characters
and surrogates: the C scanner needs 2.0 µs for 1 KB where ujson needs 1.4, and to prove the absence of
control characters alone would cost ujson more than that. What the standard library itself lets
through (NaN, overflow, lone surrogates, depth, doubled keys) is refused here. A doubled key is
refused anywhere: a vendor might read the first where we validated, capped and billed the last.
Refused too are more arrays, objects and keys than any prompt has: 32 MB of `[],` held the loop for 6 s.
"""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import Any, Final

MAX_DEPTH: Final = 512
MAX_NODES: Final = 250_000  # arrays, objects and keys; numbers and strings in an array are not counted
SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]").search
# Letters and `_`, of which names are made; not `<`, `>`, `&` and quotes, which many encoders escape.
ESCAPED_LETTER: Final = re.compile(rb"\\u00[4-7]").search
# Up to the next array, object or key outside of a string. It takes all it passes for good (possessive),
# and matches at any place, so that going through a body is linear whatever its bytes.
NODE: Final = re.compile(rb'[^"\[{:]*+(?:"(?:[^"\\]++|\\.)*+"?[^"\[{:]*+)*+(?:([\[{:])|\Z)', re.DOTALL)
CONTAINERS: Final = frozenset({dict, list})
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
    if len(body) > 2 * MAX_NODES:
        _check_nodes(body)
    try:
        text = body.decode()
        payload, end = SCAN(text, 0 if text[:1] == "{" else len(text) - len(text.lstrip(BLANKS)))
    except UnicodeDecodeError:
        raise InvalidJSON("it is not UTF-8.") from None
    except StopIteration:
        raise InvalidJSON("it is empty or begins with no value.") from None
    except json.JSONDecodeError as error:
        raise InvalidJSON(f"{error.msg.removesuffix(' at')} at character {error.pos}.") from None
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
    if b"\\" in body and SURROGATE(body) is not None:
        _check_surrogates(payload)
    return payload


def is_verbatim(body: bytes) -> bool:
    """May a key of a parsed body be found in the bytes by its quoted name, and be what any parser finds?

    Not where letters are written as escapes. The rest is proven before: `parse` refused doubled keys,
    and `validate` those in other case.
    """
    return b"\\" not in body or ESCAPED_LETTER(body) is None


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


def _count(body: bytes, byte: bytes, most: int) -> int:
    """How often, up to `most`. Replacing runs at memchr's speed; `count` looks at each byte."""
    return len(body) - len(body.replace(byte, b"", most))


def _may_be_deep(body: bytes) -> bool:
    return _count(body, b"[", MAX_DEPTH + 1) + _count(body, b"{", MAX_DEPTH + 1) > MAX_DEPTH


def _check_nodes(body: bytes) -> None:
    """Only where all bytes together have too many need the strings be told apart."""
    if sum(_count(body, byte, MAX_NODES + 1) for byte in (b"[", b"{", b":")) > MAX_NODES:
        last = next(islice(NODE.finditer(body), MAX_NODES, None), None)
        if last is not None and last[1] is not None:
            raise InvalidJSON(f"it has more than {MAX_NODES:,} arrays, objects and keys.")


def _check_depth(payload: dict[str, Any]) -> None:
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in CONTAINERS
        ]
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
