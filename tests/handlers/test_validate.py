"""The parameter table: ranges, types, required ones, and the param and code that name what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.validate import KNOWN, InvalidParameter, validate
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS

USER = {"role": "user", "content": "Hello!"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


WORDS = st.sampled_from(["type", "function", "name", "role", "content", "text", "url", "json_schema", "user"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **more}


def said(**message: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [message]}


def text(**more: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "Once", **more}


def embed(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": "text", **more}


GOOD = [
    (CHAT, chat()),
    (CHAT, chat(temperature=0, top_p=1, n=128, presence_penalty=-2, frequency_penalty=2.0)),
    (CHAT, chat(temperature=None, n=None, stream=None, stop=None, max_tokens=None, tools=None)),
    (CHAT, chat(stop="x")),
    (CHAT, chat(stop=["a", "b", "c", "d"])),
    (CHAT, chat(stop=[])),
    (CHAT, chat(max_tokens=1, max_completion_tokens=1000000)),
    (CHAT, chat(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})),
    (CHAT, chat(stream=True, stream_options={"include_usage": None, "new_thing": 1})),
    (CHAT, chat(logit_bias={"50256": -100, "1": 0.5})),
    (CHAT, chat(logprobs=True, top_logprobs=20)),
    (CHAT, chat(seed=-5, user="u", safety_identifier="s" * 128)),
    (CHAT, chat(tools=[TOOL, {"type": "custom", "custom": {"name": "c"}}, {"type": "new_kind"}])),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "no_parameters"}}])),
    (CHAT, chat(tool_choice="required", parallel_tool_calls=False)),
    (CHAT, chat(tool_choice={"type": "function", "function": {"name": "f"}})),
    (CHAT, chat(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}})),
    (CHAT, chat(response_format={"type": "json_object"})),
    (CHAT, chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}}})),
    (CHAT, chat(response_format={"type": "grammar", "grammar": "x"})),
    (CHAT, chat(reasoning_effort="xhigh", verbosity="low")),
    (CHAT, chat(metadata={"a": "b"}, store=True, service_tier="flex")),
    (CHAT, chat(some_vendor_parameter={"anything": [1]})),
    (CHAT, chat(reasoning_effort="default", top_k=5, min_p=0.1, chat_template_kwargs={"a": 1})),
    (CHAT, chat(best_of=2, max_output_tokens=5)),
    (CHAT, chat(best_of=None, max_output_tokens=None, service_tier=None)),
    (CHAT, chat(model="vendor/a model:latest@2026-01 \u00e9")),
    (CHAT, chat(max_tokens=2**31 - 1)),
    (CHAT, chat(temperature=2, top_p=0, n=1, logprobs=False, stream=False)),
    (CHAT, chat(temperature=0.0, presence_penalty=-0.0)),
    (CHAT, chat(topP=1, modelName="x", extra_stream=True)),
    (CHAT, chat(stream=True, stream_options={})),
    (CHAT, chat(stream=False, stream_options=None)),
    (CHAT, chat(messages=[USER] * 1000)),
    (CHAT, said(role="user", content="")),
    (CHAT, said(role="system", content=[{"type": "text", "text": "a"}])),
    (CHAT, said(role="user", content=[{"type": "new_kind"}, {"type": "text", "text": "b", "extra": 1}])),
    (CHAT, chat(functions=[{"name": "f"}], function_call="auto")),
    (CHAT, said(role="developer", content="be brief")),
    (CHAT, said(role="assistant", content=None)),
    (CHAT, said(role="assistant", tool_calls=[{"id": "1", "type": "function", "function": {"name": "f"}}])),
    (CHAT, said(role="tool", tool_call_id="1", content="42")),
    (CHAT, said(role="function", name="f", content="42")),
    (CHAT, said(role="user", content=[{"type": "text", "text": ""}])),
    (CHAT, said(role="user", content=[{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])),
    (
        CHAT,
        said(role="user", content=[{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),
    ),
    (CHAT, said(role="user", content=[{"type": "file", "file": {"file_id": "f"}}])),
    (CHAT, said(role="user", content=[{"type": "video_url", "video_url": {"url": "x"}}])),
    (CHAT, said(role="assistant", content=[{"type": "refusal", "refusal": "no"}])),
    (COMPLETIONS, text()),
    (COMPLETIONS, text(prompt=["a", "b"], suffix="!", best_of=3, n=2, logprobs=5, echo=True)),
    (COMPLETIONS, text(prompt=[1, 2, 3])),
    (COMPLETIONS, text(prompt=[[1, 2], [3]])),
    (COMPLETIONS, text(prompt="")),
    (COMPLETIONS, text(stream=True, best_of=1)),
    (EMBEDDINGS, embed()),
    (EMBEDDINGS, embed(input=["a", "b"], encoding_format="base64", dimensions=256, user="u")),
    (EMBEDDINGS, embed(input=[1, 2])),
    (EMBEDDINGS, embed(input=[[1], [2]])),
    (EMBEDDINGS, embed(input=["a"] * 2048)),
    (EMBEDDINGS, embed(input=[7] * 5000)),
    (EMBEDDINGS, embed(stream=False, n=None, dimensions=None, encoding_format=None)),
    (EMBEDDINGS, embed(stream=None, input_type="query", truncate="END")),
    (COMPLETIONS, text(best_of=128, n=128)),
    (COMPLETIONS, text(best_of=1)),
    (COMPLETIONS, text(prompt=["", "b"], logprobs=0, echo=False, suffix="")),
    (COMPLETIONS, text(messages="of no meaning here")),
]


@pytest.mark.parametrize(("operation", "payload"), GOOD, ids=lambda v: str(v)[:60])
def test_good_parameters_pass(operation: str, payload: dict[str, Any]) -> None:
    validate(operation, payload)


OBFUSCATION = "stream_options.include_obfuscation"
TYPE, VALUE, MISSING = "invalid_type", "invalid_value", "missing_required_parameter"

BAD = [
    (CHAT, {}, "model", MISSING),
    (CHAT, {"messages": [USER]}, "model", MISSING),
    (CHAT, {"model": "m"}, "messages", MISSING),
    (CHAT, {"model": "", "messages": [USER]}, "model", MISSING),
    (CHAT, {"model": None, "messages": [USER]}, "model", MISSING),
    (CHAT, {"model": "m", "messages": None}, "messages", MISSING),
    (CHAT, {"model": 5, "messages": [USER]}, "model", TYPE),
    (CHAT, {"model": "m" * 257, "messages": [USER]}, "model", "string_above_max_length"),
    (CHAT, chat(model="a\nb"), "model", VALUE),
    (CHAT, chat(model="a\x00"), "model", VALUE),
    (CHAT, chat(model="a\u202eb"), "model", VALUE),
    (CHAT, chat(model=["m"]), "model", TYPE),
    (CHAT, chat(model=True), "model", TYPE),
    (CHAT, chat(model={}), "model", TYPE),
    (CHAT, chat(messages=[]), "messages", "empty_array"),
    (CHAT, chat(messages={}), "messages", TYPE),
    (CHAT, chat(messages="hi"), "messages", TYPE),
    (CHAT, chat(messages=["hi"]), "messages[0]", TYPE),
    (CHAT, chat(messages=[USER, None]), "messages[1]", TYPE),
    (CHAT, chat(temperature="hot"), "temperature", TYPE),
    (CHAT, chat(temperature=True), "temperature", TYPE),
    (CHAT, chat(temperature=2.1), "temperature", "decimal_above_max_value"),
    (CHAT, chat(temperature=-0.1), "temperature", "decimal_below_min_value"),
    (CHAT, chat(top_p=1.01), "top_p", "decimal_above_max_value"),
    (CHAT, chat(top_p=[]), "top_p", TYPE),
    (CHAT, chat(n=0), "n", "integer_below_min_value"),
    (CHAT, chat(n=129), "n", "integer_above_max_value"),
    (CHAT, chat(n=1.0), "n", TYPE),
    (CHAT, chat(n=True), "n", TYPE),
    (CHAT, chat(n="1"), "n", TYPE),
    (CHAT, chat(stream="true"), "stream", TYPE),
    (CHAT, chat(stream=1), "stream", TYPE),
    (CHAT, chat(stream_options={"include_usage": True}), "stream_options", VALUE),
    (CHAT, chat(stream=True, stream_options=True), "stream_options", TYPE),
    (CHAT, chat(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage", TYPE),
    (CHAT, chat(stop=["a"] * 5), "stop", "array_above_max_length"),
    (CHAT, chat(stop=[1]), "stop[0]", TYPE),
    (CHAT, chat(stop={}), "stop", TYPE),
    (CHAT, chat(max_tokens=0), "max_tokens", "integer_below_min_value"),
    (CHAT, chat(max_tokens=10.5), "max_tokens", TYPE),
    (CHAT, chat(max_completion_tokens=-1), "max_completion_tokens", "integer_below_min_value"),
    (CHAT, chat(presence_penalty=-2.1), "presence_penalty", "decimal_below_min_value"),
    (CHAT, chat(frequency_penalty=2.1), "frequency_penalty", "decimal_above_max_value"),
    (CHAT, chat(user=5), "user", TYPE),
    (CHAT, chat(seed=1.5), "seed", TYPE),
    (CHAT, chat(logit_bias=[1]), "logit_bias", TYPE),
    (CHAT, chat(logit_bias={"1": 101}), "logit_bias.1", "decimal_above_max_value"),
    (CHAT, chat(logit_bias={"x": 1}), "logit_bias", VALUE),
    (CHAT, chat(logprobs="yes"), "logprobs", TYPE),
    (CHAT, chat(top_logprobs=5), "top_logprobs", VALUE),
    (CHAT, chat(logprobs=True, top_logprobs=21), "top_logprobs", "integer_above_max_value"),
    (CHAT, chat(safety_identifier="s" * 129), "safety_identifier", "string_above_max_length"),
    (CHAT, chat(tools={}), "tools", TYPE),
    (CHAT, chat(tools=[]), "tools", "empty_array"),
    (CHAT, chat(tools=[{}]), "tools[0].type", MISSING),
    (CHAT, chat(tools=[{"type": "function"}]), "tools[0].function", MISSING),
    (CHAT, chat(tools=[{"type": "function", "function": {}}]), "tools[0].function.name", MISSING),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "a b"}}]), "tools[0].function.name", VALUE),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "a\n"}}]), "tools[0].function.name", VALUE),
    (
        CHAT,
        chat(tools=[{"type": "function", "function": {"name": "f" * 65}}]),
        "tools[0].function.name",
        VALUE,
    ),
    (
        CHAT,
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
        "tools[0].function.parameters",
        TYPE,
    ),
    (CHAT, chat(tool_choice="any"), "tool_choice", VALUE),
    (CHAT, chat(tool_choice=5), "tool_choice", TYPE),
    (CHAT, chat(tool_choice={"type": "function"}), "tool_choice.function", MISSING),
    (CHAT, chat(parallel_tool_calls="no"), "parallel_tool_calls", TYPE),
    (CHAT, chat(response_format="json"), "response_format", TYPE),
    (CHAT, chat(response_format={}), "response_format.type", MISSING),
    (CHAT, chat(response_format={"type": "json_schema"}), "response_format.json_schema", MISSING),
    (CHAT, chat(reasoning_effort="extreme"), "reasoning_effort", VALUE),
    (CHAT, chat(verbosity=1), "verbosity", TYPE),
    (CHAT, chat(metadata=[]), "metadata", TYPE),
    (CHAT, chat(Model="other"), "model", "unknown_parameter"),
    (CHAT, chat(STREAM=True), "stream", "unknown_parameter"),
    (CHAT, chat(**{"max_to\u212aens": 9}), "max_tokens", "unknown_parameter"),
    (CHAT, chat(**{"\u017ftream": True}), "stream", "unknown_parameter"),
    (CHAT, chat(MAX_TOKENS=9), "max_tokens", "unknown_parameter"),
    (CHAT, chat(N=None), "n", "unknown_parameter"),
    (CHAT, chat(Messages=[USER]), "messages", "unknown_parameter"),
    (CHAT, chat(Tools=[TOOL]), "tools", "unknown_parameter"),
    (CHAT, chat(Best_Of=9), "best_of", "unknown_parameter"),
    (CHAT, chat(max_output_Tokens=9), "max_output_tokens", "unknown_parameter"),
    (CHAT, chat(**{"model\0": "other"}), "model", "unknown_parameter"),
    (CHAT, chat(**{"STREAM\0x": True}), "stream", "unknown_parameter"),
    (CHAT, chat(**{"me\u017f\u017fages": []}), "messages", "unknown_parameter"),
    (EMBEDDINGS, embed(Input="x"), "input", "unknown_parameter"),
    (COMPLETIONS, text(Prompt="x"), "prompt", "unknown_parameter"),
    (
        CHAT,
        chat(stream=True, stream_options={"Include_Usage": False}),
        "stream_options.include_usage",
        "unknown_parameter",
    ),
    (CHAT, chat(stream=True, stream_options={"include_obfuscation": "no"}), OBFUSCATION, TYPE),
    (CHAT, chat(stream=True, stream_options=[]), "stream_options", TYPE),
    (CHAT, chat(stream=False, stream_options={}), "stream_options", VALUE),
    (CHAT, chat(stream=None, stream_options={}), "stream_options", VALUE),
    (CHAT, chat(stream=0), "stream", TYPE),
    (CHAT, chat(max_tokens=2**31), "max_tokens", "integer_above_max_value"),
    (CHAT, chat(max_tokens=True), "max_tokens", TYPE),
    (CHAT, chat(max_completion_tokens=10**40), "max_completion_tokens", "integer_above_max_value"),
    (CHAT, chat(max_completion_tokens="5"), "max_completion_tokens", TYPE),
    (CHAT, chat(max_output_tokens=0), "max_output_tokens", "integer_below_min_value"),
    (CHAT, chat(max_output_tokens="many"), "max_output_tokens", TYPE),
    (CHAT, chat(best_of=129), "best_of", "integer_above_max_value"),
    (CHAT, chat(best_of=1.5), "best_of", TYPE),
    (CHAT, chat(service_tier=["flex"]), "service_tier", TYPE),
    (CHAT, chat(temperature={}), "temperature", TYPE),
    (CHAT, chat(temperature=10**400), "temperature", "decimal_above_max_value"),
    (CHAT, chat(top_p=-1e-9), "top_p", "decimal_below_min_value"),
    (CHAT, chat(presence_penalty=3), "presence_penalty", "decimal_above_max_value"),
    (CHAT, chat(frequency_penalty=-3), "frequency_penalty", "decimal_below_min_value"),
    (CHAT, chat(frequency_penalty="0"), "frequency_penalty", TYPE),
    (CHAT, chat(seed=2**63), "seed", "integer_above_max_value"),
    (CHAT, chat(seed=True), "seed", TYPE),
    (CHAT, chat(stop=5), "stop", TYPE),
    (CHAT, chat(stop=["a", None]), "stop[1]", TYPE),
    (CHAT, chat(logit_bias={"1": True}), "logit_bias.1", TYPE),
    (CHAT, chat(logit_bias={"1": -101}), "logit_bias.1", "decimal_below_min_value"),
    (CHAT, chat(logprobs=False, top_logprobs=1), "top_logprobs", VALUE),
    (CHAT, chat(logprobs=1), "logprobs", TYPE),
    (CHAT, chat(logprobs=True, top_logprobs=-1), "top_logprobs", "integer_below_min_value"),
    (CHAT, chat(store="yes"), "store", TYPE),
    (CHAT, said(content="x"), "messages[0].role", MISSING),
    (CHAT, said(role="robot", content="x"), "messages[0].role", VALUE),
    (CHAT, said(role=5, content="x"), "messages[0].role", TYPE),
    (CHAT, said(role="user"), "messages[0].content", MISSING),
    (CHAT, said(role="user", content=5), "messages[0].content", TYPE),
    (CHAT, said(role="user", content=[]), "messages[0].content", "empty_array"),
    (CHAT, said(role="user", content=["x"]), "messages[0].content[0]", TYPE),
    (CHAT, said(role="user", content=[{}]), "messages[0].content[0].type", MISSING),
    (CHAT, said(role="user", content=[{"type": "text"}]), "messages[0].content[0].text", MISSING),
    (CHAT, said(role="user", content=[{"type": "text", "text": 1}]), "messages[0].content[0].text", TYPE),
    (
        CHAT,
        said(role="user", content=[{"type": "image_url", "image_url": "x"}]),
        "messages[0].content[0].image_url",
        TYPE,
    ),
    (
        CHAT,
        said(role="user", content=[{"type": "image_url", "image_url": {}}]),
        "messages[0].content[0].image_url.url",
        MISSING,
    ),
    (CHAT, said(role="tool", content="x"), "messages[0].tool_call_id", MISSING),
    (CHAT, said(role="assistant", tool_calls=[]), "messages[0].tool_calls", "empty_array"),
    (CHAT, said(role="assistant", tool_calls=[{}]), "messages[0].tool_calls[0].function", MISSING),
    (COMPLETIONS, {"model": "m"}, "prompt", MISSING),
    (COMPLETIONS, text(prompt=None), "prompt", MISSING),
    (COMPLETIONS, text(prompt=5), "prompt", TYPE),
    (COMPLETIONS, text(prompt=[]), "prompt", "empty_array"),
    (COMPLETIONS, text(prompt=["a", 1]), "prompt[1]", TYPE),
    (COMPLETIONS, text(prompt=[1, "a"]), "prompt[1]", TYPE),
    (COMPLETIONS, text(prompt=[[1], [True]]), "prompt[1][0]", TYPE),
    (COMPLETIONS, text(prompt=[[]]), "prompt[0]", "empty_array"),
    (COMPLETIONS, text(prompt=[None]), "prompt[0]", TYPE),
    (COMPLETIONS, text(prompt=[-1]), "prompt[0]", "integer_below_min_value"),
    (COMPLETIONS, text(best_of=1, n=2), "best_of", VALUE),
    (COMPLETIONS, text(best_of=2, stream=True), "best_of", VALUE),
    (COMPLETIONS, text(logprobs=6), "logprobs", "integer_above_max_value"),
    (COMPLETIONS, text(logprobs=True), "logprobs", TYPE),
    (COMPLETIONS, text(suffix=1), "suffix", TYPE),
    (COMPLETIONS, text(echo="yes"), "echo", TYPE),
    (EMBEDDINGS, {"model": "m"}, "input", MISSING),
    (EMBEDDINGS, embed(input=""), "input", VALUE),
    (EMBEDDINGS, embed(input=["a", ""]), "input", VALUE),
    (EMBEDDINGS, embed(input=[]), "input", "empty_array"),
    (EMBEDDINGS, embed(input={}), "input", TYPE),
    (EMBEDDINGS, embed(input=["a"] * 2049), "input", "array_above_max_length"),
    (EMBEDDINGS, embed(dimensions=0), "dimensions", "integer_below_min_value"),
    (EMBEDDINGS, embed(encoding_format="hex"), "encoding_format", VALUE),
    (EMBEDDINGS, embed(user=[]), "user", TYPE),
    (EMBEDDINGS, embed(input=None), "input", MISSING),
    (EMBEDDINGS, embed(input=5), "input", TYPE),
    (EMBEDDINGS, embed(input=[True]), "input[0]", TYPE),
    (EMBEDDINGS, embed(input=[1, None]), "input[1]", TYPE),
    (EMBEDDINGS, embed(input=[[1]] * 2049), "input", "array_above_max_length"),
    (EMBEDDINGS, embed(dimensions=True), "dimensions", TYPE),
    (EMBEDDINGS, embed(dimensions=256.0), "dimensions", TYPE),
    (EMBEDDINGS, embed(encoding_format=1), "encoding_format", TYPE),
    (EMBEDDINGS, embed(stream=True), "stream", VALUE),
    (EMBEDDINGS, embed(stream="true"), "stream", TYPE),
    (EMBEDDINGS, embed(max_tokens="x"), "max_tokens", TYPE),
    (EMBEDDINGS, {"input": "x"}, "model", MISSING),
    (COMPLETIONS, {"prompt": "x"}, "model", MISSING),
    (COMPLETIONS, text(best_of=0), "best_of", "integer_below_min_value"),
    (COMPLETIONS, text(best_of=True), "best_of", TYPE),
    (COMPLETIONS, text(max_completion_tokens=0), "max_completion_tokens", "integer_below_min_value"),
    (COMPLETIONS, text(logprobs=-1), "logprobs", "integer_below_min_value"),
    (COMPLETIONS, text(stop=["a"] * 5), "stop", "array_above_max_length"),
    (COMPLETIONS, text(stream="yes"), "stream", TYPE),
    (COMPLETIONS, text(prompt={}), "prompt", TYPE),
    (COMPLETIONS, text(prompt=[1.5]), "prompt[0]", TYPE),
    (COMPLETIONS, text(prompt=True), "prompt", TYPE),
]


@pytest.mark.parametrize(("operation", "payload", "param", "code"), BAD, ids=lambda v: str(v)[:60])
def test_a_bad_parameter_is_named(operation: str, payload: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        validate(operation, payload)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert param in refused.value.message or code == "unknown_parameter"


def test_strict_refuses_what_the_api_does_not_know_and_nothing_else() -> None:
    validate(CHAT, chat(service_tier="flex", audio={}, prediction={}, top_k=None), strict=True)
    for name in ("top_k", "best_of", "max_output_tokens"):
        with pytest.raises(InvalidParameter) as refused:
            validate(CHAT, chat(**{name: 5}), strict=True)
        assert (refused.value.param, refused.value.code) == (name, "unknown_parameter")
        assert name in refused.value.message


@pytest.mark.parametrize("name", ["x" * 65, "a b", "", "<script>", "\u0000"], ids=repr)
def test_an_odd_name_is_not_repeated(name: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        validate(CHAT, chat(**{name: 5}), strict=True)
    assert refused.value.param is None
    assert name not in refused.value.message or name == ""


@pytest.mark.parametrize("operation", [CHAT, COMPLETIONS, EMBEDDINGS])
def test_null_is_absent_for_all_but_the_required(operation: str) -> None:
    required = {CHAT: chat(), COMPLETIONS: text(), EMBEDDINGS: embed()}[operation]
    nulls = {name: None for name in KNOWN if name not in required}
    assert len(nulls) > 20
    validate(operation, {**nulls, **required})


@given(
    st.dictionaries(st.sampled_from(sorted(KNOWN)), JSON_VALUES, max_size=4),
    st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS]),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_any_values_are_passed_or_refused(fields: dict[str, Any], operation: str, strict: bool) -> None:
    required = {CHAT: chat(), COMPLETIONS: text(), EMBEDDINGS: embed()}[operation]
    payload = {**required, **fields}
    before = repr(payload)
    try:
        validate(operation, payload, strict=strict)
    except InvalidParameter as refused:
        assert refused.message and len(refused.message) < 200 and refused.code
    assert repr(payload) == before


def test_no_message_repeats_content() -> None:
    for payload in (
        said(role="user", content={"secret": 1}),
        chat(tool_choice="secret"),
        chat(stop=["secret"] * 9),
    ):
        with pytest.raises(InvalidParameter) as refused:
            validate(CHAT, payload)
        assert "secret" not in refused.value.message
