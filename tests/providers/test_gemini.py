"""Gemini: what it reads, by what its models take; and its refusals."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from handlers import errors
from providers.catalog import Catalog
from providers.errors import ProviderError, Unsupported
from providers.gemini_requests import PLACEHOLDER
from providers.types import COMPLETIONS, Call, Target, UpstreamRequest
from tests.providers.calling import HELLO, SECRET, make_adapter, make_call

OLD: Final = "gemini-2.5-flash"
SIGNED: Final = "gemini-3.5-flash"
NEW: Final = "gemini-3.8-flash"
CATALOG: Final = Catalog.bundled()
URL: Final = "https://generativelanguage.googleapis.com"
PDF: Final = "data:application/pdf;base64,JVBERg=="
PNG: Final = "data:image/png;base64,iVBORw0KGgo="


def request(call: Call, model: str = NEW) -> UpstreamRequest:
    adapter = make_adapter("gemini")
    target = Target("it", adapter, URL, model, SECRET, kind="gemini", known=CATALOG.find("gemini", model))
    codec = adapter.codec_for(call, target)
    assert codec is not None
    return codec.encode(call, target)


def sent(model: str = NEW, **fields: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(request(make_call(**fields), model).body)
    return read


def dropped(model: str = NEW, **fields: Any) -> list[str]:
    return sorted(request(make_call(**fields), model).dropped)


def parts(model: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the last of the contents."""
    said: list[dict[str, Any]] = sent(model, messages=list(messages))["contents"][-1]["parts"]
    return said


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    function = {"name": name, **({"parameters": parameters} if parameters else {})}
    return {"type": "function", "function": function}


def called(*ids: str, signature: str = "", text: str | None = None) -> dict[str, Any]:
    """A model's message with calls, the first one of them signed."""
    calls: list[dict[str, Any]] = [
        {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call_id in ids
    ]
    if signature:
        calls[0]["extra_content"] = {"google": {"thought_signature": signature}}
    return {"role": "assistant", "content": text, "tool_calls": calls}


def result(call_id: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# Where it goes


def test_the_secret_is_a_header_and_in_no_url() -> None:
    head = request(make_call(stream=True), "models/gemini-2.5-pro").endpoint.head.decode()
    path = head.split(" ", 2)[1]
    assert path == "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert f"x-goog-api-key: {SECRET}\r\n" in head and "Authorization" not in head


def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    head = request(make_call(), "a/../b?key=x#y").endpoint.head
    assert head.startswith(b"POST /v1beta/models/a%2F..%2Fb%3Fkey%3Dx%23y:generateContent HTTP/1.1\r\n")


# What is said


def test_history_alternates_and_is_never_empty() -> None:
    assert sent(messages=[{"role": "system", "content": "s"}]) == {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [{"text": "."}]}],
    }
    messages = [
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": " "},
        {"role": "user", "content": "b"},
    ]
    contents = sent(messages=messages)["contents"]
    assert [each["role"] for each in contents] == ["user", "model", "user"]
    assert contents[0]["parts"] == [{"text": "."}]
    assert contents[2]["parts"] == [{"text": "a"}, {"text": "b"}]


def test_only_the_newest_models_take_no_beginning_of_an_answer() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "1."}]
    assert sent(OLD, messages=messages)["contents"][-1]["role"] == "model"
    assert sent(SIGNED, messages=messages)["contents"][-1]["role"] == "model"
    for model in ("gemini-3.5-flash-lite-001", NEW, "gemini-4-argon", "gemini-flash-latest", "gemini-7"):
        assert sent(model, messages=messages)["contents"][-1]["parts"] == [{"text": "Continue."}]


def test_early_gemma_reads_instructions_before_the_first_words() -> None:
    messages = [{"role": "system", "content": "s"}, *HELLO]
    assert sent("gemma-3-27b-it", messages=messages) == {
        "contents": [{"role": "user", "parts": [{"text": "s"}, {"text": "Hello"}]}]
    }
    assert "systemInstruction" in sent("gemma-4-31b-it", messages=messages)
    assert dropped("gemma-4-31b-it", reasoning_effort="high", temperature=0.2) == ["reasoning_effort"]
    assert signatures("gemma-4-31b-it", [*HELLO, called("a"), result("a")]) == [None]


@pytest.mark.parametrize(
    ("url", "media_type"),
    [
        ("https://x.test/a.PNG", "image/png"),
        ("https://x.test/a.webp#top", "image/webp"),
        ("http://x.test/a.mp4?x=a.png", "video/mp4"),
        ("https://x.test", "image/jpeg"),
        ("https://[x.test/a", "image/jpeg"),
        ("gs://bucket/a.heic", "image/heic"),
    ],
)
def test_a_file_elsewhere_has_the_type_of_its_extension(url: str, media_type: str) -> None:
    assert parts(NEW, user({"type": "image_url", "image_url": {"url": url}})) == [
        {"fileData": {"mimeType": media_type, "fileUri": url}}
    ]


def test_recordings_and_documents_go_along() -> None:
    content = [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": PDF}},
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}},
    ]
    assert parts(NEW, user(*content)) == [
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [user({"type": "file", "file": {"file_id": "f"}})]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "file", "file": {"file_data": "JVBE"}})]}, "messages[0].content[0]"),
        ({"messages": [*HELLO, result("nobody's")]}, "messages"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
    ],
)
def test_what_has_no_word_in_the_dialect_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as raised:
        sent(**fields)
    assert raised.value.param == param


# Tools


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_tool_choice_is_a_mode(choice: Any, calling: Any) -> None:
    read = sent(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert read.get("toolConfig") == (calling and {"functionCallingConfig": calling})
    assert "toolConfig" not in sent(tool_choice=choice)


def test_allowed_tools_are_names_or_all_that_there_are() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    read = sent(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert read["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["f"]}
    allowed["mode"] = "auto"
    read = sent(tools=[tool("f"), tool("g")], tool_choice=choice)
    assert read["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert "toolConfig" not in read


def test_a_schema_goes_as_it_is_and_one_without_arguments_not_at_all() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"const": 1}}}
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    tools = [tool("a", **schema), tool("b", **free), tool("c", type="object", additionalProperties=False)]
    assert sent(tools=tools)["tools"][0]["functionDeclarations"] == [
        {"name": "a", "parametersJsonSchema": schema},
        {"name": "b", "parametersJsonSchema": free},
        {"name": "c"},
    ]


def test_older_models_are_asked_for_json_in_words_beside_functions() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"$schema": "x", **schema}}}
    fields = {"tools": [tool("f")], "response_format": form}
    read = sent(OLD, **fields)
    assert "generationConfig" not in read
    assert json.dumps(schema, separators=(",", ":")) in read["systemInstruction"]["parts"][0]["text"]
    assert dropped(OLD, **fields) == ["response_format"]
    assert sent(NEW, **fields)["generationConfig"]["responseJsonSchema"] == schema
    assert dropped(NEW, **fields) == []
    loose = sent(OLD, **{**fields, "response_format": {"type": "json_object"}})
    assert "JSON" in loose["systemInstruction"]["parts"][0]["text"]
    plain = {**fields, "response_format": {"type": "text"}}
    assert "systemInstruction" not in sent(OLD, **plain) and dropped(OLD, **plain) == []


def test_results_come_in_the_order_of_their_calls_and_without_ids_for_older_models() -> None:
    history = [*HELLO, called("a", "b"), result("b", '{"x":1}'), result("a", '{"x":NaN}')]
    call = {"functionCall": {"name": "f", "args": {}}}
    assert sent(OLD, messages=history)["contents"][1]["parts"] == [call, call]
    assert parts(OLD, *history) == [
        {"functionResponse": {"name": "f", "response": {"output": '{"x":NaN}'}}},
        {"functionResponse": {"name": "f", "response": {"x": 1}}},
    ]


def test_a_picture_in_a_result_stays_in_it_where_the_model_has_a_place_for_it() -> None:
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG}}]
    history = [*HELLO, called("a"), result("a", content)]
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    response = {"name": "f", "response": {"output": "see"}}
    assert parts(OLD, *history) == [{"functionResponse": response}, picture]
    assert parts(NEW, *history) == [{"functionResponse": {"id": "a", **response, "parts": [picture]}}]


# Thought signatures


def signatures(model: str, messages: list[dict[str, Any]]) -> list[str | None]:
    """Of each call, in order."""
    contents = sent(model, messages=messages)["contents"]
    said = [part for each in contents for part in each["parts"] if "functionCall" in part]
    return [part.get("thoughtSignature") for part in said]


def test_each_step_of_the_current_turn_is_signed_and_no_other() -> None:
    past = [*HELLO, called("a"), result("a"), {"role": "assistant", "content": "so"}]
    current = [*HELLO, called("b", "c"), result("b"), result("c"), called("d", signature="c2ln"), result("d")]
    third = [called("e", "f"), result("e"), result("f")]
    expected = [None, PLACEHOLDER, None, "c2ln", PLACEHOLDER, None]
    assert signatures(NEW, [*past, *current, *third]) == expected
    assert signatures(NEW, [*past, *current, *third, *HELLO]) == [None, None, None, "c2ln", None, None]
    assert signatures(OLD, [*past, *current, *third]) == [None, None, None, "c2ln", None, None]


@pytest.mark.parametrize("broken", ["not base64!", "", 7, None])
def test_what_cannot_be_a_signature_counts_as_lost(broken: Any) -> None:
    message = called("a", signature="x")
    message["tool_calls"][0]["extra_content"]["google"]["thought_signature"] = broken
    assert signatures(NEW, [*HELLO, message, result("a")]) == [PLACEHOLDER]
    message["tool_calls"][0]["extra_content"] = {"google": broken}
    assert signatures(NEW, [*HELLO, message, result("a")]) == [PLACEHOLDER]


@pytest.mark.parametrize(
    "message", ["Invalid/Corrupted thought signature.", "missing a thought_signature in functionCall parts"]
)
def test_a_refused_signature_is_replaced_and_the_call_asked_again(message: str) -> None:
    failure = refusal(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
    assert failure.amend is not None and not failure.retryable
    payload = {"messages": [*HELLO, called("a", "b", signature="c2ln"), result("a"), result("b")]}
    before = json.dumps(payload)
    assert signatures(NEW, failure.amend(payload)["messages"]) == [PLACEHOLDER, None]
    assert json.dumps(payload) == before
    assert refusal(400, {"error": {"message": "Something else"}}).amend is None


# Settings


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        (OLD, "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        (OLD, "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        (OLD, "max", {"thinkingBudget": 24576, "includeThoughts": True}),
        (SIGNED, "none", {"thinkingLevel": "minimal"}),
        (SIGNED, "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "low", "includeThoughts": True}),
        (NEW, "none", {"thinkingLevel": "low"}),
        (NEW, "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-4-argon", "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_effort_is_a_level_or_a_budget(model: str, effort: str, config: dict[str, Any]) -> None:
    assert sent(model, reasoning_effort=effort)["generationConfig"]["thinkingConfig"] == config


def test_what_is_left_out_is_named_unless_it_says_nothing() -> None:
    hints = {"user": "u", "logit_bias": {"1": 1}, "store": True, "verbosity": "low", "metadata": {"a": "b"}}
    assert dropped(**hints, service_tier="flex", top_k=3, evil=1) == sorted(
        [*hints, "service_tier", "top_k", "evil"]
    )
    neutral = {"logit_bias": {}, "store": False, "service_tier": "auto", "modalities": ["text"], "n": 1}
    assert dropped(**neutral, temperature=1, user=None, parallel_tool_calls=False) == []
    sampling = {"temperature": 0.2, "top_p": 0.5}
    assert dropped(NEW, **sampling) == ["temperature", "top_p"]
    assert dropped(SIGNED, **sampling) == []
    assert sent(NEW, **neutral, **sampling, stop=None, seed=None).keys() == {"contents"}


def test_a_seed_stays_within_what_the_vendor_takes() -> None:
    assert sent(seed=2**40)["generationConfig"] == {"seed": 2**31 - 1}
    assert dropped(seed=2**40) == ["seed"] and dropped(seed=-5) == []


def test_several_answers_are_candidates_or_calls_of_their_own() -> None:
    adapter = make_adapter("gemini")
    for model, wanted, counts in (
        (OLD, 8, []),
        (OLD, 19, [8, 8, 3]),
        (OLD, 9, [8, 1]),
        (NEW, 1, []),
        (NEW, 3, [1, 1, 1]),
    ):
        call = make_call(n=wanted)
        target = Target("it", adapter, URL, model, SECRET)
        codec = adapter.codec_for(call, target)
        assert codec is not None
        divided = codec.divide(call)
        assert [each.payload.get("n", 1) for each in divided] == counts
        assert [each.first_choice for each in divided] == [sum(counts[:at]) for at in range(len(counts))]
        completion = make_call(COMPLETIONS, prompt="p", n=wanted)
        by_chat = adapter.codec_for(completion, target)
        assert by_chat is not None
        assert bool(by_chat.divide(completion)) == bool(counts)


# Refusals


def refusal(status: int, body: Any, headers: dict[bytes, bytes] | None = None) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return make_adapter("gemini").error(status, headers or {}, data)


@pytest.mark.parametrize(
    ("status", "word", "answered", "code"),
    [
        (400, "INVALID_ARGUMENT", 400, None),
        (400, "FAILED_PRECONDITION", 400, None),
        (401, "UNAUTHENTICATED", 502, "upstream_auth_error"),
        (403, "PERMISSION_DENIED", 502, "upstream_auth_error"),
        (404, "NOT_FOUND", 404, "model_not_found"),
        (408, "", 504, "upstream_timeout"),
        (413, "", 400, None),
        (429, "RESOURCE_EXHAUSTED", 429, "upstream_rate_limit"),
        (499, "CANCELLED", 502, "upstream_error"),
        (500, "INTERNAL", 502, "upstream_error"),
        (503, "UNAVAILABLE", 503, "upstream_overloaded"),
        (504, "DEADLINE_EXCEEDED", 504, "upstream_timeout"),
        (529, "", 503, "upstream_overloaded"),
    ],
)
def test_refusals_become_the_gateways_own(status: int, word: str, answered: int, code: str | None) -> None:
    told = {"error": {"code": status, "message": "its words", "status": word}}
    for body in (told, [told], b"<p>its words</p>", b"", b"[]", b"null", b'["x"]'):
        answer = errors.answer(refusal(status, body))
        shown = json.loads(answer.body)["error"]
        assert (answer.status, shown["code"]) == (answered, code)
        is_told = body in (told, [told]) and status not in (401, 403)
        assert ("its words" in shown["message"]) is is_told


def test_the_wait_is_the_headers_or_the_details() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}]
    body = {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE", "details": details}}
    assert refusal(503, body).retry_after_seconds == 2.5
    assert refusal(503, body, {b"retry-after": b"9"}).retry_after_seconds == 9
    for delay in ("soon", "", "-3s", "infs", "nans", 4, None):
        details[0] = {"retryDelay": delay, "reason": [delay]}  # type: ignore[dict-item]
        assert refusal(429, body).retry_after_seconds in (None, 86_400.0)
