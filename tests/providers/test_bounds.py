"""What a request can cost at the very most: its tokens are bounded, or it is refused where there is a budget.

A bound that is too low is money overspent, so every case is one that somebody might dodge the budget with.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from providers.bounds import ORIGINAL_DETAIL_TOKENS, Unbounded, image_tokens, input_tokens
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call
from tests.fakes.vendor import Vendor
from tests.gateway import Gateway, toml
from tests.sdk.limited import answered, ask, create, models

AN_IMAGE = 4000
PIXELS = base64.b64encode(random.Random(1).randbytes(30_000)).decode()


def call(operation: str = CHAT, **fields: Any) -> Call:
    payload: dict[str, Any] = {"model": "m", **fields}
    if operation == CHAT:
        payload.setdefault("messages", [{"role": "user", "content": "Hello"}])
    return Call(operation, "m", payload, json.dumps(payload).encode(), False, True, "r")


def with_parts(*parts: Any, role: str = "user") -> Call:
    return call(messages=[{"role": "system", "content": "Hi"}, {"role": role, "content": list(parts)}])


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def recording(data: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


FILE = {"type": "file", "file": {"file_id": "f"}}
IMAGE = image("https://example.org/a.png")


def bound(asked: Call, an_image: int | None = AN_IMAGE) -> int:
    return input_tokens(asked, an_image)


# What has a bound


@pytest.mark.parametrize(
    "asked",
    [
        call(),
        call(messages=[{"role": "user", "content": "👋🏽" * 1000}]),
        call(messages=[{"role": "user", "content": "a"}] * 1000),
        call(messages=[{"role": "assistant", "content": None}]),
        call(tools=[{"type": "function", "function": {"name": "f", "parameters": {"a": "b" * 10_000}}}]),
        call(tools=[{"type": "custom", "custom": {"name": "f"}}], functions=[{"name": "g" * 1000}]),
        call(response_format={"type": "json_schema", "json_schema": {"name": "s" * 5000}}),
        call(COMPLETIONS, prompt=["word " * 1000, "b"], suffix="c" * 100),
        call(COMPLETIONS, prompt=[1, 2, 3] * 1000),
        call(EMBEDDINGS, input=[[1, 2, 3]] * 100),
        with_parts(text("a" * 1000), {"type": "refusal", "refusal": "b"}, role="assistant"),
        with_parts(recording(PIXELS)),
    ],
)
def test_text_has_no_more_tokens_than_the_body_has_bytes(asked: Call) -> None:
    assert bound(asked) == bound(asked, None) == len(asked.body)


def test_a_message_has_16_bytes_at_least() -> None:
    few, many = (call(messages=[{"role": "user", "content": ""}] * count) for count in (1, 101))
    assert bound(many) - bound(few) >= 16 * 100


def test_an_image_takes_what_its_vendor_says_wherever_it_lies() -> None:
    plain = bound(with_parts(text("Hi")))
    for url in ("https://example.org/a.png", "HTTPS://example.org", "https://example.org/?data:image/png"):
        assert bound(with_parts(text("Hi"), image(url))) >= plain + AN_IMAGE + len(url)
        assert bound(with_parts(*[image(url)] * 10)) >= 10 * (AN_IMAGE + len(url))


def test_the_bytes_of_an_image_are_no_text() -> None:
    url = f"data:image/png;base64,{PIXELS}"
    assert AN_IMAGE < bound(with_parts(image(url))) < AN_IMAGE + 200
    assert 3 * AN_IMAGE < bound(with_parts(*[image(url)] * 3, text("Hi"))) < 3 * AN_IMAGE + 400
    assert bound(with_parts(image(url)), 10) > 10


def test_no_image_is_less_than_nothing() -> None:
    """However it is written: what is taken away for it is in the body."""
    for url in (
        "data:",
        "data:,",
        "data:image/png;base64," + "é" * 1000,
        'data:"' + "\\" * 500,
        "DATA:" + PIXELS,
    ):
        asked = with_parts(text("word " * 500), image(url))
        with suppress(Unbounded):  # what is data of no image
            assert bound(asked, 0) >= len(json.dumps("word " * 500))


def test_the_largest_detail_takes_more() -> None:
    url = "https://example.org/a.png"
    assert bound(with_parts(image(url, detail="original"))) > ORIGINAL_DETAIL_TOKENS
    for detail in ("low", "high", "auto", None):
        assert bound(with_parts(image(url, detail=detail))) < AN_IMAGE + 300
    assert bound(with_parts(image(url, detail="original")), 30_000) > 30_000


@pytest.mark.parametrize(
    ("kind", "model", "tokens"),
    [
        ("openai", "gpt-4o", 4_000),
        ("openai", "gpt-4o-mini", 48_169),
        ("openai", "gpt-4o-mini-2024-07-18", 48_169),
        ("openai", "ft:gpt-4o-mini-2024-07-18:mine::x", 48_169),
        ("azure", "gpt-5.2", 4_000),
        ("demo", "demo-echo", 1_000),
        ("mistral", "pixtral-large-latest", 4_500),
        ("openai_compatible", "gpt-4o", None),
        ("openrouter", "openai/gpt-4o", None),
        ("nobody", "x", None),
    ],
)
def test_what_an_image_takes_is_known_of_some(kind: str, model: str, tokens: int | None) -> None:
    assert image_tokens(kind, model) == tokens


# What has none


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("messages[1].content[0]", with_parts(FILE)),
        ("messages[1].content[0]", with_parts({"type": "file", "file": {"file_data": PIXELS}})),
        (
            "messages[1].content[1]",
            with_parts(text("Hi"), {"type": "document_url", "document_url": "https://a"}),
        ),
        ("messages[1].content[0]", with_parts({"type": "video_url", "video_url": {"url": "https://a"}})),
        ("messages[1].content[0]", with_parts({"type": "audio_url", "audio_url": {"url": "https://a"}})),
        ("messages[1].content[0]", with_parts({"type": "what comes next"}, role="tool")),
        ("messages[1].content[0]", with_parts(image(f"data:application/pdf;base64,{PIXELS}"))),
        ("messages[1].content[0]", with_parts({"text": "of no type"})),
        (
            "messages[1].content[0]",
            with_parts(recording("https://example.org/an-hour.wav")),
        ),  # Alibaba's Qwen
        ("tools[0]", call(tools=[{"type": "web_search"}])),
        (
            "tools[1]",
            call(tools=[{"type": "function", "function": {"name": "f"}}, {"type": "code_interpreter"}]),
        ),
        ("tools[0]", call(tools=[{"type": None}])),
        ("tools[0]", call(tools=[{"type": "mcp", "server_url": "https://a"}])),
        ("web_search_options", call(web_search_options={"search_context_size": "high"})),
        ("web_search_options", call(web_search_options={})),  # OpenAI's own way to switch it on
        ("search_parameters", call(search_parameters={"mode": "on"})),
        ("search_parameters", call(search_parameters={})),
        ("plugins", call(plugins=[{"id": "web"}])),
        ("models", call(models=["openai/o1-pro"])),
        ("enable_search", call(enable_search=True)),
        ("messages[0].audio", call(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}])),
    ],
)
def test_what_has_a_price_of_its_own_has_no_bound(param: str, asked: Call) -> None:
    with pytest.raises(Unbounded) as caught:
        bound(asked)
    assert caught.value.param == param


@pytest.mark.parametrize("tools", [5, True, "abc", {"a": 1}, [5, None]])
@pytest.mark.parametrize(
    "asked", [{"operation": COMPLETIONS, "prompt": "a"}, {"operation": EMBEDDINGS, "input": "a"}]
)
def test_what_nobody_checks_elsewhere_is_no_failure(asked: dict[str, Any], tools: Any) -> None:
    with suppress(Unbounded):
        assert bound(call(**asked, tools=tools)) > 0


def test_an_image_has_no_bound_where_nobody_says_so() -> None:
    with pytest.raises(Unbounded, match=r"messages\[1\]\.content\[1\]"):
        bound(with_parts(text("Hi"), IMAGE), None)


@pytest.mark.parametrize(
    "asked",
    [
        call(web_search_options=None, search_parameters=None, plugins=None, models=None),
        call(enable_search=False, plugins=[], models=[]),
        call(tools=None),
        call(tools=[]),
    ],
)
def test_what_is_not_asked_for_costs_nothing(asked: Call) -> None:
    assert bound(asked) == len(asked.body)


# Through the gateway


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        for model in ("even", "m"):
            vendor.answers[model] = answered(20)
        config = toml(vendor.base_url) + models(vendor)
        with Gateway(tmp_path_factory.mktemp("bounds"), config) as gateway:
            yield vendor, gateway


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("messages[0].content[0]", {"messages": [{"role": "user", "content": [FILE]}]}),
        ("messages[0].content[1]", {"messages": [{"role": "user", "content": [text("Hi"), IMAGE]}]}),
        ("web_search_options", {"web_search_options": {"search_context_size": "high"}}),
        ("tools[0]", {"tools": [{"type": "web_search"}]}),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_has_no_bound_is_refused_to_keys_with_a_budget(
    places: tuple[Vendor, Gateway], param: str, fields: dict[str, Any], is_stream: bool
) -> None:
    vendor, gateway = places
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": is_stream, **fields}
    vendor.requests.clear()
    refused = ask(gateway, str(create(gateway, "--budget", "5")["key"]), **asked)
    assert (refused.outcome, refused.error["param"]) == ((400, "unbounded_cost"), param)
    assert not vendor.requests
    ask(gateway, gateway.key, **asked)
    assert vendor.last().json["messages"] == asked["messages"]


def test_the_operator_may_say_what_an_image_takes(places: tuple[Vendor, Gateway]) -> None:
    _, gateway = places
    messages = [{"role": "user", "content": [IMAGE]}]
    mine = str(create(gateway, "--budget", "0")["key"])
    assert ask(gateway, mine, messages=messages, model="m").outcome == (400, "unbounded_cost")
    refused = ask(gateway, mine, messages=messages, model="eye", max_tokens=1)
    assert refused.status == 402
    body = len(json.dumps({"model": "eye", "messages": messages, "max_tokens": 1}))
    assert refused.error["details"]["needed_usd"] == ((body + 100) * 1000 + 10_000) / 10**9
    rich = str(create(gateway, "--budget", "1")["key"])
    assert ask(gateway, rich, messages=messages, model="eye").status == 200


def test_a_model_without_a_price_is_refused_to_keys_with_a_budget(places: tuple[Vendor, Gateway]) -> None:
    _, gateway = places
    mine = str(create(gateway, "--budget", "5")["key"])
    for is_stream in (False, True):
        refused = ask(gateway, mine, model="unpriced", stream=is_stream)
        assert (refused.outcome, refused.error["param"]) == ((400, "model_not_priced"), "model")
    assert ask(gateway, gateway.key, model="unpriced").status == 200
