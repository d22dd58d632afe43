"""A stream in OpenAI's dialect, relayed as it comes: events pass byte for byte, most of them unread.

Looked into are only events that may report usage, an error or the end. Left out is a usage chunk
that the client did not ask for. A stream that just stops is no answer: without [DONE] it is whole
only if every choice has said why it finished.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import ujson

from providers import errors, sse
from providers.adapter import Decoder
from providers.errors import ProviderError
from providers.estimate import stream_text_bytes
from providers.sse import EventTooLarge, Splitter
from providers.types import Chunk, Usage

if TYPE_CHECKING:
    from providers.openai import OpenAIAdapter

DONE: Final = b"data: [DONE]\n\n"

_FINISH: Final = re.compile(rb'"finish_reason"[ \t\r\n]*:[ \t\r\n]*"[^"]')


class PassThrough(Decoder):
    """One stream of one host. choices: how many have to finish before the answer is whole."""

    def __init__(self, adapter: OpenAIAdapter, choices: int, wants_usage: bool) -> None:
        self.adapter = adapter
        self.choices = choices
        self._finished = 0
        self._wants_usage = wants_usage
        self._splitter = Splitter()
        self._has_data = False
        self.done = False
        self.failure = None

    def feed(self, data: bytes) -> list[Chunk]:
        if self.is_over():
            return []
        try:
            blocks = self._splitter.feed(data)
        except EventTooLarge:
            self.failure = ProviderError(errors.INCOMPLETE, "the provider sent an event beyond all bounds")
            return []
        if not blocks:
            return []
        block = blocks[0]
        plain = self.plain_length(block)
        if plain == len(block):
            self.text_bytes += stream_text_bytes(block)
            return [Chunk(block)]
        chunks = ([Chunk(block[:plain])] if plain else []) + self._read(block[plain:])
        self.text_bytes += sum(stream_text_bytes(chunk.data) for chunk in chunks)
        return chunks

    def close(self) -> list[Chunk]:
        if self.is_over():
            return []
        chunks = self._read_rest()
        if self.is_over():
            return chunks
        if self._finished >= self.choices:
            self.done = True
            chunks.append(Chunk(DONE))
        elif self._has_data:
            message = "upstream stream ended before completion"
            self.failure = ProviderError(errors.INCOMPLETE, message, code="upstream_incomplete")
        else:
            self.failure = self.adapter.failures.no_answer()
        return chunks

    def is_over(self) -> bool:
        return self.done or self.failure is not None

    def plain_length(self, block: bytes) -> int:
        """How many bytes of whole events at its front are nothing but pieces of the answer.

        Also notes which choices finish.
        """
        if not self._has_data:
            self._has_data = block.startswith(b"data: {") or any(
                data and not data.startswith(b"[DONE]") for data in sse.events(block)
            )
        if _FINISH.search(block) is not None:
            self._finished += len(_FINISH.findall(block))
        done, error, used = block.find(b"[DONE]"), block.find(b"error"), _find_usage(block)
        if done < 0 and error < 0 and used < 0:
            return len(block)
        if b"\r" in block:
            return 0
        end = block.rfind(b"\n\n", 0, min(place for place in (done, error, used) if place >= 0))
        return end + 2 if end >= 0 else 0

    def parse(self, event: bytes, data: bytes) -> dict[str, Any] | None:
        """The event's JSON where it may be more than a piece of the answer."""
        if b'"usage"' not in data and b"error" not in event:
            return None
        return load(data)

    def amended(self, event: bytes, payload: dict[str, Any]) -> bytes:
        """What the client gets for a parsed event. Raises ProviderError for one that ends the answer."""
        return event

    def last_words(self) -> bytes:
        """What should come before [DONE] and did not."""
        return b""

    def _read(self, block: bytes) -> list[Chunk]:
        """Event by event: what passes is gathered into one chunk, with the last usage reported."""
        passed: list[bytes] = []
        used: Usage | None = None
        for event in sse.split(block):
            data = b"".join(sse.events(event))
            if data.startswith(b"[DONE]"):
                if not self._has_data:
                    self.failure = self.adapter.failures.no_answer()
                    break
                passed += (self.last_words(), event)
                self.done = True
                break
            payload = self.parse(event, data)
            self.failure = self._find_failure(event, payload)
            if self.failure is not None:
                break
            if payload is not None:
                used = self.adapter.usage_of(payload) or used
                if self.is_unasked(payload):
                    continue
                try:
                    event = self.amended(event, payload)
                except ProviderError as failure:
                    self.failure = failure
                    break
            passed.append(event)
        return [Chunk(b"".join(passed), used)] if passed or used is not None else []

    def is_unasked(self, payload: dict[str, Any]) -> bool:
        """Is it a usage chunk that nobody but the gateway wants?"""
        return not self._wants_usage and not payload.get("choices") and payload.get("usage") is not None

    def _find_failure(self, event: bytes, payload: dict[str, Any] | None) -> ProviderError | None:
        failures = self.adapter.failures
        error = self.adapter.error_of(payload) if payload is not None else None
        if error:
            return failures.from_event({**(payload or {}), "error": error})
        if b"event" in event and sse.name(event) == b"error":
            return failures.from_event(payload)
        return None

    def _read_rest(self) -> list[Chunk]:
        """An event whose last line end never came, or an error that is no event at all."""
        rest = self._splitter.rest()
        data = b"".join(sse.events(rest))
        payload = load(data or rest)
        if payload is None and not data.startswith(b"[DONE]"):
            return []
        if not data:
            self.failure = self._find_failure(b"", payload)
            return []
        return self.feed(b"\n\n")


def _find_usage(block: bytes) -> int:
    """Where usage is reported, -1 if nowhere. OpenAI's chunks all say `"usage":null` once it was asked."""
    at = block.find(b'"usage"')
    while at >= 0 and block.startswith(b'"usage":null', at):
        at = block.find(b'"usage"', at + 7)
    return at


def load(data: bytes) -> dict[str, Any] | None:
    """A JSON object, None for anything else."""
    try:
        payload = ujson.loads(data)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
