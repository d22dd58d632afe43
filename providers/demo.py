"""The demo provider: answers with no network and says so, so that everything can be tried at once.

Tokens are words here: a run of other than white space, with the white space before it. Embeddings are
unit vectors out of a hash of the input: equal texts are equal, and nothing more is meant by them.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

import ujson

from providers.adapter import Adapter, Codec
from providers.errors import Unsupported
from providers.pricing import Price, from_usd
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call, Chunk, ProviderSpec, Reply, Usage
from providers.vendors import Vendor

MODEL: Final = "demo-echo"
PRICE: Final = from_usd({"input": 1, "output": 1}, "demo")  # fictional
OPENING: Final = "This is Rooya's demo model: no provider is configured behind it yet. You said: "
MAX_ECHO_CHARS: Final = 2000  # n = 128 copies of a body at its bound would fill the memory
DEFAULT_DIMENSIONS: Final = 256
MAX_DIMENSIONS: Final = 3072
MAX_FLOATS: Final = 500_000  # of one embeddings call; more would hold up every other call

_TOKEN: Final = re.compile(r"\s*\S+|\s+\Z")


class DemoAdapter(Adapter):
    """Answers by itself; `clock` gives Unix seconds."""

    local: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = (MODEL,)
    price: ClassVar[Price] = PRICE

    def __init__(self, spec: ProviderSpec, vendor: Vendor, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def offers(self, operation: str) -> bool:
        return operation in (CHAT, COMPLETIONS, EMBEDDINGS)

    def codec(self, operation: str) -> Codec | None:
        return None

    def answer(self, call: Call) -> Reply:
        if call.operation == EMBEDDINGS:
            return embed(call.payload)
        answer = Answer(call, int(self._clock()))
        return Reply(_dump(answer.whole()), answer.usage)

    def stream(self, call: Call) -> Iterator[Chunk]:
        answer = Answer(call, int(self._clock()))
        for chunk in answer.chunks():
            yield Chunk(b"data: " + _dump(chunk) + b"\n\n", None if chunk["choices"] else answer.usage)
        yield Chunk(b"data: [DONE]\n\n", None if call.wants_usage else answer.usage)


class Answer:
    """One answer, the same for every choice: its words, why it ends, what it used."""

    def __init__(self, call: Call, created: int) -> None:
        payload = call.payload
        self._is_chat = call.operation == CHAT
        self._includes_usage = call.wants_usage
        said = last_words(payload) if self._is_chat else " / ".join(prompts(payload))
        self._function = forced_function(payload) if self._is_chat else None
        text = "" if self._function else _cut(_text(payload, said), payload.get("stop"))
        words = _TOKEN.findall(text)
        bound = payload.get("max_completion_tokens") or payload.get("max_tokens") or len(words)
        self.words = words[:bound]
        self.finish_reason = "length" if bound < len(words) else "tool_calls" if self._function else "stop"
        count = 1 if self._is_chat else len(prompts(payload))
        self._choices = range((payload.get("n") or 1) * count)
        self.usage = Usage(count_prompt(payload), max(1, len(self.words)) * len(self._choices))
        kind = ("chatcmpl", "chat.completion") if self._is_chat else ("cmpl", "text_completion")
        self._head = {
            "id": f"{kind[0]}-{call.request_id}",
            "object": kind[1],
            "created": created,
            "model": call.model,
        }
        self._call_id = f"call_{call.request_id}"

    def whole(self) -> dict[str, Any]:
        return {**self._head, "choices": [self._choice(i) for i in self._choices], "usage": self._reported()}

    def chunks(self) -> Iterator[dict[str, Any]]:
        """All chunks up to [DONE]: role, words, finish, and the usage where the client asked for it."""
        head = {**self._head, "object": "chat.completion.chunk"} if self._is_chat else self._head
        usage = {"usage": None} if self._includes_usage else {}
        for piece, finish_reason in self._pieces():
            for index in self._choices:
                content = {"delta": piece} if self._is_chat else piece
                choice = {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}
                yield {**head, "choices": [choice], **usage}
        if self._includes_usage:
            yield {**head, "choices": [], "usage": self._reported()}

    def _pieces(self) -> Iterator[tuple[dict[str, Any], str | None]]:
        if not self._is_chat:
            yield from (({"text": word}, None) for word in self.words)
            yield {"text": ""}, self.finish_reason
            return
        yield {"role": "assistant", "content": None if self._function else "", "refusal": None}, None
        if self._function:
            yield {"tool_calls": [{"index": 0, **self._tool_call("")}]}, None
            yield {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, None
        yield from (({"content": word}, None) for word in self.words)
        yield {}, self.finish_reason

    def _choice(self, index: int) -> dict[str, Any]:
        text = "".join(self.words)
        ending = {"logprobs": None, "finish_reason": self.finish_reason}
        if not self._is_chat:
            return {"index": index, "text": text, **ending}
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._function:
            message |= {"content": None, "tool_calls": [self._tool_call("{}")]}
        return {"index": index, "message": message, **ending}

    def _tool_call(self, arguments: str) -> dict[str, Any]:
        function = {"name": self._function, "arguments": arguments}
        return {"id": self._call_id, "type": "function", "function": function}

    def _reported(self) -> dict[str, int]:
        used = self.usage
        return {
            "prompt_tokens": used.input_tokens,
            "completion_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        }


def embed(payload: dict[str, Any]) -> Reply:
    """One vector for each input. Raises Unsupported for more of them than a demo should compute."""
    inputs = _listed(payload.get("input"))
    dimensions = payload.get("dimensions") or DEFAULT_DIMENSIONS
    if dimensions > MAX_DIMENSIONS:
        raise Unsupported("dimensions", f"The demo model has at most {MAX_DIMENSIONS} dimensions.")
    if dimensions * len(inputs) > MAX_FLOATS:
        raise Unsupported("input", "That is more than the demo model embeds in one call.")
    is_base64 = payload.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs):
        packed = vector(text, dimensions)
        value = base64.b64encode(packed).decode() if is_base64 else struct.unpack(f"<{dimensions}f", packed)
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(map(count_tokens, inputs))
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": payload.get("model", MODEL), "usage": used}
    return Reply(_dump(answer), Usage(tokens))


def vector(text: str, dimensions: int) -> bytes:
    """A unit vector out of a text's hash, as little-endian float32."""
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", digest)]
    length = math.sqrt(sum(number * number for number in numbers))
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


def count_tokens(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def count_prompt(payload: dict[str, Any]) -> int:
    """The words of all messages or prompts, one for each part that is no text; never nothing."""
    texts = prompts(payload)
    for message in payload.get("messages") or ():
        texts += _texts(message)
    return max(1, sum(map(count_tokens, texts)))


def prompts(payload: dict[str, Any]) -> list[str]:
    """The prompts of a legacy completion; there is one, if only an empty one."""
    return _listed(payload.get("prompt")) if "prompt" in payload else [] if "messages" in payload else [""]


def last_words(payload: dict[str, Any]) -> str:
    """The text of the last message of the user, else of the last message."""
    messages = [message for message in payload["messages"] if isinstance(message, dict)]
    spoken = [message for message in messages if message.get("role") == "user"] or messages
    return " ".join(_texts(spoken[-1])) if spoken else ""


def forced_function(payload: dict[str, Any]) -> str | None:
    """The function that tool_choice makes the model call, None if it leaves a choice."""
    choice = payload.get("tool_choice")
    names = [_function_name(tool) for tool in payload.get("tools") or ()]
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        if not isinstance(allowed, dict):
            return _function_name(choice)
        names = [_function_name(tool) for tool in allowed.get("tools") or ()]
        choice = allowed.get("mode")
    return next((name for name in names if name), None) if choice == "required" else None


def _function_name(tool: Any) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _text(payload: dict[str, Any], said: str) -> str:
    text = OPENING + (said if len(said) <= MAX_ECHO_CHARS else said[:MAX_ECHO_CHARS] + "…")
    wanted = payload.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        return ujson.dumps({"demo": text}, ensure_ascii=False, escape_forward_slashes=False)
    return text


def _cut(text: str, stop: Any) -> str:
    """The text up to the first of the stop sequences."""
    marks = [stop] if isinstance(stop, str) else stop or []
    return text[: min((at for mark in marks if mark and (at := text.find(mark)) >= 0), default=len(text))]


def _texts(message: Any) -> list[str]:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        return [part if isinstance(part, str) else "[part]" for part in parts]
    return [content] if isinstance(content, str) else []


def _listed(value: Any) -> list[str]:
    """An `input` or `prompt` as texts; token numbers are written out, a list of them is one text."""
    if not isinstance(value, list):
        return [value if isinstance(value, str) else ""]
    if value and isinstance(value[0], int):
        return [" ".join(map(str, value))]
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in value]


def _dump(value: dict[str, Any]) -> bytes:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode("utf-8", "replace")
