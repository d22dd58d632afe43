"""R-15, R-17 through the whole gateway: however cut, the same bytes come out; cut short, it says so."""

from __future__ import annotations

import json

import pytest

from tests.fakes.vendor import Vendor, halves, stream
from tests.gateway import Gateway
from tests.sdk.conftest import recorded

PAYLOAD = {
    "model": "m",
    "messages": [{"role": "user", "content": "x"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
SHORT = (
    'data: {"id":"1","choices":[{"index":0,"delta":{"content":"é👋"},"finish_reason":null}]}\n\n'
    'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
).encode()


def body_of(gateway: Gateway) -> tuple[int, bytes]:
    status, _, body = gateway.post("/v1/chat/completions", PAYLOAD)
    return status, body


def test_a_stream_cut_at_every_byte_is_relayed_byte_for_byte(gateway: Gateway, vendor: Vendor) -> None:
    for first, second in halves(SHORT):
        vendor.answers["m"] = stream(first, 0.001, second)
        assert body_of(gateway) == (200, SHORT)


def test_a_stream_in_single_bytes_is_relayed_byte_for_byte(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(*(SHORT[at : at + 1] for at in range(len(SHORT))))
    assert body_of(gateway) == (200, SHORT)


@pytest.mark.parametrize(
    "data",
    [
        SHORT.replace(b"\n", b"\r\n"),
        SHORT.replace(b"\n", b"\r"),
        b": a comment\n\n" + SHORT.replace(b"\n\ndata", b"\n\n: ping\n\ndata"),
        SHORT.replace(b"data: {", b"event: message\nid: 7\nretry: 10\ndata: {"),
        SHORT.replace(b"data: ", b"data:"),
        SHORT.replace(b"\xc3\xa9", b"x" * 300_000),
    ],
    ids=["CRLF", "CR", "comments", "other fields", "no blank", "300 KB event"],
)
@pytest.mark.parametrize("size", [7, 1000, 65536])
def test_every_way_to_write_events_passes(gateway: Gateway, vendor: Vendor, data: bytes, size: int) -> None:
    if len(data) / size > 5000:
        size = 4096
    vendor.answers["m"] = stream(*(data[at : at + size] for at in range(0, len(data), size)))
    assert body_of(gateway) == (200, data)


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("end", ["reset", "cut"])
def test_a_stream_that_dies_ends_with_an_error_event_and_no_done(
    gateway: Gateway, vendor: Vendor, end: str, framing: str
) -> None:
    whole = recorded("chat_stream")
    first = whole.index(b"\n\n") + 2
    last = whole.index(b'"finish_reason":"stop"')
    for at in range(first, last, 97):
        vendor.answers["m"] = stream(whole[:first], 0.005, whole[first:at], 0.005, end=end, framing=framing)
        status, body = body_of(gateway)
        assert status == 200
        assert b"[DONE]" not in body
        *relayed, error = [event for event in body.split(b"\n\n") if event]
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_incomplete"
        assert whole.startswith(b"".join(event + b"\n\n" for event in relayed))


def test_a_stream_that_ends_properly_is_followed_by_another_request_on_the_connection(
    gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(recorded("chat_stream"))
    body = json.dumps(PAYLOAD).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with gateway.connect() as sock:
        for _ in range(3):
            sock.sendall(request)
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += sock.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert received.count(b"[DONE]") == 1
