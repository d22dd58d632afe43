"""Anthropic's dialect beyond the numbered cases: choices of tools, reasons to end, thoughts, caching."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from providers import errors
from providers.anthropic_models import traits
from providers.anthropic_thoughts import woven
from providers.catalog import Catalog
from providers.conversation import Text
from providers.errors import ProviderError, Unsupported
from providers.types import Call, Target, UpstreamRequest
from tests.providers.calling import (
    HELLO,
    Heard,
    asking_call,
    codec_of,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    stream_call,
)

KIND: Final = "anthropic"
BASE_URL: Final = "https://api.anthropic.com"
CATALOG: Final = Catalog.bundled()
F: Final = {"type": "function", "function": {"name": "f"}}
G: Final = {"type": "function", "function": {"name": "g"}}
THOUGHT: Final = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}


def target(model: str, *, is_known: bool = True) -> Target:
    known = CATALOG.find(KIND, model) if is_known else None
    return Target(
        "it", make_adapter(KIND), "https://api.anthropic.com", model, "secret", kind=KIND, known=known
    )


def encoded(model: str = "claude-sonnet-5", **fields: Any) -> UpstreamRequest:
    call = make_call(model=model, **fields)
    return codec_of(make_adapter(KIND)).encode(call, target(model))


def sent(model: str = "claude-sonnet-5", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encoded(model, **fields).body)
    return body


def answered(**fields: Any) -> dict[str, Any]:
    call = make_call(**{name: fields.pop(name) for name in ("stop",) if name in fields})
    usage = {"input_tokens": 3, "output_tokens": 2}
    answer = {
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
        **fields,
    }
    found: dict[str, Any] = json.loads(
        codec_of(make_adapter(KIND)).decode(call, json.dumps(answer).encode()).body
    )
    return found


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


START: Final = event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}})
STOP: Final = event("message_stop")


def block(at: int, empty: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    pieces = [event("content_block_delta", index=at, delta=delta) for delta in deltas]
    opening, end = (
        event("content_block_start", index=at, content_block=empty),
        event("content_block_stop", index=at),
    )
    return b"".join([opening, *pieces, end])


def text(at: int, *pieces: str) -> bytes:
    return block(
        at, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces)
    )


def ending(reason: str | None, **more: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return event("message_delta", delta=delta, usage={"output_tokens": 9}) + STOP


# Models


@pytest.mark.parametrize(
    "row", [row for row in CATALOG.models if row.provider == KIND], ids=lambda row: row.id
)
def test_a_name_alone_says_what_the_catalogue_says(row: Any) -> None:
    known, unknown = traits(target(row.id)), traits(target(row.id, is_known=False))
    names = (
        "samples",
        "is_adaptive",
        "thinks_always",
        "thinks_at_first",
        "can_be_forced",
        "has_prefill",
        "has_xhigh",
    )
    assert {n: getattr(unknown, n) for n in names} == {n: getattr(known, n) for n in names}


def test_a_claude_to_come_is_taken_for_the_newest_and_no_claude_for_the_plainest() -> None:
    newest, plain = traits(target("claude-nova")), traits(target("some-model"))
    assert (newest.samples, newest.is_adaptive, newest.can_be_forced, newest.has_prefill) == (
        False,
        True,
        False,
        False,
    )
    assert (plain.samples, plain.is_adaptive, plain.can_be_forced, plain.has_prefill) == (
        True,
        False,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("claude-opus-4-6", "xhigh", {"thinking": "adaptive", "effort": "high"}),
        ("claude-opus-4-6", "max", {"thinking": "adaptive", "effort": "max"}),
        ("claude-opus-4-7", "xhigh", {"thinking": "adaptive", "effort": "xhigh"}),
        ("claude-opus-4-8", "none", {"thinking": "disabled"}),
        ("claude-opus-5", "minimal", {"thinking": "adaptive", "effort": "low"}),
        ("claude-sonnet-5-5", "none", {"thinking": "between_tools"}),
        ("claude-fable-5", "none", {"effort": "low"}),
        ("claude-opus-5-5", None, {}),
        ("claude-haiku-4-5", "medium", {"thinking": "enabled", "budget": 4096}),
        ("claude-haiku-4-5", "none", {}),
    ],
)
def test_an_effort_is_said_as_the_model_hears_it(
    model: str, effort: str | None, fields: dict[str, Any]
) -> None:
    body = sent(model, **({} if effort is None else {"reasoning_effort": effort}), max_tokens=9000)
    thinking = body.get("thinking", {})
    found = {
        "thinking": thinking.get("type"),
        "budget": thinking.get("budget_tokens"),
        "effort": body.get("output_config", {}).get("effort"),
    }
    assert {name: value for name, value in found.items() if value is not None} == fields


def test_who_must_call_a_tool_does_not_think() -> None:
    forced = {"tools": [F], "tool_choice": "required", "reasoning_effort": "high", "max_tokens": 9000}
    assert sent("claude-sonnet-5", **forced)["thinking"] == {"type": "disabled"}
    assert "thinking" not in sent("claude-opus-4-7", **forced)
    assert "thinking" not in sent("claude-haiku-4-5", **forced)
    assert sent("claude-opus-5-5", **forced)["thinking"]["type"] == "adaptive"  # it cannot be forced


def test_a_cap_is_the_models_own_at_most() -> None:
    assert sent("claude-haiku-4-5", max_tokens=10**6)["max_tokens"] == 64000
    assert sent("some-model")["max_tokens"] == 4096
    assert sent("some-model", max_tokens=10**6)["max_tokens"] == 10**6


# Requests


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "g"}}, {"type": "tool", "name": "g"}),
    ],
)
def test_every_choice_of_a_tool(choice: Any, expected: dict[str, Any]) -> None:
    body = sent(tools=[F, G], tool_choice=choice)
    assert body["tool_choice"] == expected and len(body["tools"]) == 2
    flag = {} if choice == "none" else {"disable_parallel_tool_use": True}
    assert sent(tools=[F, G], tool_choice=choice, parallel_tool_calls=False)["tool_choice"] == {
        **expected,
        **flag,
    }


@pytest.mark.parametrize(("mode", "kind"), [("auto", "auto"), ("required", "any")])
def test_only_allowed_tools_are_there(mode: str, kind: str) -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [G]}}
    body = sent(tools=[F, G], tool_choice=allowed)
    assert [tool["name"] for tool in body["tools"]] == ["g"] and body["tool_choice"] == {"type": kind}


def test_what_is_left_out_is_named() -> None:
    hints = {"seed": 1, "logit_bias": {"1": 1}, "presence_penalty": 1, "top_p": 0.5, "service_tier": "flex"}
    assert sorted(encoded(temperature=0.5, **hints).dropped) == sorted([*hints, "temperature"])
    kept = encoded("claude-haiku-4-5", temperature=1.5, top_p=0.5, top_k=5)
    body = json.loads(kept.body)
    assert sorted(kept.dropped) == ["temperature", "top_p"]  # one was lowered, the other cannot be beside it
    assert (body["temperature"], body["top_k"], "top_p" in body) == (1.0, 5, False)
    assert encoded("claude-opus-5-5", tools=[F], tool_choice="required").dropped == ("tool_choice",)
    neutral = {"temperature": 1, "top_p": 1, "n": 1, "store": False}
    assert encoded(**neutral).dropped == encoded("claude-haiku-4-5", **neutral).dropped == ()
    thinking = encoded("claude-haiku-4-5", **neutral, reasoning_effort="low", max_tokens=2000)
    assert thinking.dropped == () and "temperature" not in json.loads(thinking.body)
    twice = encoded("claude-haiku-4-5", temperature=1.5, top_p=0.5, reasoning_effort="low", max_tokens=2000)
    assert sorted(twice.dropped) == ["temperature", "top_p"]


def test_the_vendors_own_fields_pass() -> None:
    own = {"thinking": {"type": "disabled"}, "inference_geo": "us", "speed": "fast"}
    body = sent(**own, reasoning_effort="high", made_up=1)
    assert {name: body[name] for name in own} == own and "made_up" not in body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
    ],
)
def test_what_has_no_word_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        encoded(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,%%%"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
        {"type": "made_up"},
    ],
)
def test_a_part_without_a_word_is_refused_by_its_place(part: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "look"}, part]
    with pytest.raises(Unsupported) as caught:
        encoded(messages=[{"role": "user", "content": content}])
    assert caught.value.param == "messages[0].content[1]"


def test_an_answer_begun_is_gone_on_with_only_where_the_model_may() -> None:
    begun = {"role": "assistant", "content": "{"}
    schema = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}}}
    asked = {"messages": [*HELLO, begun], "max_tokens": 9000}
    assert sent("claude-haiku-4-5", **asked)["messages"][-1]["role"] == "assistant"
    for other in ({"reasoning_effort": "high"}, {"response_format": schema}):
        last = sent("claude-haiku-4-5", **asked, **other)["messages"][-1]
        assert last == {"role": "user", "content": [{"type": "text", "text": "Continue."}]}


def test_results_may_hold_pictures_and_say_that_they_are_errors() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    result = {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "see"}, picture]}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, {**result, "is_error": True}]
    (block,) = sent(tools=[F], messages=messages)["messages"][-1]["content"]
    assert block["is_error"] is True and [part["type"] for part in block["content"]] == ["text", "image"]
    (block,) = sent(tools=[F], messages=[*messages[:-1], {**result, "content": "", "is_error": True}])[
        "messages"
    ][-1]["content"]
    assert block == {"type": "tool_result", "tool_use_id": "t1", "content": "error", "is_error": True}


def test_no_more_than_four_markers_and_the_last_ones() -> None:
    marked = [{"type": "text", "text": str(at), "cache_control": {"type": "ephemeral"}} for at in range(6)]
    hour = {"type": "text", "text": "s", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    body = sent(messages=[{"role": "system", "content": [hour]}, {"role": "user", "content": marked}])
    assert "cache_control" not in body["system"][0]
    kept = [part["text"] for part in body["messages"][0]["content"] if "cache_control" in part]
    assert kept == ["2", "3", "4", "5"]
    body = sent(messages=[{"role": "system", "content": [hour]}, *HELLO])
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_bounds_of_values_go_and_names_that_look_like_them_stay() -> None:
    schema = {
        "type": "object",
        "properties": {"minimum": {"type": "integer", "minimum": 1}, "l": {"type": "array", "minItems": 2}},
        "$defs": {"d": {"type": "object", "properties": {}}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    found = sent(response_format=form)["output_config"]["format"]["schema"]
    assert found["properties"] == {"minimum": {"type": "integer"}, "l": {"type": "array"}}
    assert found["additionalProperties"] is found["$defs"]["d"]["additionalProperties"] is False
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(120):
        deep = {"type": "object", "properties": {"a": deep}}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": deep}}
    strict = {"type": "function", "function": {"name": "f", "strict": True, "parameters": deep}}
    for param, value in (("response_format", form), ("tools", [strict])):
        with pytest.raises(Unsupported) as caught:
            encoded(**{param: value})
        assert caught.value.param == param


# Thoughts


def test_thoughts_go_back_as_they_came() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    redacted = {"type": "redacted_thinking", "data": "x"}
    said = {"role": "assistant", "tool_calls": [call], "thinking_blocks": [{"index": 0, **THOUGHT}, redacted]}
    result = {"role": "tool", "tool_call_id": "t1", "content": "r"}
    body = sent(tools=[F], messages=[*HELLO, said, result])
    assert body["messages"][1]["content"][:2] == [THOUGHT, redacted]
    assert body["messages"][1]["content"][2]["type"] == "tool_use"


SECOND: Final = {"type": "thinking", "thinking": "oh", "signature": "b2g="}
REDACTED: Final = {"type": "redacted_thinking", "data": "x"}
ONE, TWO = ({"type": "tool_use", "id": f"t{at}", "name": "f", "input": {"at": at}} for at in (1, 2))
INTERLEAVED: Final = [
    [THOUGHT, SECOND, {"type": "text", "text": "Hi"}, ONE, TWO],
    [THOUGHT, ONE, SECOND, TWO],
    [THOUGHT, {"type": "text", "text": "Grüße, 𝛼 "}, REDACTED, {"type": "text", "text": "und so"}, ONE],
    [{"type": "text", "text": "Hi"}, ONE, THOUGHT, TWO],
    [ONE, THOUGHT, {"type": "text", "text": "Hi"}],
]


def streamed(content: list[dict[str, Any]]) -> bytes:
    """The blocks as the vendor would send them."""
    pieces = []
    for at, each in enumerate(content):
        if each["type"] == "text":
            pieces.append(text(at, *each["text"]))
        elif each["type"] == "tool_use":
            delta = {"type": "input_json_delta", "partial_json": json.dumps(each["input"])}
            pieces.append(block(at, {**each, "input": {}}, delta))
        elif each["type"] == "thinking":
            thinking = [{"type": "thinking_delta", "thinking": piece} for piece in each["thinking"]]
            signed = {"type": "signature_delta", "signature": each["signature"]}
            pieces.append(block(at, {**each, "thinking": "", "signature": ""}, *thinking, signed))
        else:
            pieces.append(block(at, each))
    return START + b"".join(pieces) + ending("tool_use")


@pytest.mark.parametrize("content", INTERLEAVED)
def test_thoughts_between_other_things_go_back_to_where_they_were(content: list[dict[str, Any]]) -> None:
    whole = answered(content=content, stop_reason="tool_use")["choices"][0]["message"]
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for payload in hear_every_way(KIND, stream_call(), streamed(content)).payloads:
        state.handle_chunk(ChatCompletionChunk.model_validate(payload))
    heard = state.get_final_completion().choices[0].message.model_dump(exclude_none=True)
    results = [{"role": "tool", "tool_call_id": id, "content": "r"} for id in ("t1", "t2")]
    for said in (whole, heard):
        turns = [*HELLO, said, *results, said, *results]
        bodies = sent(tools=[F], messages=turns)["messages"]
        assert bodies[1]["content"] == bodies[3]["content"] == content


@pytest.mark.parametrize(
    "after", [5, {}, {"characters": "1", "calls": None}, {"characters": -3, "calls": -1}, {"calls": True}]
)
def test_a_thought_whose_place_is_garbled_goes_first(after: Any) -> None:
    said = {"role": "assistant", "content": "Hi", "thinking_blocks": [{**THOUGHT, "after": after}]}
    content = sent(messages=[*HELLO, said, *HELLO])["messages"][1]["content"]
    assert content == [THOUGHT, {"type": "text", "text": "Hi"}]


def test_a_thought_beyond_what_the_client_has_kept_goes_last_and_no_blank_is_left() -> None:
    placed = [{**THOUGHT, "after": {"characters": at, "calls": 9}} for at in (1, 10**9)]
    said = {"role": "assistant", "content": " Hi", "thinking_blocks": placed}
    content = sent(messages=[*HELLO, said, *HELLO])["messages"][1]["content"]
    assert content == [THOUGHT, {"type": "text", "text": "Hi"}, THOUGHT]


def test_a_text_is_not_copied_each_time_it_is_parted() -> None:
    copied = []

    class Watched(str):
        def __getitem__(self, key: Any) -> Watched:
            piece = Watched(super().__getitem__(key))
            copied.append(len(piece))
            return piece

    count, step = 400, 10
    placed = [{**THOUGHT, "after": {"characters": at * step, "calls": 0}} for at in range(1, count)]
    text = Watched("x" * count * step)
    found = list(woven({"role": "assistant", "thinking_blocks": placed}, [Text(text)]))
    assert [each.text for each in found if isinstance(each, Text)] == ["x" * step] * count
    assert len(found) == 2 * count - 1 and sum(copied) == len(text)


def test_thoughts_of_neighbours_stay_with_their_messages() -> None:
    said = [
        {"role": "assistant", "content": word, "thinking_blocks": [thought]}
        for word, thought in (("a", THOUGHT), ("b", SECOND))
    ]
    content = sent(messages=[*HELLO, *said, *HELLO])["messages"][1]["content"]
    assert [each.get("text", each["type"]) for each in content] == ["thinking", "a", "thinking", "b"]


def test_a_manual_model_whose_thoughts_are_lost_does_not_think() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "t1", "content": "r"}
    lost = [*HELLO, {"role": "assistant", "tool_calls": [call]}, result]
    kept = [*HELLO, {"role": "assistant", "tool_calls": [call], "thinking_blocks": [THOUGHT]}, result]
    asked = {"tools": [F], "reasoning_effort": "high", "max_tokens": 9000}
    assert "thinking" not in sent("claude-haiku-4-5", messages=lost, **asked)
    assert sent("claude-haiku-4-5", messages=kept, **asked)["thinking"]["type"] == "enabled"


@pytest.mark.parametrize(
    "message",
    ["thinking block is bound to a different conversation", "Invalid `signature` in `thinking` block"],
)
def test_a_refusal_of_thoughts_is_asked_again_without(message: str) -> None:
    body = json.dumps(
        {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    ).encode()
    failure = make_adapter(KIND).error(400, {}, body)
    assert failure.amend is not None
    payload = {"messages": [*HELLO, {"role": "assistant", "content": "a", "thinking_blocks": [THOUGHT]}]}
    assert failure.amend(payload) == {"messages": [*HELLO, {"role": "assistant", "content": "a"}]}
    other = json.dumps(
        {"error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}
    ).encode()
    assert make_adapter(KIND).error(400, {}, other).amend is None


def test_a_stream_hands_thoughts_on_signed_and_numbered() -> None:
    signed = ({"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "c2ln"})
    thought = block(0, {"type": "thinking", "thinking": "", "signature": ""}, *signed)
    redacted = block(1, {"type": "redacted_thinking", "data": "x"})
    heard = hear_every_way(
        KIND, stream_call(), START + thought + redacted + text(2, "Hi") + ending("end_turn")
    )
    deltas = [payload["choices"][0]["delta"] for payload in heard.payloads]
    found = [each for delta in deltas for each in delta.get("thinking_blocks", ())]
    assert found == [{"index": 0, **THOUGHT}, {"index": 1, "type": "redacted_thinking", "data": "x"}]
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == ["hm"]


# Answers


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_every_reason_to_end(reason: str | None, finish: str) -> None:
    assert answered(stop_reason=reason)["choices"][0]["finish_reason"] == finish
    heard = hear(KIND, stream_call(), START + text(0, "Hi") + ending(reason))
    assert heard.payloads[-1]["choices"][0]["finish_reason"] == finish


def test_a_refusal_in_a_stream_is_told() -> None:
    details = {"stop_details": {"explanation": "No."}}
    heard = hear(KIND, stream_call(), START + ending("refusal", **details))
    assert [p["choices"][0]["delta"].get("refusal") for p in heard.payloads] == [None, "No.", None]


def test_blocks_of_the_vendors_own_tools_are_left_out() -> None:
    own = [
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
        {"type": "made_up"},
        5,
        None,
    ]
    found = answered(content=[*own, {"type": "text", "text": "Hi"}])["choices"][0]["message"]
    assert found == {"role": "assistant", "content": "Hi", "refusal": None}
    heard = hear(KIND, stream_call(), START + block(0, own) + text(1, "Hi") + ending("end_turn"))
    assert "tool_calls" not in json.dumps(heard.payloads)


def test_what_the_vendors_own_tools_are_asked_is_no_clients_call() -> None:
    asked = block(
        0,
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
    )
    own = block(
        1,
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query":"x"}'},
    )
    heard = hear_every_way(KIND, stream_call(), START + asked + own + ending("tool_use"))
    deltas = [payload["choices"][0]["delta"] for payload in heard.payloads]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["function"]["arguments"] for call in calls] == ["", '{"a":1}']


@pytest.mark.parametrize("stop", ["\n\n", ["x", " \n"]])
def test_stop_sequences_of_white_space_cut_here(stop: Any) -> None:
    mark = stop if isinstance(stop, str) else stop[1]
    said = f"one{mark}two"
    choice = answered(stop=stop, content=[{"type": "text", "text": said}], stop_reason="max_tokens")[
        "choices"
    ][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one", "stop")
    for cut in range(1, len(said)):
        heard = hear(
            KIND, stream_call(stop=stop), START + text(0, said[:cut], said[cut:]) + ending("end_turn")
        )
        assert spoken(heard) == "one" and heard.payloads[-1]["choices"][0]["finish_reason"] == "stop"
    heard = hear(KIND, stream_call(stop=stop), START + text(0, "one", mark[:1]) + ending("end_turn"))
    assert spoken(heard) == "one" + mark[:1]  # it was none


def spoken(heard: Heard) -> str:
    return "".join(c["delta"].get("content") or "" for p in heard.payloads for c in p["choices"])


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"content": "x"}', b'{"type": "error", "error": {}}']
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        codec_of(make_adapter(KIND)).decode(make_call(), body)
    assert caught.value.kind == errors.FAILED


def test_a_stream_that_ends_early_fails_wherever_it_is_cut() -> None:
    whole = (
        START
        + text(0, "Hi")
        + block(1, {"type": "tool_use", "id": "t", "name": "f", "input": {}})
        + ending("tool_use")
    )
    events = [piece + b"\n\n" for piece in whole.split(b"\n\n") if piece]
    for cut in range(len(events)):
        heard = hear(KIND, stream_call(), b"".join(events[:cut]))
        assert not heard.done and heard.failure is not None
        assert heard.failure.kind == (errors.INCOMPLETE if cut else errors.FAILED)
    assert hear(KIND, stream_call(), whole).done
    unreported = event("message_start", message={}) + text(0, "Hi")
    failure = hear(KIND, stream_call(), unreported).failure
    assert failure is not None and failure.kind == errors.INCOMPLETE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", errors.OVERLOADED),
        ("rate_limit_error", errors.RATE_LIMIT),
        ("api_error", errors.FAILED),
        ("invalid_request_error", errors.INVALID_REQUEST),
        ("authentication_error", errors.AUTH),
        ("billing_error", errors.AUTH),
        ("request_too_large", errors.INVALID_REQUEST),
        ("timeout_error", errors.TIMEOUT),
        ("made_up", errors.FAILED),
    ],
)
def test_an_error_in_a_stream_is_of_its_kind(kind: str, expected: str) -> None:
    failed = event("error", error={"type": kind, "message": "no"})
    for before in (b"", START, START + text(0, "Hi")):
        failure = hear(KIND, stream_call(), before + failed).failure
        assert failure is not None and failure.kind == expected


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spent_account_is_no_rate_limit_that_passes(code: str) -> None:
    error = {
        "type": "rate_limit_error",
        "message": "Workspace w has spent $5",
        "details": {"error_code": code},
    }
    body = json.dumps({"type": "error", "error": error}).encode()
    failure = make_adapter(KIND).error(429, {}, body)
    assert (failure.kind, failure.status, failure.retryable) == (errors.AUTH, 429, True)
    assert "$5" not in failure.message
    for details in (None, [], {}, {"error_code": ["x"]}, {"error_code": "made_up"}):
        body = json.dumps({"error": {**error, "details": details}}).encode()
        assert make_adapter(KIND).error(429, {}, body).kind == errors.RATE_LIMIT


def test_usage_is_known_from_the_first_event_and_replaced() -> None:
    decoder = codec_of(make_adapter(KIND)).decoder(asking_call())
    (first,) = decoder.feed(START)
    assert first.usage is not None and (first.usage.input_tokens, first.usage.output_tokens) == (3, 1)
    told = {"input_tokens": None, "cache_read_input_tokens": 4, "output_tokens": 9}
    more = event("message_delta", delta={"stop_reason": "end_turn"}, usage=told)
    (last,) = decoder.feed(more + STOP)
    assert last.usage is not None and (last.usage.input_tokens, last.usage.cached_tokens) == (7, 4)
    reported = json.loads(last.data.split(b"\n\n")[-3][6:])["usage"]
    assert reported["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 0}


def test_several_answers_are_several_requests() -> None:
    codec = codec_of(make_adapter(KIND))
    parts: list[Call] = codec.divide(make_call(n=3))
    assert [(part.first_choice, "n" in part.payload) for part in parts] == [
        (0, False),
        (1, False),
        (2, False),
    ]
    assert codec.divide(make_call(n=1)) == codec.divide(make_call()) == []
