"""Tokens guessed from bytes, where a vendor reports none: its stream was cut, or it never says.

How many bytes a token has is learned for each family of models from what vendors do report; no tokenizer is
needed and none is fetched. What one image or recording or file takes is a guess, however large it is. Refuses
to be exact, and to fail: whatever comes from here is marked `estimated`, and odd shapes count nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import ujson
from cachetools import LRUCache

from providers import sse

# English has about 4.2 in today's vocabularies, code 3.3, Chinese and Japanese 2.5 to 3.
BYTES_PER_TOKEN: Final = 3.6
LEAST_RATIO: Final = 1.0
GREATEST_RATIO: Final = 12.0
LEAST_WEIGHT: Final = 0.05  # of a sample; the first ones weigh more, as nothing is known yet
FIRST_WEIGHT: Final = 0.25
GREATEST_STEP: Final = 1.5  # a sample counts as at most so many times what was believed, or that part
LEAST_SAMPLE_BYTES: Final = 64
MAX_FAMILIES: Final = 256
MAX_NAME_CHARS: Final = 32
SAMPLE_EVERY: Final = 128
EAGER_SAMPLES: Final = 4

TOKENS_A_MESSAGE: Final = 4  # role and separators
TOKENS_AN_IMAGE: Final = 800  # a guess, vendors vary widely
TOKENS_A_FILE: Final = 1000  # a recording, a document or what else is no text: a guess as well

DELTA: Final = b'"delta"'
_PLAIN_DELTA: Final = re.compile(rb'"delta":\{"content":"[^"\\]*"\}')
_AROUND_TEXT: Final = len('"delta":{"content":""}')
_BLANK: Final = rb'"role": ?"assistant"|"[a-z_]+": ?(?:null|"")'
_TEXT: Final = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
# A delta that says one thing and is over.
_USUAL_DELTA: Final = re.compile(
    rb'"delta": ?\{(?:(?:(?:%b), ?)*"(?:content|reasoning_content)": ?%b(?:, ?(?:%b))*'
    rb'|"tool_calls": ?\[\{"index": ?\d+, ?"function": ?\{"arguments": ?%b\}\}\])\}'
    % (_BLANK, _TEXT, _BLANK, _TEXT)
)
_FAMILY: Final = re.compile(r"[a-z]+(?:[-_ ]?\d+)?")


class Estimator:
    """One for each process. A family's ratio is of bytes to tokens."""

    def __init__(self) -> None:
        self._input: LRUCache[str, tuple[float, int]] = LRUCache(MAX_FAMILIES)
        self._output: LRUCache[str, tuple[float, int]] = LRUCache(MAX_FAMILIES)
        self._calls = 0

    @staticmethod
    def family(kind: str, model: str) -> str:
        """What may share a vocabulary: a vendor's models of one name and major version."""
        name = model.rpartition("/")[2].lower().removeprefix("ft:")
        found = _FAMILY.search(name)
        return f"{kind} {(found[0] if found else name)[:MAX_NAME_CHARS]}"

    def wants_sample(self) -> bool:
        """Is this a call to learn from? Each costs a walk through its text, so few are."""
        self._calls += 1
        return self._calls <= EAGER_SAMPLES or not self._calls % SAMPLE_EVERY

    def learn_input(self, family: str, text_bytes: int, tokens: int) -> None:
        """tokens: as the vendor reported for text of so many bytes."""
        _learn(self._input, family, text_bytes, tokens)

    def learn_output(self, family: str, text_bytes: int, tokens: int) -> None:
        """tokens: as the vendor reported for so many bytes of generated text."""
        _learn(self._output, family, text_bytes, tokens)

    def input_tokens(self, family: str, payload: dict[str, Any]) -> int:
        """Of a request; at least 1."""
        text, fixed = self.input_bytes(payload)
        return max(1, fixed + _tokens(self._input, family, text))

    def output_tokens(self, family: str, text_bytes: int) -> int:
        """Of generated text."""
        return _tokens(self._output, family, text_bytes)

    @staticmethod
    def input_bytes(payload: dict[str, Any]) -> tuple[int, int]:
        """Bytes of all text of a request, and the tokens that are known, or guessed, without it."""
        text, fixed = 0, 0
        for message in _listed(payload.get("messages")):
            more_text, more_fixed = _of_message(message)
            text, fixed = text + more_text, fixed + more_fixed + TOKENS_A_MESSAGE
        text += sum(_json_length(payload.get(name)) for name in ("tools", "functions", "response_format"))
        for name in ("prompt", "input", "suffix"):
            more_text, more_fixed = _of_prompt(payload.get(name))
            text, fixed = text + more_text, fixed + more_fixed
        return text, fixed

    @staticmethod
    def output_text_bytes(body: bytes) -> int:
        """Bytes of generated text in a whole answer."""
        # Embeddings run to megabytes and have no text: not parsed.
        return _of_answer(body, "message") if b'"choices"' in body else 0


def stream_text_bytes(block: bytes) -> int:
    """Bytes of generated text in whole events of a stream: the same sum, however they came together.

    Once per chunk on the hot path: of what nearly every event looks like, nothing is parsed.
    """
    total, at = 0, block.find(DELTA)
    if at < 0:
        return _of_parsed(block) if b'"text"' in block else 0
    while at >= 0:
        found = _PLAIN_DELTA.match(block, at)
        if found is None:
            return _of_events(block)
        end = found.end()
        total += end - at - _AROUND_TEXT
        at = block.find(DELTA, end) if block.find(b"{", end) >= 0 else -1
    return total


def _of_events(block: bytes) -> int:
    total, at = 0, block.find(DELTA)
    while at >= 0:
        found = _USUAL_DELTA.match(block, at)
        if found is None:
            return _of_parsed(block)
        text = found[1] or found[2] or b""
        if b"\\" in text:
            try:
                total += _length(ujson.loads(b'"%b"' % text))
            except ValueError:
                return _of_parsed(block)
        else:
            total += len(text)
        at = block.find(DELTA, found.end())
    return total


def _of_parsed(block: bytes) -> int:
    events = sse.split(block)
    if len(events) > 1:
        return sum(map(stream_text_bytes, events))
    return _of_answer(b"".join(sse.events(block)), "delta")


def _of_answer(data: bytes, place: str) -> int:
    """place: of what is said, in each of the choices. A legacy completion says it in the choice itself."""
    try:
        payload = ujson.loads(data)
    except ValueError:
        return 0
    choices = payload.get("choices") if isinstance(payload, dict) else None
    return sum(
        _length(choice.get("text")) + _said(choice.get(place))
        for choice in _listed(choices)
        if isinstance(choice, dict)
    )


def _said(message: Any) -> int:
    """Bytes of text that a message, or a piece of one, has."""
    if not isinstance(message, dict):
        return 0
    text = _length(message.get("refusal"))
    # Hosts that write both names mean the same text.
    text += max(_length(message.get("reasoning_content")), _length(message.get("reasoning")))
    for part in _listed(message.get("content")):
        text += _of_part(part)[0]
    text += _length(message.get("content")) + _call_length(message.get("function_call"))
    for call in _listed(message.get("tool_calls")):
        text += _call_length(call.get("function")) if isinstance(call, dict) else 0
    return text


def _call_length(function: Any) -> int:
    if not isinstance(function, dict):
        return 0
    return _length(function.get("name")) + _length(function.get("arguments"))


def _of_message(message: Any) -> tuple[int, int]:
    if not isinstance(message, dict):
        return 0, 0
    fixed = sum(_of_part(part)[1] for part in _listed(message.get("content")))
    return _said(message) + _length(message.get("name")), fixed


def _of_part(part: Any) -> tuple[int, int]:
    """One part of a content: its text, or what it takes if it is something else."""
    if not isinstance(part, dict):
        return _length(part), 0
    kind = part.get("type")
    if kind in ("text", "refusal", "thinking") or not isinstance(kind, str):
        thinking = sum(_length(each.get("text")) for each in _dicts(part.get("thinking")))
        return _length(part.get("text")) + _length(part.get("refusal")) + thinking, 0
    return 0, TOKENS_AN_IMAGE if "image" in kind else TOKENS_A_FILE


def _of_prompt(value: Any) -> tuple[int, int]:
    """A text, a list of texts, a list of token numbers, or a list of such lists."""
    items = _listed(value)
    if items and type(items[0]) is int:
        return 0, len(items)
    text, fixed = _length(value), 0
    for item in items:
        text += _length(item)
        fixed += len(_listed(item))
    return text, fixed


def _learn(ratios: LRUCache[str, tuple[float, int]], family: str, text_bytes: int, tokens: int) -> None:
    if text_bytes < LEAST_SAMPLE_BYTES or tokens <= 0:
        return
    ratio = text_bytes / tokens
    if LEAST_RATIO <= ratio <= GREATEST_RATIO:
        before, samples = ratios.get(family, (BYTES_PER_TOKEN, 0))
        ratio = min(max(ratio, before / GREATEST_STEP), before * GREATEST_STEP)
        weight = max(LEAST_WEIGHT, FIRST_WEIGHT / (1 + FIRST_WEIGHT * samples))
        ratios[family] = (before + weight * (ratio - before), samples + 1)


def _tokens(ratios: LRUCache[str, tuple[float, int]], family: str, text_bytes: int) -> int:
    """Rounded up."""
    ratio, _ = ratios.get(family, (BYTES_PER_TOKEN, 0))
    return int(-(-text_bytes // ratio))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> Iterable[dict[str, Any]]:
    return (each for each in _listed(value) if isinstance(each, dict))


def _length(value: Any) -> int:
    """Bytes of a text in UTF-8; nothing else has any."""
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))


def _json_length(value: Any) -> int:
    """Bytes of it as JSON; of what is nested too deep for that, which no client can have sent, none."""
    if not value:
        return 0
    try:
        return _length(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False))
    except (OverflowError, TypeError, ValueError):
        return 0
