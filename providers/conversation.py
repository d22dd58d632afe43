"""A chat request in OpenAI's shape -> turns, tools and choices, for the dialects that have other shapes.

Read once here, so that no translator parses messages by itself: system text apart, neighbours of one role
merged, tool results before what the user says beside them, data URLs taken apart. What no dialect but
OpenAI's has a word for (file ids, spoken answers; custom tools but in Responses) is Unsupported, and is named
by its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import ujson

from providers.errors import Unsupported

USER: Final = "user"
ASSISTANT: Final = "assistant"
# Media type parameters (charset, name) are of no use to any vendor.
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.=+-]+)*;base64,", re.IGNORECASE)


@dataclass(slots=True)
class Text:
    """A piece of text. cache: how long the prefix up to here should be kept, such as "5m" or "12h", or ""."""

    text: str
    cache: str = ""


@dataclass(slots=True)
class Media:
    """An image, a recording or a document: base64 `data` of a media type, or a `url`; one of them is empty.

    kind: "image", "audio" or "file". path: where it stands in the request.
    """

    kind: str
    path: str
    media_type: str = ""
    data: str = field(default="", repr=False)
    url: str = field(default="", repr=False)
    filename: str = ""
    detail: str = ""
    cache: str = ""


@dataclass(slots=True)
class ToolCall:
    """A function the model called earlier. arguments: parsed. extra: the call's `extra_content`.

    text: what a custom tool was given; None = it is a function.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    extra: dict[str, Any]
    text: str | None = None


@dataclass(slots=True)
class ToolResult:
    """What a function answered. name: of the function, empty where the history does not say.

    is_custom: it was a custom tool.
    """

    call_id: str
    name: str
    parts: list[Text | Media]
    cache: str = ""
    is_error: bool = False
    is_custom: bool = False


Part = Text | Media | ToolCall | ToolResult


@dataclass(slots=True)
class Turn:
    """What one side said. sources: the messages it is made of, each with its own parts, for the fields that
    only one dialect knows.
    """

    role: str
    parts: list[Part]
    sources: list[tuple[dict[str, Any], list[Part]]]


@dataclass(slots=True)
class Conversation:
    """System texts in their order, wherever they stood, and the turns, which alternate."""

    system: list[Text]
    turns: list[Turn]


@dataclass(slots=True)
class Function:
    """A tool the model may call. parameters: a JSON schema, None = it takes no arguments."""

    name: str
    description: str
    parameters: dict[str, Any] | None
    is_strict: bool


@dataclass(slots=True)
class ToolChoice:
    """mode: "auto", "none" or "required". names: the only functions allowed, None = all of them.

    is_named: the client named one function that must be called.
    """

    mode: str
    names: tuple[str, ...] | None = None
    is_named: bool = False


def read(payload: dict[str, Any], *, has_custom: bool = False) -> Conversation:
    """The validated messages of a chat request. Blank text is left out. Raises Unsupported.

    has_custom: the dialect has a word for calls of custom tools.
    """
    conversation = Conversation([], [])
    calls: dict[str, ToolCall] = {}
    for at, message in enumerate(payload["messages"]):
        role, path = message["role"], f"messages[{at}]"
        if role in ("system", "developer"):
            conversation.system += _texts(path, message)
        elif role == "assistant":
            _add(
                conversation.turns,
                ASSISTANT,
                message,
                list(_said(path, message, calls, has_custom=has_custom)),
            )
        elif role == "user":
            _add(conversation.turns, USER, message, list(_parts(path, message)))
        else:  # tool, or the deprecated function
            _add(conversation.turns, USER, message, [_result(path, message, calls)])
    for turn in conversation.turns:
        turn.parts.sort(key=_is_spoken)  # stable: results first, all else as it was
    return conversation


def functions(payload: dict[str, Any]) -> list[Function]:
    """The tools, and the functions of the deprecated field. Raises Unsupported for other kinds of tools."""
    found = [_function(each) for each in payload.get("functions") or ()]
    for at, tool in enumerate(payload.get("tools") or ()):
        if tool["type"] != "function":
            raise Unsupported(f"tools[{at}]", "The model's provider supports function tools only.")
        found.append(_function(tool["function"]))
    return found


def tool_choice(payload: dict[str, Any]) -> ToolChoice | None:
    """None where the client leaves it open. Raises Unsupported for a choice that is no function."""
    choice = payload.get("tool_choice")
    if choice is None:
        choice = payload.get("function_call")
    if choice is None or isinstance(choice, str):
        return None if choice is None else ToolChoice(choice)
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        listed = [_name_of(tool) for tool in allowed.get("tools") or ()]
        mode = "required" if allowed.get("mode") == "required" else "auto"
        return ToolChoice(mode, tuple(name for name in listed if name))
    name = _name_of(choice) or choice.get("name")
    if not isinstance(name, str) or choice.get("type", "function") != "function":
        raise Unsupported("tool_choice", "The model's provider does not support this kind of tool_choice.")
    return ToolChoice("required", (name,), is_named=True)


def output_cap(payload: dict[str, Any]) -> int | None:
    """Tokens that one answer may have, None where the client does not say; the newer name goes first."""
    cap: int | None = payload.get("max_completion_tokens")
    return cap if cap is not None else payload.get("max_tokens")


def stop_sequences(payload: dict[str, Any]) -> list[str]:
    """The client's stop sequences, none of them empty."""
    stop = payload.get("stop")
    return [mark for mark in ([stop] if isinstance(stop, str) else stop or []) if mark]


def _add(turns: list[Turn], role: str, message: dict[str, Any], parts: list[Part]) -> None:
    if turns and turns[-1].role == role:
        turns[-1].parts += parts
        turns[-1].sources.append((message, parts))
    else:
        turns.append(Turn(role, [*parts], [(message, parts)]))


def _is_spoken(part: Part) -> bool:
    return not isinstance(part, ToolResult)


def _result(path: str, message: dict[str, Any], calls: dict[str, ToolCall]) -> ToolResult:
    call_id = message.get("tool_call_id") or message.get("name") or ""
    called = calls.get(call_id)
    name = (called.name if called else "") or message.get("name") or ""
    is_error = message.get("is_error") is True
    is_custom = called is not None and called.text is not None
    return ToolResult(call_id, name, list(_parts(path, message)), _cache(message), is_error, is_custom)


def _said(
    path: str, message: dict[str, Any], known: dict[str, ToolCall], *, has_custom: bool
) -> Iterator[Part]:
    if message.get("audio") is not None:
        raise Unsupported(f"{path}.audio", "The model's provider knows no spoken answers.")
    yield from _parts(path, message)
    calls = list(message.get("tool_calls") or ())
    if isinstance(message.get("function_call"), dict):
        calls.append({"id": message["function_call"].get("name"), "function": message["function_call"]})
    for at, call in enumerate(calls):
        made = _call(f"{path}.tool_calls[{at}]", call, has_custom=has_custom)
        known[made.id] = made
        yield made


def _call(path: str, call: dict[str, Any], *, has_custom: bool) -> ToolCall:
    function, custom, extra = call.get("function"), call.get("custom"), call.get("extra_content")
    call_id, extra = str(call.get("id") or ""), extra if isinstance(extra, dict) else {}
    if isinstance(function, dict):
        return ToolCall(call_id, function["name"], arguments_of(function.get("arguments")), extra)
    if not (has_custom and isinstance(custom, dict)):
        raise Unsupported(path, "The model's provider supports function calls only.")
    return ToolCall(call_id, str(custom.get("name") or ""), {}, extra, str(custom.get("input") or ""))


def arguments_of(written: Any) -> dict[str, Any]:
    """Arguments as an object; text that is none comes as {"raw_arguments": text}, so that nothing is lost."""
    if isinstance(written, dict):
        return written
    text = written if isinstance(written, str) else ""
    if not text.strip():
        return {}
    parsed = parsed_object(text)
    return {"raw_arguments": text} if parsed is None else parsed


def parsed_object(text: str) -> dict[str, Any] | None:
    """Text as the JSON object that it is; None for any other, and for one that holds NaN or an infinity."""
    try:
        parsed = ujson.loads(text)
        ujson.dumps(parsed, allow_nan=False)
    except (ValueError, OverflowError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _texts(path: str, message: dict[str, Any]) -> Iterator[Text]:
    for part in _parts(path, message):
        if not isinstance(part, Text):
            raise Unsupported(f"{path}.content", "The model's provider takes only text in system messages.")
        yield part


def _parts(path: str, message: dict[str, Any]) -> Iterator[Text | Media]:
    content = message.get("content")
    if isinstance(content, str):
        if content.strip():
            yield Text(content, _cache(message))
        return
    for at, part in enumerate(content or ()):
        yield from _part(f"{path}.content[{at}]", part)


def _part(path: str, part: dict[str, Any]) -> Iterator[Text | Media]:
    kind = part["type"]
    if kind in ("text", "refusal"):
        if part[kind].strip():
            yield Text(part[kind], _cache(part))
    elif kind == "image_url":
        image = _media("image", path, part["image_url"]["url"], _cache(part))
        detail = part["image_url"].get("detail")
        image.detail = detail if isinstance(detail, str) else ""
        yield image
    elif kind == "input_audio":
        sound = part["input_audio"]
        media_type = f"audio/{sound.get('format') or 'wav'}"
        yield Media("audio", path, media_type, sound["data"], cache=_cache(part))
    elif kind == "file" and isinstance(part["file"].get("file_data"), str):
        media = _media("file", path, part["file"]["file_data"], _cache(part))
        name = part["file"].get("filename")
        media.filename = name if isinstance(name, str) else ""
        yield media
    else:
        word = "file ids" if kind == "file" else f"parts of type '{kind}'"
        raise Unsupported(path, f"The model's provider does not support {word}.")


def _media(kind: str, path: str, url: str, cache: str) -> Media:
    found = _DATA_URL.match(url)
    if found is not None:
        return Media(kind, path, found[1].lower(), url[found.end() :], cache=cache)
    if url[:5].lower() == "data:":
        raise Unsupported(path, "A data URL must name its media type and be in base64.")
    return Media(kind, path, url=url, cache=cache)


def _cache(node: dict[str, Any]) -> str:
    """OpenAI's prompt_cache_breakpoint, or Anthropic's cache_control in the same place."""
    for name, usual in (("prompt_cache_breakpoint", "30m"), ("cache_control", "5m")):
        marker = node.get(name)
        if isinstance(marker, dict):
            life = marker.get("ttl")
            return life if isinstance(life, str) and life else usual
    return ""


def _function(function: dict[str, Any]) -> Function:
    description, parameters = function.get("description"), function.get("parameters")
    return Function(
        function["name"],
        description if isinstance(description, str) else "",
        parameters if isinstance(parameters, dict) else None,
        function.get("strict") is True,
    )


def _name_of(tool: Any) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
