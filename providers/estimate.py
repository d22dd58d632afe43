"""Tokens guessed from bytes, where a vendor reports none: its stream was cut, or it never says.

How many bytes a token has is learned for each family of models from what vendors do report; no tokenizer is
needed and none is fetched. Refuses to be exact: whatever comes from here is marked `estimated`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import ujson
from cachetools import LRUCache

BYTES_PER_TOKEN: Final = 3.6  # English has 4 and more in today's vocabularies, code and other scripts fewer
LEAST_RATIO: Final = 1.0
GREATEST_RATIO: Final = 12.0
WEIGHT: Final = 0.05  # of one sample: no single call moves a ratio far
LEAST_SAMPLE_BYTES: Final = 64
MAX_FAMILIES: Final = 256
SAMPLE_EVERY: Final = 16
EAGER_SAMPLES: Final = 4

TOKENS_A_MESSAGE: Final = 4  # role and separators
TOKENS_A_PART: Final = {"image_url": 800, "input_audio": 1000, "file": 1000}  # guesses; vendors vary widely
TEXTS: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|name)"[ \t\r\n]*:[ \t\r\n]*"'
    rb'((?:[^"\\]|\\.)*)"'
)
_FAMILY: Final = re.compile(r"[a-z]+[-_ ]?\d*")


class Estimator:
    """One for each process."""

    def __init__(self) -> None:
        self._input: LRUCache[str, float] = LRUCache(MAX_FAMILIES)
        self._output: LRUCache[str, float] = LRUCache(MAX_FAMILIES)
        self._calls = 0

    @staticmethod
    def family(kind: str, model: str) -> str:
        """What shares a vocabulary: a vendor's models of one name and major version."""
        found = _FAMILY.search(model.rpartition("/")[2].lower())
        return f"{kind} {found[0] if found else model[:16]}"

    def wants_sample(self) -> bool:
        """Is this a call to learn from? Each costs a walk through its text, so few are."""
        self._calls += 1
        return self._calls <= EAGER_SAMPLES or not self._calls % SAMPLE_EVERY

    def learn_input(self, family: str, text_bytes: int, tokens: int) -> None:
        """tokens: as the vendor reported for text of so many bytes."""
        _learn(self._input, family, text_bytes, tokens)

    def learn_output(self, family: str, text_bytes: int, tokens: int) -> None:
        _learn(self._output, family, text_bytes, tokens)

    def input_tokens(self, family: str, payload: dict[str, Any]) -> int:
        """Of a request; at least 1."""
        text, fixed = self.input_bytes(payload)
        return max(1, fixed + _tokens(text, self._input.get(family, BYTES_PER_TOKEN)))

    def output_tokens(self, family: str, text_bytes: int) -> int:
        """Of generated text."""
        return _tokens(text_bytes, self._output.get(family, BYTES_PER_TOKEN))

    @staticmethod
    def input_bytes(payload: dict[str, Any]) -> tuple[int, int]:
        """Bytes of all text of a request, and the tokens that are known, or guessed, without it."""
        text, fixed = 0, 0
        for message in _listed(payload.get("messages")):
            fixed += TOKENS_A_MESSAGE
            more_text, more_fixed = _of_message(message)
            text, fixed = text + more_text, fixed + more_fixed
        for name in ("tools", "functions", "response_format"):
            if payload.get(name):
                text += _json_length(payload[name])
        for name in ("prompt", "input", "suffix"):
            more_text, more_fixed = _of_prompt(payload.get(name))
            text, fixed = text + more_text, fixed + more_fixed
        return text, fixed

    @staticmethod
    def output_text_bytes(body: bytes) -> int:
        """Bytes of generated text in a whole answer, or in whole events of a stream."""
        return sum(map(len, TEXTS.findall(body)))


def _learn(ratios: LRUCache[str, float], family: str, text_bytes: int, tokens: int) -> None:
    if text_bytes < LEAST_SAMPLE_BYTES or tokens <= 0:
        return
    ratio = text_bytes / tokens
    if LEAST_RATIO <= ratio <= GREATEST_RATIO:
        before = ratios.get(family, BYTES_PER_TOKEN)
        ratios[family] = before + WEIGHT * (ratio - before)


def _tokens(text_bytes: int, ratio: float) -> int:
    return int(-(-text_bytes // ratio))


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _of_message(message: Any) -> tuple[int, int]:
    if not isinstance(message, dict):
        return 0, 0
    text = _length(message.get("name"))
    fixed = 0
    if message.get("tool_calls"):
        text += _json_length(message["tool_calls"])
    content = message.get("content")
    if isinstance(content, str):
        return text + _length(content), fixed
    for part in _listed(content):
        if isinstance(part, dict):
            text += _length(part.get("text"))
            kind = part.get("type")
            fixed += TOKENS_A_PART.get(kind, 0) if isinstance(kind, str) else 0
    return text, fixed


def _of_prompt(value: Any) -> tuple[int, int]:
    """A text, a list of texts, a list of token numbers, or a list of such lists."""
    if isinstance(value, str):
        return _length(value), 0
    text, fixed = 0, 0
    for item in _listed(value):
        if isinstance(item, list):
            fixed += len(item)
        elif isinstance(item, str):
            text += _length(item)
        else:
            fixed += 1
    return text, fixed


def _length(value: Any) -> int:
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else 0


def _json_length(value: Any) -> int:
    try:
        return len(ujson.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (OverflowError, ValueError):
        return len(json.dumps(value))
