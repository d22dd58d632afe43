"""Gemini behind the whole gateway, as OpenAI's own SDK sees it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import VENDOR_SECRET, Gateway

MODEL: Final = "gemini-3.8-flash"
WHOLE: Final = f"/v1beta/models/{MODEL}:generateContent"
STREAM: Final = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
EMBED: Final = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
USED: Final = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
TOOLS: Final[Any] = [{"type": "function", "function": {"name": "f"}}]
CALL: Final = {"functionCall": {"id": "fx", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}


def settings(vendor: Vendor, more: str = "") -> str:
    provider = (
        f'[[providers]]\nname = "gemini"\nkind = "gemini"\nbase_url = "http://127.0.0.1:{vendor.port}"\n'
    )
    target = f'targets = [{{ provider = "gemini", model = "{MODEL}" }}]'
    model = f'[[models]]\nid = "{MODEL}"\n{target}\nprice = {{ input = 1.0, output = 2.0 }}\n'
    return f'[limits]\nip_rpm = 0\n{more}{provider}api_keys = ["{VENDOR_SECRET}"]\n{model}'


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor, Gateway(tmp_path_factory.mktemp("gemini"), settings(vendor)) as gateway:
        yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    return places[0]


@pytest.fixture
def client(places: tuple[Vendor, Gateway]) -> Iterator[openai.OpenAI]:
    gateway = places[1]
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": USED}


def events(*bodies: dict[str, Any]) -> Answer:
    return stream(*(f"data: {json.dumps(body)}\r\n\r\n".encode() for body in bodies))


def test_a_tool_loop_keeps_its_signature_when_the_message_is_sent_back(
    vendor: Vendor, client: openai.OpenAI
) -> None:
    vendor.answers[WHOLE] = [reply(said(CALL)), reply(said({"text": "Done."}))]
    messages: list[Any] = [{"role": "user", "content": "q"}]
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": "fx", "content": "ok"}]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert second.choices[0].message.content == "Done."
    assert vendor.last().json["contents"][1]["parts"] == [CALL]
    assert vendor.last().headers["x-goog-api-key"] == VENDOR_SECRET


def test_a_stream_ends_with_its_usage_and_what_it_cost(vendor: Vendor, client: openai.OpenAI) -> None:
    piece = said({"text": "Hel"})
    del piece["candidates"][0]["finishReason"]
    vendor.answers[STREAM] = events(piece, said({"text": "lo"}))
    options: Any = {"include_usage": True, "include_cost": True}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "q"}], stream=True, stream_options=options
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "Hello"
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage.total_tokens == 110 and usage.model_dump()["cost"] == 0.00012


@pytest.mark.parametrize("is_stream", [False, True])
def test_several_choices_are_several_requests(vendor: Vendor, client: openai.OpenAI, is_stream: bool) -> None:
    vendor.answers[WHOLE] = [reply(said({"text": text})) for text in "abc"]
    vendor.answers[STREAM] = [events(said({"text": text})) for text in "abc"]
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "q"}], "n": 3}
    if is_stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        choices = [choice for chunk in chunks for choice in chunk.choices]
        texts = {choice.index: choice.delta.content for choice in choices if choice.delta.content}
    else:
        whole = client.chat.completions.create(**asked)
        texts = {choice.index: choice.message.content for choice in whole.choices}
        assert whole.usage is not None and whole.usage.total_tokens == 330
    assert sorted(texts) == [0, 1, 2] and sorted(map(str, texts.values())) == ["a", "b", "c"]
    assert len(vendor.requests) == 3 and all("generationConfig" not in each.json for each in vendor.requests)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_refused_signature_is_replaced_before_the_client_hears_of_it(
    vendor: Vendor, client: openai.OpenAI, is_stream: bool
) -> None:
    told = {"error": {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID_ARGUMENT"}}
    done = said({"text": "Done."})
    path = STREAM if is_stream else WHOLE
    vendor.answers[path] = [reply([told], 400), events(done) if is_stream else reply(done)]
    signature = {"google": {"thought_signature": "b2xk"}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{**call, "extra_content": signature}]},
        {"role": "tool", "tool_call_id": "a", "content": "ok"},
    ]
    asked: Any = {"model": MODEL, "messages": messages, "tools": TOOLS}
    if is_stream:
        chunks = client.chat.completions.create(**asked, stream=True)
        assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Done."
    else:
        assert client.chat.completions.create(**asked).choices[0].message.content == "Done."
    signatures = [each.json["contents"][1]["parts"][0]["thoughtSignature"] for each in vendor.requests]
    assert signatures == ["b2xk", "skip_thought_signature_validator"]


def test_an_unusable_answer_is_asked_for_again(vendor: Vendor, client: openai.OpenAI) -> None:
    broken = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}], "usageMetadata": USED}
    vendor.answers[STREAM] = [events(broken), events(said({"text": "Well."}))]
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "q"}], stream=True)
    )
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Well."
    assert len(vendor.requests) == 2


def test_an_unusable_whole_answer_is_asked_for_again_and_paid_for(
    vendor: Vendor, places: tuple[Vendor, Gateway]
) -> None:
    gateway = places[1]
    broken = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}], "usageMetadata": USED}
    vendor.answers[WHOLE] = [reply(broken), reply(said({"text": "Well."}))]
    messages = [{"role": "user", "content": "q"}]
    status, headers, _ = gateway.post("/v1/chat/completions", {"model": MODEL, "messages": messages})
    assert status == 200 and len(vendor.requests) == 2
    sql = "SELECT status, cost_nanodollars FROM ledger WHERE request_id = ? ORDER BY attempt"
    end = time.monotonic() + 10
    with closing(sqlite3.connect(gateway.data_dir / "rooya.db", timeout=5)) as database:
        while len(rows := database.execute(sql, (headers["x-request-id"],)).fetchall()) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert rows == [("error", 120_000), ("ok", 120_000)]


def test_what_may_be_said_in_other_words_is_no_retry(tmp_path: Path) -> None:
    with Vendor() as vendor, Gateway(tmp_path, settings(vendor, "[retry]\nretries = 0\n")) as gateway:
        refusal = {"error": {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID"}}
        vendor.answers[WHOLE] = [reply(refusal, 400), reply(said({"text": "Well."})), reply(refusal, 400)]
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        signed = {**call, "extra_content": {"google": {"thought_signature": "b2xk"}}}
        messages = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [signed]},
            {"role": "tool", "tool_call_id": "a", "content": "ok"},
        ]
        asked = {"model": MODEL, "messages": messages, "tools": TOOLS}
        assert gateway.post("/v1/chat/completions", asked)[0] == 200 and len(vendor.requests) == 2
        vendor.answers[WHOLE] = reply(refusal, 400)
        assert gateway.post("/v1/chat/completions", asked)[0] == 400 and len(vendor.requests) == 4


def test_many_texts_become_vectors_in_their_order(vendor: Vendor, client: openai.OpenAI) -> None:
    vectors = [{"values": [float(number), 1.0]} for number in range(100)]
    vendor.answers[EMBED] = reply({"embeddings": vectors, "usageMetadata": {"promptTokenCount": 7}})
    texts = [f"text {number}" for number in range(200)]
    found = client.embeddings.create(model="gemini/gemini-embedding-001", input=texts)
    assert [(item.index, item.embedding[0]) for item in found.data] == [(at, at % 100) for at in range(200)]
    assert found.usage.total_tokens == 14
    asked = [
        each["content"]["parts"][0]["text"] for part in vendor.requests for each in part.json["requests"]
    ]
    assert len(vendor.requests) == 2 and sorted(asked) == sorted(texts)
