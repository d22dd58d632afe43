"""What goes to a vendor fits the types of the vendor's own SDK, and what comes back those of OpenAI's (P5).

For every recorded case, with unknown keys forbidden at every depth: the types are generated from the vendors'
own descriptions of their APIs, so they know what a service would refuse.
"""

from __future__ import annotations

import collections.abc
import json
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

import pytest
from anthropic.types import message_create_params
from google.genai import types as genai
from mistralai.client import models as mistral
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageCustomToolCall
from openai.types.completion import Completion
from openai.types.create_embedding_response import CreateEmbeddingResponse
from openai.types.responses import response_create_params
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from typing_extensions import get_type_hints, is_typeddict

from tests.providers import wire_cases
from tests.providers.calling import Heard
from tests.providers.wire_cases import Case

CASES: Final = [case for case in wire_cases.cases() if not case.get("inbound")]
# Of older models, which take them still; the newest version of the SDK has them no more.
BESIDE_ANTHROPIC: Final = frozenset(("temperature", "top_p", "top_k"))
GEMINI: Final[dict[str, Any]] = {
    "contents": list[genai.Content],
    "systemInstruction": genai.Content,
    "tools": list[genai.Tool],
    "toolConfig": genai.ToolConfig,
    "generationConfig": genai.GenerationConfig,
    "safetySettings": list[genai.SafetySetting],
}


class EmbedRequest(BaseModel, extra="forbid", alias_generator=to_camel):
    """Of batchEmbedContents; the SDK builds it without a type."""

    model: str
    content: genai.Content
    task_type: str | None = None
    output_dimensionality: int | None = None


def having(kind: str, *keys: str) -> Any:
    """Parametrised over a vendor's cases that show all of this; "" = any vendor's."""
    found = [c for c in CASES if kind in ("", c["kind"]) and all(key in c for key in keys)]
    return pytest.mark.parametrize("case", found, ids=[f"{c['kind']}-{c['id']}" for c in found])


def misfits(value: Any, kind: Any, path: str = "") -> list[str]:
    """Where a value does not fit a type that is written with TypedDicts; of a union, its best member counts.

    By hand, since pydantic looks into an Iterable only later, and takes keys that a TypedDict does not name.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return misfits(value, arguments[0], path)
    if origin in (Union, UnionType):
        found = [misfits(value, member, path) for member in arguments]
        return min(found, key=lambda each: (len(each), -sum(miss.find(" ") for miss in each)))  # the deepest
    if is_typeddict(kind) and isinstance(value, dict):
        hints = get_type_hints(kind, include_extras=True)
        misses = [f"{path}.{name} is missing" for name in kind.__required_keys__ - value.keys()]
        for name, each in value.items():
            known = name in hints
            misses += misfits(each, hints[name], f"{path}.{name}") if known else [f"{path}.{name} is unknown"]
        return misses
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence) and isinstance(value, list):
        return [
            miss for at, each in enumerate(value) for miss in misfits(each, arguments[0], f"{path}[{at}]")
        ]
    if origin is Literal:
        return [] if value in arguments else [f"{path} is {value!r}"]
    if kind in (object, Any) or (origin or kind) is dict and isinstance(value, dict):
        return []
    numbers = (int, float) if kind is float else kind
    plain = kind in (str, int, float, bool, type(None)) and isinstance(value, numbers)
    return [] if plain else [f"{path} is no {kind}"]


def test_a_stranger_is_found_at_any_depth() -> None:
    part = {"type": "text", "text": "x", "stranger": 1}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [part]}]}
    kind = message_create_params.MessageCreateParamsNonStreaming
    assert misfits(body, kind) == [".messages[0].content[0].stranger is unknown"]
    with pytest.raises(ValidationError):
        TypeAdapter(genai.Content).validate_python({"parts": [{"text": "x", "stranger": 1}]})


@having("anthropic", "openai_request", "upstream_request")
def test_what_anthropic_reads(case: Case) -> None:
    _, body = wire_cases.sent(case)
    body = {name: value for name, value in body.items() if name not in BESIDE_ANTHROPIC}
    streaming = message_create_params.MessageCreateParamsStreaming
    whole = message_create_params.MessageCreateParamsNonStreaming
    assert misfits(body, streaming if body.get("stream") else whole) == []


@having("gemini", "openai_request", "upstream_request")
def test_what_gemini_reads(case: Case) -> None:
    _, body = wire_cases.sent(case)
    if "requests" in body:
        TypeAdapter(list[EmbedRequest]).validate_python(body["requests"])
        return
    assert body.keys() <= GEMINI.keys()
    for name, value in body.items():
        TypeAdapter(GEMINI[name]).validate_python(value)


@having("openai", "openai_request", "upstream_request")
def test_what_openais_responses_read(case: Case) -> None:
    path, body = wire_cases.sent(case)
    if path.endswith("/responses"):
        streaming = response_create_params.ResponseCreateParamsStreaming
        whole = response_create_params.ResponseCreateParamsNonStreaming
        assert misfits(body, streaming if body.get("stream") else whole) == []


@having("mistral", "openai_request", "upstream_request")
def test_what_mistral_reads(case: Case) -> None:
    _, body = wire_cases.sent(case)
    kind = mistral.ChatCompletionStreamRequest if body.get("stream") else mistral.ChatCompletionRequest
    assert body.keys() <= {field.alias or name for name, field in kind.model_fields.items()}
    TypeAdapter(kind).validate_python(body)


@having("", "upstream_response", "openai_response")
def test_what_the_client_gets(case: Case) -> None:
    answer = wire_cases.answered(case)
    kinds: dict[str, type[BaseModel]] = {
        "chat.completion": ChatCompletion,
        "text_completion": Completion,
        "list": CreateEmbeddingResponse,
    }
    kind = kinds[answer["object"]]
    if kind is CreateEmbeddingResponse:  # base64, which the SDK decodes before it looks at the type
        answer["data"] = [
            {**item, "embedding": []} if isinstance(item["embedding"], str) else item
            for item in answer["data"]
        ]
    kind.model_validate(answer, strict=True)


@having("", "upstream_sse", "openai_chunks")
def test_what_the_client_hears(case: Case) -> None:
    call = wire_cases.call_of(case)
    decoder = wire_cases.codec_of(case).decoder(call)
    for chunk in Heard(decoder, [wire_cases.stream_bytes(case["upstream_sse"])]).payloads:
        ChatCompletionChunk.model_validate(without_custom(json.loads(json.dumps(chunk))), strict=True)


def without_custom(chunk: dict[str, Any]) -> dict[str, Any]:
    """The SDK's chunk, but not its whole message, knows calls of functions only: those of custom tools are
    looked at by what the whole message has for them, and taken out."""
    for choice in chunk["choices"]:
        calls = choice["delta"].get("tool_calls", [])
        for made in (call for call in calls if call.get("type") == "custom"):
            whole = {name: value for name, value in made.items() if name not in ("index", "extra_content")}
            ChatCompletionMessageCustomToolCall.model_validate(whole, strict=True)
        if calls:
            choice["delta"]["tool_calls"] = [call for call in calls if "custom" not in call]
    return chunk
