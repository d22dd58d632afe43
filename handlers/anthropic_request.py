"""A request in Anthropic's format -> the chat request in OpenAI's that asks for the same. Pure.

What OpenAI's format has no word for, but some vendor may (see `providers/extensions.py`), goes along under
Anthropic's own name. Unknown parameters are left out, as agents send more than is documented; tools that run
at Anthropic, and content without a translation, are refused. Null counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from handlers import anthropic_content as content
from handlers.rules import (
    Rule,
    array,
    boolean,
    filled,
    integer,
    mapping,
    matching,
    missing,
    number,
    one_of,
    required,
    string,
)
from handlers.validate import COMMON, MAX_TOKENS
from providers.errors import Unsupported

TEXT: Final = string()
TOOL_NAME: Final = matching(r"[a-zA-Z0-9_-]{1,128}", "1 to 128 letters, digits, '_' or '-'")
EFFORT: Final = one_of(("low", "medium", "high", "xhigh", "max"))
THINKING: Final = one_of(("enabled", "adaptive", "disabled", "between_tools"))
CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
CHOICE: Final = one_of((*CHOICES, "tool"))
MAX_STOPS: Final = 4  # that OpenAI's format has room for
EFFORTS: Final = ((2048, "low"), (8192, "medium"))  # for budgets below so many tokens; else high
# What hosts take for a user: agents send a JSON object of 200 characters, which most refuse.
USER: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Node = dict[str, Any]


def _texts(name: str, value: Any) -> None:
    array(name, value)
    for at, text in enumerate(value):
        TEXT(f"{name}[{at}]", text)


RULES: Final[Mapping[str, Rule]] = {
    "model": COMMON["model"],
    "max_tokens": integer(1, MAX_TOKENS),
    "messages": filled,
    "stream": boolean,
    "temperature": number(0, 1),
    "top_p": number(0, 1),
    "top_k": integer(0),
    "stop_sequences": _texts,
    "tools": array,
    "tool_choice": mapping,
    "thinking": mapping,
    "output_config": mapping,
    "metadata": mapping,
    "cache_control": mapping,
}
AS_THEY_ARE: Final = ("model", "max_tokens", "temperature", "top_p", "top_k", "cache_control")


def translated(request: Node, *, is_counted: bool = False) -> Node:
    """The chat request. is_counted: only its tokens are asked for. Raises InvalidParameter, Unsupported."""
    given = {name: value for name, value in request.items() if value is not None}
    for name, rule in RULES.items():
        if name in given:
            rule(name, given[name])
    for name in ("model", "messages") if is_counted else ("model", "messages", "max_tokens"):
        if not given.get(name):
            raise missing(name)
    fields: Node = {name: given[name] for name in AS_THEY_ARE if name in given}
    fields["messages"] = content.system("system", given.get("system", "")) + content.messages(
        given["messages"]
    )
    if given.get("stream"):
        fields["stream"] = True
    stops = [stop for stop in given.get("stop_sequences", ()) if stop]
    if stops:
        fields["stop"] = stops[:MAX_STOPS]
    if given.get("tools"):
        fields["tools"] = [_tool(f"tools[{at}]", tool) for at, tool in enumerate(given["tools"])]
        fields.update(_choice(given.get("tool_choice")))
    fields.update(_output(given.get("thinking") or {}, given.get("output_config") or {}))
    user = given.get("metadata", {}).get("user_id")
    if user is not None:
        TEXT("metadata.user_id", user)
        fields["user"] = user if USER.fullmatch(user) else sha256(user.encode()).hexdigest()
    return fields


def _tool(path: str, tool: Any) -> Node:
    mapping(path, tool)
    kind = tool.get("type")
    if kind is not None and kind != "custom":
        raise Unsupported(path, "Only tools that the client runs itself ('custom') are supported here.")
    function = {"name": required(path, tool, "name", TOOL_NAME)}
    if tool.get("description") is not None:
        function["description"] = required(path, tool, "description", TEXT)
    function["parameters"] = required(path, tool, "input_schema", mapping)
    if tool.get("strict") is not None:
        function["strict"] = required(path, tool, "strict", boolean)
    return {"type": "function", "function": function}


def _choice(choice: Node | None) -> Node:
    if choice is None:
        return {}
    kind = required("tool_choice", choice, "type", CHOICE)
    if kind == "tool":
        name = required("tool_choice", choice, "name", TOOL_NAME)
        fields: Node = {"tool_choice": {"type": "function", "function": {"name": name}}}
    else:
        fields = {"tool_choice": CHOICES[kind]}
    if choice.get("disable_parallel_tool_use") is True:
        fields["parallel_tool_calls"] = False
    return fields


def _output(thinking: Node, config: Node) -> Node:
    """How hard to think, where the client wants thinking at all, and the form of the answer."""
    fields: Node = {}
    kind = required("thinking", thinking, "type", THINKING) if thinking else "disabled"
    effort = None
    if config.get("effort") is not None:
        effort = required("output_config", config, "effort", EFFORT)
    if kind == "enabled" and effort is None:
        budget = required("thinking", thinking, "budget_tokens", integer(1))
        effort = next((word for tokens, word in EFFORTS if budget < tokens), "high")
    if kind != "disabled" and effort is not None:
        fields["reasoning_effort"] = effort
    elif thinking:
        fields["thinking"] = thinking
    if config.get("format") is not None:
        form = required("output_config", config, "format", mapping)
        required("output_config.format", form, "type", one_of(("json_schema",)))
        schema = required("output_config.format", form, "schema", mapping)
        described = {"name": "output", "strict": True, "schema": schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": described}
    return fields
