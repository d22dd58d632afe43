"""Answers that are nearly OpenAI's, put right: only for hosts whose row in `vendors.py` names the repair.

Every event is parsed here, which pass-through avoids; an event that needs nothing still passes byte for
byte. The reasons are in OpenAI's SDKs: their accumulators add strings, so a repeated id, name or role is
corruption; `index` of a tool call is required; text of reasoning is looked for in `reasoning_content`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import ujson

from providers import errors
from providers.errors import ProviderError
from providers.openai import ChatCodec, OpenAIAdapter, OpenAICodec, dump
from providers.passthrough import PassThrough, load
from providers.translation import dicts
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call, Reply
from providers.vendors import FINISH, REASONING, ROLE, TOOL_CALLS

FINISH_REASONS: Final = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "max_tokens": "length",
}
FAILED_FINISHES: Final = {  # a finish that is none -> the failure that it is
    "error": errors.FAILED,
    "insufficient_system_resource": errors.OVERLOADED,  # DeepSeek
}
LATEST: Final = 1e12  # seconds; what is later is nonsense


class Choice:
    """What has been said of one choice of a stream so far."""

    __slots__ = ("_call_id", "_indexes", "_last", "has_finished", "has_role", "template")

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id
        self._indexes: dict[str, int] = {}  # of tool calls, by the id the host gave them
        self._last: dict[Any, int] = {}  # the host's index -> ours, of the call it last meant
        self.has_role = False
        self.has_finished = False
        self.template: dict[str, Any] = {}  # an event of it, for one that has to be made

    @property
    def has_calls(self) -> bool:
        return bool(self._last)

    def note_call(self) -> None:
        """There is a tool call, and nothing about it to repair."""
        self._last[None] = 0

    def repair_call(self, piece: dict[str, Any], position: int) -> bool:
        """A piece of a tool call: its index, and what the SDK would add up twice."""
        before = ujson.dumps(piece)
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            function["arguments"] = ujson.dumps(arguments, ensure_ascii=False)
        theirs: int = piece["index"] if type(piece.get("index")) is int else position
        call_id = piece.get("id") or None
        is_first = theirs not in self._last if call_id is None else call_id not in self._indexes
        if is_first:
            piece["index"] = self._admit(call_id, theirs)
            piece["id"] = call_id or f"{self._call_id}_{piece['index']}"
            piece.setdefault("type", "function")
        else:
            piece["index"] = self._last[theirs] if call_id is None else self._indexes[call_id]
            for name in ("id", "type"):
                piece.pop(name, None)
            function.pop("name", None)
        return before != ujson.dumps(piece)

    def _admit(self, call_id: str | None, theirs: int) -> int:
        """A new call: the host's index, unless that is taken (Ollama is reported to number all of them 0)."""
        taken = set(self._last.values()) | set(self._indexes.values())
        ours = theirs if theirs not in taken else max(taken) + 1
        self._last[theirs] = ours
        if call_id is not None:
            self._indexes[call_id] = ours
        return ours


class Repairs:
    """The repairs of one answer. names: the vendor's row; call: for ids and times that the host left out."""

    def __init__(self, names: frozenset[str], call: Call) -> None:
        self._names = names
        self._created = call.created
        self._request_id = call.request_id
        self._answer_id = f"chatcmpl-{call.request_id}"
        self.choices: dict[int, Choice] = {}

    def whole(self, payload: dict[str, Any]) -> bool:
        """Put a whole answer right in place; was there anything to do? Raises ProviderError."""
        is_changed = self._repair_envelope(payload)
        for choice in dicts(payload.get("choices")):
            message = choice.get("message")
            calls: list[dict[str, Any]] = []
            if isinstance(message, dict):
                is_changed = self._repair_reasoning(message) or is_changed
                calls = dicts(message.get("tool_calls"))
                if TOOL_CALLS in self._names:
                    repaired = [self._repair_whole_call(call, place) for place, call in enumerate(calls)]
                    is_changed = any(repaired) or is_changed
            is_changed = self._repair_finish(choice, has_calls=bool(calls)) or is_changed
            if FINISH in self._names and choice.get("finish_reason") is None:
                choice["finish_reason"] = "tool_calls" if calls else "stop"
                is_changed = True
        return is_changed

    def piece(self, payload: dict[str, Any]) -> bool:
        """Put a chunk right in place; was there anything to do? Raises ProviderError."""
        is_changed = self._repair_envelope(payload)
        for choice in dicts(payload.get("choices")):
            index = choice["index"] if type(choice.get("index")) is int else 0
            seen = self.choices.setdefault(index, Choice(f"call_{self._request_id}"))
            seen.template = seen.template or payload
            delta = choice.get("delta")
            if isinstance(delta, dict):
                is_changed = self._repair_delta(delta, seen) or is_changed
            is_changed = self._repair_finish(choice, has_calls=seen.has_calls) or is_changed
            seen.has_finished = seen.has_finished or choice.get("finish_reason") is not None
        return is_changed

    def missing_finishes(self) -> list[dict[str, Any]]:
        """For a stream that said [DONE]: the chunks in which its choices should have finished."""
        if FINISH not in self._names:
            return []
        return [
            {
                **{name: value for name, value in choice.template.items() if name != "usage"},
                "choices": [
                    {
                        "index": index,
                        "delta": {},
                        "logprobs": None,
                        "finish_reason": "tool_calls" if choice.has_calls else "stop",
                    }
                ],
            }
            for index, choice in self.choices.items()
            if not choice.has_finished
        ]

    def _repair_envelope(self, payload: dict[str, Any]) -> bool:
        """The SDKs' types have an id and a whole number of seconds in every answer and chunk."""
        created, answer_id = payload.get("created"), payload.get("id")
        if type(created) is int and answer_id:
            self._created, self._answer_id = created, answer_id
            return False
        if type(created) is float and 0 <= created < LATEST:
            self._created = int(created)
        self._answer_id = answer_id or self._answer_id
        payload["created"], payload["id"] = self._created, self._answer_id
        return True

    def _repair_delta(self, delta: dict[str, Any], seen: Choice) -> bool:
        is_changed = self._repair_reasoning(delta)
        if ROLE in self._names:
            if seen.has_role and "role" in delta:
                del delta["role"]
                is_changed = True
            elif not seen.has_role and not delta.get("role"):
                delta["role"] = "assistant"
                is_changed = True
            seen.has_role = True
        for position, piece in enumerate(dicts(delta.get("tool_calls"))):
            if TOOL_CALLS in self._names:
                is_changed = seen.repair_call(piece, position) or is_changed
            else:
                seen.note_call()
        return is_changed

    def _repair_reasoning(self, message: dict[str, Any]) -> bool:
        if REASONING not in self._names or message.get("reasoning_content"):
            return False
        text = message.get("reasoning")
        if not isinstance(text, str) or not text:
            details = dicts(message.get("reasoning_details"))
            text = "".join(part["text"] for part in details if isinstance(part.get("text"), str))
        if not text:
            return False
        message["reasoning_content"] = text
        return True

    def _repair_whole_call(self, call: dict[str, Any], position: int) -> bool:
        before = ujson.dumps(call)
        function = call.get("function")
        if isinstance(function, dict):
            arguments = function.get("arguments")
            if not isinstance(arguments, str):
                arguments = ujson.dumps(arguments or {}, ensure_ascii=False)
            function["arguments"] = arguments or "{}"
        if not call.get("id"):
            call["id"] = f"call_{self._request_id}_{position}"
        call.setdefault("type", "function")
        return before != ujson.dumps(call)

    def _repair_finish(self, choice: dict[str, Any], *, has_calls: bool) -> bool:
        reason = choice.get("finish_reason")
        if FINISH not in self._names or not isinstance(reason, str):
            return False
        if reason in FAILED_FINISHES:
            kind = FAILED_FINISHES[reason]
            raise ProviderError(kind, f"The provider ended the answer with '{reason}'.", retryable=True)
        repaired = FINISH_REASONS.get(reason, reason) or None
        if has_calls and repaired == "stop":
            repaired = "tool_calls"
        if repaired == reason:
            return False
        choice["finish_reason"] = repaired
        return True


class RepairingDecoder(PassThrough):
    """A stream whose every event is looked at."""

    def __init__(self, adapter: RepairingAdapter, choices: int, call: Call) -> None:
        super().__init__(adapter, choices, call.wants_usage)
        self._host = adapter
        self._repairs = Repairs(adapter.vendor.repairs, call)

    def plain_length(self, block: bytes) -> int:
        super().plain_length(block)  # it takes note of the end
        return 0

    def parse(self, event: bytes, data: bytes) -> dict[str, Any] | None:
        return load(data) if data else None

    def amended(self, event: bytes, payload: dict[str, Any]) -> bytes:
        is_changed = self._host.repair_messages(payload)
        is_changed = self._repairs.piece(payload) or is_changed
        return b"data: %b\n\n" % dump(payload) if is_changed else event

    def last_words(self) -> bytes:
        return b"".join(b"data: %b\n\n" % dump(chunk) for chunk in self._repairs.missing_finishes())


class RepairingChatCodec(ChatCodec):
    """Chat of a host whose answers need repair."""

    def __init__(self, adapter: OpenAIAdapter) -> None:
        super().__init__(adapter)
        assert isinstance(adapter, RepairingAdapter)
        self._host = adapter

    def decode(self, call: Call, body: bytes) -> Reply:
        payload = self.parse(body)
        used = self.adapter.usage_of(payload)
        is_changed = self._host.repair_messages(payload)
        is_changed = Repairs(self.adapter.vendor.repairs, call).whole(payload) or is_changed
        return Reply(dump(payload) if is_changed else body, used)

    def decoder(self, call: Call) -> RepairingDecoder:
        return RepairingDecoder(self._host, self.choices(call), call)


class RepairingAdapter(OpenAIAdapter):
    """A provider whose row names repairs."""

    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {
        CHAT: RepairingChatCodec,
        COMPLETIONS: OpenAIAdapter.operations[COMPLETIONS],
        EMBEDDINGS: OpenAIAdapter.operations[EMBEDDINGS],
    }

    def repair_messages(self, payload: dict[str, Any]) -> bool:
        """For hosts whose content is of another shape: put it right in place; was there anything to do?"""
        return False
