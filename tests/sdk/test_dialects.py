"""OpenAI's own SDK on models of other dialects: answers, streams, tool loops with thinking, parsed output.

A real gateway, and a fake vendor that replays what Anthropic and Gemini send. The client hands every message
back as it got it, which is all that keeps signatures alive: the gateway remembers nothing (R-22).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway

SIGNATURE: Final = "c2lnbmF0dXJlLTAx"
HELLO: Final = [{"role": "user", "content": CONTENT}]
WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PRICE: Final = "price = { input = 1.0, cached_input = 0.5, output = 2.0 }"
Part = tuple[str, Any]


class Claude:
    """What Anthropic sends. 20 tokens in and 10 out."""

    kind = "anthropic"
    model = "claude-sonnet-5"

    def key(self, *, is_stream: bool) -> str:
        return self.model

    def whole(self, *parts: Part, reason: str = "end_turn") -> Answer:
        content = [self._block(part, at) for at, part in enumerate(parts)]
        return reply(
            {
                "id": "msg_01",
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": content,
                "stop_reason": "tool_use" if any(kind == "call" for kind, _ in parts) else reason,
                "stop_sequence": None,
                "usage": {"input_tokens": 20, "output_tokens": 10},
            }
        )

    def streamed(self, *parts: Part, reason: str = "end_turn") -> Answer:
        usage = {"input_tokens": 20, "output_tokens": 1}
        message = {"id": "msg_01", "type": "message", "role": "assistant", "model": self.model}
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
        for at, part in enumerate(parts):
            empty, deltas = self._deltas(part, at)
            events.append({"type": "content_block_start", "index": at, "content_block": empty})
            events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": at})
        ending = "tool_use" if any(kind == "call" for kind, _ in parts) else reason
        delta = {"stop_reason": ending, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}})
        events.append({"type": "message_stop"})
        return stream(*(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events))

    def _block(self, part: Part, at: int) -> dict[str, Any]:
        kind, value = part
        if kind == "thought":
            return {"type": "thinking", "thinking": value, "signature": SIGNATURE}
        if kind == "call":
            return {"type": "tool_use", "id": f"toolu_{at}", "name": "weather", "input": value}
        return {"type": "text", "text": value}

    def _deltas(self, part: Part, at: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        kind, value = part
        if kind == "thought":
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in (value[:3], value[3:])]
            signed = {"type": "signature_delta", "signature": SIGNATURE}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*pieces, signed]
        if kind == "call":
            text = json.dumps(value)
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:5], text[5:])]
            return {"type": "tool_use", "id": f"toolu_{at}", "name": "weather", "input": {}}, pieces
        pieces = [{"type": "text_delta", "text": piece} for piece in (value[:2], value[2:])]
        return {"type": "text", "text": ""}, pieces

    def check_second_turn(self, body: dict[str, Any]) -> None:
        """The thought comes back signed, before the call that it led to; the result answers the call."""
        asked, answered = body["messages"][-2], body["messages"][-1]
        assert asked["content"][0] == {"type": "thinking", "thinking": "Hm, so.", "signature": SIGNATURE}
        used = asked["content"][-1]
        assert used["type"] == "tool_use" and used["input"] == {"city": "Köln"}
        result = answered["content"][0]
        assert (result["type"], result["tool_use_id"]) == ("tool_result", used["id"])

    def schema(self, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = body["output_config"]["format"]["schema"]
        return found


class Gemini:
    """What Gemini sends. 20 tokens in and 10 out."""

    kind = "gemini"
    model = "gemini-3.8-flash"

    def key(self, *, is_stream: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if is_stream else "generateContent"
        return f"/v1beta/models/{self.model}:{verb}"

    def whole(self, *parts: Part, reason: str = "STOP") -> Answer:
        return reply(self._answer([self._part(part, at) for at, part in enumerate(parts)], reason))

    def streamed(self, *parts: Part, reason: str = "STOP") -> Answer:
        listed = [self._part(part, at) for at, part in enumerate(parts)]
        answers = [self._answer([part], reason if part is listed[-1] else None) for part in listed]
        return stream(*(f"data: {json.dumps(answer)}\n\n".encode() for answer in answers))

    def _answer(self, parts: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if reason is not None:
            candidate["finishReason"] = reason
        usage = {"promptTokenCount": 20, "candidatesTokenCount": 10, "totalTokenCount": 30}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": self.model}

    def _part(self, part: Part, at: int) -> dict[str, Any]:
        kind, value = part
        if kind == "thought":
            return {"text": value, "thought": True}
        if kind == "call":
            call = {"functionCall": {"id": f"call_{at}", "name": "weather", "args": value}}
            return {**call, "thoughtSignature": SIGNATURE}
        return {"text": value}

    def check_second_turn(self, body: dict[str, Any]) -> None:
        """The call comes back with its signature, and its result beside its name."""
        asked, answered = body["contents"][-2], body["contents"][-1]
        call = asked["parts"][-1]
        assert call["thoughtSignature"] == SIGNATURE and call["functionCall"]["args"] == {"city": "Köln"}
        result = answered["parts"][0]["functionResponse"]
        assert (result["id"], result["name"]) == (call["functionCall"]["id"], "weather")

    def schema(self, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = body["generationConfig"]["responseJsonSchema"]
        return found


class Responses:
    """What OpenAI's Responses sends, for the newest models with functions. 20 tokens in and 10 out."""

    kind = "openai"
    model = "gpt-6-sol"

    def key(self, *, is_stream: bool) -> str:
        return self.model

    def whole(self, *parts: Part) -> Answer:
        return reply(self._response([self._item(part, at) for at, part in enumerate(parts)]))

    def streamed(self, *parts: Part) -> Answer:
        events: list[dict[str, Any]] = [{"type": "response.created", "response": {}}]
        for at, part in enumerate(parts):
            item = self._item(part, at)
            events.append({"type": "response.output_item.added", "output_index": at, "item": item})
            if part[0] == "text":
                events.append({"type": "response.output_text.delta", "output_index": at, "delta": part[1]})
            if part[0] == "thought":
                delta = {"type": "response.reasoning_summary_text.delta", "delta": part[1]}
                events.append({"output_index": at, **delta})
            events.append({"type": "response.output_item.done", "output_index": at, "item": item})
        events.append({"type": "response.completed", "response": self._response([])})
        return stream(*(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events))

    def _response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
        return {"object": "response", "status": "completed", "output": output, "usage": usage}

    def _item(self, part: Part, at: int) -> dict[str, Any]:
        kind, value = part
        if kind == "thought":
            summary = [{"type": "summary_text", "text": value}]
            return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": SIGNATURE}
        if kind == "call":
            called = {"type": "function_call", "call_id": f"call_{at}", "name": "weather"}
            return {**called, "arguments": json.dumps(value)}
        content = [{"type": "output_text", "text": value, "annotations": []}]
        return {"type": "message", "role": "assistant", "content": content}

    def check_second_turn(self, body: dict[str, Any]) -> None:
        """What it thought comes back encrypted, then the call that it led to, then the result."""
        thought, call, result = body["input"][-3:]
        assert (thought["type"], thought["encrypted_content"]) == ("reasoning", SIGNATURE)
        assert json.loads(call["arguments"]) == {"city": "Köln"}
        assert (result["type"], result["call_id"]) == ("function_call_output", call["call_id"])


Dialect = Claude | Gemini
DIALECTS: Final = (Claude(), Gemini())
THINKING: Final = (*DIALECTS, Responses())


def settings(vendor: Vendor) -> str:
    origin = vendor.base_url.removesuffix("/v1")
    lines = ["[limits]\nip_rpm = 0\n[retry]\nretries = 0\n"]
    for dialect in THINKING:
        base_url = vendor.base_url if dialect.kind == "openai" else origin
        provider = f'[[providers]]\nname = "{dialect.kind}"\nkind = "{dialect.kind}"\n'
        lines.append(f'{provider}base_url = "{base_url}"\n')
        lines.append(f'api_keys = ["{VENDOR_SECRET}"]\n')
        target = f'{{ provider = "{dialect.kind}", model = "{dialect.model}" }}'
        lines.append(f'[[models]]\nid = "{dialect.model}"\ntargets = [{target}]\n{PRICE}\n')
    return "".join(lines)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor, Gateway(tmp_path_factory.mktemp("dialects"), settings(vendor)) as gateway:
        yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    return places[0]


@pytest.fixture
def client(places: tuple[Vendor, Gateway]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=places[1].base_url, api_key=places[1].key, max_retries=0) as client:
        yield client


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.kind)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


def row(gateway: Gateway, request_id: str) -> tuple[Any, ...]:
    """The ledger's row of a call, once it is there."""
    asked = "SELECT provider, input_tokens, output_tokens, cost_nanodollars, usage_source FROM ledger"
    end = time.monotonic() + 20
    while True:
        with closing(sqlite3.connect(gateway.data_dir / "rooya.db")) as database:
            found = database.execute(f"{asked} WHERE request_id = ?", (request_id,)).fetchall()
        if found:
            (only,) = found
            return tuple(only)
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_answer_and_its_cost(
    places: tuple[Vendor, Gateway], vendor: Vendor, client: openai.OpenAI, dialect: Dialect
) -> None:
    vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", "Guten Tag"))
    raw = client.chat.completions.with_raw_response.create(model=dialect.model, messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Guten Tag" and answer.model == dialect.model
    assert answer.usage is not None and answer.usage.total_tokens == 30
    expected = (dialect.kind, 20, 10, 20 * 1000 + 10 * 2000, "reported")
    assert row(places[1], raw.headers["x-request-id"]) == expected
    assert raw.headers["x-rooya-provider"] == dialect.kind


def test_a_stream_through_the_sdks_helper(vendor: Vendor, client: openai.OpenAI, dialect: Dialect) -> None:
    vendor.answers[dialect.key(is_stream=True)] = dialect.streamed(("text", "Guten"), ("text", " Tag"))
    with client.chat.completions.stream(
        model=dialect.model, messages=HELLO, stream_options={"include_usage": True}
    ) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
        final = events.get_final_completion()
    assert "".join(pieces) == final.choices[0].message.content == "Guten Tag"
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None and final.usage.total_tokens == 30


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("dialect", THINKING, ids=lambda dialect: dialect.kind)
def test_a_tool_loop_with_thinking_over_two_turns(
    vendor: Vendor, client: openai.OpenAI, dialect: Dialect | Responses, is_stream: bool
) -> None:
    make = dialect.streamed if is_stream else dialect.whole
    first = make(("thought", "Hm, so."), ("call", {"city": "Köln"}))
    vendor.answers[dialect.key(is_stream=is_stream)] = [first, make(("text", "18 degrees"))]
    asked: dict[str, Any] = {"model": dialect.model, "tools": [WEATHER], "reasoning_effort": "high"}
    messages: list[Any] = [*HELLO]
    message = said(client, is_stream, messages=messages, **asked)
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Köln"} and call.function.name == "weather"
    assert message.reasoning_content == "Hm, so."
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 18}'}
    messages += [message.model_dump(exclude_none=True), result]
    assert said(client, is_stream, messages=messages, **asked).content == "18 degrees"
    dialect.check_second_turn(vendor.requests[-1].json)


def said(client: openai.OpenAI, is_stream: bool, **asked: Any) -> Any:
    """The assistant's message."""
    if not is_stream:
        return client.chat.completions.create(**asked).choices[0].message
    with client.chat.completions.stream(**asked) as events:
        return events.get_final_completion().choices[0].message


class City(BaseModel):
    name: str
    people: int


def test_parsed_output(vendor: Vendor, client: openai.OpenAI, dialect: Dialect) -> None:
    vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", '{"name": "Köln", "people": 1}'))
    parsed = client.chat.completions.parse(model=dialect.model, messages=HELLO, response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Köln", people=1)
    schema = dialect.schema(vendor.requests[-1].json)
    assert schema["required"] == ["name", "people"] and schema["properties"].keys() == {"name", "people"}


def test_several_answers(
    places: tuple[Vendor, Gateway], vendor: Vendor, client: openai.OpenAI, dialect: Dialect
) -> None:
    """Neither of these models gives more than one at a time: as many requests, one row."""
    vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", "Hi"))
    raw = client.chat.completions.with_raw_response.create(model=dialect.model, messages=HELLO, n=3)
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(vendor.requests) == 3
    assert row(places[1], raw.headers["x-request-id"])[1:] == (60, 30, 120_000, "reported")


def test_several_answers_streamed(vendor: Vendor, client: openai.OpenAI, dialect: Dialect) -> None:
    vendor.answers[dialect.key(is_stream=True)] = dialect.streamed(("text", "Hi"), ("text", "!"))
    chunks = list(
        client.chat.completions.create(
            model=dialect.model, messages=HELLO, n=2, stream=True, stream_options={"include_usage": True}
        )
    )
    heard = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            heard[choice.index] += choice.delta.content or ""
    assert heard == {0: "Hi!", 1: "Hi!"}
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [60]
    assert len({chunk.id for chunk in chunks}) == 1


def test_legacy_completions(vendor: Vendor, client: openai.OpenAI, dialect: Dialect) -> None:
    vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", " a time"))
    answer = client.completions.create(model=dialect.model, prompt=CONTENT, echo=True)
    assert answer.choices[0].text == f"{CONTENT} a time"


def test_what_is_dropped_is_named(vendor: Vendor, client: openai.OpenAI, dialect: Dialect) -> None:
    vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", "Hi"))
    raw = client.chat.completions.with_raw_response.create(
        model=dialect.model, messages=HELLO, logit_bias={"1": 1}, temperature=0.5, user="u"
    )
    dropped = raw.headers["x-rooya-dropped-params"].split(", ")
    assert "logit_bias" in dropped and "temperature" in dropped


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_errors_have_their_classes(
    vendor: Vendor,
    client: openai.OpenAI,
    dialect: Dialect,
    status: int,
    expected: type[openai.APIStatusError],
) -> None:
    body = {"type": "error", "error": {"type": "x", "message": "no", "code": status, "status": "X"}}
    for is_stream in (False, True):
        vendor.answers[dialect.key(is_stream=is_stream)] = reply(body, status)
        with pytest.raises(expected):
            client.chat.completions.create(model=dialect.model, messages=HELLO, stream=is_stream)


def test_strict_gateways_refuse_what_would_be_dropped(tmp_path: Any, vendor: Vendor) -> None:
    """By its name, before anything is reserved or sent."""
    with Gateway(tmp_path, settings(vendor) + "[compat]\nstrict_params = true\n") as gateway:
        for dialect in DIALECTS:
            vendor.answers[dialect.key(is_stream=False)] = dialect.whole(("text", "Hi"))
            asked = {"model": dialect.model, "messages": HELLO}
            for more in ({}, {"n": 2}, {"stream": True}):
                hinted = {**asked, **more, "logit_bias": {"1": 1}}
                status, _, body = gateway.post("/v1/chat/completions", hinted)
                assert status == 400 and json.loads(body)["error"]["param"] == "logit_bias"
            assert not vendor.requests
            assert gateway.post("/v1/chat/completions", asked)[0] == 200
            vendor.requests.clear()
