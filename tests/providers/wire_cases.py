"""Numbered cases of translation: what a client sends, a vendor reads and answers, and a client gets.

A file is a JSON list of cases; keys that a case lacks are not checked. A vendor's answer that is text stands
for its bytes. WIRE_CASES names further files or folders of them. Placeholders in what is expected: $ID $CMPL
$MSG (ids with their prefix), $TS (Unix seconds), $CALL (any id), $EST (a whole number, at least 1); one value
of each in a stream. Arguments compare as JSON.
"""

from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Final

from handlers import errors
from providers.adapter import Adapter, Codec
from providers.catalog import Catalog
from providers.errors import ProviderError, Unsupported
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call, Target
from providers.vendors import ROWS
from tests.providers.calling import SECRET, make_adapter, make_call

HERE: Final = Path(__file__).parent.parent / "recorded" / "cases"
OPERATIONS: Final = {"/v1/completions": COMPLETIONS, "/v1/embeddings": EMBEDDINGS}
PLACEHOLDERS: Final = {
    "$ID": re.compile(r"chatcmpl-\w+"),
    "$CMPL": re.compile(r"cmpl-\w+"),
    "$MSG": re.compile(r"msg_\w+"),
    "$CALL": re.compile(r"[\w-]+"),
}
IGNORED: Final = "thinking_blocks"  # an extension that may be anywhere
CATALOG: Final = Catalog.bundled()

Case = dict[str, Any]


def files() -> list[Path]:
    """The recorded files, and those that the environment names."""
    named = [Path(name) for name in os.environ.get("WIRE_CASES", "").split(os.pathsep) if name]
    return [
        file for path in (HERE, *named) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]


def cases() -> list[Case]:
    """Every case, with the kind of provider it is about under "kind"."""
    found = [{"kind": _kind(path, case), **case} for path in files() for case in json.loads(path.read_text())]
    assert found
    return found


def _kind(path: Path, case: Case) -> str:
    by_name = [kind for kind in ROWS if path.stem.startswith(kind)]
    if by_name:
        return max(by_name, key=len)
    return CATALOG.owners(case["openai_request"]["model"], date.min)[0]


def adapter_of(case: Case) -> Adapter:
    return make_adapter(case["kind"])


def call_of(case: Case) -> Call:
    """The client's call; of a case that shows none, a plain one for the model that answered."""
    request = case.get("openai_request")
    if request is None:
        answer = case.get("upstream_response", {})
        wanted = case.get("openai_response", {}).get("model")
        request = {
            "model": wanted or answer.get("model") or answer.get("modelVersion"),
            "messages": [{"role": "user", "content": "q"}],
        }
    operation = OPERATIONS.get(case.get("endpoint", ""), CHAT)
    return make_call(operation, body=json.dumps(request).encode())


def target_of(case: Case, call: Call) -> Target:
    kind = case["kind"]
    known = CATALOG.find(kind, call.model)
    base_url = ROWS[kind].base_url or "https://llm.example.org/v1"
    return Target("it", adapter_of(case), base_url, call.model, SECRET, kind=kind, known=known)


def codec_of(case: Case) -> Codec:
    """What translates the case's call."""
    call = call_of(case)
    target = target_of(case, call)
    codec = target.adapter.codec_for(call, target)
    assert codec is not None
    return codec


def sent(case: Case) -> tuple[str, Any]:
    """The path and the body that the vendor gets."""
    call = call_of(case)
    request = codec_of(case).encode(call, target_of(case, call))
    path = request.endpoint.head.split(b" ", 2)[1].decode()
    return path, json.loads(request.body)


def answered(case: Case) -> Any:
    """What the client gets for the vendor's whole answer."""
    call = call_of(case)
    body = case["upstream_response"]
    text = body if isinstance(body, str) else json.dumps(body)
    return json.loads(codec_of(case).decode(call, text.encode()).body)


def refused(case: Case) -> errors.Answer:
    """What the client gets where the vendor, or the gateway itself, refuses."""
    if "upstream_error" in case:
        told = case["upstream_error"]
        headers = {name.lower().encode(): value.encode() for name, value in told.get("headers", {}).items()}
        body = told["body"] if isinstance(told["body"], str) else json.dumps(told["body"])
        return errors.answer(adapter_of(case).error(told["status"], headers, body.encode()))
    try:
        answered(case) if "upstream_response" in case else sent(case)
    except (ProviderError, Unsupported) as failure:
        return errors.answer(failure)
    raise AssertionError("it was answered")


def stream_bytes(events: list[Any], line_end: str = "\n") -> bytes:
    """The vendor's events as they come over the wire."""
    lines = []
    for event in events:
        if isinstance(event, str):
            lines += [event, ""]
            continue
        data = event["data"]
        lines += [f"event: {event['event']}"] if "event" in event else []
        lines += [f"data: {data if isinstance(data, str) else json.dumps(data)}", ""]
    return "".join(line + line_end for line in lines).encode()


def expect(actual: Any, expected: Any) -> None:
    """Raises AssertionError where they differ, placeholders and the extension aside."""
    assert _normal(actual, expected, {}) == _without_extension(expected)


def _normal(actual: Any, expected: Any, seen: dict[str, Any]) -> Any:
    """What is actual, with the placeholder in place of what one stands for."""
    if isinstance(expected, str) and _stands_for(actual, expected):
        assert seen.setdefault(expected, actual) == actual or expected in ("$CALL", "$EST")
        return expected
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = {name: _normal(value, expected.get(name), seen) for name, value in actual.items()}
        found.pop(IGNORED, None)
        if found.get("arguments") != expected.get("arguments") and "arguments" in found:
            assert json.loads(found["arguments"]) == json.loads(expected["arguments"])
            found["arguments"] = expected["arguments"]
        return found
    if isinstance(expected, list) and isinstance(actual, list):
        padded = expected + [None] * (len(actual) - len(expected))
        return [_normal(one, other, seen) for one, other in zip(actual, padded, strict=False)]
    return actual


def _stands_for(actual: Any, placeholder: str) -> bool:
    if placeholder == "$TS":
        return type(actual) is int and actual > 1_600_000_000
    if placeholder == "$EST":
        return type(actual) is int and actual >= 1
    pattern = PLACEHOLDERS.get(placeholder)
    return pattern is not None and isinstance(actual, str) and pattern.fullmatch(actual) is not None


def _without_extension(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_extension(each) for name, each in value.items() if name != IGNORED}
    return [_without_extension(each) for each in value] if isinstance(value, list) else value


def merged(chunks: list[Any]) -> list[Any]:
    """Chunks with neighbouring pieces of one choice's text joined, and none that only the extension fills."""
    joined: list[Any] = []
    for chunk in _without_extension(chunks):
        if chunk["choices"] and not chunk["choices"][0]["delta"] and not chunk["choices"][0]["finish_reason"]:
            continue
        before, piece = (_text_piece(joined[-1]) if joined else None), _text_piece(chunk)
        if before is not None and piece is not None and before[:2] == piece[:2]:
            joined[-1]["choices"][0]["delta"][piece[1]] += piece[2]
        else:
            joined.append(chunk)
    return joined


def _text_piece(chunk: Any) -> tuple[int, str, str] | None:
    choices = chunk["choices"]
    if len(choices) != 1 or choices[0]["finish_reason"] or choices[0].get("logprobs"):
        return None
    ((name, text), *more) = choices[0]["delta"].items() or [("", "")]
    return None if more or name not in ("content", "reasoning_content") else (choices[0]["index"], name, text)
