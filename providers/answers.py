"""Answers and chunks in OpenAI's shape, written for the dialects that have another.

Hot for streams: what every chunk of one answer has in common is rendered once. A text that ends in half of
a surrogate pair (vendors cut anywhere) is written as escapes, so that the client joins the halves. Adds up
`text_bytes` as it goes, for streams whose vendor never says what was used.
"""

from __future__ import annotations

import json
from typing import Any, Final

import ujson

from providers.types import Call, Reply, Usage

DONE: Final = b"data: [DONE]\n\n"


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    try:
        return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def completion(call: Call, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
    """A whole chat completion."""
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{call.request_id}",
        "object": "chat.completion",
        "created": call.created,
        "model": call.model,
        "choices": choices,
    }
    if usage is not None:
        answer["usage"] = usage
    return dump(answer)


def choice(index: int, message: dict[str, Any], finish_reason: str, logprobs: Any = None) -> dict[str, Any]:
    """One choice of a whole answer; `message` without its role."""
    said = {"role": "assistant", "content": None, "refusal": None, **message}
    return {"index": index, "message": said, "logprobs": logprobs, "finish_reason": finish_reason}


def tool_call(call_id: str, name: str, arguments: str = "") -> dict[str, Any]:
    """A function call. arguments: JSON text."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def custom_call(call_id: str, name: str, text: str = "") -> dict[str, Any]:
    """A call of a custom tool. text: what it is given."""
    return {"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}


def reported(used: Usage, *, has_cache: bool = False) -> dict[str, Any]:
    """A `usage` object; details only where there is something to tell. has_cache: tell of it even if zero."""
    fields: dict[str, Any] = {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }
    details: dict[str, int] = {}
    if has_cache or used.cached_tokens or used.cache_write_tokens:
        details["cached_tokens"] = used.cached_tokens
    if used.cache_write_tokens or has_cache:
        details["cache_write_tokens"] = used.cache_write_tokens
    if used.audio_input_tokens:
        details["audio_tokens"] = used.audio_input_tokens
    if used.image_input_tokens:
        details["image_tokens"] = used.image_input_tokens
    if details:
        fields["prompt_tokens_details"] = details
    made: dict[str, int] = {}
    if used.reasoning_tokens:
        made["reasoning_tokens"] = used.reasoning_tokens
    if used.audio_output_tokens:
        made["audio_tokens"] = used.audio_output_tokens
    if used.image_output_tokens:
        made["image_tokens"] = used.image_output_tokens
    if made:
        fields["completion_tokens_details"] = made
    return fields


def joined(replies: list[Reply]) -> Reply:
    """The replies to the parts of one call as one: choices (or embeddings) in their order, usage added up."""
    whole: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    name = "choices"
    for reply in replies:
        answer = ujson.loads(reply.body)
        name = "data" if "data" in answer else "choices"
        items += answer[name]
        usage = _added(whole.get("usage"), answer.get("usage"))
        whole = {**answer, **whole, "usage": usage}
    whole[name] = sorted(items, key=_index)
    return Reply(dump(whole))


def _index(item: dict[str, Any]) -> int:
    index: int = item["index"]
    return index


def _added(one: Any, other: Any) -> Any:
    """Two usage objects as one: numbers are added, at every depth."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _added(one.get(name), other.get(name)) for name in {**one, **other}}
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one + other
    return other if one is None else one


class ChunkWriter:
    """The chunks of one streamed chat completion, each as a whole SSE event.

    `index` is the choice's; a call that is one part of a client's call counts from its `first_choice`.
    """

    __slots__ = ("_after", "_before", "_first", "_head", "_null_usage", "_usual", "is_part", "text_bytes")

    def __init__(self, call: Call) -> None:
        head = {
            "id": f"chatcmpl-{call.request_id}",
            "object": "chat.completion.chunk",
            "created": call.created,
            "model": call.model,
        }
        self.is_part = call.first_choice is not None
        self._first = call.first_choice or 0
        self._null_usage = b',"usage":null' if call.wants_usage else b""
        self._head = b"data: " + dump(head)[:-1] + b',"choices":['
        self._before = self._head + b'{"index":%d,"delta":'
        self._usual = self._head + b'{"index":%d,"delta":' % self._first
        self._after = b',"logprobs":null,"finish_reason":null}]' + self._null_usage + b"}\n\n"
        self.text_bytes = 0

    def content(self, text: str, index: int = 0) -> bytes:
        """A piece of the answer's text."""
        return self._said(b'{"content":', text, index)

    def reasoning(self, text: str, index: int = 0) -> bytes:
        """A piece of what the model thought."""
        return self._said(b'{"reasoning_content":', text, index)

    def arguments(self, at: int, text: str, index: int = 0) -> bytes:
        """A piece of the arguments of the choice's tool call number `at`."""
        piece = dump(text)
        self.text_bytes += len(piece) - 2
        return b'%b{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}%b' % (
            self._start(index),
            at,
            piece,
            self._after,
        )

    def custom_input(self, at: int, text: str, index: int = 0) -> bytes:
        """A piece of what the choice's tool call number `at`, of a custom tool, is given."""
        self.text_bytes += len(text)
        return self.delta({"tool_calls": [{"index": at, "custom": {"input": text}}]}, index)

    def role(self, index: int = 0) -> bytes:
        """The first chunk of a choice."""
        return self.delta({"role": "assistant", "content": "", "refusal": None}, index)

    def tool_call(self, at: int, call: dict[str, Any], index: int = 0) -> bytes:
        """The first delta of the choice's tool call number `at`; more of its arguments may follow."""
        called = call.get("function") or call["custom"]
        self.text_bytes += sum(map(len, called.values()))
        return self.delta({"tool_calls": [{"index": at, **call}]}, index)

    def delta(self, fields: dict[str, Any], index: int = 0, logprobs: Any = None) -> bytes:
        """A chunk of any other sort; `fields` are its delta."""
        after = self._after
        if logprobs is not None:
            after = b',"logprobs":%b,"finish_reason":null}]%b}\n\n' % (dump(logprobs), self._null_usage)
        return self._start(index) + dump(fields) + after

    def finish(self, reason: str, index: int = 0) -> bytes:
        """The last chunk of a choice."""
        ending = b'{},"logprobs":null,"finish_reason":"%b"}]' % reason.encode()
        return self._start(index) + ending + self._null_usage + b"}\n\n"

    def end(self, usage: dict[str, Any] | None) -> bytes:
        """What closes the stream: the usage where the client asked for it, and [DONE]. Parts have neither."""
        if self.is_part:
            return b""
        if usage is None or not self._null_usage:
            return DONE
        return self._head + b'],"usage":' + dump(usage) + b"}\n\n" + DONE

    def _said(self, opening: bytes, text: str, index: int) -> bytes:
        piece = dump(text)
        self.text_bytes += len(piece) - 2
        return self._start(index) + opening + piece + b"}" + self._after

    def _start(self, index: int) -> bytes:
        return self._before % (self._first + index) if index else self._usual
