"""What a Claude model thought, signed, on its way through a client and back.

https://platform.claude.com/docs/en/build-with-claude/extended-thinking. The vendor wants its blocks back as
they were and where they were. The gateway keeps no state: they are in a message's `thinking_blocks`, as they
came, with `after` where something was said before: so much of the message's text, so many of its calls. A
place that a client has garbled counts as the beginning; what the blocks are worth, the vendor judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from providers.conversation import Part, Text, ToolCall
from providers.translation import dicts

THOUGHTS: Final = "thinking_blocks"
KINDS: Final = frozenset(("thinking", "redacted_thinking"))
AFTER: Final = "after"
NOT_THE_VENDORS: Final = frozenset((AFTER, "index"))  # index: of a stream


def placed(block: dict[str, Any], characters: int, calls: int) -> dict[str, Any]:
    """A thought for the client, with its place among what is said."""
    return {**block, AFTER: {"characters": characters, "calls": calls}} if characters or calls else block


def kept(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The thoughts that a client hands back with a message of the model's."""
    return [block for block in dicts(message.get(THOUGHTS)) if block.get("type") in KINDS]


def woven(message: dict[str, Any], parts: list[Part]) -> Iterator[Part | dict[str, Any]]:
    """The parts of a message, and between them the vendor's own blocks. A text is parted where one stood."""
    spoken = Spoken([part for part in parts if not isinstance(part, ToolCall)])
    calls = [part for part in parts if isinstance(part, ToolCall)]
    called = 0
    for block in kept(message):
        characters, number = _place(block)
        yield from spoken.up_to(characters)
        yield from calls[called:number]
        called = max(called, number)
        yield {name: value for name, value in block.items() if name not in NOT_THE_VENDORS}
    yield from spoken.rest()
    yield from calls[called:]


class Spoken:
    """Parts that are handed out from the front, no character of them twice, however often they are parted."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._at = 0
        self._offset = 0  # into the text of that part
        self._said = 0

    def up_to(self, characters: int) -> Iterator[Part]:
        """What is left of so much text from the beginning, and what stands in between."""
        while self._at < len(self._parts) and self._said < characters:
            yield self._piece(characters - self._said)

    def rest(self) -> Iterator[Part]:
        if self._offset:
            part = self._parts[self._at]
            yield self._piece(len(part.text) if isinstance(part, Text) else 0)
        yield from self._parts[self._at :]

    def _piece(self, most: int) -> Part:
        part, begin = self._parts[self._at], self._offset
        length = len(part.text) if isinstance(part, Text) else 0
        end = min(begin + most, length)
        self._said += end - begin
        self._at, self._offset = (self._at, end) if end < length else (self._at + 1, 0)
        if not isinstance(part, Text) or end - begin == length:
            return part
        return Text(part.text[begin:end], part.cache if end == length else "")


def without(payload: dict[str, Any]) -> dict[str, Any]:
    """A chat payload whose messages carry no thoughts: the vendor does not take these."""
    messages = [
        {name: value for name, value in message.items() if name != THOUGHTS}
        if THOUGHTS in message
        else message
        for message in payload["messages"]
    ]
    return {**payload, "messages": messages}


def _place(block: dict[str, Any]) -> tuple[int, int]:
    after = block.get(AFTER)
    if not isinstance(after, dict):
        return 0, 0
    characters, calls = after.get("characters"), after.get("calls")
    return characters if type(characters) is int else 0, calls if type(calls) is int and calls > 0 else 0
