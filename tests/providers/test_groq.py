"""Groq: each family's words for how hard to think, and thoughts where there must be JSON."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.calling import encode, make_call, sent

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("model", "effort", "theirs", "dropped"),
    [
        ("openai/gpt-oss-20b", "minimal", "low", ()),
        ("openai/gpt-oss-20b", "medium", "medium", ()),
        ("openai/gpt-oss-20b", "max", "high", ()),
        ("openai/gpt-oss-20b", "default", None, ()),
        ("openai/gpt-oss-20b", "none", None, ("reasoning_effort",)),
        ("qwen/qwen3.8-27b", "none", "none", ()),
        ("qwen/qwen3.8-27b", "minimal", "none", ()),
        ("qwen/qwen3.8-27b", "high", "default", ()),
        ("qwen/qwen3.8-27b", "default", "default", ()),
        ("some-model", "high", "high", ()),
    ],
)
def test_an_effort_in_the_words_of_the_model(
    model: str, effort: str, theirs: str | None, dropped: tuple[str, ...]
) -> None:
    call = make_call(reasoning_effort=effort)
    assert sent("groq", call, model).get("reasoning_effort") == theirs
    assert encode("groq", call, model).dropped == dropped


@pytest.mark.parametrize(
    ("more", "theirs"),
    [
        ({}, "raw"),
        ({"response_format": {"type": "text"}}, "raw"),
        ({"response_format": {"type": "json_object"}}, "parsed"),
        ({"tools": [TOOL]}, "parsed"),
    ],
)
def test_thoughts_are_put_apart_from_json(more: dict[str, Any], theirs: str) -> None:
    request = encode("groq", make_call(reasoning_format="raw", **more))
    assert sent("groq", make_call(reasoning_format="raw", **more))["reasoning_format"] == theirs
    assert request.dropped == (() if theirs == "raw" else ("reasoning_format",))
    assert sent("groq", make_call(reasoning_format="hidden", **more))["reasoning_format"] == "hidden"
