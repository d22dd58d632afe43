"""Golden payloads of each accounting -> tokens, each counted once, and what the vendor charges (R-24)."""

from __future__ import annotations

from typing import Any

import pytest

from providers.types import Usage
from providers.usage import from_anthropic, from_gemini, from_openai, variant_of

GOLDEN: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "OpenAI: everything is a part of its side",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30, "audio_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 3},
        },
        Usage(100, 50, 60, 30, 40, 5, 3),
    ),
    (
        "xAI: reasoning is beside the completion, as the total says",
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 399,
            "completion_tokens_details": {"reasoning_tokens": 386},
        },
        Usage(12, 387, reasoning_tokens=386),
    ),
    (
        "beside, though less than the completion",
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 35,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        Usage(10, 25, reasoning_tokens=5),
    ),
    (
        "no total: more reasoning than completion cannot be a part of it",
        {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 9},
        },
        Usage(1, 11, reasoning_tokens=9, is_unclear=True),
    ),
    (
        "a total that is neither sum: inside, as at OpenAI",
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 77,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        Usage(10, 20, reasoning_tokens=5, is_unclear=True),
    ),
    (
        "more reasoning than completion, though the total is without it",
        {"prompt_tokens": 33, "completion_tokens": 71, "total_tokens": 104, "reasoning_tokens": 739},
        Usage(33, 810, reasoning_tokens=739, is_unclear=True),
    ),
    (
        "DeepSeek: cache hits by its own name",
        {
            "prompt_tokens": 20,
            "completion_tokens": 3,
            "total_tokens": 23,
            "prompt_cache_hit_tokens": 16,
            "prompt_cache_miss_tokens": 4,
        },
        Usage(20, 3, 16),
    ),
    (
        "DeepSeek: the same hits under both names count once",
        {
            "prompt_tokens": 20,
            "completion_tokens": 3,
            "total_tokens": 23,
            "prompt_cache_hit_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 16},
        },
        Usage(20, 3, 16),
    ),
    (
        "Together: cached_tokens at the top",
        {"prompt_tokens": 8, "completion_tokens": 1, "cached_tokens": 4},
        Usage(8, 1, 4),
    ),
    (
        "Perplexity: reasoning_tokens at the top",
        {"prompt_tokens": 8, "completion_tokens": 10, "total_tokens": 18, "reasoning_tokens": 6},
        Usage(8, 10, reasoning_tokens=6),
    ),
    (
        "OpenAI: audio from a cache, images",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {
                "cached_tokens": 60,
                "audio_tokens": 50,
                "image_tokens": 7,
                "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 40, "image_tokens": 0},
            },
            "completion_tokens_details": {"image_tokens": 9},
        },
        Usage(
            100,
            50,
            60,
            audio_input_tokens=50,
            cached_audio_tokens=40,
            image_input_tokens=7,
            image_output_tokens=9,
        ),
    ),
    (
        "no part is more than its whole",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {
                "cached_tokens": 6,
                "audio_tokens": 4,
                "image_tokens": 99,
                "cached_tokens_details": {"audio_tokens": 99},
            },
            "completion_tokens_details": {"image_tokens": 99, "audio_tokens": 99},
        },
        Usage(
            10,
            5,
            6,
            audio_input_tokens=4,
            cached_audio_tokens=4,
            image_input_tokens=10,
            audio_output_tokens=5,
            image_output_tokens=5,
        ),
    ),
    ("embeddings", {"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
    ("only a total", {"total_tokens": 9}, Usage(9)),
    (
        "nulls",
        {
            "prompt_tokens": 4,
            "completion_tokens": None,
            "total_tokens": None,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        Usage(4),
    ),
    (
        "more cached than there was: bounded by the whole",
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}},
        Usage(5, 0, 5, 0),
    ),
    (
        "floats are rounded up, nonsense is nothing",
        {"prompt_tokens": 2.1, "completion_tokens": "x"},
        Usage(3),
    ),
    ("no token is negative", {"prompt_tokens": -4, "completion_tokens": -1}, Usage()),
    ("true is no number", {"prompt_tokens": True, "completion_tokens": 1}, Usage(0, 1)),
]


@pytest.mark.parametrize(("payload", "usage"), [row[1:] for row in GOLDEN], ids=[row[0] for row in GOLDEN])
def test_a_golden_payload(payload: dict[str, Any], usage: Usage) -> None:
    assert from_openai(payload) == usage


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        {},
        [],
        "7",
        7,
        {"cost": 1},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": "many"},
    ],
)
def test_nothing_reported_is_none_and_not_zero(nothing: Any) -> None:
    assert from_openai(nothing) is None


def test_a_reported_zero_is_kept() -> None:
    assert from_openai({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}) == Usage()


def test_the_row_decides_only_where_the_sums_do_not() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 5}}
    unclear = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 77, **details}
    inside = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, **details}
    assert from_openai(unclear, reasoning_is_beside=True) == Usage(
        10, 25, reasoning_tokens=5, is_unclear=True
    )
    assert from_openai(inside, reasoning_is_beside=True) == Usage(10, 20, reasoning_tokens=5)


@pytest.mark.parametrize(
    ("more", "nanodollars"),
    [
        ({}, None),
        ({"cost": None}, None),
        ({"cost": 0}, 0),
        ({"cost": 1}, 10**9),
        ({"cost": 0.1}, 10**8),
        ({"cost": 0.00014499999999}, 145_000),
        ({"cost": 1e-12}, 1),
        ({"cost": 1_000_000}, 10**15),
        ({"cost": 1_000_000.1}, None),
        ({"cost": -0.1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": True}, None),
        ({"cost": "0.1"}, None),
        ({"cost": [0.1]}, None),
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost": {"request_cost": 0.005}}, None),
        ({"cost": {"total_cost": {}}}, None),
        ({"cost": 0.1, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 10**8),
        ({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 3 * 10**8),
        ({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.1, "is_byok": True}, None),
    ],
)
def test_what_the_vendor_says_it_charges(more: dict[str, Any], nanodollars: int | None) -> None:
    usage = from_openai({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, **more})
    assert usage == Usage(1, 1, cost_nanodollars=nanodollars)


CLAUDE: list[tuple[str, dict[str, Any], Usage]] = [
    ("plain", {"input_tokens": 10, "output_tokens": 5, "service_tier": "standard"}, Usage(10, 5)),
    (
        "cached and written tokens are beside",
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens_details": {"thinking_tokens": 4},
        },
        Usage(140, 5, 100, 30, 4, cache_write_1h_tokens=20),
    ),
    (
        "nulls",
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": None,
            "cache_creation_input_tokens": None,
            "cache_creation": None,
            "output_tokens_details": None,
            "service_tier": None,
            "speed": None,
        },
        Usage(10, 5),
    ),
    ("the end of a stream", {"output_tokens": 5}, Usage(0, 5)),
    (
        "lifetimes without their sum",
        {
            "input_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
        },
        Usage(6, cache_write_tokens=5, cache_write_1h_tokens=3),
    ),
    (
        "more thinking than output",
        {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}},
        Usage(0, 5, reasoning_tokens=5),
    ),
    (
        "fast",
        {"input_tokens": 1, "speed": "fast", "service_tier": "standard"},
        Usage(1, variant="speed=fast"),
    ),
    (
        "priority",
        {"input_tokens": 1, "service_tier": "priority", "speed": "standard"},
        Usage(1, variant="service_tier=priority"),
    ),
]


@pytest.mark.parametrize(("payload", "usage"), [row[1:] for row in CLAUDE], ids=[row[0] for row in CLAUDE])
def test_a_usage_of_anthropic(payload: dict[str, Any], usage: Usage) -> None:
    assert from_anthropic(payload) == usage


def sort_of(modality: str, tokens: Any) -> dict[str, Any]:
    return {"modality": modality, "tokenCount": tokens}


GEMINI: list[tuple[str, dict[str, Any], Usage]] = [
    ("plain", {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, Usage(10, 5)),
    (
        "thoughts and the prompts of tools are beside",
        {
            "promptTokenCount": 10,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7,
            "toolUsePromptTokenCount": 3,
            "totalTokenCount": 25,
        },
        Usage(13, 12, reasoning_tokens=7),
    ),
    (
        "a proxy that has added the thoughts",
        {"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7, "totalTokenCount": 22},
        Usage(10, 12, reasoning_tokens=7),
    ),
    (
        "a total that is neither sum",
        {"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7, "totalTokenCount": 99},
        Usage(10, 19, reasoning_tokens=7, is_unclear=True),
    ),
    (
        "nothing but thoughts came",
        {"promptTokenCount": 10, "thoughtsTokenCount": 7, "totalTokenCount": 17},
        Usage(10, 7, reasoning_tokens=7),
    ),
    (
        "sorts of tokens",
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "candidatesTokenCount": 50,
            "toolUsePromptTokenCount": 10,
            "totalTokenCount": 160,
            "promptTokensDetails": [sort_of("TEXT", 20), sort_of("AUDIO", 50), sort_of("IMAGE", 30)],
            "toolUsePromptTokensDetails": [sort_of("AUDIO", 10)],
            "cacheTokensDetails": [sort_of("AUDIO", 40), sort_of("TEXT", 20)],
            "candidatesTokensDetails": [sort_of("IMAGE", 30), sort_of("AUDIO", 20)],
        },
        Usage(
            110,
            50,
            60,
            audio_input_tokens=60,
            cached_audio_tokens=40,
            image_input_tokens=30,
            audio_output_tokens=20,
            image_output_tokens=30,
        ),
    ),
    (
        "nonsense counts nothing",
        {
            "promptTokenCount": 10,
            "cachedContentTokenCount": 99,
            "promptTokensDetails": ["AUDIO", {}, sort_of("AUDIO", None), sort_of("AUDIO", "7")],
            "cacheTokensDetails": {"modality": "AUDIO"},
        },
        Usage(10, 0, 10),
    ),
    ("embeddings", {"promptTokenCount": 8}, Usage(8)),
    ("only a total", {"totalTokenCount": 8}, Usage(8)),
]


@pytest.mark.parametrize(("payload", "usage"), [row[1:] for row in GEMINI], ids=[row[0] for row in GEMINI])
def test_a_usage_of_gemini(payload: dict[str, Any], usage: Usage) -> None:
    assert from_gemini(payload) == usage


@pytest.mark.parametrize(
    "nothing", [None, {}, [], "7", 7, {"input_tokens": None, "promptTokenCount": "many"}]
)
def test_neither_reports_what_was_not_reported(nothing: Any) -> None:
    assert from_anthropic(nothing) is None
    assert from_gemini(nothing) is None


@pytest.mark.parametrize(
    ("tier", "variant"),
    [
        *(
            (tier, "")
            for tier in (None, "default", "auto", "standard", "on_demand", "", 7, ["flex"], "a b", "x" * 33)
        ),
        *((tier, f"service_tier={tier}") for tier in ("flex", "priority", "fast", "performance")),
    ],
)
def test_the_tier_of_an_answer(tier: Any, variant: str) -> None:
    assert variant_of({"id": "x", "service_tier": tier}) == variant
    assert variant_of({"id": "x"}) == ""
