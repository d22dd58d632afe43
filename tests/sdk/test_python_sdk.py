"""The unmodified OpenAI SDK for Python, through the real gateway, against recorded bytes."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from base64 import b64decode
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, Gateway, toml
from tests.sdk.conftest import recorded

HELLO: Any = [{"role": "user", "content": f"Hello, {CONTENT}!"}]
WEATHER: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
            },
        },
    }
]


def events(case: str) -> list[bytes]:
    return [event + b"\n\n" for event in recorded(case).split(b"\n\n") if event]


def test_a_chat_completion_is_the_vendor_s_byte_for_byte(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    raw = client.chat.completions.with_raw_response.create(model="m", messages=HELLO, temperature=0.5)
    assert raw.content == recorded("chat")
    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"] == "application/json"
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello! How can I help you today? – Grüße 👋"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 29
    assert vendor.last().path == "/v1/chat/completions"
    assert vendor.last().json == {"messages": HELLO, "model": "m", "temperature": 0.5}


def test_only_the_gateway_s_own_headers_go_up_and_none_of_the_vendor_s_come_back(
    client: openai.OpenAI, vendor: Vendor
) -> None:
    theirs = (
        ("Set-Cookie", "a=b"),
        ("x-ratelimit-remaining-requests", "777"),
        ("openai-processing-ms", "12"),
        ("Server", "x"),
        ("x-request-id", "t"),
    )
    vendor.answers["m"] = reply(recorded("chat"), headers=(("Content-Type", "application/json"), *theirs))
    raw = client.chat.completions.with_raw_response.create(
        model="m",
        messages=HELLO,
        extra_headers={"Cookie": "secret", "X-Anything": "1", "OpenAI-Organization": "o"},
    )
    assert set(vendor.last().headers) == {
        "host",
        "user-agent",
        "accept-encoding",
        "content-type",
        "authorization",
        "content-length",
    }
    assert vendor.last().headers["authorization"] == "Bearer fake-vendor-secret"
    assert vendor.last().headers["accept-encoding"] == "identity"
    assert "777" not in raw.headers.values()
    assert not {"set-cookie", "server", "openai-processing-ms"} & {name.lower() for name in raw.headers}
    assert raw.headers["x-request-id"] != "t"


def test_unknown_parameters_pass_through_untouched(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    extra = {"top_k": 40, "vendor_thing": {"deep": [1, 2.50, None]}}
    client.chat.completions.create(model="m", messages=HELLO, extra_body=extra)
    assert vendor.last().json == {"messages": HELLO, "model": "m", **extra}


def test_a_body_goes_up_byte_for_byte(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    body = b'{ "messages" : [{"content":"a\\u00e9\\n", "role":"user"}],\n "model":"m", "top_p":1.0, "x":1e2 }'
    assert gateway.post("/v1/chat/completions", body)[0] == 200
    assert vendor.last().body == body


def test_an_alias_is_spliced_and_the_rest_left_alone(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["real-name"] = reply(recorded("chat"))
    said = b'{"role":"user","content":"say \\"model\\":\\"alias\\" "}'
    body = b'{"messages":[%b], "model" : "alias", "x":1.50}' % said
    assert gateway.post("/v1/chat/completions", body)[0] == 200
    assert vendor.last().body == body.replace(b'"model" : "alias"', b'"model":"real-name"')


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"model":"nested"},"model":"alias","messages":[{"role":"user","content":"x"}]}',
        b'{"metadata":{"model":"nested"},"mod\\u0065l":"alias","messages":[{"role":"user","content":"x"}]}',
    ],
)
def test_an_alias_is_never_spliced_into_a_nested_key(gateway: Gateway, vendor: Vendor, body: bytes) -> None:
    vendor.answers["real-name"] = reply(recorded("chat"))
    assert gateway.post("/v1/chat/completions", body)[0] == 200
    assert vendor.last().json == {**json.loads(body), "model": "real-name"}


def test_a_stream_is_the_vendor_s_byte_for_byte(
    client: openai.OpenAI, gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(*events("chat_stream"))
    chunks = list(
        client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello! Grüße – 👋"
    usages = [c.usage for c in chunks if c.usage is not None]
    assert len(usages) == 1
    assert chunks[-1].usage is not None
    asked = {"model": "m", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    status, headers, body = gateway.post("/v1/chat/completions", asked)
    assert (status, body) == (200, recorded("chat_stream"))
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-request-id"]


def test_usage_is_asked_for_and_kept_from_a_client_that_did_not_ask(
    client: openai.OpenAI, vendor: Vendor
) -> None:
    vendor.answers["m"] = stream(*events("chat_stream"))
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert vendor.last().json["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_vendor_that_refuses_stream_options_is_asked_again_without(tmp_path: Any, vendor: Vendor) -> None:
    refusal = reply({"error": {"message": "unknown field: stream_options"}}, 400)
    vendor.answers["m"] = [refusal, stream(*events("chat_stream"))]
    with Gateway(tmp_path, toml(vendor.base_url, "[retry]\nretries = 1\n")) as gateway:
        payload = {"model": "m", "messages": HELLO, "stream": True}
        assert gateway.post("/v1/chat/completions", payload)[0] == 200
        assert "stream_options" in vendor.requests[0].json
        assert "stream_options" not in vendor.requests[1].json
        assert gateway.post("/v1/chat/completions", payload)[0] == 200
        assert "stream_options" not in vendor.requests[2].json


def test_the_stream_helper_accumulates(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(*events("chat_stream"))
    with client.chat.completions.stream(model="m", messages=HELLO) as helper:
        kinds = [event.type for event in helper]
        final = helper.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content == "Hello! Grüße – 👋"


def test_tools_plain_and_streamed(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("tools"))
    answer = client.chat.completions.create(model="m", messages=HELLO, tools=WEATHER, tool_choice="auto")
    calls = answer.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]  # type: ignore[union-attr]
    assert vendor.last().json["tools"] == WEATHER
    vendor.answers["m"] = stream(*events("tools_stream"))
    with client.chat.completions.stream(model="m", messages=HELLO, tools=WEATHER) as helper:
        final = helper.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(c.id, c.function.name, json.loads(c.function.arguments)["city"]) for c in calls] == [
        ("call_x1", "get_weather", "Paris"),
        ("call_x2", "get_weather", "Rome"),
    ]
    assert final.choices[0].finish_reason == "tool_calls"


def test_vision_parts_arrive_as_they_were_sent(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo/+" * 5000}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "low"}},
    ]
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert vendor.last().json["messages"][0]["content"] == parts


def test_structured_output_is_parsed(client: openai.OpenAI, vendor: Vendor) -> None:
    class Event(BaseModel):
        name: str
        participants: list[str]

    vendor.answers["m"] = reply(recorded("json_schema"))
    answer = client.chat.completions.parse(model="m", messages=HELLO, response_format=Event)
    assert answer.choices[0].message.parsed == Event(name="Science Fair", participants=["Alice", "Bob"])
    assert vendor.last().json["response_format"]["json_schema"]["strict"] is True


def test_log_probabilities(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("logprobs"))
    answer = client.chat.completions.create(model="m", messages=HELLO, logprobs=True, top_logprobs=2)
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert answer.choices[0].logprobs.content[0].logprob == -0.31725305


def test_several_choices_plain_and_streamed(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("n2"))
    answer = client.chat.completions.create(model="m", messages=HELLO, n=2)
    assert [choice.message.content for choice in answer.choices] == ["Heads.", "Tails."]
    vendor.answers["m"] = stream(*events("n2_stream"))
    with client.chat.completions.stream(model="m", messages=HELLO, n=2) as helper:
        final = helper.get_final_completion()
    assert {c.index: c.message.content for c in final.choices} == {0: "b", 1: "a"}


def test_embeddings_are_the_same_numbers_in_either_encoding(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("embeddings_float"))
    plain = client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    assert vendor.last().path == "/v1/embeddings"
    vendor.answers["m"] = reply(recorded("embeddings_base64"))
    usual = client.embeddings.create(model="m", input=["a", "b"])
    assert vendor.last().json["encoding_format"] == "base64"
    packed = b64decode(json.loads(recorded("embeddings_base64"))["data"][0]["embedding"])
    assert list(struct.unpack("<4f", packed)) == plain.data[0].embedding
    assert usual.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-6)
    assert usual.usage.total_tokens == 8


def test_legacy_completions_plain_and_streamed(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("completion"))
    assert client.completions.create(model="m", prompt="Write").choices[0].text == "\n\nOld pond"
    assert vendor.last().path == "/v1/completions"
    vendor.answers["m"] = stream(*events("completion_stream"))
    chunks = list(client.completions.create(model="m", prompt=["Write"], stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Old pond"


def test_models_are_listed_and_found_with_slashes(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert "alias" in ids
    assert client.models.retrieve("org/model-with/slashes").id == "org/model-with/slashes"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("nobody")
    assert missing.value.code == "model_not_found"


def test_the_async_client_runs_many_calls_at_once(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    vendor.answers["s"] = stream(*events("chat_stream"))

    async def test() -> None:
        async with openai.AsyncOpenAI(
            base_url=gateway.base_url, api_key=gateway.key, max_retries=0
        ) as client:

            async def streamed() -> str:
                chunks = await client.chat.completions.create(model="s", messages=HELLO, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

            plain = [client.chat.completions.create(model="m", messages=HELLO) for _ in range(40)]
            answers = await asyncio.gather(*plain)
            assert len({answer.choices[0].message.content for answer in answers}) == 1
            assert set(await asyncio.gather(*[streamed() for _ in range(40)])) == {"Hello! Grüße – 👋"}

    asyncio.run(test())


# Errors

ERRORS = [
    (400, openai.BadRequestError, 400, "invalid_request_error", "some_code"),
    (413, openai.BadRequestError, 400, "invalid_request_error", "some_code"),
    (422, openai.BadRequestError, 400, "invalid_request_error", "some_code"),
    (401, openai.InternalServerError, 502, "server_error", "upstream_auth_error"),
    (402, openai.InternalServerError, 502, "server_error", "upstream_auth_error"),
    (403, openai.InternalServerError, 502, "server_error", "upstream_auth_error"),
    (404, openai.NotFoundError, 404, "invalid_request_error", "model_not_found"),
    (408, openai.InternalServerError, 504, "timeout_error", "upstream_timeout"),
    (504, openai.InternalServerError, 504, "timeout_error", "upstream_timeout"),
    (429, openai.RateLimitError, 429, "rate_limit_error", "upstream_rate_limit"),
    (500, openai.InternalServerError, 502, "server_error", "upstream_error"),
    (502, openai.InternalServerError, 502, "server_error", "upstream_error"),
    (503, openai.InternalServerError, 503, "server_error", "upstream_overloaded"),
    (529, openai.InternalServerError, 503, "server_error", "upstream_overloaded"),
]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("theirs", "error", "ours", "kind", "code"), ERRORS)
def test_a_vendor_s_error_is_the_sdk_s_exception(
    client: openai.OpenAI,
    vendor: Vendor,
    theirs: int,
    error: Any,
    ours: int,
    kind: str,
    code: str,
    is_stream: bool,
) -> None:
    body = {
        "error": {
            "message": "vendor says no to fake-vendor-secret",
            "type": "t",
            "param": "p",
            "code": "some_code",
        }
    }
    vendor.answers["m"] = reply(body, theirs, (("Content-Type", "application/json"), ("Retry-After", "7")))
    with pytest.raises(error) as raised:
        client.chat.completions.create(model="m", messages=HELLO, stream=is_stream)
    failure = raised.value
    assert (failure.status_code, failure.type, failure.code) == (ours, kind, code)
    assert failure.request_id
    assert "fake-vendor-secret" not in failure.response.text
    assert len(vendor.requests) == 1
    if ours == 429:
        assert failure.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"<html>Bad gateway of somebody</html>", 502, (("Content-Type", "text/html"),)),
        reply(b"<html>welcome</html>"),
        reply(b""),
        reply(b"[]"),
        reply({"error": {"message": "in a 200"}}),
        Answer(raw=b"garbage\r\n\r\n"),
        Answer(raw=b""),
        Answer([b'{"id": "cut'], framing="chunked", end="reset"),
    ],
    ids=[
        "html error",
        "html success",
        "empty",
        "array",
        "error in a 200",
        "garbage",
        "closed",
        "reset in mid-body",
    ],
)
def test_what_is_no_answer_is_502_and_never_echoed(
    client: openai.OpenAI, vendor: Vendor, answer: Answer
) -> None:
    vendor.answers["m"] = answer
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="m", messages=HELLO)
    assert raised.value.status_code == 502
    assert "html" not in raised.value.response.text
    assert "garbage" not in raised.value.response.text


def test_our_own_refusals_are_the_sdk_s_exceptions(
    gateway: Gateway, client: openai.OpenAI, vendor: Vendor
) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        client.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=HELLO)
    assert (wrong.value.code, wrong.value.type) == ("invalid_api_key", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="m", messages=HELLO, temperature=3)
    assert (bad.value.param, bad.value.code) == ("temperature", "decimal_above_max_value")
    row = gateway.run("keys", "create", "--name", "narrow", "--models", "other")
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        client.with_options(api_key=row["key"]).chat.completions.create(model="m", messages=HELLO)
    assert forbidden.value.code == "model_not_allowed"
    assert vendor.requests == []


def test_a_key_deactivated_by_the_command_line_is_refused_within_a_second(
    gateway: Gateway, client: openai.OpenAI, vendor: Vendor
) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    row = gateway.run("keys", "create", "--name", "short-lived", "--rpm", "1000000")
    mine = client.with_options(api_key=row["key"])
    mine.chat.completions.create(model="m", messages=HELLO)
    gateway.run("keys", "deactivate", str(row["id"]))
    end = time.monotonic() + 1
    while True:
        try:
            mine.chat.completions.create(model="m", messages=HELLO)
        except openai.AuthenticationError as refused:
            assert refused.code == "inactive_api_key"
            return
        assert time.monotonic() < end


def test_a_time_out_is_504_and_the_sdk_does_not_try_again(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = Answer(end="hang")
    with pytest.raises(openai.InternalServerError) as raised:
        client.with_options(max_retries=2).chat.completions.create(model="m", messages=HELLO)
    assert raised.value.status_code == 504
    assert raised.value.type == "timeout_error"
    assert len(vendor.requests) == 1


def test_the_sdk_retries_what_may_pass(client: openai.OpenAI, vendor: Vendor) -> None:
    busy = reply(
        {"error": {"message": "busy"}}, 503, (("Content-Type", "application/json"), ("retry-after-ms", "10"))
    )
    vendor.answers["m"] = [busy, reply(recorded("chat"))]
    client.with_options(max_retries=1).chat.completions.create(model="m", messages=HELLO)
    assert len(vendor.requests) == 2


# Streams that go wrong


def test_a_stream_cut_in_the_middle_raises(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(*events("chat_stream")[:3], end="reset")
    chunks = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError) as raised:
        list(chunks)
    assert raised.value.code == "upstream_incomplete"


def test_an_error_as_the_first_event_is_a_real_status(client: openai.OpenAI, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(b": hello\n\n", b'data: {"error":{"message":"slow down","code":429}}\n\n')
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=HELLO, stream=True)


@pytest.mark.parametrize(
    "pieces", [(), (b": ping\n\n",), (b"data: [DONE]\n\n",)], ids=["nothing", "comment", "done"]
)
def test_an_empty_stream_is_no_success(
    client: openai.OpenAI, vendor: Vendor, pieces: tuple[bytes, ...]
) -> None:
    vendor.answers["m"] = stream(*pieces)
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert raised.value.status_code == 502


def test_a_finished_stream_without_done_is_whole(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(*events("chat_stream")[:-1])
    payload = {"model": "m", "messages": HELLO, "stream": True}
    assert gateway.post("/v1/chat/completions", payload)[2].endswith(b"data: [DONE]\n\n")


def test_a_client_that_leaves_stops_the_vendor_within_100_ms(
    gateway: Gateway, client: openai.OpenAI, vendor: Vendor
) -> None:
    pieces = [piece for _ in range(2000) for piece in (events("chat_stream")[1], 0.01)]
    vendor.answers["m"] = stream(*pieces)
    chunks = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    next(iter(chunks))
    left = time.monotonic()
    chunks.close()
    end = time.monotonic() + 5
    while vendor.last().gone_at is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    gone = vendor.last().gone_at
    assert gone is not None
    assert gone - left < 0.1


def test_a_client_that_leaves_before_the_first_byte_stops_the_vendor(
    gateway: Gateway, vendor: Vendor
) -> None:
    vendor.answers["m"] = Answer(end="hang")
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    with gateway.connect() as sock:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        end = time.monotonic() + 5
        while not vendor.requests:
            assert time.monotonic() < end
            time.sleep(0.005)
        left = time.monotonic()
    while vendor.last().gone_at is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    gone = vendor.last().gone_at
    assert gone is not None
    assert gone - left < 0.1
