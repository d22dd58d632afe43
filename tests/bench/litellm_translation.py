"""LiteLLM's own translation of the recorded cases, beside what Rooya sends and answers.

    .build/litellm/bin/python tests/bench/litellm_translation.py      (`make bench PEERS=litellm` installs it)

Each case's request goes through `litellm.completion` to a server on loopback that keeps what it receives and
replays the vendor's answer. What is printed are the differences from the case, which Rooya passes. Refuses to
judge who is right.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import litellm

CASES = Path(__file__).resolve().parent.parent / "recorded" / "cases"
PREFIXES = {"anthropic": "anthropic/", "gemini": "gemini/"}
ENVELOPE = frozenset(
    ("id", "created", "object", "model", "system_fingerprint", "service_tier", "provider_specific_fields")
)
litellm.suppress_debug_info = True
litellm.num_retries = 0


class Vendor(BaseHTTPRequestHandler):
    """Replays `answer`, keeps the last body in `heard`."""

    answer: bytes = b"{}"
    kind: str = "application/json"
    heard: Any = None

    def do_POST(self) -> None:
        Vendor.heard = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", Vendor.kind)
        self.send_header("Content-Length", str(len(Vendor.answer)))
        self.end_headers()
        self.wfile.write(Vendor.answer)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    for kind in PREFIXES:
        for case in json.loads((CASES / f"{kind}.json").read_text()):
            if "openai_request" in case and not case.get("inbound") and "endpoint" not in case:
                print(f"\n{case['id']} {case['name']}")
                for line in compare(kind, case, base):
                    print(f"  {line}")


def compare(kind: str, case: dict[str, Any], base: str) -> Iterator[str]:
    """The differences, a line each."""
    is_stream = "upstream_sse" in case
    Vendor.kind = "text/event-stream" if is_stream else "application/json"
    Vendor.answer = events(case) if is_stream else json.dumps(case.get("upstream_response", {})).encode()
    Vendor.heard = None
    request = {**case["openai_request"]}
    model = PREFIXES[kind] + request.pop("model")
    try:
        answer = litellm.completion(model=model, api_base=base, api_key="k", drop_params=True, **request)
        said = [chunk.model_dump(exclude_none=True) for chunk in answer] if is_stream else answer.model_dump()
    except Exception as error:  # whatever it is, it is the finding
        said = f"{type(error).__name__}: {str(error)[:200]}"
    if Vendor.heard is None:
        yield f"sent nothing: {said}"
        return
    yield from differences("sent", Vendor.heard, case.get("upstream_request"))
    expected = case.get("openai_response") or case.get("openai_chunks")
    if expected is not None:
        if isinstance(said, str):
            yield f"answered: {said}"
        elif is_stream:
            yield from differences("heard", told(said), told(expected))
        else:
            yield from differences("answered", trimmed(said), trimmed(expected))


def events(case: dict[str, Any]) -> bytes:
    lines = []
    for event in case["upstream_sse"]:
        name = f"event: {event['event']}\n" if "event" in event else ""
        lines.append(f"{name}data: {json.dumps(event['data'])}\n\n")
    return "".join(lines).encode()


def told(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of a stream."""
    whole: dict[str, Any] = {"content": "", "reasoning": "", "calls": {}, "finish": None, "usage": None}
    for chunk in chunks:
        whole["usage"] = chunk.get("usage") or whole["usage"]
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta") or {}
            whole["content"] += delta.get("content") or ""
            whole["reasoning"] += delta.get("reasoning_content") or ""
            whole["finish"] = choice.get("finish_reason") or whole["finish"]
            for call in delta.get("tool_calls") or ():
                function = call.get("function") or {}
                known = whole["calls"].setdefault(call.get("index", 0), ["", ""])
                known[0] += function.get("name") or ""
                known[1] += function.get("arguments") or ""
    return whole


def trimmed(value: Any) -> Any:
    """Without the envelope, and without what is null."""
    if isinstance(value, dict):
        kept = {name: trimmed(each) for name, each in value.items() if name not in ENVELOPE}
        return {name: each for name, each in kept.items() if each not in (None, [], {})}
    return [trimmed(each) for each in value] if isinstance(value, list) else value


def differences(where: str, theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Depth first."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted({*theirs, *ours}):
            yield from differences(where, theirs.get(name, "-"), ours.get(name, "-"), f"{path}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(where, one, other, f"{path}[{at}]")
    elif theirs != ours:
        yield f"{where}{path}: LiteLLM {short(theirs)} | Rooya {short(ours)}"


def short(value: Any) -> str:
    text = value if value == "-" else json.dumps(value, default=str)
    return text if len(text) <= 160 else text[:160] + "…"


if __name__ == "__main__":
    main()
