"""How many tokens a request can have at most, before anybody has counted them.

No text has more tokens than bytes, and every message of a body is longer than what vendors add to it. An
image has as many as its vendor states at most, for its largest size. What has a price of its own and no bound
(files, searches, tools that run at the vendor, other models) is Unbounded. Sources: each vendor's guide to
images as of November 2026; where a vendor names none, the operator may (`max_image_tokens` in `[[models]]`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from providers.types import CHAT, Call

# https://platform.openai.com/docs/guides/images-vision: tiles of 170 to 5,667 tokens, or patches times 2.46
OPENAI_IMAGES: Final = ((re.compile(r"(?:ft:)?gpt-4o-mini"), 48_169), (re.compile(""), 4_000))
ORIGINAL_DETAIL_TOKENS: Final = 24_600  # ten thousand patches
IMAGE_TOKENS: Final = {
    "anthropic": 4_784,
    "gemini": 5_000,
    "mistral": 4_500,
    "groq": 7_000,
    "together": 7_000,
    "fireworks": 7_000,
    "xai": 2_000,
    "meta": 7_000,
    "demo": 1_000,
}
# Fields with which a vendor searches, or asks another model than the one that was priced.
PRICED_APART: Final = frozenset(
    ("web_search_options", "search_parameters", "plugins", "models", "enable_search", "web_search")
)
BASE64: Final = re.compile(r"[A-Za-z0-9+/=_-]*")  # some hosts take a URL in its place
OTHER_DATA: Final = re.compile(r"data:(?!image/)", re.IGNORECASE)
NOT_ASKED: Final[tuple[Any, ...]] = (None, False, [])  # an empty object asks for it, with everything as usual
PLAIN_PARTS: Final = frozenset(("text", "refusal", "thinking"))
PLAIN_TOOLS: Final = frozenset(("function", "custom"))


class Unbounded(Exception):
    """Nobody can say beforehand what this may cost. param: where it stands in the request."""

    def __init__(self, param: str) -> None:
        super().__init__(param)
        self.param = param


def image_tokens(kind: str, model: str) -> int | None:
    """The most that one image takes, None where the vendor does not say. kind: of the provider."""
    if kind in ("openai", "azure"):
        return next(tokens for pattern, tokens in OPENAI_IMAGES if pattern.match(model))
    return IMAGE_TOKENS.get(kind)


def input_tokens(call: Call, an_image: int | None) -> int:
    """The most that a request's input can take. an_image: what one takes. Raises Unbounded."""
    payload = call.payload
    if not PRICED_APART.isdisjoint(payload):
        for name in PRICED_APART:
            if payload.get(name) not in NOT_ASKED:
                raise Unbounded(name)
    tokens = len(call.body)
    if "tools" in payload:
        _check_tools(payload["tools"])
    if call.operation == CHAT:
        for at, message in enumerate(payload["messages"]):
            if message.get("audio") is not None:
                raise Unbounded(f"messages[{at}].audio")  # an earlier answer's, by reference
            content = message.get("content")
            if type(content) is list:
                tokens += sum(_beyond_bytes(f"messages[{at}]", content, an_image))
    return tokens


def _check_tools(tools: Any) -> None:
    for at, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type", "function") not in PLAIN_TOOLS:
            raise Unbounded(f"tools[{at}]")


def _beyond_bytes(where: str, content: list[Any], an_image: int | None) -> Iterator[int]:
    """What parts take beyond their bytes; less than nothing for what is written in many bytes."""
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind in PLAIN_PARTS:
            continue
        url = part["image_url"]["url"] if kind == "image_url" else ""
        if url and an_image is not None and not OTHER_DATA.match(url):
            detail = part["image_url"].get("detail")
            most = max(an_image, ORIGINAL_DETAIL_TOKENS) if detail == "original" else an_image
            yield most - (len(url) if url.startswith("data:") else 0)
        elif kind == "input_audio" and BASE64.fullmatch(part["input_audio"]["data"]):
            continue  # no vendor takes a token for less than a byte of a recording
        else:
            raise Unbounded(f"{where}.content[{at}]")
