"""The unmodified Anthropic SDK for Python, through the real gateway, to vendors of either dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import pytest

from handlers.anthropic_errors import OVERLOADED
from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, Gateway, toml
from tests.limits.redis_servers import RedisServer
from tests.sdk.limited import answered, assert_booked, create, eventually, models
from tests.sdk.test_ledger import DONE, charged, chat, chunk, rows, usage_chunk, used
from tests.sdk.test_redis_outage import fleet

HELLO: Any = [{"role": "user", "content": CONTENT}]
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"name": "weather", "description": "The weather", "input_schema": CITY}]
CLAUDE = """
[[providers]]
name = "claude"
kind = "anthropic"
base_url = "{}"
api_keys = ["claude-secret"]
"""
CACHED = {"prompt_tokens_details": {"cached_tokens": 40}}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        config = toml(vendor.base_url, "[limits]\nip_rpm = 0\n[retry]\nretries = 0\n") + models(vendor)
        config += CLAUDE.format(vendor.base_url.removesuffix("/v1"))
        with Gateway(tmp_path_factory.mktemp("anthropic"), config) as gateway:
            yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    return places[0]


@pytest.fixture
def gateway(places: tuple[Vendor, Gateway]) -> Gateway:
    return places[1]


def client_of(gateway: Gateway, key: str, **options: Any) -> anthropic.Anthropic:
    origin = gateway.base_url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=origin, api_key=key, **{"max_retries": 0, **options})


@pytest.fixture
def client(gateway: Gateway, vendor: Vendor) -> Iterator[anthropic.Anthropic]:
    with client_of(gateway, gateway.key) as client:
        yield client


def say(client: anthropic.Anthropic, **fields: Any) -> anthropic.types.Message:
    usual: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": HELLO}
    message = client.messages.create(**{**usual, **fields})
    assert isinstance(message, anthropic.types.Message)
    return message


def delta(finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": fields, "finish_reason": finish_reason}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def calling(at: int, arguments: str, **start: Any) -> bytes:
    name = {"name": "weather"} if start else {}
    call = {"index": at, "type": "function", **start, "function": {**name, "arguments": arguments}}
    return delta(tool_calls=[call])


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def delta_of(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


# Answers


def test_a_message_is_answered_and_charged(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = reply(chat(used(101, 33, **CACHED), "Grüße 👋"))
    sampling = {"temperature": 0.5, "top_k": 5}  # the SDK's newest version has no word for them
    raw = client.messages.with_raw_response.create(
        model="m", max_tokens=100, messages=HELLO, system="Be brief.", extra_body=sampling
    )
    message = raw.parse()
    assert message.content == [anthropic.types.TextBlock(type="text", text="Grüße 👋")]
    assert (message.model, message.stop_reason, message.stop_sequence) == ("m", "end_turn", None)
    told = message.usage
    assert (told.input_tokens, told.cache_read_input_tokens, told.output_tokens) == (61, 40, 33)
    request_id = raw.headers["request-id"]
    assert raw.headers["x-request-id"] == request_id == message.id.removeprefix("msg_")
    assert raw.headers["x-rooya-dropped-params"] == "top_k"
    assert int(raw.headers["x-ratelimit-remaining-rpm"]) > 0
    (row,) = rows(gateway, request_id)
    cost = 101 * 1_000 + 33 * 10_000
    assert (row["endpoint"], *charged(row)) == ("chat", "ok", "reported", 101, 33, cost)
    assert raw.headers["x-rooya-cost-usd"] == f"{cost / 10**9:.9f}"
    assert vendor.last().json == {
        "model": "m",
        "max_tokens": 100,
        "temperature": 0.5,
        "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
    }


def test_what_a_host_does_not_report_is_told_as_it_is_charged(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = [
        reply(chat(None, "word " * 200)),
        stream(chunk("word " * 200), chunk(None, "stop"), DONE),
    ]
    whole = say(client)
    with client.messages.stream(model="m", max_tokens=100, messages=HELLO) as events:
        streamed = events.get_final_message()
    for message in (whole, streamed):
        (row,) = rows(gateway, message.id.removeprefix("msg_"))
        assert row["usage_source"] == "estimated"
        told = message.usage.input_tokens, message.usage.output_tokens
        assert told == (row["input_tokens"], row["output_tokens"])


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_a_key_may_come_in_either_header(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor, name: str
) -> None:
    vendor.answers["m"] = answered(20)
    shown = {"authorization": f"Bearer {gateway.key}", "x-api-key": gateway.key}
    headers: Any = {each: shown[each] if each == name else anthropic.omit for each in shown}
    raw = client.messages.with_raw_response.create(
        model="m", max_tokens=100, messages=HELLO, extra_headers=headers
    )
    assert raw.parse().usage.output_tokens == 20
    assert [each for each in shown if each in raw.http_request.headers] == [name]


# Streams


def test_a_stream_of_text_comes_as_it_is_said(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    words = ["Grüße ", "👋", " Hi"]
    end = [chunk(None, "stop"), usage_chunk(**used(10, 20, **{})), DONE]
    vendor.answers["m"] = stream(delta(role="assistant", content=""), *map(chunk, words), *end)
    with client.messages.stream(model="m", max_tokens=100, messages=HELLO) as events:
        assert list(events.text_stream) == words
        message = events.get_final_message()
        headers = events.response.headers
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 20)
    assert message.stop_reason == "end_turn"
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["request-id"] == headers["x-request-id"]
    assert vendor.last().json["stream_options"] == {"include_usage": True}
    (row,) = rows(gateway, headers["request-id"])
    assert (row["is_stream"], *charged(row)) == (1, "ok", "reported", 10, 20, 210_000)


def test_a_stream_of_thoughts_words_and_calls_keeps_them_apart(
    client: anthropic.Anthropic, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(
        delta(role="assistant", content=""),
        delta(reasoning_content="Two "),
        delta(reasoning_content="cities."),
        delta(content="Looking."),
        calling(0, "", id="c1"),
        calling(0, '{"city":'),
        calling(0, '"Rome"}'),
        calling(1, '{"city":"Oslo"}', id="c2"),
        delta("tool_calls"),
        usage_chunk(**used(10, 20)),
        DONE,
    )
    with client.messages.stream(
        model="m",
        max_tokens=4000,
        messages=HELLO,
        tools=TOOLS,
        thinking={"type": "enabled", "budget_tokens": 2048},
    ) as events:
        message = events.get_final_message()
    assert vendor.last().json["reasoning_effort"] == "medium"
    assert message.stop_reason == "tool_use"
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Two cities.", "signature": ""},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "c2", "name": "weather", "input": {"city": "Oslo"}},
    ]


def test_a_stream_that_is_cut_ends_with_an_error(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(chunk("Hi"), end="reset")
    heard = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        with client.messages.stream(model="m", max_tokens=100, messages=HELLO) as events:
            for text in events.text_stream:
                heard.append(text)
    assert heard == ["Hi"]
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "api_error")
    (row,) = rows(gateway, body["request_id"])
    assert (row["status"], row["usage_source"]) == ("error", "estimated")


def test_a_client_that_leaves_pays_for_what_it_saw(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(chunk("word " * 200), end="hang")
    with client.messages.stream(model="m", max_tokens=1000, messages=HELLO) as events:
        assert next(iter(events.text_stream))
        request_id = events.response.headers["request-id"]
    (row,) = rows(gateway, request_id)
    assert (row["status"], row["usage_source"]) == ("client_gone", "estimated")
    assert row["output_tokens"] > 100
    eventually(lambda: vendor.last().gone_at is not None, "the vendor still talks")


def test_a_stream_that_fails_before_it_began_has_a_status(
    client: anthropic.Anthropic, vendor: Vendor
) -> None:
    vendor.answers["m"] = reply({"error": {"message": "busy"}}, 503)
    with pytest.raises(anthropic.OverloadedError):
        with client.messages.stream(model="m", max_tokens=100, messages=HELLO):
            pass


def test_thoughts_that_a_model_signed_go_to_and_fro_as_they_are(
    client: anthropic.Anthropic, vendor: Vendor
) -> None:
    first: Any = {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1}}
    thought, call = (
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "tool_use", "id": "toolu_1"},
    )
    vendor.answers["claude-opus-4-8"] = stream(
        *map(
            event,
            (
                {"type": "message_start", "message": first},
                {"type": "content_block_start", "index": 0, "content_block": thought},
                delta_of(0, type="thinking_delta", thinking="Two cities."),
                delta_of(0, type="signature_delta", signature="c2lnbmVk"),
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "content_block_start",
                    "index": 1,
                    "content_block": {**call, "name": "weather", "input": {}},
                },
                delta_of(1, type="input_json_delta", partial_json='{"city":"Rome"}'),
                {"type": "content_block_stop", "index": 1},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "tool_use"},
                    "usage": {"output_tokens": 7},
                },
                {"type": "message_stop"},
            ),
        )
    )
    fields: Any = {
        "model": "claude/claude-opus-4-8",
        "max_tokens": 100,
        "tools": TOOLS,
        "thinking": {"type": "adaptive"},
    }
    with client.messages.stream(messages=HELLO, **fields) as events:
        message = events.get_final_message()
    blocks = [
        {"type": "thinking", "thinking": "Two cities.", "signature": "c2lnbmVk"},
        {**call, "name": "weather", "input": {"city": "Rome"}},
    ]
    assert [block.to_dict() for block in message.content] == blocks
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 7)
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "mild"}
    turns: Any = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    with client.messages.stream(messages=[*HELLO, *turns], **fields) as events:
        events.until_done()
    sent = vendor.last().json
    assert sent["messages"][1]["content"] == blocks
    assert sent["thinking"] == {"type": "adaptive"}


# Tools


def test_a_loop_of_three_turns_with_tools(client: anthropic.Anthropic, vendor: Vendor) -> None:
    def turn(city: str) -> Answer:
        call = {"id": f"call_{city}", "type": "function"}
        function = {"name": "weather", "arguments": json.dumps({"city": city})}
        message = {"role": "assistant", "content": None, "tool_calls": [{**call, "function": function}]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return reply({"choices": [choice], "usage": used(10, 5)})

    vendor.answers["m"] = [turn("Rome"), turn("Oslo"), reply(chat(used(30, 5), "Rome is warmer."))]
    messages = list(HELLO)
    while True:
        message = say(client, messages=messages, tools=TOOLS)
        messages.append({"role": "assistant", "content": message.content})
        if message.stop_reason != "tool_use":
            break
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block.id,
                "content": f"It is mild in {block.input['city']}.",
            }
            for block in message.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
    assert message.content[0].to_dict() == {"type": "text", "text": "Rome is warmer."}
    sent = vendor.last().json
    assert [each["role"] for each in sent["messages"]] == ["user", *["assistant", "tool"] * 2]
    assert sent["messages"][3]["tool_calls"][0]["id"] == sent["messages"][4]["tool_call_id"] == "call_Oslo"
    assert sent["messages"][4]["content"] == "It is mild in Oslo."
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "The weather", "parameters": CITY},
        }
    ]


# Tokens


def test_tokens_are_counted_without_asking_anybody(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    def count(text: str) -> int:
        messages: Any = [{"role": "user", "content": text}]
        return client.messages.count_tokens(model="m", messages=messages, tools=TOOLS).input_tokens

    few, many = count("word"), count("word " * 1000)
    assert 0 < few < 100
    assert 700 < many - few < 2000
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nowhere", messages=HELLO)
    assert vendor.requests == []


def test_a_count_reserves_nothing_and_takes_no_request(gateway: Gateway, vendor: Vendor) -> None:
    made = create(gateway, "--budget", "0", "--rpm", "5", "--models", "m")
    with client_of(gateway, made["key"]) as client:
        for _ in range(9):
            raw = client.messages.with_raw_response.count_tokens(model="m", messages=HELLO)
        assert raw.headers["x-ratelimit-remaining-rpm"] == "5"
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.count_tokens(model="even", messages=HELLO)


# Failures


def refused(client: anthropic.Anthropic, **fields: Any) -> tuple[anthropic.APIStatusError, Any]:
    """What the SDK raises, and the error within its body."""
    with pytest.raises(anthropic.APIStatusError) as raised:
        say(client, **fields)
    error = raised.value
    body: Any = error.body
    assert body["request_id"] == error.request_id == error.response.headers["x-request-id"]
    return error, body["error"]


def test_our_own_refusals_are_the_sdk_s_exceptions(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    wrong, told = refused(client.with_options(api_key="sk-wrong"))
    assert type(wrong) is anthropic.AuthenticationError
    assert told["type"] == "authentication_error"
    bad, told = refused(client, extra_body={"temperature": 3})
    assert type(bad) is anthropic.BadRequestError
    assert told["details"] == {"error_code": "decimal_above_max_value", "param": "temperature"}
    unknown, told = refused(client, model="nowhere")
    assert type(unknown) is anthropic.NotFoundError
    assert told["type"] == "not_found_error"
    narrow = create(gateway, "--models", "other")
    forbidden, told = refused(client.with_options(api_key=narrow["key"]))
    assert type(forbidden) is anthropic.PermissionDeniedError
    assert told["details"]["error_code"] == "model_not_allowed"
    assert vendor.requests == []


def test_two_different_keys_are_refused(client: anthropic.Anthropic, gateway: Gateway) -> None:
    error, _ = refused(client, extra_headers={"x-api-key": gateway.key, "authorization": "Bearer sk-other"})
    assert type(error) is anthropic.AuthenticationError


def test_a_budget_that_is_used_up_is_402_and_asked_for_once(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = answered(20)
    made = create(gateway, "--budget", "0.001")
    sent: list[Any] = []
    hooks = {"request": [sent.append]}
    options: Any = {"http_client": anthropic.DefaultHttpxClient(event_hooks=hooks), "max_retries": 2}
    with client_of(gateway, made["key"], **options) as client:
        assert say(client, max_tokens=20).usage.output_tokens == 20
        error, told = refused(client, max_tokens=20, messages=[{"role": "user", "content": CONTENT * 99}])
    assert type(error) is anthropic.PaymentRequiredError
    assert told["type"] == "billing_error"
    assert told["details"]["error_code"] == "budget_exceeded"
    assert told["details"]["limit_usd"] == 0.001
    assert len(sent) == 2
    assert_booked(gateway, made, 5 * 1_000 + 20 * 10_000)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_key_without_money_reaches_no_vendor(gateway: Gateway, vendor: Vendor, is_stream: bool) -> None:
    made = create(gateway, "--budget", "0")
    with client_of(gateway, made["key"]) as client:
        with pytest.raises(anthropic.PaymentRequiredError):
            client.messages.create(model="even", max_tokens=1, messages=HELLO, stream=is_stream)
    assert vendor.requests == []


@pytest.mark.parametrize("is_shared", [False, True], ids=["embedded", "redis"])
def test_messages_and_counts_are_requests_of_their_address(tmp_path: Path, is_shared: bool) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(RedisServer()).url if is_shared else ""
        config = f'[limits]\nip_rpm = 3\nredis_url = "{url}"\n'
        gateway = stack.enter_context(Gateway(tmp_path, config))
        headers = {"X-Forwarded-For": "192.0.2.1"}
        fields: Any = {"model": "demo-echo", "messages": HELLO}
        with client_of(gateway, gateway.key, default_headers=headers) as client:
            message = client.messages.create(**fields, max_tokens=100)
            with client.messages.stream(**fields, max_tokens=100) as events:
                assert "".join(events.text_stream) == message.content[0].text
            client.messages.count_tokens(**fields)
            with pytest.raises(anthropic.RateLimitError) as raised:
                client.messages.count_tokens(**fields)
            assert raised.value.body["error"]["details"]["error_code"] == "ip_rate_limited"
            with pytest.raises(anthropic.RateLimitError):
                client.messages.create(**fields, max_tokens=100)


def test_without_redis_messages_wait_where_money_is_and_counts_do_not(tmp_path: Path) -> None:
    with fleet(tmp_path, 2) as both:
        both.redis.stop()
        with client_of(both.gateways[0], both.paid) as client:
            error, _ = refused(client)
            assert client.messages.count_tokens(model="m", messages=HELLO).input_tokens > 0
        assert type(error) is anthropic.OverloadedError
        assert error.response.headers["retry-after"] == "1"


def test_a_rate_that_is_used_up_is_429_with_the_seconds_to_wait(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = answered(20)
    made = create(gateway)
    gateway.run("keys", "update", str(made["id"]), "--rpm", "1")
    with client_of(gateway, made["key"]) as client:
        say(client)
        error, told = refused(client)
    assert type(error) is anthropic.RateLimitError
    assert told["type"] == "rate_limit_error"
    assert 1 <= int(error.response.headers["retry-after"]) <= 61


VENDOR_FAILURES = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.InternalServerError, "api_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (503, anthropic.OverloadedError, "overloaded_error"),
    (504, anthropic.GatewayTimeoutError, "timeout_error"),
    (OVERLOADED, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "kind", "word"), VENDOR_FAILURES)
def test_a_vendor_s_failure_is_the_sdk_s_exception(
    client: anthropic.Anthropic, vendor: Vendor, status: int, kind: type[Exception], word: str
) -> None:
    vendor.answers["m"] = reply({"error": {"message": "It is so."}}, status)
    error, told = refused(client)
    assert (type(error), told["type"]) == (kind, word)


# What agents send


def test_what_an_agent_sends_beside_is_tolerated(
    client: anthropic.Anthropic, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = answered(20)
    text: Any = {"type": "text", "text": CONTENT, "cache_control": {"type": "ephemeral"}}
    system: Any = {**text, "text": "You are an agent."}
    message = client.beta.messages.create(
        model="m",
        max_tokens=100,
        system=[system],
        messages=[{"role": "user", "content": [text, text]}],
        thinking={"type": "adaptive"},
        metadata={"user_id": json.dumps({"device_id": "d" * 64, "session_id": "s" * 36})},
        betas=["context-management-2025-06-27"],
        extra_body={"context_management": {"edits": []}},
        extra_headers={"X-Client-Request-Id": "mine-1"},
    )
    assert message.usage.output_tokens == 20
    sent = vendor.last().json
    assert "cache_control" not in json.dumps(sent)
    assert sent.keys() == {"model", "max_tokens", "messages", "user"}
    (row,) = rows(gateway, message.id.removeprefix("msg_"))
    assert json.loads(row["details"])["client_request_id"] == "mine-1"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_only_posts_are_taken(gateway: Gateway, path: str) -> None:
    with gateway.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ") and b"Allow: POST" in head
    assert json.loads(body)["type"] == "error"
