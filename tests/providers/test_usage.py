"""Golden payloads of each accounting -> tokens, each counted once (R-24)."""

from __future__ import annotations

from typing import Any

import pytest

from providers.types import Usage
from providers.usage import from_openai

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
        Usage(1, 11, reasoning_tokens=9),
    ),
    (
        "a total that is neither sum: inside, as at OpenAI",
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 77,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        Usage(10, 20, reasoning_tokens=5),
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
    assert from_openai(unclear, reasoning_is_beside=True) == Usage(10, 25, reasoning_tokens=5)
    assert from_openai(inside, reasoning_is_beside=True) == Usage(10, 20, reasoning_tokens=5)
