"""What a vendor says it used is not believed where its own answer tells otherwise; errors stay free."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, Gateway, toml
from tests.sdk.test_ledger import DONE, HELLO, chat, chunk, rows, usage_chunk, used

MODEL = """
[[models]]
id = "m"
targets = [{ provider = "fake", model = "m" }]
price = { input = 1, output = 2 }
request_s = 1
"""
LONG = "word " * 200
SEEN = range(int(0.6 * 1000 / 3.6), int(1.4 * 1000 / 3.6))  # tokens that so much text may be


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        config = toml(vendor.base_url, "[limits]\nip_rpm = 0\n") + MODEL
        with Gateway(tmp_path_factory.mktemp("doubt"), config) as gateway:
            yield vendor, gateway


def row_of(places: tuple[Vendor, Gateway], answer: Answer, is_stream: bool = False) -> dict[str, Any]:
    vendor, gateway = places
    vendor.answers["m"] = answer
    body = {"model": "m", "messages": HELLO, "stream": is_stream}
    _, headers, _ = gateway.post("/v1/chat/completions", body)
    return rows(gateway, headers["x-request-id"])[0]


@pytest.mark.parametrize("usage", [used(0, 0), used(10, 0), {"prompt_tokens": -5, "completion_tokens": "x"}])
def test_a_long_answer_is_not_free(places: tuple[Vendor, Gateway], usage: dict[str, Any]) -> None:
    for is_stream in (False, True):
        whole = reply(chat(usage, LONG))
        pieces = stream(chunk(LONG), chunk(None, "stop"), usage_chunk(**usage), DONE)
        row = row_of(places, pieces if is_stream else whole, is_stream)
        assert (row["status"], row["usage_source"]) == ("ok", "estimated")
        assert row["output_tokens"] in SEEN
        assert row["input_tokens"] >= 1


def test_text_after_an_early_usage_counts(places: tuple[Vendor, Gateway]) -> None:
    row = row_of(places, stream(usage_chunk(**used(10, 1)), 0.2, chunk(LONG), end="cut"), is_stream=True)
    assert (row["status"], row["usage_source"], row["input_tokens"]) == ("error", "estimated", 10)
    assert row["output_tokens"] in SEEN


def test_an_error_whose_text_never_ends_is_free(places: tuple[Vendor, Gateway]) -> None:
    raw = b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\npart"
    for is_stream in (False, True):
        row = row_of(places, Answer(raw=raw, end="hang"), is_stream)
        assert (row["status"], row["usage_source"], row["cost_nanodollars"]) == ("error", "none", 0)


def test_messages_where_they_mean_nothing_do_no_harm(places: tuple[Vendor, Gateway]) -> None:
    vendor, gateway = places
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    vendor.answers["m"] = reply({"object": "list", "data": data, "usage": {"prompt_tokens": 9}})
    for messages in (5, True, "x", {"a": 1}):
        for _ in range(5):  # the first calls of a process are learned from
            body = {"model": "m", "input": CONTENT, "messages": messages}
            status, headers, _ = gateway.post("/v1/embeddings", body)
            assert status == 200
            assert rows(gateway, headers["x-request-id"])[0]["usage_source"] == "reported"


def test_the_cost_is_told_once_and_in_the_answers_own_usage(places: tuple[Vendor, Gateway]) -> None:
    vendor, gateway = places
    event = {"choices": [], "usage": used(10, 20), "x_groq": {"usage": used(1, 1)}}
    last = b"data: " + json.dumps(event).encode() + b"\n\n"
    vendor.answers["m"] = stream(chunk("Hi"), chunk(None, "stop"), last, DONE)
    options = {"stream": True, "stream_options": {"include_cost": True}}
    _, _, body = gateway.post("/v1/chat/completions", {"model": "m", "messages": HELLO, **options})
    (told,) = [json.loads(e[6:]) for e in body.split(b"\n\n") if b'"x_groq"' in e]
    assert told["usage"]["cost"] == 0.00005
    assert body.count(b'"cost"') == 1
