"""The rules of chat messages, tools and answer formats: what has a structure of its own.

Known parts must have what they cannot do without; unknown kinds of parts, tools and formats pass
through, since vendors add them faster than gateways are released.
"""

from __future__ import annotations

from typing import Any, Final

from handlers.rules import (
    bounded,
    filled,
    integer,
    mapping,
    matching,
    missing,
    number,
    one_of,
    string,
    wrong_type,
    wrong_value,
)

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
ROLE: Final = one_of(ROLES)
TEXT: Final = string()
FUNCTION_NAME: Final = matching(r"[a-zA-Z0-9_-]{1,64}", "1 to 64 letters, digits, '_' or '-'")

# What a part of each known kind must hold, and of which shape.
PARTS: Final = {
    "text": ("text", TEXT),
    "refusal": ("refusal", TEXT),
    "image_url": ("image_url", mapping),
    "input_audio": ("input_audio", mapping),
    "file": ("file", mapping),
}


def messages(name: str, value: Any) -> None:
    """The conversation. Hot: a message of a known role whose content is a string costs two look-ups."""
    filled(name, value)
    for at, message in enumerate(value):
        if type(message) is dict and type(message.get("content")) is str:
            role = message.get("role")
            if role == "user" or role == "system" or role == "assistant":
                continue
        _message(f"{name}[{at}]", message)


def _message(path: str, message: Any) -> None:
    mapping(path, message)
    role = message.get("role")
    if role is None:
        raise missing(f"{path}.role")
    ROLE(f"{path}.role", role)
    content = message.get("content")
    if type(content) is list:
        _parts(f"{path}.content", content)
    elif content is None:
        if role != "assistant":
            raise missing(f"{path}.content")
    elif type(content) is not str:
        raise wrong_type(f"{path}.content", "a string or an array of parts", content)
    if role == "tool" and message.get("tool_call_id") is None:
        raise missing(f"{path}.tool_call_id")
    if role == "assistant" and message.get("tool_calls") is not None:
        _tool_calls(f"{path}.tool_calls", message["tool_calls"])


def _parts(path: str, parts: list[Any]) -> None:
    filled(path, parts)
    for at, part in enumerate(parts):
        here = f"{path}[{at}]"
        mapping(here, part)
        kind = part.get("type")
        if kind is None:
            raise missing(f"{here}.type")
        TEXT(f"{here}.type", kind)
        if kind in PARTS:
            field, rule = PARTS[kind]
            if part.get(field) is None:
                raise missing(f"{here}.{field}")
            rule(f"{here}.{field}", part[field])
            if kind == "image_url":
                _required(f"{here}.image_url", part[field], "url")
            elif kind == "input_audio":
                _required(f"{here}.input_audio", part[field], "data")


def _required(path: str, node: dict[str, Any], field: str) -> None:
    if node.get(field) is None:
        raise missing(f"{path}.{field}")
    TEXT(f"{path}.{field}", node[field])


def _named(path: str, node: dict[str, Any], field: str) -> None:
    """An object that has to be there and to have a name."""
    if node.get(field) is None:
        raise missing(f"{path}.{field}")
    mapping(f"{path}.{field}", node[field])
    _required(f"{path}.{field}", node[field], "name")


def _tool_calls(path: str, calls: Any) -> None:
    filled(path, calls)
    for at, call in enumerate(calls):
        here = f"{path}[{at}]"
        mapping(here, call)
        if call.get("type", "function") == "function":
            _named(here, call, "function")


def tools(name: str, value: Any) -> None:
    """Tool definitions."""
    filled(name, value)
    for at, tool in enumerate(value):
        here = f"{name}[{at}]"
        mapping(here, tool)
        _required(here, tool, "type")
        if tool["type"] == "function":
            if tool.get("function") is None:
                raise missing(f"{here}.function")
            function(f"{here}.function", tool["function"])


def function(name: str, value: Any) -> None:
    """A function's definition."""
    mapping(name, value)
    if value.get("name") is None:
        raise missing(f"{name}.name")
    FUNCTION_NAME(f"{name}.name", value["name"])
    if value.get("parameters") is not None:
        mapping(f"{name}.parameters", value["parameters"])


def functions(name: str, value: Any) -> None:
    """The deprecated way to define functions."""
    filled(name, value)
    for at, item in enumerate(value):
        function(f"{name}[{at}]", item)


def tool_choice(name: str, value: Any) -> None:
    """none, auto, required, or an object that names a tool."""
    if type(value) is str:
        one_of(("none", "auto", "required"))(name, value)
        return
    if type(value) is not dict:
        raise wrong_type(name, "a string or an object", value)
    _required(name, value, "type")
    if value["type"] == "function":
        _named(name, value, "function")


def response_format(name: str, value: Any) -> None:
    """text, json_object or json_schema."""
    mapping(name, value)
    _required(name, value, "type")
    if value["type"] == "json_schema":
        _named(name, value, "json_schema")


def logit_bias(name: str, value: Any) -> None:
    """Token id -> -100 to 100."""
    mapping(name, value)
    within = number(-100, 100)
    for key, bias in value.items():
        if not key.isdecimal():
            raise wrong_value(name, "its keys are token ids")
        within(f"{name}.{key[:20]}", bias)


def prompt(name: str, value: Any) -> None:
    """A string, strings, token ids, or arrays of token ids."""
    _texts_or_tokens(name, value)


def embedding_input(name: str, value: Any) -> None:
    """As a prompt, none of it empty, 2,048 items at the most."""
    if type(value) is list and value and type(value[0]) is not int:
        bounded(name, value, 2048)
    _texts_or_tokens(name, value)
    for item in [value] if type(value) is str else value:
        if item == "" or item == []:
            raise wrong_value(name, "it must not hold anything empty")


def _texts_or_tokens(name: str, value: Any) -> None:
    if type(value) is str:
        return
    if type(value) is not list:
        raise wrong_type(name, "a string or an array", value)
    filled(name, value)
    kind = type(value[0])
    if kind not in (str, int, list):
        raise wrong_type(f"{name}[0]", "a string, a token or an array of tokens", value[0])
    for at, item in enumerate(value):
        if type(item) is not kind:
            raise wrong_type(f"{name}[{at}]", "the same as its neighbours", item)
        if kind is list:
            filled(f"{name}[{at}]", item)
            for place, token in enumerate(item):
                TOKEN(f"{name}[{at}][{place}]", token)
        elif kind is int:
            TOKEN(f"{name}[{at}]", item)


TOKEN: Final = integer(0)
