"""A request in Anthropic's format becomes the one in OpenAI's that asks for the same."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.anthropic_request import translated
from handlers.rules import InvalidParameter
from handlers.validate import validate
from providers.errors import Unsupported
from providers.extensions import EXTENSIONS
from providers.types import CHAT
from tests.handlers.anthropic_wire import (
    FIELDS,
    HELLO,
    JUNK,
    REDACTED,
    REQUESTS,
    SIGNED,
    THOUGHT,
    WORDS,
    Node,
    asked,
    call_of,
    said,
)
from tests.providers import wire_cases
from tests.providers.calling import codec_of, encode
from tests.providers.wire_cases import Case


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case["id"])
def test_the_vendor_reads(case: Case) -> None:
    assert asked(case["anthropic_request"]) == case["upstream_request"]


def test_a_message_splits_into_tool_results_and_what_is_said_beside_them() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    blocks = [
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{**WORDS, "text": "a"}, image, {**WORDS, "text": "b"}],
        },
        {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True},
        {"type": "tool_result", "tool_use_id": "t3"},
        {"type": "text", "text": "go on"},
    ]
    assert asked(said(*blocks))["messages"] == [
        {"role": "tool", "tool_call_id": "t1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no such city"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                {"type": "text", "text": "go on"},
            ],
        },
    ]


def test_texts_of_a_system_prompt_are_joined() -> None:
    system = [{"type": "text", "text": text} for text in ("Be brief.", "", "Be kind.")]
    assert asked({**FIELDS, "system": system})["messages"][0] == {
        "role": "system",
        "content": "Be brief.\n\nBe kind.",
    }
    assert asked({**FIELDS, "system": " x"})["messages"][0]["content"] == " x"
    assert asked({**FIELDS, "system": ""})["messages"] == HELLO


DOCUMENTS: Final = {
    "base64": (
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        {"type": "file", "file": {"filename": "T", "file_data": "data:application/pdf;base64,JVBERg=="}},
    ),
    "url": (
        {"type": "url", "url": "https://x.example/a.pdf"},
        {"type": "file", "file": {"filename": "T", "file_data": "https://x.example/a.pdf"}},
    ),
    "text": (
        {"type": "text", "media_type": "text/plain", "data": "words"},
        {"type": "text", "text": "words"},
    ),
    "content": ({"type": "content", "content": "words"}, {"type": "text", "text": "words"}),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_comes_with_what_is_said_about_it(kind: str) -> None:
    source, part = DOCUMENTS[kind]
    block = {"type": "document", "source": source, "title": "T", "context": "From the archive."}
    (message,) = asked(said(block))["messages"]
    assert message["content"] == [{"type": "text", "text": "T\n\nFrom the archive."}, part]


def test_a_search_result_is_text() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    block = {"type": "search_result", "source": "https://x.example", "title": "T", "content": texts}
    assert asked(said(block))["messages"][0]["content"] == "T\n\nhttps://x.example\n\na\n\nb"


def test_hosts_of_openais_dialect_are_sent_nothing_they_may_not_know() -> None:
    marker = {"type": "ephemeral", "ttl": "1h"}
    blocks = [THOUGHT, SIGNED, REDACTED, {**WORDS, "cache_control": marker}]
    request = {**said(*blocks, role="assistant"), "top_k": 5}
    payload = translated(request)
    assert payload["top_k"] == 5
    (message,) = payload["messages"]
    assert message["cache_control"] == marker
    assert message["thinking_blocks"] == [SIGNED, REDACTED]
    assert message["reasoning_content"] == "hm"
    sent = encode("openai_compatible", call_of(request))
    assert sent.dropped == ("top_k",)
    assert json.loads(sent.body) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "assistant", "content": "Yes."}],
    }


def test_nor_are_the_responses_of_openai() -> None:
    request = {
        **said(SIGNED, WORDS, role="assistant"),
        "model": "gpt-5.4",
        "tools": [TOOL],
        "max_tokens": 9000,
    }
    request |= {"top_k": 5, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    call = call_of({**request, "cache_control": {"type": "ephemeral"}})
    target = wire_cases.target_of({"kind": "openai"}, call)
    codec = target.adapter.codec_for(call, target)
    assert codec is not None
    sent = codec.encode(call, target)
    assert b"/responses" in sent.endpoint.head
    assert sent.dropped == ("top_k",)
    assert not EXTENSIONS & json.loads(sent.body).keys()


def test_a_cap_beyond_what_a_model_can_say_is_lowered() -> None:
    caps = {}
    for cap in (100, 32_000):
        call = call_of({**FIELDS, "model": "gpt-4o", "max_tokens": cap})
        target = wire_cases.target_of({"kind": "openai"}, call)
        caps[cap] = json.loads(codec_of(target.adapter).encode(call, target).body)["max_tokens"]
    assert caps == {100: 100, 32_000: 16_384}


def test_models_of_anthropics_get_back_what_was_theirs() -> None:
    marker = {"type": "ephemeral"}
    request = {
        **said({**WORDS, "cache_control": marker}),
        "model": "claude-opus-4-8",
        "thinking": {"type": "adaptive", "display": "omitted"},
        "cache_control": marker,
        "system": [{**WORDS, "cache_control": marker}],
    }
    request["messages"] += [{"role": "assistant", "content": [SIGNED, REDACTED, WORDS]}, *HELLO]
    call = call_of(request)
    target = wire_cases.target_of({"kind": "anthropic"}, call)
    codec = target.adapter.codec_for(call, target)
    assert codec is not None
    hello = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    assert json.loads(codec.encode(call, target).body) == {
        **request,
        "messages": [*request["messages"][:2], hello],
    }


def test_a_host_that_wants_reasoning_back_gets_it() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "w", "input": {}}
    (message,) = asked(said(THOUGHT, call, role="assistant"), "deepseek")["messages"]
    assert message["reasoning_content"] == "hm"
    assert message["content"] is None


def test_a_part_keeps_its_mark_for_the_vendors_that_cache_by_it() -> None:
    marker = {"type": "ephemeral"}
    payload = translated(said(WORDS, {**WORDS, "cache_control": marker}))
    assert payload["messages"][0]["content"][1] == {**WORDS, "cache_control": marker}
    system = [{**WORDS, "cache_control": marker}, WORDS]
    assert translated({**FIELDS, "system": system})["messages"][0]["cache_control"] == marker
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x", "cache_control": marker}
    assert translated(said(result))["messages"][0]["cache_control"] == marker


THINKING: Final = [
    ({"type": "adaptive"}, None, None),
    ({"type": "adaptive"}, "max", "max"),
    ({"type": "enabled", "budget_tokens": 2047}, None, "low"),
    ({"type": "enabled", "budget_tokens": 2048}, None, "medium"),
    ({"type": "enabled", "budget_tokens": 8192}, None, "high"),
    ({"type": "enabled", "budget_tokens": 8192}, "low", "low"),
    ({"type": "disabled"}, "high", None),
    (None, "high", None),
]


@pytest.mark.parametrize(("thinking", "effort", "expected"), THINKING)
def test_effort_goes_along_where_thinking_is_wanted(
    thinking: Node | None, effort: str | None, expected: str | None
) -> None:
    request = {**FIELDS, "thinking": thinking, "output_config": {"effort": effort}}
    assert asked(request).get("reasoning_effort") == expected


TOOL: Final = {"name": "w", "input_schema": {"type": "object"}}
CHOICES: Final[list[tuple[Node, Node]]] = [
    ({"type": "auto"}, {"tool_choice": "auto"}),
    ({"type": "any"}, {"tool_choice": "required"}),
    ({"type": "none"}, {"tool_choice": "none"}),
    ({"type": "tool", "name": "w"}, {"tool_choice": {"type": "function", "function": {"name": "w"}}}),
    (
        {"type": "auto", "disable_parallel_tool_use": True},
        {"tool_choice": "auto", "parallel_tool_calls": False},
    ),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_a_choice_of_tools_is_translated(choice: Node, expected: Node) -> None:
    sent = asked({**FIELDS, "tools": [TOOL], "tool_choice": choice})
    assert {name: sent[name] for name in sent if name in ("tool_choice", "parallel_tool_calls")} == expected
    assert "tool_choice" not in asked({**FIELDS, "tools": [], "tool_choice": choice})


def test_a_form_of_answer_is_translated() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": schema}}
    assert asked({**FIELDS, "output_config": config})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "strict": True, "schema": schema},
    }


def test_a_user_that_hosts_would_refuse_is_hashed() -> None:
    assert asked({**FIELDS, "metadata": {"user_id": "u-1_x"}})["user"] == "u-1_x"
    users = [asked({**FIELDS, "metadata": {"user_id": user}})["user"] for user in ('{"a":"b"}', "x" * 65)]
    assert all(len(user) == 64 and user.isalnum() for user in users)
    assert users[0] != users[1]


def test_only_four_stop_sequences_have_room() -> None:
    assert asked({**FIELDS, "stop_sequences": ["", "a", "b", "c", "d", "e"]})["stop"] == ["a", "b", "c", "d"]


def test_unknown_parameters_are_left_out() -> None:
    beside = {"context_management": {}, "betas": ["x"], "container": None, "temperature": None}
    assert asked({**FIELDS, **beside}) == FIELDS


REFUSED: Final[list[tuple[Node, str]]] = [
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"temperature": 1.5}, "temperature"),
    ({"stop_sequences": ["a", 1]}, "stop_sequences[1]"),
    ({"system": [{"type": "text"}]}, "system[0].text"),
    ({"system": [{"type": "image"}]}, "system[0]"),
    ({"tools": [{"name": "w"}]}, "tools[0].input_schema"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
    (said({"type": "text"}), "messages[0].content[0].text"),
    (said({"type": "container_upload", "file_id": "f"}), "messages[0].content[0]"),
    (said({"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages[0].content[0].source"),
    (said({"type": "document", "source": {"type": "file"}}), "messages[0].content[0].source"),
    (said({"type": "tool_result", "content": "x"}), "messages[0].content[0].tool_use_id"),
    (
        said({"type": "tool_use", "id": "t", "name": "w"}, role="assistant"),
        "messages[0].content[0].input",
    ),
    (said({"type": "server_tool_use"}, role="assistant"), "messages[0].content[0]"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[param for _, param in REFUSED])
def test_what_cannot_be_asked_for_is_refused_by_its_path(fields: Node, param: str) -> None:
    with pytest.raises((InvalidParameter, Unsupported)) as caught:
        translated({**FIELDS, **fields})
    assert caught.value.param == param


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for name, inner in items for place in places(inner, (*path, name)))]


def test_whatever_is_asked_for_is_refused_or_becomes_a_valid_chat_request() -> None:
    whole = json.dumps(REQUESTS[0]["anthropic_request"])

    @given(st.sampled_from(places(json.loads(whole))[1:]), JUNK)
    def check(place: tuple[Any, ...], junk: Any) -> None:
        request = node = json.loads(whole)
        for name in place[:-1]:
            node = node[name]
        node[place[-1]] = junk
        try:
            payload = translated(request)
        except (InvalidParameter, Unsupported):
            return
        validate(CHAT, payload)
        encode("openai", call_of(request))

    check()
