"""P5, R-18: a slow client slows the vendor; the gateway holds next to nothing."""

from __future__ import annotations

import json
import time

from tests.fakes.vendor import Vendor, stream
from tests.gateway import Gateway

MIB = 1024 * 1024


def test_a_client_at_1_kb_a_second_of_a_200_mb_stream_costs_less_than_16_mib(
    gateway: Gateway, vendor: Vendor
) -> None:
    event = (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 65536}}]}).encode()
        + b"\n\n"
    )
    vendor.answers["m"] = stream(*[event] * 3200)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
    before = gateway.rss_bytes()
    with gateway.connect() as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        most = 0
        began = time.monotonic()
        for _ in range(16):
            assert len(sock.recv(256)) > 0
            most = max(most, gateway.rss_bytes())
            time.sleep(0.25)  # the pace of the client, not a wait for something
        assert time.monotonic() - began >= 4
        assert most - before < 16 * MIB
        assert vendor.last().sent_bytes < 40 * MIB


def test_a_client_that_stops_reading_and_vanishes_stops_the_vendor(gateway: Gateway, vendor: Vendor) -> None:
    event = (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 65536}}]}).encode()
        + b"\n\n"
    )
    vendor.answers["m"] = stream(*[event] * 3200)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
    with gateway.connect() as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert sock.recv(256)
        end = time.monotonic() + 10
        sent = -1
        while vendor.last().sent_bytes != sent:  # until everything on the way is full
            sent = vendor.last().sent_bytes
            assert time.monotonic() < end
            time.sleep(0.2)
    while vendor.last().gone_at is None:
        assert time.monotonic() < end
        time.sleep(0.005)
