"""A chat request in OpenAI's shape -> the body of Anthropic's Messages.

https://platform.claude.com/docs/en/api/messages. System texts are hoisted, results of tools go first, and
thoughts go back where they were (anthropic_thoughts.py). Refused: recordings, file ids, custom tools,
search, spoken answers, images other than JPEG, PNG, GIF and WebP. Forcing a tool on a model that cannot be
forced is dropped.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any, Final

from providers import anthropic_thoughts as thoughts
from providers import conversation
from providers.anthropic_models import USUAL_MAX_OUTPUT, Traits
from providers.anthropic_schemas import closed, open_object
from providers.conversation import Function, Media, Part, Text, ToolCall, ToolChoice, ToolResult, Turn
from providers.errors import Unsupported
from providers.quirks import NEUTRAL, Quirks

FILLER: Final = "."  # the user speaks first
GO_ON: Final = "Continue."
NO_WORDS: Final = "error"  # a result that is one must say something
# What has no form of its own here.
ONLY_JSON: Final = "Respond only with a single valid JSON object, with no other text and no code fence."
MOST_MARKERS: Final = 4
IMAGES: Final = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
TIERS: Final = {"default": "standard_only", "auto": "auto"}

HINTS: Final = frozenset(
    (
        "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "store",
        "metadata", "prediction", "verbosity", "moderation", "modalities", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention",
    )
)  # fmt: skip
READ: Final = frozenset(
    (
        "model", "messages", "stream", "n", "stop", "max_tokens", "max_completion_tokens", "reasoning_effort",
        "response_format", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
        "user", "safety_identifier", "service_tier", "temperature", "top_p", "top_k",
    )
)  # fmt: skip
OWN: Final = frozenset(("thinking", "cache_control", "container", "inference_geo", "speed", "diagnostics"))
USUAL: Final = Quirks(
    only=READ | OWN | HINTS,
    drops=HINTS,
    refuses=frozenset(("web_search_options",)),
    ranges={"temperature": (0, 1)},
    choices={"service_tier": frozenset(TIERS)},
)
FIXED: Final = replace(USUAL, drops=HINTS | {"temperature", "top_p", "top_k"})

_NOT_OF_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")


def body(payload: dict[str, Any], model: Traits) -> tuple[dict[str, Any], list[str]]:
    """The body, and the names of the hints that are not in it. Raises Unsupported."""
    modalities = payload.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        raise Unsupported("modalities", "The model's provider gives no spoken answers.")
    fields, dropped = (USUAL if model.samples else FIXED).apply(payload)
    said = conversation.read(fields)
    tools, choice = _tools(fields, said.turns, model, dropped)
    request = {"model": fields["model"], "max_tokens": _cap(fields, model)}
    if fields.get("stream"):
        request["stream"] = True
    system = [_text(text) for text in said.system]
    request |= _form(fields.get("response_format"), system)
    if system:
        request["system"] = system
    if tools:
        request["tools"] = tools
    if choice is not None:
        request["tool_choice"] = choice
    is_forced = choice is not None and choice["type"] in ("any", "tool")
    thinking = model.thinking(
        fields.get("reasoning_effort"),
        request["max_tokens"],
        must_not=is_forced or (not model.is_adaptive and _has_lost_thoughts(said.turns)),
    )
    request["output_config"] = {**request.get("output_config", {}), **thinking.pop("output_config", {})}
    request |= {**thinking, **{name: fields[name] for name in OWN if name in fields}}
    request |= _sampling(fields, request, dropped)
    request |= _rest(fields)
    may_go_on = model.has_prefill and not _is_thinking(request) and "format" not in request["output_config"]
    request["messages"] = _messages(said.turns, may_go_on=may_go_on)
    _bound_markers(request)
    return {name: value for name, value in request.items() if value not in ({}, [])}, dropped


# Settings


def _cap(fields: dict[str, Any], model: Traits) -> int:
    cap = conversation.output_cap(fields)
    if model.max_output is None:
        return USUAL_MAX_OUTPUT if cap is None else cap
    return model.max_output if cap is None else min(cap, model.max_output)


def _sampling(fields: dict[str, Any], request: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    """One of temperature and top_p, and none while it is told how much to think."""
    given = [name for name in ("temperature", "top_p", "top_k") if name in fields]
    kept = (
        []
        if _is_thinking(request)
        else [name for name in given if name != "top_p" or "temperature" not in fields]
    )
    dropped += [name for name in given if name not in kept and fields[name] != NEUTRAL.get(name)]
    return {name: float(fields[name]) if name != "top_k" else fields[name] for name in kept}


def _is_thinking(request: dict[str, Any]) -> bool:
    return request.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _rest(fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if marks := [mark for mark in conversation.stop_sequences(fields) if mark.strip()]:
        found["stop_sequences"] = marks
    if user := fields.get("user") or fields.get("safety_identifier"):
        found["metadata"] = {"user_id": user}
    if tier := fields.get("service_tier"):
        found["service_tier"] = TIERS[tier]
    return found


def _form(form: dict[str, Any] | None, system: list[dict[str, Any]]) -> dict[str, Any]:
    if form is None or form["type"] == "text":
        return {}
    schema = form["json_schema"].get("schema") if form["type"] == "json_schema" else None
    if isinstance(schema, dict):
        return {
            "output_config": {"format": {"type": "json_schema", "schema": closed(schema, "response_format")}}
        }
    if form["type"] not in ("json_object", "json_schema"):
        raise Unsupported("response_format", "The model's provider does not support this response_format.")
    system.append({"type": "text", "text": ONLY_JSON})
    return {}


# Tools


def _tools(
    fields: dict[str, Any], turns: list[Turn], model: Traits, dropped: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    functions = conversation.functions(fields)
    chosen = conversation.tool_choice(fields)
    if not functions:
        return _called_before(turns)
    if chosen is not None and chosen.names is not None and not chosen.is_named:
        functions = [each for each in functions if each.name in chosen.names]
    choice = _choice(chosen, model, dropped)
    if fields.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return [_tool(each) for each in functions], choice


def _called_before(turns: list[Turn]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Definitions of what was called earlier: a history with calls needs some. They are not to be called."""
    names = dict.fromkeys(part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall))
    tools = [{"name": name, "input_schema": open_object(None)} for name in names]
    return tools, {"type": "none"} if tools else None


def _tool(function: Function) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": function.name}
    if function.description:
        tool["description"] = function.description
    schema = open_object(function.parameters)
    tool["input_schema"] = closed(schema, "tools") if function.is_strict else schema
    if function.is_strict:
        tool["strict"] = True
    return tool


def _choice(chosen: ToolChoice | None, model: Traits, dropped: list[str]) -> dict[str, Any] | None:
    if chosen is None:
        return None
    if chosen.mode != "required":
        return {"type": chosen.mode}
    if not model.can_be_forced:
        dropped.append("tool_choice")
        return {"type": "auto"}
    if chosen.is_named and chosen.names:
        return {"type": "tool", "name": chosen.names[0]}
    return {"type": "any"}


# Messages


def _messages(turns: list[Turn], *, may_go_on: bool) -> list[dict[str, Any]]:
    """Turns in alternation, the user's first, and the last too unless the model may go on with its own."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        content = _content(turn)
        if content and messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += content
        elif content:
            messages.append({"role": turn.role, "content": content})
    if not messages or messages[0]["role"] == conversation.ASSISTANT:
        messages.insert(0, _filler(FILLER))
    last = messages[-1]
    if last["role"] == conversation.ASSISTANT:
        if last["content"][-1]["type"] == "text":
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        if not may_go_on:
            messages.append(_filler(GO_ON))
    return messages


def _filler(text: str) -> dict[str, Any]:
    return {"role": conversation.USER, "content": [{"type": "text", "text": text}]}


def _content(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == conversation.USER:
        return [_block(part) for part in turn.parts]
    woven = [each for message, parts in turn.sources for each in thoughts.woven(message, parts)]
    return [
        each if isinstance(each, dict) else _block(each)
        for each in woven
        if not isinstance(each, Text) or each.text.strip()  # parting may leave blanks, which are refused
    ]


def _has_lost_thoughts(turns: list[Turn]) -> bool:
    """Does it end in results of calls whose thoughts the client has not kept?"""
    if len(turns) < 2 or not any(isinstance(part, ToolResult) for part in turns[-1].parts):
        return False
    return not any(thoughts.kept(message) for message, _ in turns[-2].sources)


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return _text(part)
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": part.arguments}
    if isinstance(part, ToolResult):
        return _result(part)
    return _marked(_media(part), part.cache)


def _text(text: Text) -> dict[str, Any]:
    return _marked({"type": "text", "text": text.text}, text.cache)


def _result(result: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(result.call_id)}
    parts = result.parts
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].cache:
        block["content"] = parts[0].text
    elif parts:
        block["content"] = [_block(part) for part in parts]
    if result.is_error:
        block = {"content": NO_WORDS, **block, "is_error": True}
    return _marked(block, result.cache)


def _id(call_id: str) -> str:
    return _NOT_OF_IDS.sub("_", call_id) or "_"


def _media(media: Media) -> dict[str, Any]:
    media_type = "image/jpeg" if media.media_type == "image/jpg" else media.media_type
    if media.kind == "audio" or media_type.startswith("audio/"):
        raise Unsupported(media.path, "The model's provider takes no recordings.")
    if media.url:
        kind = "image" if media.kind == "image" else "document"
        return _titled({"type": kind, "source": {"type": "url", "url": media.url}}, media)
    if media_type in IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": media.data}}
    if media.kind == "file" and media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": media.data}
        return _titled({"type": "document", "source": source}, media)
    if media.kind == "file" and media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(media)}
        return _titled({"type": "document", "source": source}, media)
    raise Unsupported(media.path, f"The model's provider does not take '{media_type[:64]}'.")


def _decoded(media: Media) -> str:
    try:
        return base64.b64decode(media.data, validate=True).decode("utf-8", "replace")
    except ValueError:
        raise Unsupported(media.path, "The data is not valid base64.") from None


def _titled(block: dict[str, Any], media: Media) -> dict[str, Any]:
    return {**block, "title": media.filename} if media.filename and block["type"] == "document" else block


# Prompt caching


def _marked(block: dict[str, Any], cache: str) -> dict[str, Any]:
    if not cache:
        return block
    control = {"type": "ephemeral", "ttl": "1h"} if cache in ("1h", "12h") else {"type": "ephemeral"}
    return {**block, "cache_control": control}


def _bound_markers(request: dict[str, Any]) -> None:
    """The vendor takes four: those furthest on hold the most."""
    blocks = [*request.get("system", ())]
    for message in request["messages"]:
        for block in message["content"]:
            inner = block.get("content")
            blocks += [*(inner if isinstance(inner, list) else ()), block]
    marked = [block for block in blocks if "cache_control" in block]
    most = MOST_MARKERS - ("cache_control" in request)
    for block in marked[: max(0, len(marked) - most)]:
        del block["cache_control"]
