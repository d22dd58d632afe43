"""What a host of OpenAI's dialect does not take in a request, as data, and its application to a payload.

Hints the host would refuse are dropped and named; content it has no word for is refused; a payload that
already fits is left alone, so that its bytes can go up as they came. Nothing here changes what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from providers.errors import Unsupported

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# What OpenAI assumes where a field is absent: leaving it out changes nothing and is worth no mention.
NEUTRAL: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "temperature": 1,
        "top_p": 1,
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "logit_bias": {},
        "tools": [],
        "modalities": ["text"],
        "store": False,
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "encoding_format": "float",
        "reasoning_effort": "default",
        "tool_choice": "auto",
    }
)
# Of two names of one thing the one that counts where both are given, whichever the host knows.
PREFERRED: Final = "max_completion_tokens"
MAX_NAMES: Final = 32
# Names go into a header of the answer, and a client chose them: nothing but these characters does.
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def nothing() -> Mapping[str, Any]:
    """The default of a mapping (dataclasses take no mapping itself before Python 3.12)."""
    return NOTHING


@dataclass(frozen=True, slots=True)
class Quirks:
    """One host's (or one model family's) ways; empty means OpenAI's dialect as it is written."""

    only: frozenset[str] | None = None  # all fields the host knows; it refuses any other
    drops: frozenset[str] = frozenset()  # hints it would refuse
    refuses: frozenset[str] = frozenset()  # content it has no word for
    renames: Mapping[str, str] = field(default_factory=nothing)  # names of ours -> names of theirs
    values: Mapping[str, Mapping[str, str]] = field(
        default_factory=nothing
    )  # words of ours -> words of theirs
    choices: Mapping[str, frozenset[str]] = field(default_factory=nothing)  # other values are dropped
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=nothing)  # numbers are brought within
    system_role: bool = False  # knows no developer role
    system_first: bool = False  # takes one system message, before all others
    nameless: bool = False  # messages carry no name
    lax_tools: bool = False  # functions carry no `strict`
    spared_without_effort: bool = False  # takes `drops` after all while it does not reason
    default_effort: str = ""  # the reasoning_effort it assumes
    functions_apart: bool = False  # while it reasons it takes functions only at its Responses
    _touched: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        touched = self.drops | self.refuses | {*self.renames, *self.values, *self.choices, *self.ranges}
        object.__setattr__(self, "_touched", touched)

    def goes_apart(self, payload: dict[str, Any]) -> bool:
        """Must a call with tools go to the host's Responses?"""
        if not self.functions_apart or payload.get("reasoning_effort", self.default_effort) == "none":
            return False
        return bool(payload.get("functions")) or any(
            isinstance(tool, dict) and tool.get("type") == "function" for tool in payload.get("tools") or ()
        )

    def fit(self, payload: dict[str, Any]) -> bool:
        """May the payload go up as it is?"""
        if not self._touched.isdisjoint(payload):
            return False
        if self.only is not None and not self.only.issuperset(payload):
            return False
        if (self.system_role or self.nameless) and not all(map(self._is_plain, payload.get("messages", ()))):
            return False
        if self.system_first and _has_late_system(payload.get("messages", ())):
            return False
        return not (self.lax_tools and payload.get("tools"))

    def apply(self, payload: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A payload the host takes, without nulls, and the names of what was dropped. Raises Unsupported."""
        fields = {name: value for name, value in payload.items() if value is not None}
        dropped: list[str] = []
        for name in self._unwanted(fields):
            if fields.pop(name) != NEUTRAL.get(name, NEUTRAL):
                dropped.append(name)
        for name, new_name in self.renames.items():
            if name in fields:
                value = fields.pop(name)
                if new_name not in fields or name == PREFERRED:
                    fields[new_name] = value
        for name, words in self.values.items():
            if isinstance(word := fields.get(name), str):
                fields[name] = words.get(word, word)
        for name, (least, most) in self.ranges.items():
            if name in fields and not least <= fields[name] <= most:
                fields[name] = min(max(fields[name], least), most)
                dropped.append(name)
        if self.only is not None:
            unknown = fields.keys() - self.only
            dropped += sorted(unknown - {"stream_options"})
            fields = {name: value for name, value in fields.items() if name not in unknown}
        self._rewrite_content(fields, dropped)
        return fields, [name for name in dropped if _NAME.fullmatch(name)][:MAX_NAMES]

    def _unwanted(self, fields: dict[str, Any]) -> list[str]:
        for name in self.refuses:
            if name in fields and fields[name] != NEUTRAL.get(name, NEUTRAL):
                raise Unsupported(name, f"The model's provider does not support '{name}'.")
        effort = fields.get("reasoning_effort", self.default_effort)
        is_spared = self.spared_without_effort and effort == "none"
        unwanted = [name for name in fields if name in self.refuses or (name in self.drops and not is_spared)]
        for name, known in self.choices.items():
            if name in fields and not (isinstance(fields[name], str) and fields[name] in known):
                unwanted.append(name)
        return unwanted

    def _is_plain(self, message: Any) -> bool:
        if not isinstance(message, dict):
            return True
        if self.system_role and message.get("role") == "developer":
            return False
        return not (self.nameless and "name" in message)

    def _rewrite_content(self, fields: dict[str, Any], dropped: list[str]) -> None:
        messages = fields.get("messages")
        if messages and not all(map(self._is_plain, messages)):
            if self.nameless and any(message.get("name") for message in messages):
                dropped.append("messages.name")
            messages = fields["messages"] = [self._plain(message) for message in messages]
        if self.system_first and messages and _has_late_system(messages):
            fields["messages"] = _with_system_first(messages)
        tools = fields.get("tools")
        if self.lax_tools and tools:
            if any(map(_is_strict, tools)):
                dropped.append("tools.function.strict")
            fields["tools"] = [_without_strict(tool) for tool in tools]

    def _plain(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._is_plain(message):
            return message
        unwanted = {"name"} if self.nameless else set()
        plain = {name: value for name, value in message.items() if name not in unwanted}
        if self.system_role and plain.get("role") == "developer":
            plain["role"] = "system"
        return plain


def joined(messages: list[dict[str, Any]]) -> str | list[Any]:
    """The content of several messages as that of one."""
    contents = [message.get("content") or "" for message in messages]
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(content for content in contents if content)
    parts: list[Any] = []
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return parts


def _has_late_system(messages: list[dict[str, Any]]) -> bool:
    return any(message.get("role") == "system" for message in messages[1:])


def _with_system_first(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    said = [message for message in messages if message.get("role") == "system"]
    others = [message for message in messages if message.get("role") != "system"]
    return [{**said[0], "content": joined(said)}, *others]


def _is_strict(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and bool(function.get("strict"))


def _without_strict(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or "strict" not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}
