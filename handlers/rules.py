"""The makings of parameter rules: small checks that raise InvalidParameter with OpenAI's param and code.

A rule is called with the parameter's name and its value, which is never null. A boolean is no number.
No message repeats a value: it may be a client's content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

Rule = Callable[[str, Any], None]
NAMES: Final = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


class InvalidParameter(Exception):
    """A parameter that breaks a rule. param: its path, such as `messages[0].content`."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def missing(name: str) -> InvalidParameter:
    return InvalidParameter(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")


def wrong_type(name: str, expected: str, value: Any) -> InvalidParameter:
    got = NAMES.get(type(value), "something else")
    message = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return InvalidParameter(message, name, "invalid_type")


def wrong_value(name: str, why: str) -> InvalidParameter:
    return InvalidParameter(f"Invalid value for '{name}': {why}.", name, "invalid_value")


def required(path: str, node: Mapping[str, Any], field: str, rule: Rule) -> Any:
    """A field that an object cannot do without."""
    value = node.get(field)
    if value is None:
        raise missing(f"{path}.{field}" if path else field)
    rule(f"{path}.{field}" if path else field, value)
    return value


def number(low: float, high: float) -> Rule:
    """A number within bounds."""

    def check(name: str, value: Any) -> None:
        if type(value) is not float and type(value) is not int:
            raise wrong_type(name, "a number", value)
        if not low <= value <= high:
            raise _out_of_range(name, value, low, high, "decimal")

    return check


def integer(low: int, high: int | None = None) -> Rule:
    """A whole number within bounds, high None = no upper one."""

    def check(name: str, value: Any) -> None:
        if type(value) is not int:
            raise wrong_type(name, "an integer", value)
        if value < low or (high is not None and value > high):
            raise _out_of_range(name, value, low, high, "integer")

    return check


def _out_of_range(name: str, value: float, low: float, high: float | None, kind: str) -> InvalidParameter:
    if value < low:
        message = f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}."
        return InvalidParameter(message, name, f"{kind}_below_min_value")
    message = f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}."
    return InvalidParameter(message, name, f"{kind}_above_max_value")


def boolean(name: str, value: Any) -> None:
    """true or false."""
    if type(value) is not bool:
        raise wrong_type(name, "a boolean", value)


def array(name: str, value: Any) -> None:
    """An array of anything."""
    if type(value) is not list:
        raise wrong_type(name, "an array", value)


def mapping(name: str, value: Any) -> None:
    """An object of anything."""
    if type(value) is not dict:
        raise wrong_type(name, "an object", value)


def string(longest: int | None = None) -> Rule:
    """A string, perhaps of a bounded length."""

    def check(name: str, value: Any) -> None:
        if type(value) is not str:
            raise wrong_type(name, "a string", value)
        if longest is not None and len(value) > longest:
            message = f"Invalid '{name}': string too long. Expected at most {longest} characters."
            raise InvalidParameter(message, name, "string_above_max_length")

    return check


def one_of(choices: Collection[str]) -> Rule:
    """One of some words."""
    listed = ", ".join(f"'{choice}'" for choice in choices)

    def check(name: str, value: Any) -> None:
        if type(value) is not str:
            raise wrong_type(name, "a string", value)
        if value not in choices:
            raise wrong_value(name, f"supported values are {listed}")

    return check


def matching(pattern: str, described: str) -> Rule:
    """A string of a certain form."""
    compiled = re.compile(pattern)

    def check(name: str, value: Any) -> None:
        if type(value) is not str:
            raise wrong_type(name, "a string", value)
        if compiled.fullmatch(value) is None:
            raise wrong_value(name, f"expected {described}")

    return check


def strings(most: int) -> Rule:
    """A string, or an array of up to `most` of them."""

    def check(name: str, value: Any) -> None:
        if type(value) is str:
            return
        if type(value) is not list:
            raise wrong_type(name, "a string or an array of strings", value)
        bounded(name, value, most)
        for at, item in enumerate(value):
            if type(item) is not str:
                raise wrong_type(f"{name}[{at}]", "a string", item)

    return check


def bounded(name: str, value: list[Any], most: int) -> None:
    """An array of at most so many items."""
    if len(value) > most:
        message = f"Invalid '{name}': array too long. Expected an array with at most {most} items."
        raise InvalidParameter(message, name, "array_above_max_length")


def filled(name: str, value: Any) -> None:
    """An array that is not empty."""
    array(name, value)
    if not value:
        message = f"Invalid '{name}': empty array. Expected an array with at least one item."
        raise InvalidParameter(message, name, "empty_array")
