"""Anthropic's messages, whole and as events -> OpenAI's answers.

https://platform.claude.com/docs/en/api/messages-streaming. Thoughts come as `reasoning_content`, and signed
as they are as `thinking_blocks`, which a client hands back unchanged. Each count that the vendor reports
replaces the one before. Blocks of tools that run at the vendor, pings and events to come are left out. Stop
sequences of white space, which the vendor refuses, cut the text here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

from providers import answers, conversation, usage
from providers.answers import dump
from providers.anthropic_thoughts import KINDS, THOUGHTS, placed
from providers.failures import Failures
from providers.translation import EventDecoder, dicts
from providers.types import Call, Reply

STOP: Final = "stop"
FINISHES: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
CACHE_FIELDS: Final = ("cache_creation_input_tokens", "cache_read_input_tokens")


def reply(call: Call, answer: dict[str, Any], failures: Failures) -> Reply:
    """A whole message. Raises ProviderError where it is none."""
    if not isinstance(answer.get("content"), list):
        raise failures.no_answer()
    blocks = dicts(answer["content"])
    cutter = Cutter(call)
    text = (
        "".join(cutter.feed(_text(block)) for block in blocks if block.get("type") == "text") + cutter.rest()
    )
    message: dict[str, Any] = {"content": text or None}
    if explanation := _explanation(answer):
        message["refusal"] = explanation
    thoughts = list(_thoughts(blocks))
    if said := "".join(str(block.get("thinking") or "") for block in thoughts):
        message["reasoning_content"] = said
    if thoughts:
        message[THOUGHTS] = thoughts
    calls = [
        answers.tool_call(
            str(block.get("id")), str(block.get("name")), dump(block.get("input") or {}).decode()
        )
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if calls:
        message["tool_calls"] = calls
    reason = STOP if cutter.has_cut else FINISHES.get(str(answer.get("stop_reason")), STOP)
    choices = [answers.choice(call.first_choice or 0, message, reason)]
    used = usage.from_anthropic(answer.get("usage"))
    told = None if used is None else answers.reported(used, has_cache=_has_cache(answer["usage"]))
    return Reply(answers.completion(call, choices, told), used)


class MessageDecoder(EventDecoder):
    """A stream of one message."""

    _readers: ClassVar[dict[str, Callable[[MessageDecoder, dict[str, Any]], None]]]

    def __init__(self, call: Call, failures: Failures) -> None:
        super().__init__(call, failures)
        self._cutter = Cutter(call)
        self._reported: dict[str, Any] = {}
        self._reason = ""
        self._refusal = ""
        self._calls = 0
        self._characters = 0
        self._block: dict[str, Any] = {}
        self._has_arguments = False
        self._thoughts = 0
        self._thought: list[str] = []  # joined at its end: a long one comes in very many pieces
        self._has_begun = False

    def read(self, event: dict[str, Any]) -> None:
        reader = self._readers.get(str(event.get("type")))
        if reader is not None:
            reader(self, event)

    def end(self) -> None:
        raise self.cut() if self._has_begun else self.failures.no_answer()

    def _start(self, event: dict[str, Any]) -> None:
        message = event.get("message")
        self._note(message.get("usage") if isinstance(message, dict) else None)
        self._has_begun = True
        self.emit(self.writer.role())

    def _start_block(self, event: dict[str, Any]) -> None:
        block = event.get("content_block")
        self._block = block = dict(block) if isinstance(block, dict) else {}
        self._has_arguments = False
        self._thought = []
        if block.get("type") == "tool_use":
            call = answers.tool_call(str(block.get("id")), str(block.get("name")))
            self.emit(self.writer.tool_call(self._calls, call))
            self._calls += 1
        elif block.get("type") == "text":
            self._say(_text(block))

    def _read_delta(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        if type(delta) is not dict:
            return
        kind = delta.get("type")
        if kind == "text_delta":
            self._say(_text(delta))
        elif kind == "input_json_delta" and self._block.get("type") == "tool_use":
            if piece := str(delta.get("partial_json") or ""):
                self._has_arguments = True
                self.emit(self.writer.arguments(self._calls - 1, piece))
        elif kind == "thinking_delta":
            if piece := str(delta.get("thinking") or ""):
                self._thought.append(piece)
                self.emit(self.writer.reasoning(piece))
        elif kind == "signature_delta":
            self._block["signature"] = str(self._block.get("signature") or "") + str(
                delta.get("signature") or ""
            )

    def _end_block(self, event: dict[str, Any]) -> None:
        block, self._block = self._block, {}
        kind = block.get("type")
        if kind == "tool_use" and not self._has_arguments:
            self.emit(self.writer.arguments(self._calls - 1, dump(block.get("input") or {}).decode()))
        elif kind in KINDS:
            if self._thought:
                block["thinking"] = str(block.get("thinking") or "") + "".join(self._thought)
            # The official SDK joins lists of a stream by `index`.
            thought = placed(block, self._characters, self._calls)
            self.emit(self.writer.delta({THOUGHTS: [{"index": self._thoughts, **thought}]}))
            self._thoughts += 1

    def _read_message_delta(self, event: dict[str, Any]) -> None:
        self._note(event.get("usage"))
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._reason = str(delta.get("stop_reason") or self._reason)
            self._refusal = _explanation(delta) or self._refusal

    def _finish(self, event: dict[str, Any]) -> None:
        if rest := self._cutter.rest():
            self.emit(self.writer.content(rest))
        if self._refusal:
            self.emit(self.writer.delta({"refusal": self._refusal}))
        self.emit(self.writer.finish(STOP if self._cutter.has_cut else FINISHES.get(self._reason, STOP)))
        self.complete(has_cache=_has_cache(self._reported))

    def _fail(self, event: dict[str, Any]) -> None:
        raise self.failures.from_event(event)

    def _say(self, text: str) -> None:
        self._characters += len(text)
        text = self._cutter.feed(text)
        if text:
            self.emit(self.writer.content(text))

    def _note(self, reported: Any) -> None:
        if isinstance(reported, dict):
            self._reported |= {name: value for name, value in reported.items() if value is not None}
            self.used = usage.from_anthropic(self._reported)

    _readers = {
        "message_start": _start,
        "content_block_start": _start_block,
        "content_block_delta": _read_delta,
        "content_block_stop": _end_block,
        "message_delta": _read_message_delta,
        "message_stop": _finish,
        "error": _fail,
    }


class Cutter:
    """Cuts a text at the first of the call's stop sequences that are nothing but white space.

    What may be the beginning of one is held back until more is known.
    """

    def __init__(self, call: Call) -> None:
        self._marks = [mark for mark in conversation.stop_sequences(call.payload) if not mark.strip()]
        self._held = ""
        self.has_cut = False

    def feed(self, text: str) -> str:
        """What of it may be shown."""
        if not self._marks:
            return text
        if self.has_cut:
            return ""
        text = self._held + text
        found = [at for at in map(text.find, self._marks) if at >= 0]
        if found:
            self.has_cut, self._held = True, ""
            return text[: min(found)]
        keep = max(
            (size for mark in self._marks for size in range(1, len(mark)) if text.endswith(mark[:size])),
            default=0,
        )
        shown = len(text) - keep
        self._held = text[shown:]
        return text[:shown]

    def rest(self) -> str:
        """What was held back, and turned out to be no such sequence."""
        held, self._held = self._held, ""
        return held


def _thoughts(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    characters = calls = 0
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            characters += len(_text(block))
        elif kind == "tool_use":
            calls += 1
        elif kind in KINDS:
            yield placed(block, characters, calls)


def _has_cache(reported: dict[str, Any]) -> bool:
    return any(name in reported for name in CACHE_FIELDS)


def _text(block: dict[str, Any]) -> str:
    text = block.get("text")
    return text if type(text) is str else ""


def _explanation(message: dict[str, Any]) -> str:
    details = message.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) else ""
