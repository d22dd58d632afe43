"""What is asked and what is answered: the same bytes for every subject.

Three routes, each with an upstream of its own since a static server cannot choose by the request's body:
`plain` (a whole completion), `stream` (a whole event stream in one piece: what a request costs) and
`paced` (endless streams, one chunk at a time: what a chunk costs). The client asks for the usage chunk
itself, so a gateway has nothing to add or drop and the body must arrive byte for byte.
"""

from __future__ import annotations

import json
from typing import Final

PATH: Final = "/v1/chat/completions"
ROUTES: Final = ("plain", "stream", "paced")
REQUEST_BODY_BYTES: Final = 1024
PLAIN_ANSWER_BYTES: Final = 700
PACED_CHUNK_BYTES: Final = 200
STREAM_CHUNKS: Final = 50
CREATED: Final = 1_750_000_000
PROSE: Final = (
    "Rain came over the hills in the late afternoon, slowly at first, and the gardener put away the tools, "
    "counted the seedlings twice and wrote the number down in the small green book beside the door. "
)


def model_of(route: str) -> str:
    """The model name that leads a gateway to the upstream of a route."""
    return f"bench-{route}"


def prose(length: int) -> str:
    """Plain English of exactly so many bytes, without quotes, backslashes or dollars."""
    return (PROSE * (length // len(PROSE) + 1))[:length]


def compact(value: object) -> bytes:
    """JSON as API servers write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def request_body(route: str) -> bytes:
    """A chat request of about 1 KB."""
    payload: dict[str, object] = {"model": model_of(route), "temperature": 0.7, "max_tokens": 256}
    if route != "plain":
        payload |= {"stream": True, "stream_options": {"include_usage": True}}

    def filled(text: str) -> bytes:
        system = {"role": "system", "content": "You are a helpful assistant."}
        return compact(payload | {"messages": [system, {"role": "user", "content": text}]})

    return filled(prose(REQUEST_BODY_BYTES - len(filled(""))))


def request(route: str, port: int, headers: dict[str, str]) -> bytes:
    """The request on the wire."""
    body = request_body(route)
    lines = [f"POST {PATH} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def plain_answer() -> bytes:
    """The completion of the static upstream, 700 bytes."""

    def filled(text: str) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 180, "completion_tokens": 64, "total_tokens": 244}
        return compact(
            {
                "id": "chatcmpl-bench0000000000000000000001",
                "object": "chat.completion",
                "created": CREATED,
                "model": model_of("plain"),
                "choices": [choice],
                "usage": usage,
                "system_fingerprint": "fp_bench",
            }
        )

    return filled(prose(PLAIN_ANSWER_BYTES - len(filled(""))))


def event(route: str, choices: list[object], usage: object = None) -> bytes:
    """One server-sent event."""
    chunk: dict[str, object] = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model_of(route),
        "choices": choices,
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + compact(chunk) + b"\n\n"


def delta(route: str, text: str) -> bytes:
    """An event that carries a piece of text."""
    return event(route, [{"index": 0, "delta": {"content": text}, "finish_reason": None}])


def stream_answer() -> bytes:
    """The whole event stream of the static upstream: about 50 events with usage at the end, then [DONE]."""
    words = PROSE.split()
    first = event(
        "stream", [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    )
    texts = [delta("stream", words[i % len(words)] + " ") for i in range(STREAM_CHUNKS - 3)]
    last = event("stream", [{"index": 0, "delta": {}, "finish_reason": "stop"}])
    usage = event("stream", [], {"prompt_tokens": 180, "completion_tokens": 47, "total_tokens": 227})
    return b"".join([first, *texts, last, usage, b"data: [DONE]\n\n"])


def paced_chunk(stamp_ns: int) -> bytes:
    """An event of exactly 200 bytes; `<stamp>` is when it was sent, for whoever measures its way."""
    stamp = f"<{stamp_ns:019d}>"
    padding = PACED_CHUNK_BYTES - len(delta("paced", stamp))
    return delta("paced", stamp + "." * padding)


ANSWERS: Final = {"plain": plain_answer(), "stream": stream_answer()}
