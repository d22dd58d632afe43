"""Requests go up and answers come back byte for byte where nothing must change, and only then."""

from __future__ import annotations

import json
from typing import Any

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.errors import ProviderError
from providers.openai import fields_at_end, usual_usage, with_model
from providers.types import COMPLETIONS, EMBEDDINGS, Usage
from providers.usage import from_openai
from tests.providers.calling import SECRET, codec_of, encode, make_adapter, make_call, make_target, sent

KIND = "openai_compatible"
ODD_BODY = (
    b' { "messages" : [{"role":"user","content":"caf\xc3\xa9 \\u00e9 / \\/"}], "model" : "m" '
    b',"x":1.0,"y":10000000000000000000000 }\n'
)


# Requests


def test_a_body_that_needs_nothing_goes_up_as_it_came() -> None:
    call = make_call(body=ODD_BODY)
    assert encode(KIND, call).body is call.body


def test_an_alias_is_spliced_and_nothing_else_moves() -> None:
    body = encode(KIND, make_call(body=ODD_BODY), 'real/"é"').body
    assert body == ODD_BODY.replace(b'"model" : "m"', '"model":"real/\\"é\\""'.encode())
    assert json.loads(body)["model"] == 'real/"é"'


def test_usage_is_asked_for_in_streams_alone() -> None:
    body = b'\n{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
    spliced = encode(KIND, make_call(body=body)).body
    assert spliced == body.replace(b'{"model"', b'{"stream_options":{"include_usage":true},"model"', 1)
    assert b"stream_options" not in encode(KIND, make_call()).body


def test_both_are_spliced_at_once() -> None:
    fields = sent(KIND, make_call(stream=True), "other")
    assert fields["stream_options"] == {"include_usage": True} and fields["model"] == "other"


def test_what_the_client_asked_of_the_stream_is_kept() -> None:
    call = make_call(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert encode(KIND, call).body is call.body


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_obfuscation": False}])
def test_usage_is_asked_for_beside_the_clients_other_wishes(options: dict[str, Any] | None) -> None:
    fields = sent(KIND, make_call(stream=True, stream_options=options))
    assert fields["stream_options"] == {**(options or {}), "include_usage": True}


def test_a_host_that_refuses_the_option_is_not_asked_again() -> None:
    adapter = make_adapter(KIND)
    failure = adapter.error(400, {}, b'{"error":{"message":"unknown field stream_options"}}')
    assert failure.is_learned
    call = make_call(stream=True)
    assert codec_of(adapter).encode(call, make_target(adapter, call)).body is call.body
    asking = make_call(stream=True, stream_options={"include_usage": True})
    assert b"stream_options" not in codec_of(adapter).encode(asking, make_target(adapter, asking)).body


def test_an_ordinary_refusal_teaches_nothing() -> None:
    adapter = make_adapter(KIND)
    assert not adapter.error(400, {}, b'{"error":{"message":"temperature"}}').is_learned
    assert not adapter.error(400, {}, b'{"error":"stream_options.include_obfuscation"}').is_learned
    assert not adapter.error(500, {}, b'{"error":"stream_options"}').is_learned


def test_a_body_that_may_be_read_otherwise_goes_up_encoded_anew() -> None:
    call = make_call(
        verbatim=False, body=b'{"model":"m","messages":[],"\\u0078":null,"seed":12345678901234567890123}'
    )
    assert encode(KIND, call).body == b'{"model":"m","messages":[],"seed":12345678901234567890123}'


def test_the_call_is_left_as_it_was() -> None:
    call = make_call(verbatim=False, stream=True, stream_options={"include_usage": False}, user=None)
    before = json.dumps(call.payload)
    encode(KIND, call, "other")
    assert json.dumps(call.payload) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in ("model", "stream")), JSON.filter(bool), max_size=5
    )
)
def test_encoding_anew_changes_no_value(extra: dict[str, Any]) -> None:
    fields = sent(KIND, make_call(verbatim=False, **extra))
    assert fields == {"messages": [{"role": "user", "content": "Hello"}], **extra, "model": "some-model"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"model"}],"model":"m"}',
        b'{"messages":[{"role":"user","content":"say \\"model"}],"model":"m"}',
        b'{"tools":[{"parameters":{"model":{"type":"string"}}}],"model":"m","messages":[]}',
        b'{"metadata":{"model":"m"},"model":"m","messages":[]}',
    ],
)
def test_where_the_model_may_be_elsewhere_nothing_is_spliced(body: bytes) -> None:
    assert with_model(body, "other") is None
    assert sent(KIND, make_call(body=body), "other") == {**json.loads(body), "model": "other"}


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_a_splice_is_what_a_parse_would_make(content: str, model: str, other: str) -> None:
    body = json.dumps({"messages": content, "model": model}, ensure_ascii=False).encode("utf-8", "replace")
    spliced = with_model(body, other)
    if spliced is not None:
        assert json.loads(spliced) == {"messages": json.loads(body)["messages"], "model": other}


def test_the_endpoint_is_rendered_once_and_holds_the_secret() -> None:
    adapter = make_adapter(KIND)
    call = make_call()
    codec = codec_of(adapter)
    request = codec.encode(call, make_target(adapter, call))
    assert codec.encode(call, make_target(adapter, call)).endpoint is request.endpoint
    assert request.endpoint.head.startswith(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: llm.example.org\r\n"
    )
    assert b"\r\nAuthorization: Bearer %b\r\n" % SECRET.encode() in request.endpoint.head
    assert SECRET not in repr(request)


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("https://a.example/v1", b"/v1/chat/completions"),
        ("https://a.example/v1/", b"/v1/chat/completions"),
        ("https://a.example", b"/chat/completions"),
        ("https://a.example/x?key=1", b"/x/chat/completions?key=1"),
    ],
)
def test_the_path_goes_below_the_base_url(base_url: str, path: bytes) -> None:
    adapter = make_adapter(KIND)
    call = make_call()
    endpoint = codec_of(adapter).encode(call, make_target(adapter, call, base_url=base_url)).endpoint
    assert endpoint.head.split(b" ")[1] == path


def test_the_operations_have_their_paths() -> None:
    for operation, path in ((COMPLETIONS, b"/v1/completions"), (EMBEDDINGS, b"/v1/embeddings")):
        field = "prompt" if operation == COMPLETIONS else "input"
        request = encode(KIND, make_call(operation, **{field: "x"}))
        assert request.endpoint.head.split(b" ")[1] == path


def test_a_remembered_endpoint_is_bounded() -> None:
    adapter = make_adapter(KIND)
    call = make_call()
    codec = codec_of(adapter)
    for number in range(2100):
        codec.encode(call, make_target(adapter, call, base_url=f"https://a{number}.example/v1"))
    assert len(codec._endpoints) <= 1024  # type: ignore[attr-defined]


# Answers

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
USED = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def decode(body: bytes, kind: str = KIND) -> Any:
    return codec_of(make_adapter(kind)).decode(make_call(), body)


def test_an_answer_comes_back_byte_for_byte() -> None:
    body = (
        b'\n { "id":"x", "choices" : [ ], "usage" : {"prompt_tokens":5,"completion_tokens":7} , "z":1.50 }\n'
    )
    reply = decode(body)
    assert reply.body is body and reply.usage == Usage(5, 7)


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": None}])
def test_an_answer_without_usage_says_so(usage: Any) -> None:
    assert decode(json.dumps({"choices": [CHOICE], "usage": usage}).encode()).usage is None
    assert decode(json.dumps({"choices": [CHOICE]}).encode()).usage is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html></html>", b"[]", b"null", b'"choices"', b"{}", b'{"usage":{}}', b'{"choices":[', b"\xff"],
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(body)
    assert caught.value.kind == errors.FAILED and caught.value.retryable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no", "code": 402}, errors.AUTH),
        ({"message": "no", "code": 429}, errors.RATE_LIMIT),
        ({"message": "no", "code": "400"}, errors.INVALID_REQUEST),
        ({"message": "no", "code": 7}, errors.FAILED),
        ({"message": "no"}, errors.FAILED),
        ("no", errors.FAILED),
    ],
)
def test_an_error_in_a_200_is_the_failure_that_it_says(error: Any, kind: str) -> None:
    for body in ({"error": error}, {"choices": [CHOICE], "usage": USED, "error": error}):
        with pytest.raises(ProviderError) as caught:
            decode(json.dumps(body).encode())
        assert caught.value.kind == kind


def test_an_error_of_null_is_none() -> None:
    assert decode(json.dumps({"error": None, "choices": [CHOICE], "usage": USED}).encode()).usage == Usage(
        5, 7
    )


def full_parse(body: bytes) -> Usage | None:
    return from_openai(json.loads(body).get("usage"))


HOSTILE = [
    {"choices": ['"usage"'], "usage": USED},
    {"usage": USED, "choices": ['"usage":{"prompt_tokens":1}']},
    {"usage": USED, "choices": ["usage"]},
    {"usage": USED, "choices": [{"usage": {"prompt_tokens": 1}}]},
    {"usage": USED, "choices": [], 'a"usage': {"prompt_tokens": 1}},
    {"usage": USED, "choices": [], 'a\\"usage': {"prompt_tokens": 1}},
    {"usage": USED, "choices": [], "x": {"usage": {"prompt_tokens": 1}}},
    {"choices": [], "x": {"usage": {"prompt_tokens": 1}}},
    {"choices": [], "x_groq": {"usage": {"prompt_tokens": 1}}, "usage": None},
    {"choices": [{"message": {"content": 'ends with "usage'}}], "usage": USED},
    {"choices": [{"message": {"content": '\\"usage'}}]},
    {"usage": USED, "choices": [{"message": {"content": '","usage":{"prompt_tokens":1}}'}}]},
    {"choices": [], "usage": USED, "usage_extra": 1},
]


@pytest.mark.parametrize("answer", HOSTILE)
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_hostile_answers_are_read_as_a_full_parse_reads_them(
    answer: Any, separators: tuple[str, str]
) -> None:
    body = json.dumps(answer, separators=separators).encode()
    assert decode(body).usage == full_parse(body)


WORDS = st.lists(
    st.sampled_from(
        ['"usage"', "usage", '"', "\\", ":", "{", "}", ",", "[", "]", '"usage":{"prompt_tokens":9}', "é", " "]
    ),
    max_size=6,
).map("".join)
NODES = st.recursive(
    WORDS | st.integers(0, 9) | st.just(USED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.just("usage"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(WORDS | st.sampled_from(["usage", "a", "choices"]), NODES, max_size=5), st.booleans())
def test_the_end_alone_never_says_otherwise_than_the_whole(answer: dict[str, Any], is_escaped: bool) -> None:
    answer.setdefault("choices", [])
    answer.pop("error", None)
    body = json.dumps(answer, ensure_ascii=is_escaped).encode()
    assert decode(body).usage == full_parse(body)
    found = (fields_at_end(body) or {}).get("usage")
    assert found is None or found == ujson.loads(body)["usage"]


def test_the_end_is_enough_for_an_embedding() -> None:
    body = json.dumps(
        {"data": [{"embedding": [0.1] * 1000}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    ).encode()
    reply = codec_of(make_adapter(KIND), EMBEDDINGS).decode(make_call(EMBEDDINGS, input="x"), body)
    assert reply.body is body and reply.usage == Usage(3)


NUMBER = st.integers(0, 10**9 - 1)
COUNTS = st.fixed_dictionaries(
    {"prompt_tokens": NUMBER, "completion_tokens": NUMBER, "total_tokens": NUMBER},
    optional={
        "prompt_tokens_details": st.fixed_dictionaries(
            {"cached_tokens": NUMBER},
            optional={
                "audio_tokens": st.sampled_from([0, 0, 3]),
                "cache_write_tokens": st.sampled_from([0, 2]),
            },
        ),
        "completion_tokens_details": st.fixed_dictionaries(
            {"reasoning_tokens": st.sampled_from([0, 0, 7])},
            optional={"audio_tokens": st.sampled_from([0, 0, 3]), "rejected_prediction_tokens": st.just(0)},
        ),
        "cost": st.sampled_from([0, 0.5]),
    },
)
ENDS = st.sampled_from(
    ["", ',"service_tier":"default"', ',"service_tier":"flex"', ',"system_fingerprint":"fp_1"', ',"x":1', " "]
)


@given(COUNTS, ENDS, st.booleans(), st.sampled_from(["", '"usage":{}', '\\"usage\\":{']))
def test_the_short_way_to_a_usage_finds_what_the_long_one_does(
    counts: dict[str, Any], end: str, is_spaced: bool, text: str
) -> None:
    separators = (", ", ": ") if is_spaced else (",", ":")
    usage = json.dumps(counts, separators=separators)
    content = json.dumps(text)
    body = f'{{"choices":[{{"message":{{"content":{content}}}}}],"usage":{usage}{end}}}'.encode()
    short = usual_usage(body)
    adapter = make_adapter(KIND)
    long = adapter.usage_of(fields_at_end(body) or json.loads(body))
    assert short is None or short == long
    if not is_spaced and end == "" and set(counts) == {"prompt_tokens", "completion_tokens", "total_tokens"}:
        assert short is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}]}',
        b'{"choices":[],"x":"\\"usage\\":{\\"prompt_tokens\\":1,"}',
        b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}',
        b'{"usage":{"prompt_tokens":-1,"completion_tokens":1,"total_tokens":2}}',
        b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"usage":null}',
        b'{"a":{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}',
        b"",
    ],
)
def test_the_short_way_leaves_all_else_to_the_long_one(body: bytes) -> None:
    assert usual_usage(body) is None
