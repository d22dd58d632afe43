"""A chat completion -> the body of a request to OpenAI's Responses (`responses.py`).

https://platform.openai.com/docs/api-reference/responses/create. Thoughts
come back from the client encrypted, as they went out. Refused: recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from providers import conversation
from providers.answers import dump
from providers.conversation import Function, Media, Part, Text, ToolCall, ToolResult, Turn
from providers.errors import Unsupported
from providers.translation import dicts

CARRIED: Final = "reasoning.encrypted_content"
REASONING: Final = ("type", "id", "summary", "encrypted_content")  # of an item, what goes back
# Fields of a chat completion that are read here; all others pass.
READ: Final = frozenset(
    (
        "messages", "n", "max_tokens", "max_completion_tokens", "max_output_tokens", "reasoning_effort",
        "response_format", "verbosity", "tools", "tool_choice", "functions", "function_call", "modalities",
        "stream", "stream_options", "logprobs", "store",
    )
)  # fmt: skip


def request_body(fields: dict[str, Any]) -> dict[str, Any]:
    """All but the model and `store`. fields: of a validated chat request. Raises Unsupported."""
    said = conversation.read(fields, has_custom=True)
    items: list[dict[str, Any]] = []
    if said.system:
        items.append({"role": "developer", "content": [_input(text) for text in said.system]})
    for turn in said.turns:
        items += _items(turn)
    body: dict[str, Any] = {name: value for name, value in fields.items() if name not in READ}
    body |= {"input": items, "include": [CARRIED]}
    if fields.get("stream"):
        body |= {"stream": True, "stream_options": {"include_obfuscation": False}}
    if (cap := conversation.output_cap(fields)) is not None:
        body["max_output_tokens"] = cap
    if (effort := fields.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort, **body.get("reasoning", {})}
    if text := _text_settings(fields):
        body["text"] = text
    if fields.get("logprobs"):
        body["include"].append("message.output_text.logprobs")
    body["tools"] = list(_tools(fields))
    if (chosen := _choice(fields)) is not None:
        body["tool_choice"] = chosen
    return body


def _text_settings(fields: dict[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = {}
    form = fields.get("response_format")
    if form is not None:
        described = form.get("json_schema")
        text["format"] = {"type": form["type"], **described} if isinstance(described, dict) else form
    if "verbosity" in fields:
        text["verbosity"] = fields["verbosity"]
    return text


def _tools(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for function in conversation.functions({"functions": fields.get("functions")}):
        yield _tool(function)
    for tool in fields.get("tools") or ():
        if tool["type"] == "custom":
            yield _custom(tool["custom"])
        else:
            yield from map(_tool, conversation.functions({"tools": [tool]}))


def _custom(custom: dict[str, Any]) -> dict[str, Any]:
    """A custom tool; its format's grammar is one level flatter here."""
    form = custom.get("format")
    if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
        custom = {**custom, "format": {"type": form["type"], **form["grammar"]}}
    return {"type": "custom", **custom}


def _tool(function: Function) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "function", "name": function.name}
    if function.description:
        tool["description"] = function.description
    return {**tool, "parameters": function.parameters, "strict": function.is_strict}


def _choice(fields: dict[str, Any]) -> Any:
    """Which tools, in flatter words."""
    given = fields.get("tool_choice")
    if isinstance(given, dict):
        allowed = given.get("allowed_tools")
        if isinstance(allowed, dict):
            tools = [_flat(tool) for tool in dicts(allowed.get("tools"))]
            return {"type": "allowed_tools", "mode": allowed.get("mode", "auto"), "tools": tools}
        if given.get("type") == "custom":
            return _flat(given)
    chosen = conversation.tool_choice(fields)
    if chosen is None or chosen.names is None:
        return chosen and chosen.mode
    return {"type": "function", "name": chosen.names[0]}


def _flat(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool that is chosen: `{"type": "custom", "custom": {"name": …}}` there."""
    kind = str(tool.get("type") or "function")
    named = tool.get(kind)
    return {"type": kind, "name": str(named.get("name") or "") if isinstance(named, dict) else ""}


def _items(turn: Turn) -> Iterator[dict[str, Any]]:
    """A turn's results of calls, what was said, and the calls it made; each call after what led to it."""
    spoken: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            kind = "custom_tool_call_output" if part.is_custom else "function_call_output"
            yield {"type": kind, "call_id": part.call_id, "output": _output(part)}
        elif not isinstance(part, ToolCall):
            spoken.append(part)
    if spoken and turn.role == conversation.ASSISTANT:
        yield {"role": turn.role, "content": "".join(part.text for part in spoken if isinstance(part, Text))}
    elif spoken:
        yield {"role": turn.role, "content": [_input(part) for part in spoken]}
    for part in turn.parts:
        if isinstance(part, ToolCall):
            yield from _carried(part)
            made = {"call_id": part.id, "name": part.name}
            if part.text is not None:
                yield {"type": "custom_tool_call", **made, "input": part.text}
            else:
                yield {"type": "function_call", **made, "arguments": dump(part.arguments).decode()}


def _carried(call: ToolCall) -> Iterator[dict[str, Any]]:
    own = call.extra.get("openai")
    for item in dicts(own.get("reasoning") if isinstance(own, dict) else None):
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            yield {name: item[name] for name in REASONING if name in item}


def _output(result: ToolResult) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in result.parts):
        return "".join(part.text for part in result.parts if isinstance(part, Text))
    return [_input(part) for part in result.parts]


def _input(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    assert isinstance(part, Media)
    data_url = part.url or f"data:{part.media_type};base64,{part.data}"
    if part.kind == "image":
        return {"type": "input_image", "image_url": data_url, "detail": part.detail or "auto"}
    if part.kind == "file":
        given = "file_url" if part.url else "file_data"
        name = {"filename": part.filename} if part.filename else {}
        return {"type": "input_file", given: data_url, **name}
    raise Unsupported(part.path, "The model takes no recordings together with functions.")
