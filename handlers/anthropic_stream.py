"""Chunks in OpenAI's shape -> Anthropic's events, as they come. Pure.

A block is opened when there is something to put into it, and the one before it is closed then. What was used
is told at the end, from the account of the call: chunks that report usage are passed over, as are [DONE] and
whatever has not the shape of a chunk. Each event has its name in a line of its own, or SDKs would drop it.
"""

from __future__ import annotations

from typing import Any, Final

import ujson

from handlers.anthropic_answer import ending, objects, opening, part, text, thoughts, tool_use, usage
from providers import sse
from providers.answers import dump
from providers.types import Call
from store.types import Tokens

EMPTY_THINKING: Final = {"type": "thinking", "thinking": "", "signature": ""}
EMPTY_TEXT: Final = {"type": "text", "text": ""}

Node = dict[str, Any]


class EventWriter:
    """The events of one answer: `feed` until the stream ends, then `end` if it ended well."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._out: list[bytes] = []
        self._is_begun = False
        self._opened = -1  # the index of the block that was opened last
        self._kind = ""  # of the block that is open, empty if none is
        self._calls: dict[int, int] = {}  # a tool call's index -> its block's
        self._finish_reason = ""
        self._refusal = ""

    def feed(self, events: bytes) -> bytes:
        """Whole events of the stream -> those of the client's, perhaps none."""
        self._begin()
        for data in sse.events(events):
            try:
                chunk = ujson.loads(data)
            except ValueError:
                continue
            for choice in objects(chunk, "choices"):
                self._read(part(choice, "delta"))
                self._finish_reason = text(choice, "finish_reason") or self._finish_reason
        return self._taken()

    def end(self, used: Tokens) -> bytes:
        """What closes the message."""
        self._begin()
        self._close()
        delta = ending(self._finish_reason, self._refusal, is_calling=bool(self._calls))
        self._emit("message_delta", delta=delta, usage=usage(used))
        self._emit("message_stop")
        return self._taken()

    def _read(self, delta: Node) -> None:
        if text(delta, "reasoning_content"):
            self._think(delta["reasoning_content"])
        for block in thoughts(delta):
            self._sign(block)
        if text(delta, "content"):
            self._open(EMPTY_TEXT)
            self._add(self._opened, "text_delta", "text", delta["content"])
        self._refusal += text(delta, "refusal")
        for place, called in enumerate(objects(delta, "tool_calls")):
            index = called.get("index")
            self._call_tool(index if type(index) is int else place, called)

    def _think(self, piece: str) -> None:
        self._open(EMPTY_THINKING)
        if piece:
            self._add(self._opened, "thinking_delta", "thinking", piece)

    def _sign(self, block: Node) -> None:
        """A block of thinking that is whole; the text of one that is open has come before, in pieces."""
        if block["type"] == "redacted_thinking":
            self._open(block)
        else:
            if self._kind != "thinking":
                self._think(block["thinking"])
            self._add(self._opened, "signature_delta", "signature", block["signature"])
        self._close()

    def _call_tool(self, at: int, called: Node) -> None:
        if at not in self._calls:
            self._close()
            self._open(tool_use(self._call, at, called))
            self._calls[at] = self._opened
        arguments = text(part(called, "function"), "arguments")
        if arguments:
            self._add(self._calls[at], "input_json_delta", "partial_json", arguments)

    def _open(self, block: Node) -> None:
        """Have a block of that type open."""
        if self._kind == block["type"]:
            return
        self._close()
        self._kind = block["type"]
        self._opened += 1
        self._emit("content_block_start", index=self._opened, content_block=block)

    def _add(self, index: int, sort: str, field: str, piece: str) -> None:
        self._emit("content_block_delta", index=index, delta={"type": sort, field: piece})

    def _close(self) -> None:
        if self._kind:
            self._emit("content_block_stop", index=self._opened)
            self._kind = ""

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._emit("message_start", message=opening(self._call))

    def _emit(self, event: str, **fields: Any) -> None:
        self._out.append(b"event: %b\ndata: %b\n\n" % (event.encode(), dump({"type": event, **fields})))

    def _taken(self) -> bytes:
        events = b"".join(self._out)
        self._out.clear()
        return events
