"""What the tests of the adapters share: calls, targets, and streams fed in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from providers import loader, sse
from providers.adapter import Adapter, Codec, Decoder
from providers.types import CHAT, Call, ProviderSpec, Target, UpstreamRequest, Usage
from providers.vendors import ROWS

SECRET = "sk-vendor-0123456789abcdef"
REQUEST_ID = "019a2b3c4d5e7f00a1b2c3d400000001"
HELLO = [{"role": "user", "content": "Hello"}]
FINISH = b'data: {"id":"c1","created":1,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def make_call(
    operation: str = CHAT, *, verbatim: bool = True, body: bytes | None = None, **fields: Any
) -> Call:
    """A call as the handlers make it; `body` in place of the fields, where bytes matter."""
    if body is None:
        fields = {"model": "some-model", **fields}
        if operation == CHAT:
            fields.setdefault("messages", HELLO)
        body = json.dumps(fields, separators=(",", ":")).encode()
    payload = json.loads(body)
    is_stream = payload.get("stream") is True
    return Call(operation, payload["model"], payload, body, is_stream, verbatim, REQUEST_ID)


def make_adapter(kind: str = "openai_compatible", base_url: str | None = None) -> Adapter:
    needs_url = ROWS[kind].base_url is None
    url = base_url or ("https://llm.example.org/v1" if needs_url else None)
    return loader.build(ProviderSpec("it", kind, url, (SECRET,)))


def make_target(adapter: Adapter, call: Call, model: str | None = None, base_url: str = "") -> Target:
    return Target("it", adapter, base_url or "https://llm.example.org/v1", model or call.model, SECRET)


def codec_of(adapter: Adapter, operation: str = CHAT) -> Codec:
    codec = adapter.codec(operation)
    assert codec is not None
    return codec


def encode(kind: str, call: Call, model: str | None = None) -> UpstreamRequest:
    adapter = make_adapter(kind)
    return codec_of(adapter, call.operation).encode(call, make_target(adapter, call, model))


def sent(kind: str, call: Call, model: str | None = None) -> dict[str, Any]:
    """What a vendor of this kind reads."""
    fields: dict[str, Any] = json.loads(encode(kind, call, model).body)
    return fields


class Heard:
    """What came out of a decoder: the bytes, the last usage, and how it ended."""

    def __init__(self, decoder: Decoder, pieces: Iterator[bytes] | list[bytes]) -> None:
        self.body = b""
        self.usage: Usage | None = None
        for data in pieces:
            if decoder.done or decoder.failure:
                break
            self._take(decoder.feed(data))
        if not decoder.done and not decoder.failure:
            self._take(decoder.close())
        self.done = decoder.done
        self.failure = decoder.failure

    def _take(self, chunks: list[Any]) -> None:
        for chunk in chunks:
            self.body += chunk.data
            self.usage = chunk.usage or self.usage

    @property
    def events(self) -> list[bytes]:
        return sse.events(self.body)

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.events if data != b"[DONE]"]

    @property
    def outcome(self) -> tuple[Any, ...]:
        failure = self.failure and (self.failure.kind, self.failure.code, self.failure.message)
        return self.events, self.usage, self.done, failure


def hear(kind: str, call: Call, *pieces: bytes) -> Heard:
    return Heard(codec_of(make_adapter(kind), call.operation).decoder(call), list(pieces))


def hear_every_way(kind: str, call: Call, recording: bytes) -> Heard:
    """The recording whole, byte by byte, and cut in two at every place: always the same comes out."""
    whole = hear(kind, call, recording)
    ways = [[recording[at : at + 1] for at in range(len(recording))]]
    ways += [[recording[:at], recording[at:]] for at in range(1, len(recording))]
    for pieces in ways:
        assert hear(kind, call, *pieces).outcome == whole.outcome
    return whole


def stream_call(**fields: Any) -> Call:
    return make_call(stream=True, **fields)


def asking_call(**fields: Any) -> Call:
    return make_call(stream=True, stream_options={"include_usage": True}, **fields)
