"""Calls that a vendor can only answer in several requests: one answer, one row, one price."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway

PRICE: Final = "price = { input = 1.0, output = 2.0 }"
PROMPTS: Final = [f"{CONTENT} one", f"{CONTENT} two", f"{CONTENT} three"]
USED: Final = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
ROW_NANODOLLARS: Final = 3 * (100 * 1000 + 10 * 2000)


def settings(vendor: Vendor) -> str:
    """Mistral: chat only, so that legacy completions with several prompts are several calls."""
    provider = f'[[providers]]\nname = "mistral"\nkind = "mistral"\nbase_url = "{vendor.base_url}"\n'
    model = f'[[models]]\nid = "m"\ntargets = [{{ provider = "mistral", model = "m" }}]\n{PRICE}\n'
    return f'[limits]\nip_rpm = 0\n{provider}api_keys = ["{VENDOR_SECRET}"]\n{model}'


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor, Gateway(tmp_path_factory.mktemp("parts"), settings(vendor)) as gateway:
        yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].requests.clear()
    return places[0]


@pytest.fixture
def gateway(places: tuple[Vendor, Gateway]) -> Gateway:
    return places[1]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def whole(text: str, status: int = 200) -> Answer:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return reply({**answer, "usage": USED} if status == 200 else {"message": "no"}, status)


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps({**chunk, **more})}\n\n".encode()


def pieces(text: str) -> list[bytes]:
    last = event({"content": ""}, "stop", usage=USED)
    return [event({"role": "assistant", "content": ""}), event({"content": text}), last, b"data: [DONE]\n\n"]


def rows(gateway: Gateway, request_id: str) -> list[tuple[Any, ...]]:
    """The ledger's rows of a call, once there are any."""
    path: Path = gateway.data_dir / "rooya.db"
    asked = "SELECT status, input_tokens, output_tokens, cost_nanodollars, usage_source FROM ledger"
    found: list[tuple[Any, ...]] = []

    def is_there() -> bool:
        with closing(sqlite3.connect(path)) as database:
            found[:] = database.execute(f"{asked} WHERE request_id = ?", (request_id,)).fetchall()
        return bool(found)

    eventually(is_there)
    return found


def eventually(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_answer_of_three_requests(vendor: Vendor, gateway: Gateway, client: openai.OpenAI) -> None:
    vendor.answers["m"] = [whole("a"), whole("b"), whole("c")]
    answer = client.completions.with_raw_response.create(model="m", prompt=PROMPTS)
    completion = answer.parse()
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert sorted(choice.text for choice in completion.choices) == ["a", "b", "c"]
    assert completion.usage is not None and completion.usage.total_tokens == 330
    said = [request.json["messages"][0]["content"] for request in vendor.requests]
    assert sorted(said) == sorted(PROMPTS)
    row = ("ok", 300, 30, ROW_NANODOLLARS, "reported")
    assert rows(gateway, answer.headers["x-request-id"]) == [row]
    assert answer.headers["x-rooya-cost-usd"] == f"0.{ROW_NANODOLLARS:09d}"


def test_one_stream_of_three(vendor: Vendor, gateway: Gateway, client: openai.OpenAI) -> None:
    vendor.answers["m"] = [stream(*pieces(text)) for text in "abc"]
    opened = client.completions.with_raw_response.create(
        model="m", prompt=PROMPTS, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(opened.parse())
    said = {choice.index: choice.text for chunk in chunks for choice in chunk.choices if choice.text}
    assert sorted(said) == [0, 1, 2] and sorted(said.values()) == ["a", "b", "c"]
    ends = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ends) == [0, 1, 2]
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [330]
    assert not chunks[-1].choices
    row = ("ok", 300, 30, ROW_NANODOLLARS, "reported")
    assert rows(gateway, opened.headers["x-request-id"]) == [row]


@pytest.mark.parametrize("is_stream", [False, True])
def test_one_that_fails_ends_the_others_and_what_was_used_is_charged(
    vendor: Vendor, gateway: Gateway, is_stream: bool
) -> None:
    good = stream(*pieces("a")) if is_stream else whole("a")
    hanging = stream(event({"content": "x"}), end="hang") if is_stream else Answer(end="hang")
    vendor.answers["m"] = [good, hanging, whole("", 400)]
    payload = {"model": "m", "prompt": PROMPTS, "stream": is_stream}
    status, headers, body = gateway.post("/v1/completions", payload)
    if status == 200:
        assert b'"error"' in body and b"[DONE]" not in body
    else:
        assert status == 400
    ((state, *used),) = rows(gateway, headers["x-request-id"])
    assert state == "error" and (used[0] >= 100 or used == [0, 0, 0, "none"])
    eventually(lambda: any(request.gone_at is not None for request in vendor.requests))


def test_a_client_that_leaves_ends_all_of_them(vendor: Vendor, gateway: Gateway) -> None:
    vendor.answers["m"] = [stream(*pieces(text)[:2], end="hang") for text in "abc"]
    with gateway.connect() as client:
        body = json.dumps({"model": "m", "prompt": PROMPTS, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        while answer.count(b'"text"') < 3:
            answer += client.recv(65536)
    eventually(lambda: sum(request.gone_at is not None for request in vendor.requests) == 3)
    request_id = answer.split(b"X-Request-ID: ")[1].split(b"\r\n")[0].decode()
    ((state, prompt, _, _, source),) = rows(gateway, request_id)
    assert (state, source) == ("client_gone", "estimated") and prompt > 0


def test_a_budget_is_asked_for_all_of_them(vendor: Vendor, gateway: Gateway) -> None:
    """Three answers of 100 tokens at $2 a million are $0.0006 at least, and one is $0.0002."""
    vendor.answers["m"] = whole("a")
    poor = gateway.run("keys", "create", "--name", "poor", "--budget", "0.0005")["key"]
    with openai.OpenAI(base_url=gateway.base_url, api_key=poor, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(model="m", prompt=PROMPTS, max_tokens=100)
        assert caught.value.status_code == 402 and not vendor.requests
        assert client.completions.create(model="m", prompt=PROMPTS[:1], max_tokens=100).choices
