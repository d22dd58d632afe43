"""What routing costs a call, and translation a streamed chunk: nanoseconds of pure code, the best round."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from providers import loader
from providers.health import Health
from providers.router import Router
from providers.types import CHAT, Call, ModelSpec, ProviderSpec, TargetSpec, Timeouts

ROUNDS = 7
CHUNKS = 200
TEXT = " and so it goes on"
REQUEST_ID = "019a2b3c4d5e7f00a1b2c3d400000001"
# The usual event of a long answer: one piece of text.
EVENTS = {
    "anthropic": "event: content_block_delta\ndata: "
    + json.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}})
    + "\n\n",
    "gemini": "data: "
    + json.dumps(
        {
            "candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120},
            "modelVersion": "gemini-3.8-flash",
            "responseId": "r1",
        }
    )
    + "\n\n",
}


def routing_ns(calls: int) -> float:
    """Of a model with two targets: choosing one, and noting how it went."""
    secrets = (("one", "sk-aaaaaaaa"), ("other", "sk-bbbbbbbb"))
    specs = [ProviderSpec(name, "openai", None, (secret,)) for name, secret in secrets]
    model = ModelSpec("m", (TargetSpec("one", "m"), TargetSpec("other", "m")))
    health = Health()
    router = Router.from_specs(specs, [model], Timeouts(), health=health)

    def route() -> None:
        began = time.monotonic()
        target = router.targets("m", CHAT, began)[0]
        now = time.monotonic()
        health.succeeded(target.lane, now, now - began)

    return best_ns(route, calls)


def chunk_ns(kind: str) -> float:
    """Of one vendor's usual event, each in a read of its own."""
    adapter = loader.build(ProviderSpec("it", kind, None, ("secret-1234",)))
    payload = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    call = Call(CHAT, "m", payload, json.dumps(payload).encode(), True, True, REQUEST_ID)
    codec = adapter.codec(CHAT)
    assert codec is not None
    decoder = codec.decoder(call)
    event = EVENTS[kind].encode()
    decoder.feed(event)

    def feed() -> None:
        for _ in range(CHUNKS):
            decoder.feed(event)

    assert decoder.feed(event) and decoder.failure is None
    return best_ns(feed, 5) / CHUNKS


def best_ns(function: Callable[[], None], calls: int) -> float:
    """The best round's average: noise only ever adds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for _ in range(calls):
            function()
        rounds.append((time.perf_counter_ns() - started) / calls)
    return min(rounds)
