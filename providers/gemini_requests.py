"""A chat request in OpenAI's shape -> the body of generateContent.

https://ai.google.dev/api/generate-content. Schemas go as JSON Schema (parametersJsonSchema,
responseJsonSchema), never in the vendor's own subset. Refused: custom tools, file ids, spoken answers,
search, a tool result that answers no call. A call whose thought signature the client lost carries the
documented placeholder, in the current turn only; nothing is remembered here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from providers import conversation
from providers.answers import dump
from providers.conversation import (
    Conversation,
    Function,
    Media,
    Part,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from providers.errors import Unsupported
from providers.gemini_models import Traits
from providers.quirks import Quirks

PLACEHOLDER: Final = "skip_thought_signature_validator"
MODEL: Final = "model"
FILLER: Final = "."  # contents must not be empty, nor begin with the model
GO_ON: Final = "Continue."

# Of OpenAI's fields: what each is called in generationConfig.
SETTINGS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "top_logprobs": "logprobs",
}
HINTS: Final = frozenset(
    ("logit_bias", "metadata", "modalities", "service_tier", "store", "user", "verbosity")
)
ELSEWHERE: Final = frozenset(
    (
        "model", "messages", "stream", "n", "logprobs", "stop", "max_tokens", "max_completion_tokens",
        "reasoning_effort", "response_format", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call",
    )
)  # fmt: skip
USUAL: Final = Quirks(
    only=ELSEWHERE.union(SETTINGS, HINTS),
    drops=HINTS,
    refuses=frozenset(("web_search_options",)),
    ranges={"seed": (-(2**31), 2**31 - 1)},
)
FIXED: Final = replace(USUAL, drops=HINTS | {"temperature", "top_p"})
GEMMA: Final = replace(USUAL, drops=HINTS | {"reasoning_effort"})

MEDIA_TYPES: Final = {
    "png": "image/png", "webp": "image/webp", "heic": "image/heic", "heif": "image/heif", "gif": "image/gif",
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "pdf": "application/pdf", "txt": "text/plain",
    "csv": "text/csv", "html": "text/html", "md": "text/markdown", "mp3": "audio/mp3", "wav": "audio/wav",
    "ogg": "audio/ogg", "flac": "audio/flac", "mp4": "video/mp4", "mov": "video/quicktime",
    "webm": "video/webm",
}  # fmt: skip
USUAL_TYPES: Final = {"image": "image/jpeg", "file": "application/pdf", "audio": "audio/wav"}
# A schema with none of these has no arguments to speak of.
ARGUMENTS: Final = (
    "properties", "additionalProperties", "patternProperties", "$ref", "anyOf", "oneOf", "allOf",
)  # fmt: skip

_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def body(payload: dict[str, Any], model: Traits) -> tuple[dict[str, Any], list[str]]:
    """The body, and the names of the hints that are not in it. Raises Unsupported."""
    _check_spoken(payload)
    quirks = GEMMA if model.is_open else FIXED if model.is_fixed else USUAL
    fields, dropped = quirks.apply(payload)
    said = conversation.read(fields)
    functions = conversation.functions(fields)
    chosen = conversation.tool_choice(fields)
    if chosen is not None and chosen.names is not None and chosen.mode == "auto":
        functions = [each for each in functions if each.name in chosen.names]
    settings = _settings(fields, model)
    if form := fields.get("response_format"):
        if functions and not model.is_signed:
            _instruct(said, form, dropped)
        else:
            settings |= _form(form)
    request: dict[str, Any] = {"contents": _contents(said.turns, model)}
    if said.system:
        request["systemInstruction"] = {"parts": [{"text": text.text} for text in said.system]}
    if functions:
        request["tools"] = [{"functionDeclarations": [_declaration(each) for each in functions]}]
        if (calling := _calling(chosen)) is not None:
            request["toolConfig"] = {"functionCallingConfig": calling}
    if settings:
        request["generationConfig"] = settings
    return request, dropped


def without_signatures(payload: dict[str, Any]) -> dict[str, Any]:
    """A chat payload whose calls have lost their thought signatures: placeholders will stand for them."""
    return {**payload, "messages": [_unsigned(message) for message in payload["messages"]]}


def _unsigned(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    bare = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
    return {**message, "tool_calls": bare}


def _check_spoken(payload: dict[str, Any]) -> None:
    modalities = payload.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        raise Unsupported("modalities", "The model's provider gives no spoken answers here.")


# Settings


def _settings(fields: dict[str, Any], model: Traits) -> dict[str, Any]:
    settings = {theirs: fields[ours] for ours, theirs in SETTINGS.items() if ours in fields}
    if (cap := conversation.output_cap(fields)) is not None:
        settings["maxOutputTokens"] = cap
    if marks := conversation.stop_sequences(fields):
        settings["stopSequences"] = marks
    if fields.get("n", 1) > 1:
        settings["candidateCount"] = fields["n"]
    if fields.get("logprobs"):
        settings["responseLogprobs"] = True
    if "reasoning_effort" in fields:
        settings["thinkingConfig"] = model.thinking(fields["reasoning_effort"])
    return settings


def _form(form: dict[str, Any]) -> dict[str, Any]:
    if form["type"] == "text":
        return {}
    settings = {"responseMimeType": "application/json"}
    schema = _schema(form)
    return settings if schema is None else {**settings, "responseJsonSchema": schema}


def _schema(form: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of an answer, None where any JSON will do."""
    if form["type"] == "json_object":
        return None
    if form["type"] != "json_schema":
        raise Unsupported("response_format", "The model's provider does not support this response_format.")
    schema = form["json_schema"].get("schema")
    return _plain(schema) if isinstance(schema, dict) else None


def _instruct(said: Conversation, form: dict[str, Any], dropped: list[str]) -> None:
    """Ask in words for what cannot be set beside functions."""
    if form["type"] == "text":
        return
    schema = _schema(form)
    wish = "Whenever you answer in text, answer with one JSON object and nothing else."
    if schema is not None:
        wish += f" It must conform to this JSON schema: {dump(schema).decode()}"
    said.system.append(Text(wish))
    dropped.append("response_format")


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$schema"}


# Tools


def _declaration(function: Function) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": function.name}
    if function.description:
        declaration["description"] = function.description
    schema = function.parameters
    if schema is not None and any(schema.get(name) for name in ARGUMENTS):
        declaration["parametersJsonSchema"] = _plain(schema)
    return declaration


def _calling(chosen: ToolChoice | None) -> dict[str, Any] | None:
    if chosen is None or chosen.mode == "auto":
        return None
    if chosen.mode == "none":
        return {"mode": "NONE"}
    if chosen.names is None:
        return {"mode": "ANY"}
    return {"mode": "ANY", "allowedFunctionNames": list(chosen.names)}


# Contents


def _contents(turns: list[Turn], model: Traits) -> list[dict[str, Any]]:
    """Turns of either side in alternation; one that says nothing is left out."""
    contents: list[dict[str, Any]] = []
    current = _current(turns)
    order: dict[str, int] = {}
    for at, turn in enumerate(turns):
        if turn.role == conversation.ASSISTANT:
            role, parts = MODEL, _said(turn, model, is_current=at > current)
            order = {part.id: number for number, part in enumerate(_calls(turn))}
        else:
            role, parts = "user", _heard(turn, order, model)
        if parts and contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents or contents[0]["role"] == MODEL:
        contents.insert(0, _filler(FILLER))
    if model.is_fixed and contents[-1]["role"] == MODEL:
        contents.append(_filler(GO_ON))
    return contents


def _filler(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": text}]}


def _current(turns: list[Turn]) -> int:
    """Where the current turn begins: the last time the user said anything but the results of calls."""
    for at in range(len(turns) - 1, -1, -1):
        is_user = turns[at].role == conversation.USER
        if is_user and not all(isinstance(part, ToolResult) for part in turns[at].parts):
            return at
    return -1


def _calls(turn: Turn) -> Iterator[ToolCall]:
    return (part for part in turn.parts if isinstance(part, ToolCall))


def _said(turn: Turn, model: Traits, *, is_current: bool) -> list[dict[str, Any]]:
    """Only the first call of a step is signed, and must be."""
    must_sign = is_current and model.is_signed
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if not isinstance(part, ToolCall):
            parts.append(_spoken(part))
            continue
        call: dict[str, Any] = {"name": part.name, "args": part.arguments}
        if model.is_signed:
            call["id"] = part.id
        signature = _signature(part) or (PLACEHOLDER if must_sign else "")
        parts.append({"functionCall": call})
        if signature:
            parts[-1]["thoughtSignature"] = signature
        must_sign = False
    return parts


def _signature(call: ToolCall) -> str:
    google = call.extra.get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and _SIGNATURE.fullmatch(signature) else ""


def _heard(turn: Turn, order: dict[str, int], model: Traits) -> list[dict[str, Any]]:
    """Results in the order of their calls: older models have nothing else to tell them apart by."""
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    results.sort(key=lambda result: order.get(result.call_id, len(order)))
    parts: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    for result in results:
        response = _response(result, model)
        media = [_spoken(part) for part in result.parts if isinstance(part, Media)]
        if media and model.is_signed:
            response["parts"] = media
        else:
            beside += media
        parts.append({"functionResponse": response})
    spoken = [_spoken(part) for part in turn.parts if not isinstance(part, ToolResult)]
    return parts + beside + spoken


def _response(result: ToolResult, model: Traits) -> dict[str, Any]:
    if not result.name:
        raise Unsupported("messages", f"No tool call has the id '{result.call_id[:64]}'.")
    text = "".join(part.text for part in result.parts if isinstance(part, Text))
    parsed = conversation.parsed_object(text)
    response = {"name": result.name, "response": {"output": text} if parsed is None else parsed}
    return {"id": result.call_id, **response} if model.is_signed else response


def _spoken(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    assert isinstance(part, Media)
    if part.url:
        return {"fileData": {"mimeType": _media_type(part), "fileUri": part.url}}
    media_type = "image/jpeg" if part.media_type == "image/jpg" else part.media_type
    return {"inlineData": {"mimeType": media_type, "data": part.data}}


def _media_type(media: Media) -> str:
    """Of a file elsewhere, by the extension of its path: the vendor wants to be told, and will not look."""
    if "://" not in media.url:
        raise Unsupported(media.path, "It must be a data URL or an absolute URL.")
    path = media.url.partition("#")[0].partition("?")[0]
    extension = path.rpartition(".")[2].lower()
    return MEDIA_TYPES.get(extension) or USUAL_TYPES[media.kind]
