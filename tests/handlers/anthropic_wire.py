"""What the tests of Anthropic's format share: the numbered cases, and calls in that format."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from handlers.anthropic_request import translated
from providers.answers import dump
from providers.types import CHAT, Call
from tests.providers import wire_cases
from tests.providers.calling import REQUEST_ID, encode

THOUGHT: Final = {"type": "thinking", "thinking": "hm", "signature": ""}
SIGNED: Final = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
REDACTED: Final = {"type": "redacted_thinking", "data": "eA=="}
WORDS: Final = {"type": "text", "text": "Yes."}
CASES: Final = [case for case in wire_cases.cases() if case.get("inbound")]
REQUESTS: Final = [case for case in CASES if "upstream_request" in case]
WHOLE: Final = [case for case in CASES if "upstream_response" in case]
STREAMED: Final = [case for case in CASES if "upstream_chunks" in case]
HELLO: Final = [{"role": "user", "content": "Hello"}]
FIELDS: Final = {"model": "m", "max_tokens": 9, "messages": HELLO}
JUNK: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from(["text", "image", "url"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text"]), inner),
    max_leaves=4,
)

Node = dict[str, Any]


def call_of(request: Node) -> Call:
    payload = translated(request)
    body, is_stream = dump(payload), "stream" in payload
    return Call(CHAT, payload["model"], payload, body, is_stream, True, REQUEST_ID, is_extended=True)


def asked(request: Node, kind: str = "openai") -> Node:
    """What a vendor reads."""
    fields: Node = json.loads(encode(kind, call_of(request)).body)
    return fields


def said(*blocks: Node, role: str = "user") -> Node:
    return {**FIELDS, "messages": [{"role": role, "content": list(blocks)}]}
