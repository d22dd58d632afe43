"""Legacy completions of models that only chat: the prompt becomes a message, and the answer its text.

Works on any chat codec, in OpenAI's shape on both sides. Several prompts are as many calls, and so are
several answers where the vendor gives one at a time. Refuses what chat has no word for: prompts of token
numbers, a suffix, the best of more answers than are shown. `logprobs` is dropped and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import ujson

from providers import sse
from providers.adapter import Codec, Decoder
from providers.answers import DONE, dump, reported
from providers.errors import Unsupported
from providers.types import CHAT, Call, Chunk, Reply, Target, UpstreamRequest, Usage

USUAL_CAP: Final = 16  # tokens: the endpoint's own default
ONLY_HERE: Final = frozenset(("prompt", "suffix", "echo", "best_of", "logprobs"))
FINISHES: Final = frozenset(("stop", "length", "content_filter"))


class CompletionsByChat(Codec):
    """Completions by way of a vendor's chat."""

    def __init__(self, chat: Codec) -> None:
        self._chat = chat

    def divide(self, call: Call) -> list[Call]:
        listed, count = prompts(call.payload), call.payload.get("n") or 1
        is_single = count > 1 and bool(self._chat.divide(_as_chat(call)))
        if len(listed) == 1 and not is_single:
            return []
        parts = []
        for at, prompt in enumerate(listed):
            fields = {**call.payload, "prompt": prompt}
            if is_single:
                del fields["n"]
            for number in range(count if is_single else 1):
                part = replace(call, payload=fields, body=dump(fields), first_choice=at * count + number)
                parts.append(part)
        return parts

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        payload = call.payload
        if payload.get("suffix"):
            raise Unsupported("suffix", "The model's provider does not support 'suffix'.")
        if (payload.get("best_of") or 1) > (payload.get("n") or 1):
            raise Unsupported("best_of", "The model's provider does not support 'best_of'.")
        request = self._chat.encode(_as_chat(call), target)
        if payload.get("logprobs") is not None:
            request.dropped = (*request.dropped, "logprobs")
        return request

    def decode(self, call: Call, body: bytes) -> Reply:
        reply = self._chat.decode(_as_chat(call), body)
        answer = ujson.loads(reply.body)
        echoed, first = _echoed(call), call.first_choice or 0
        choices = [
            _choice(choice, echoed + (choice["message"].get("content") or ""), first)
            for choice in answer["choices"]
        ]
        usage = {"usage": answer["usage"]} if "usage" in answer else {}
        return Reply(dump({**_head(call), "choices": choices, **usage}), reply.usage)

    def ending(self, call: Call, used: Usage | None) -> bytes:
        is_told = used is not None and call.wants_usage
        return (_event(call, [], {"usage": reported(used)}) if is_told and used else b"") + DONE

    def decoder(self, call: Call) -> Decoder:
        return ChatToText(call, self._chat.decoder(_as_chat(call)))


class ChatToText(Decoder):
    """The chunks of a chat as those of a legacy completion."""

    def __init__(self, call: Call, chat: Decoder) -> None:
        self.done = False
        self.failure = None
        self._call = call
        self._chat = chat
        self._is_part = call.first_choice is not None
        self._echoed = _echoed(call)

    def feed(self, data: bytes) -> list[Chunk]:
        return self._translated(self._chat.feed(data))

    def close(self) -> list[Chunk]:
        return self._translated(self._chat.close())

    def _translated(self, chunks: list[Chunk]) -> list[Chunk]:
        self.text_bytes = self._chat.text_bytes
        self.done, self.failure = self._chat.done, self._chat.failure
        return [Chunk(b"".join(self._events(chunk.data)), chunk.usage) for chunk in chunks]

    def _events(self, block: bytes) -> Iterator[bytes]:
        for data in sse.events(block):
            if data.startswith(b"[DONE]"):
                yield b"" if self._is_part else DONE
                continue
            chunk = ujson.loads(data)
            choices = [choice for choice in map(self._piece, chunk["choices"]) if choice is not None]
            if choices or not (chunk["choices"] or self._is_part):
                usage = None if self._is_part else chunk.get("usage")
                yield _event(self._call, choices, {"usage": usage} if "usage" in chunk else {})

    def _piece(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        delta = choice["delta"]
        text = delta.get("content") or ""
        if "role" in delta:
            text = self._echoed + text
        is_said = text or choice.get("finish_reason")
        return _choice(choice, text, self._call.first_choice or 0) if is_said else None


def prompts(payload: dict[str, Any]) -> list[str]:
    """The prompts, one at least. Raises Unsupported for token numbers."""
    prompt = payload.get("prompt")
    listed = prompt if isinstance(prompt, list) else [prompt or ""]
    if not all(isinstance(each, str) for each in listed):
        raise Unsupported("prompt", "The model's provider takes prompts as text only, not as tokens.")
    return listed


def _as_chat(call: Call) -> Call:
    fields = {name: value for name, value in call.payload.items() if name not in ONLY_HERE}
    fields["messages"] = [{"role": "user", "content": prompts(call.payload)[0]}]
    if not fields.get("max_tokens"):
        fields["max_tokens"] = USUAL_CAP
    return replace(call, operation=CHAT, payload=fields, body=dump(fields), first_choice=None)


def _head(call: Call) -> dict[str, Any]:
    return {
        "id": f"cmpl-{call.request_id}",
        "object": "text_completion",
        "created": call.created,
        "model": call.model,
    }


def _echoed(call: Call) -> str:
    return prompts(call.payload)[0] if call.payload.get("echo") else ""


def _choice(choice: dict[str, Any], text: str, first: int) -> dict[str, Any]:
    reason = choice.get("finish_reason")
    finish = reason if reason is None or reason in FINISHES else "stop"
    return {"text": text, "index": first + choice["index"], "logprobs": None, "finish_reason": finish}


def _event(call: Call, choices: list[dict[str, Any]], usage: dict[str, Any]) -> bytes:
    return b"data: " + dump({**_head(call), "choices": choices, **usage}) + b"\n\n"
