"""Every vendor's shape of a list becomes the same rows; what is odd is passed over; reading one is bounded.

The bodies in tests/recorded/models follow the vendors' references and SDK types.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from providers.model_lists import MOST_MODELS, ListedModel, page, type_by_name
from providers.vendors import kinds

RECORDED = Path(__file__).resolve().parent.parent / "recorded" / "models"
ABLE = '{"adaptive_thinking":true,"xhigh_reasoning_effort":true,"max_reasoning_effort":true}'

# file -> its rows and where the next page begins: id, type, context, max_output, created, retires, quirks
SHAPES: dict[str, tuple[list[tuple[Any, ...]], str]] = {
    "openai": (
        [
            ("gpt-4o", "chat", None, None, 1715367049, None),
            ("gpt-5.4-2026-03-05", "chat", None, None, 1772600000, None),
            ("text-embedding-3-small", "embedding", None, None, 1705948997, None),
            ("gpt-image-2", "image", None, None, 1770000000, None),
            ("whisper-1", "audio", None, None, 1677532384, None),
            ("gpt-4o-mini-tts", "audio", None, None, 1742403959, None),
            ("sora-2", "video", None, None, 1759708615, None),
            ("omni-moderation-latest", "moderation", None, None, 1731689265, None),
            ("gpt-5.4-pro", "responses", None, None, 1772600000, None),
            ("gpt-3.5-turbo-instruct", "completion", None, None, 1692901427, None),
            ("ft:gpt-4o-mini-2024-07-18:acme::A1b2", "chat", None, None, 1750000000, "2027-01-14"),
        ],
        "",
    ),
    "anthropic.1": (
        [
            ("claude-sonnet-5-5", "chat", 1000000, 128000, 1788220800, None, ABLE),
            ("claude-haiku-4-5-20251001", "chat", 200000, 64000, 1759276800, None),
        ],
        "claude-haiku-4-5-20251001",
    ),
    "anthropic.2": (
        [("claude-sonnet-4-5-20250929", "chat", 1000000, 128000, 1759104000, "2026-11-30", ABLE)],
        "",
    ),
    "gemini.1": (
        [
            ("gemini-3.8-flash", "chat", 1048576, 65536),
            ("gemini-3.1-flash-image", "image", 65536, 32768),
            ("gemini-2.5-flash-preview-tts", "audio", 8192, 16384),
            ("gemini-embedding-001", "embedding", 2048, None),
        ],
        "Ch9tb2RlbHM=",
    ),
    "gemini.2": (
        [
            ("imagen-4.0-generate-001", "image", 480, 8192),
            ("veo-3.1-generate-preview", "video", 480, 8192),
            ("gemini-3.5-flash-live-preview", "audio", 131072, 8192),
            ("aqa", "other", 7168, 1024),
        ],
        "",
    ),
    "mistral": (
        [
            ("mistral-large-2512", "chat", 262144, None, 1763000000),
            ("mistral-large-latest", "chat", 262144, None, 1763000000),
            ("codestral-embed-2505", "embedding", 8192, None, 1763000000),
            ("codestral-embed", "embedding", 8192, None, 1763000000),
            ("mistral-moderation-2411", "moderation", 8192, None, 1763000000),
            ("mistral-ocr-2512", "other", 16384, None, 1763000000),
            ("voxtral-mini-transcribe-2507", "audio", 16384, None, 1763000000),
        ],
        "",
    ),
    "deepseek": ([("deepseek-v4-flash", "chat"), ("deepseek-v4-pro", "chat")], ""),
    "groq": (
        [
            ("openai/gpt-oss-120b", "chat", 131072, 65536, 1754408224),
            ("whisper-large-v3", "audio", 448, 448, 1693721698),
        ],
        "",
    ),
    "together": (
        [
            ("openai/gpt-oss-120b", "chat", 131072, None, 1778000000),
            ("meta-models/Muse-Glimmer-30B", "completion", 32768, None, 1778000000),
            ("intfloat/multilingual-e5-large-instruct", "embedding", 514, None, 1778000000),
            ("black-forest-labs/FLUX.2-pro", "image", None, None, 1778000000),
            ("Salesforce/Llama-Rank-V1", "rerank", 8192, None, 1778000000),
            ("VirtueAI/VirtueGuard", "moderation", 4096, None, 1778000000),
            ("openai/whisper-large-v3", "audio", 448, None, 1778000000),
        ],
        "",
    ),
    "fireworks": (
        [
            ("accounts/fireworks/models/kimi-k3", "chat", 262144, None, 1783000000),
            ("accounts/fireworks/models/flux-1-schnell-fp8", "image", None, None, 1729532889),
            ("accounts/fireworks/models/some-base", "other", 8192, None, 1729532889),
        ],
        "",
    ),
    "openrouter": (
        [
            ("anthropic/claude-sonnet-5.5", "chat", 1000000, 128000, 1778000000),
            ("meta-llama/llama-3.3-70b-instruct:free", "chat", 65536, None, 1778000000, "2027-02-01"),
            ("google/gemini-3.1-flash-image", "chat", 65536, 32768, 1778000000),
            ("black-forest-labs/flux.2-max", "image", 46864, None, 1778000000),
            ("openai/text-embedding-3-small", "embedding", 8192, None, 1778000000),
        ],
        "",
    ),
    "xai": (
        [
            ("grok-4.6", "chat", None, None, 1780000000),
            ("grok-imagine-image", "image", None, None, 1769000000),
        ],
        "",
    ),
    "cerebras": ([("gpt-oss-120b", "chat")], ""),
    "deepinfra": (
        [
            ("meta-llama/Llama-3.3-70B-Instruct", "chat", 131072, None, 1733500000),
            ("BAAI/bge-m3", "embedding", None, None, 1710000000),
        ],
        "",
    ),
    "novita": (
        [
            ("meta-llama/llama-3.3-70b-instruct", "chat", 131072, 16384, 1733560000),
            ("baai/bge-reranker-v2-m3", "rerank", 8000, None, 1733560000),
        ],
        "",
    ),
    "ollama": (
        [
            ("llama3.1:8b", "chat", None, None, 1778000000),
            ("nomic-embed-text:latest", "embedding", None, None, 1778000000),
        ],
        "",
    ),
    "ollama.empty": ([], ""),
    "vllm": ([("Qwen/Qwen3.8-27B", "chat", 40960, None, 1778000000)], ""),
    "lmstudio": ([("gemma-3-27b-it@q4_k_m", "chat"), ("My Models/a b.gguf", "chat")], ""),
}


def body(name: str) -> bytes:
    return (RECORDED / f"{name}.json").read_bytes()


def rows(kind: str, *given: Any) -> list[ListedModel]:
    return page(kind, json.dumps({"data": list(given), "models": list(given)}).encode()).models


# Shapes


@pytest.mark.parametrize("name", SHAPES)
def test_a_vendors_shape_becomes_rows(name: str) -> None:
    wanted, cursor = SHAPES[name]
    assert page(name.partition(".")[0], body(name)) == ([ListedModel(*row) for row in wanted], cursor)


def test_every_recorded_list_is_read() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(SHAPES)
    assert {name.partition(".")[0] for name in SHAPES} <= kinds()


def test_the_first_of_two_rows_of_a_name_counts() -> None:
    assert rows("vllm", {"id": "m", "max_model_len": 5}, {"id": "m"}) == [ListedModel("m", "chat", 5)]


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        "gpt-4o",
        [],
        {},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": "x" * 257},
        {"id": "a\nb"},
        {"id": " a"},
        {"id": "\ud800"},
        {"name": "models/"},
        {"name": "models"},
    ],
)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "mistral"])
def test_a_row_that_is_no_model_is_passed_over(kind: str, row: Any) -> None:
    name = "name" if kind == "gemini" else "id"
    assert [model.id for model in rows(kind, row, {name: "models/good"})] in (["good"], ["models/good"])


@pytest.mark.parametrize(
    "value", [None, True, -1, 0, 10**10, "many", [], {}, 1.0e300, {"supported": 1}, [[]], "9999-99-99"]
)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "mistral", "openrouter"])
def test_a_field_that_is_not_understood_is_unknown(kind: str, value: Any) -> None:
    names = (
        *("context_length", "max_completion_tokens", "created", "created_at", "shutdown_date", "retires_at"),
        *("max_input_tokens", "max_tokens", "aliases", "architecture", "top_provider", "metadata"),
        *("inputTokenLimit", "outputTokenLimit", "type", "lifecycle", "supportedGenerationMethods"),
        *(() if kind == "mistral" else ("capabilities",)),
    )
    (model,) = rows(kind, {"id": "m", "name": "models/m", **dict.fromkeys(names, value)})
    unknown = ListedModel("m", "other" if kind == "gemini" else "chat")
    # Ten digits in a field of a time are a time.
    assert model._replace(created=None) == unknown and (model.created is None or value == 10**10)


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"null", b"7", b'{"error": {"message": "no"}}', b'{"data": {}}', b"[" * 9999]
)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
def test_what_is_no_list_is_refused(kind: str, answer: bytes) -> None:
    with pytest.raises(ValueError):
        page(kind, answer.replace(b"data", b"models") if kind == "gemini" else answer)


def test_a_list_has_a_bound() -> None:
    assert len(rows("vllm", *({"id": f"m{number}"} for number in range(MOST_MODELS + 50)))) == MOST_MODELS


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gpt-audio-mini", "chat"),
        ("gpt-realtime", "audio"),
        ("gemini-3.5-pro", "chat"),
        ("o3-pro", "responses"),
        ("o4-mini-deep-research", "responses"),
        ("gpt-5.3-codex", "responses"),
        ("gpt-4o-search-preview", "chat"),
        ("davinci-002", "completion"),
        ("dall-e-3", "image"),
        ("tts-1-hd", "audio"),
        ("sonar-pro", "chat"),
        ("grok-4.5-pro", "chat"),
        ("accounts/fireworks/models/mixtral-8x7b", "chat"),
        ("thenlper/gte-large", "embedding"),
    ],
)
def test_a_models_type_by_its_name_alone(model: str, kind: str) -> None:
    assert type_by_name(model) == kind
