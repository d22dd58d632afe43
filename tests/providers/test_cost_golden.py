"""What vendors answer -> exact nano-dollars, each computed by hand from the published price (R-24).

The comments calculate in micro-dollars: tokens x US dollars per million. The prices are what price_lookup
really answers from the bundled data; a release of genai-prices that corrects one of them is seen here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pytest

from providers.price_lookup import Lookup
from providers.pricing import Tariff, cost
from providers.types import Usage
from providers.usage import from_anthropic, from_gemini, from_openai, variant_of

NOON: Final = "2026-11-23T12:00:00"
Row = tuple[Any, ...]  # the fields of a Golden after its provider


@dataclass(frozen=True)
class Golden:
    """An answer of a model at a UTC time, and what it costs."""

    provider: str
    name: str
    model: str
    answer: dict[str, Any]
    nanodollars: int
    at: str = NOON


def chat(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """An answer in OpenAI's dialect; `tier` is its top-level service_tier."""
    tier = more.pop("tier", None)
    total = more.pop("total_tokens", prompt + completion)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}
    return {"object": "chat.completion", "service_tier": tier, "usage": usage}


def cached(tokens: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": tokens, **more}}


def reasoned(tokens: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": tokens}}


def claude(input_tokens: int, output_tokens: int, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens, "service_tier": "standard", **more}
    return {"type": "message", "usage": usage}


def gemini(prompt: int, candidates: int, total: int, **more: Any) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": total}
    return {"usageMetadata": {**counts, **more}}


def of_sort(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items()]


OPENAI: Final[list[Row]] = [
    # 1000 x 2.50 + 500 x 10 = 2500 + 5000 = 7500
    ("plain", "gpt-4o", chat(1000, 500, tier="default"), 7_500_000),
    # 86 x 2.50 + 1920 x 1.25 + 300 x 10 = 215 + 2400 + 3000 = 5615
    ("cached", "gpt-4o", chat(2006, 300, **cached(1920)), 5_615_000),
    # 86 x 4.25 + 1920 x 2.125 + 300 x 17 = 365.5 + 4080 + 5100 = 9545.5
    ("priority", "gpt-4o", chat(2006, 300, **cached(1920), tier="priority"), 9_545_500),
    # the price of priority is known from 12 October on; before: as standard, 5000 + 3000
    ("priority, too early", "gpt-4o", chat(2000, 300, tier="priority"), 8_000_000, "2026-10-11T23:59:59"),
    # n = 3: three answers of 11 tokens. 9 x 0.15 + 33 x 0.60 = 1.35 + 19.8 = 21.15
    ("three choices", "gpt-4o-mini", chat(9, 33), 21_150),
    # 1 x 0.075 = 0.075
    ("one cached token", "gpt-4o-mini", chat(1, 0, **cached(1)), 75),
    # up to 272,000: 272000 x 2.50 + 1000 x 15 = 680000 + 15000 = 695000
    ("the last of the low tier", "gpt-5.4", chat(272_000, 1000), 695_000_000),
    # over 272,000, all tokens: 272001 x 5 + 1000 x 22.50 = 1360005 + 22500 = 1382505
    ("the first of the high tier", "gpt-5.4", chat(272_001, 1000), 1_382_505_000),
    # 2000 x 1.25 + 8000 x 0.13 + 2000 x 7.50 = 2500 + 1040 + 15000 = 18540
    (
        "flex, cached, reasoning",
        "gpt-5.4",
        chat(10_000, 2000, **cached(8000), **reasoned(1500), tier="flex"),
        18_540_000,
    ),
    # 300000 x 2.50 + 100 x 11.25 = 750000 + 1125 = 751125
    ("flex, high tier", "gpt-5.4", chat(300_000, 100, tier="flex"), 751_125_000),
    # priority has no tiers: 300000 x 5 + 100 x 30 = 1500000 + 3000 = 1503000
    ("priority, large", "gpt-5.4", chat(300_000, 100, tier="priority"), 1_503_000_000),
    # 1000 x 4 + 5000 x 0.40 + 6000 x 5 + 800 x 20 = 4000 + 2000 + 30000 + 16000 = 52000
    ("cache writes", "gpt-5.6-sol", chat(12_000, 800, **cached(5000, cache_write_tokens=6000)), 52_000_000),
    # reasoning is in the 1186: 75 x 2 + 1186 x 8 = 150 + 9488 = 9638
    ("reasoning inside", "o3", chat(75, 1186, **reasoned(1024)), 9_638_000),
    # 75 x 10 + 1186 x 40 = 750 + 47440 = 48190
    ("before the cut", "o3", chat(75, 1186, **reasoned(1024)), 48_190_000, "2025-06-09T23:59:59"),
    # 75 x 1 + 1186 x 4 = 75 + 4744 = 4819
    ("flex, reasoning", "o3", chat(75, 1186, **reasoned(1024), tier="flex"), 4_819_000),
    # text 20 x 2.50 + 50 x 10, audio 100 x 32 + 180 x 64 = 50 + 500 + 3200 + 11520 = 15270
    (
        "audio both ways",
        "gpt-audio",
        chat(
            120,
            230,
            prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 100},
            completion_tokens_details={"reasoning_tokens": 0, "audio_tokens": 180},
        ),
        15_270_000,
    ),
    # 300 cached audio x 0.30 + 100 cached text x 0.06 + 200 audio x 10 + 400 text x 0.60
    # = 90 + 6 + 2000 + 240; 150 audio x 20 + 50 text x 2.40 = 3000 + 120; together 5456
    (
        "cached audio, once",
        "gpt-realtime-mini",
        chat(
            1000,
            200,
            **cached(400, audio_tokens=500, cached_tokens_details={"text_tokens": 100, "audio_tokens": 300}),
            completion_tokens_details={"audio_tokens": 150},
        ),
        5_456_000,
    ),
    # 50 text x 5 + 200 image x 10 + 1056 x 40 = 250 + 2000 + 42240 = 44490
    (
        "images both ways",
        "gpt-image-1",
        chat(
            250,
            1056,
            prompt_tokens_details={"image_tokens": 200, "text_tokens": 50},
            completion_tokens_details={"image_tokens": 1056},
        ),
        44_490_000,
    ),
    # 8 x 0.02 = 0.16
    (
        "embeddings",
        "text-embedding-3-small",
        {"object": "list", "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        160,
    ),
    # 5 x 1.50 + 7 x 2 = 7.5 + 14 = 21.5
    ("completions", "gpt-3.5-turbo-instruct", chat(5, 7), 21_500),
]

ANTHROPIC: Final[list[Row]] = [
    # 1000 x 3 + 500 x 15 = 3000 + 7500 = 10500
    ("plain", "claude-sonnet-4-5", claude(1000, 500), 10_500_000),
    # 50 x 3 + 2000 x 3.75 + 10000 x 0.30 + 400 x 15 = 150 + 7500 + 3000 + 6000 = 16650
    (
        "five minutes of cache",
        "claude-sonnet-4-5",
        claude(
            50,
            400,
            cache_creation_input_tokens=2000,
            cache_read_input_tokens=10_000,
            cache_creation={"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 0},
        ),
        16_650_000,
    ),
    # 100 x 3 + 1000 x 3.75 + 2000 x 6 + 10 x 15 = 300 + 3750 + 12000 + 150 = 16200
    (
        "five minutes and an hour",
        "claude-sonnet-4-5",
        claude(
            100,
            10,
            cache_creation_input_tokens=3000,
            cache_read_input_tokens=None,
            cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
        ),
        16_200_000,
    ),
    # cached tokens count for the size: 200,000 is not over it. 1000 x 3 + 199000 x 0.30 + 100 x 15
    # = 3000 + 59700 + 1500 = 64200
    (
        "the last of the low tier",
        "claude-sonnet-4-5",
        claude(1000, 100, cache_read_input_tokens=199_000),
        64_200_000,
    ),
    # 200,001 is: 1000 x 6 + 199001 x 0.60 + 100 x 22.50 = 6000 + 119400.6 + 2250 = 127650.6
    (
        "the first of the high tier",
        "claude-sonnet-4-5",
        claude(1000, 100, cache_read_input_tokens=199_001),
        127_650_600,
    ),
    # thinking is in the 500: 1000 x 8 + 500 x 40 = 8000 + 20000 = 28000
    (
        "fast, thinking",
        "claude-opus-5-5",
        claude(1000, 500, speed="fast", output_tokens_details={"thinking_tokens": 300}),
        28_000_000,
    ),
    # 1000 x 4 + 500 x 20 = 4000 + 10000 = 14000
    ("not fast", "claude-opus-5-5", claude(1000, 500, speed="standard"), 14_000_000),
    # a committed capacity has no price of its own: 1000 x 1 + 200 x 5 = 2000
    ("priority", "claude-haiku-4-5", claude(1000, 200, service_tier="priority"), 2_000_000),
]

GOOGLE: Final[list[Row]] = [
    # 100 x 1.25 + (50 + 400) x 10 = 125 + 4500 = 4625
    ("thoughts beside", "gemini-2.5-pro", gemini(100, 50, 550, thoughtsTokenCount=400), 4_625_000),
    # a proxy that adds them up already: the same
    ("thoughts inside", "gemini-2.5-pro", gemini(100, 450, 550, thoughtsTokenCount=400), 4_625_000),
    # over 200,000: 10000 x 2.50 + 240000 x 0.25 + 1000 x 15 = 25000 + 60000 + 15000 = 100000
    (
        "cached, high tier",
        "gemini-2.5-pro",
        gemini(250_000, 1000, 251_000, cachedContentTokenCount=240_000),
        100_000_000,
    ),
    # 500 cached audio x 0.10 + 500 audio x 1 + 10 text x 0.30 + 20 x 2.50 = 50 + 500 + 3 + 50 = 603
    (
        "audio, half of it cached",
        "gemini-2.5-flash",
        gemini(
            1010,
            20,
            1030,
            cachedContentTokenCount=500,
            promptTokensDetails=of_sort(TEXT=10, AUDIO=1000),
            cacheTokensDetails=of_sort(AUDIO=500),
        ),
        603_000,
    ),
    # (100 + 300) x 0.30 + (40 + 60) x 2.50 = 120 + 250 = 370
    (
        "the prompt of a tool",
        "gemini-2.5-flash",
        gemini(100, 40, 500, toolUsePromptTokenCount=300, thoughtsTokenCount=60),
        370_000,
    ),
    # 12 x 0.30 + 1290 x 30 = 3.6 + 38700 = 38703.6
    (
        "an image comes out",
        "gemini-2.5-flash-image",
        gemini(12, 1290, 1302, candidatesTokensDetails=of_sort(IMAGE=1290)),
        38_703_600,
    ),
    # 258 of an image x 0.45 + 42 x 0.20 = 116.1 + 8.4 = 124.5
    (
        "the embedding of an image",
        "gemini-embedding-2",
        {"usageMetadata": {"promptTokenCount": 300, "promptTokensDetails": of_sort(TEXT=42, IMAGE=258)}},
        124_500,
    ),
    # 1000 x 0.75 + 1000 x 3.75 = 4500
    ("this year", "gemini-3.8-flash", gemini(1000, 1000, 2000), 4_500_000),
    # 1000 x 1.50 + 1000 x 7.50 = 9000
    ("next year", "gemini-3.8-flash", gemini(1000, 1000, 2000), 9_000_000, "2027-01-01T00:00:00"),
]

HALF: Final = chat(1000, 200, prompt_cache_hit_tokens=600, prompt_cache_miss_tokens=400)
DEEPSEEK: Final[list[Row]] = [
    # 400 x 0.15 + 600 x 0.003 + 200 x 0.60 = 60 + 1.8 + 120 = 181.8
    ("off-peak", "deepseek-v4-flash", HALF, 181_800),
    # twice that from 1:00 to 4:00 and from 6:00 to 10:00 UTC: 363.6
    ("the first peak", "deepseek-v4-flash", HALF, 363_600, "2026-11-23T01:00:00"),
    ("the end of the second peak", "deepseek-v4-flash", HALF, 363_600, "2026-11-23T09:59:59"),
    ("after it", "deepseek-v4-flash", HALF, 181_800, "2026-11-23T10:00:00"),
    # 1 x 0.0028 = 2.8 nano-dollars, rounded up
    ("under one", "deepseek-v4-flash", chat(1, 0, prompt_cache_hit_tokens=1), 3, "2026-08-16T12:00:00"),
]

XAI: Final[list[Row]] = [
    # 12 x 1.25 + (1 + 386) x 2.50 = 15 + 967.5 = 982.5
    ("reasoning beside", "grok-4.3", chat(12, 1, total_tokens=399, **reasoned(386)), 982_500),
    # 199999 x 1.25 + 100 x 2.50 = 249998.75 + 250 = 250248.75
    ("the last of the low tier", "grok-4.3", chat(199_999, 100), 250_248_750),
    # from 200,000 on: 100000 x 2.50 + 100000 x 0.40 + 100 x 5 = 250000 + 40000 + 500 = 290500
    ("the first of the high tier", "grok-4.3", chat(200_000, 100, **cached(100_000)), 290_500_000),
    # 36 x 0.20 + 163 x 0.05 + 9 x 0.50 = 7.2 + 8.15 + 4.5 = 19.85
    ("cached", "grok-4-fast", chat(199, 9, **cached(163), **reasoned(0)), 19_850),
]

MISTRAL: Final[list[Row]] = [
    # 1000 x 0.70 + 100 x 2.10 = 700 + 210 = 910
    ("plain", "mistral-large-4", chat(1000, 100), 910_000),
    # 1000 x 1.36 + 100 x 4.18 = 1360 + 418 = 1778
    ("between two dates", "mistral-large-4", chat(1000, 100), 1_778_000, "2026-10-25T00:00:00"),
    # 15 x 0.10 = 1.5
    ("embeddings", "mistral-embed", chat(15, 0), 1_500),
]

COSTS: Final = {"input_tokens_cost": 0.00004, "output_tokens_cost": 0.00038, "request_cost": 0.006}
PERPLEXITY: Final[list[Row]] = [
    # its own sum, 0.00642 dollars, and not 14 x 3 + 25 x 15 + 14000
    ("what it says it costs", "sonar-pro", chat(14, 25, cost={**COSTS, "total_cost": 0.00642}), 6_420_000),
    # 14 x 1 + 100 x 1 + a request of 12 dollars a thousand = 14 + 100 + 12000 = 12114
    ("a fee for the request", "sonar", chat(14, 100), 12_114_000),
    # more reasoning than completion is beside it: 33 x 2 + 7163 x 8 + 73997 x 3
    # = 66 + 57304 + 221991 = 279361
    (
        "reasoning has a price",
        "sonar-deep-research",
        chat(33, 7163, reasoning_tokens=73_997, citation_tokens=20_016),
        279_361_000,
    ),
]

UPSTREAM: Final = {"cost_details": {"upstream_inference_cost": 0.002}}
OPENROUTER: Final[list[Row]] = [
    # 0.00014 dollars
    ("what it says it costs", "openai/gpt-4o", chat(194, 2, cost=0.00014), 140_000),
    # 0.0000123456789012 dollars = 12345.6789012 nano-dollars, rounded up
    ("rounded up", "openai/gpt-4o", chat(4, 1, cost=1.23456789012e-05), 12_346),
    ("for nothing", "openai/gpt-4o", chat(194, 2, cost=0), 0),
    # its fee of 0.0001 and what the vendor takes on a key of one's own, 0.002
    ("a key of one's own", "openai/gpt-4o", chat(194, 2, cost=0.0001, is_byok=True, **UPSTREAM), 2_100_000),
    # not said: 500 x 3 + 4000 x 0.30 + 500 x 3.75 + 100 x 15 = 1500 + 1200 + 1875 + 1500 = 6075
    (
        "cached and written, cost unsaid",
        "anthropic/claude-sonnet-4.5",
        chat(5000, 100, **cached(4000, cache_write_tokens=500)),
        6_075_000,
    ),
]

AZURE: Final[list[Row]] = [
    # Azure has no price for priority in the list, so standard: 2500 + 5000 = 7500
    ("Azure, as OpenAI", "gpt-4o", chat(1000, 500, tier="priority"), 7_500_000)
]
GROQ: Final[list[Row]] = [
    # 1000 x 0.15 + 100 x 0.60 = 150 + 60 = 210
    ("on demand", "openai/gpt-oss-120b", chat(1000, 100, tier="on_demand"), 210_000)
]
TOGETHER: Final[list[Row]] = [
    # no discount for the cache: 8 x 0.15 + 1 x 0.60 = 1.2 + 0.6 = 1.8
    ("cached at the top", "openai/gpt-oss-120b", chat(8, 1, cached_tokens=4), 1_800)
]

GOLDEN: Final = [
    Golden(provider, *row)
    for provider, rows in {
        "openai": OPENAI,
        "anthropic": ANTHROPIC,
        "google": GOOGLE,
        "deepseek": DEEPSEEK,
        "x-ai": XAI,
        "mistral": MISTRAL,
        "perplexity": PERPLEXITY,
        "openrouter": OPENROUTER,
        "azure": AZURE,
        "groq": GROQ,
        "together": TOGETHER,
    }.items()
    for row in rows
]


@functools.lru_cache(maxsize=1)
def lookup() -> Lookup:
    return Lookup()


def tariff(provider: str, model: str) -> Tariff:
    question = {"provider": provider, "api_url": None, "model": model}
    return Tariff.from_json(lookup().answer(json.dumps(question)))


def usage_of(golden: Golden) -> Usage:
    """As the adapters read it."""
    if golden.provider == "anthropic":
        usage = from_anthropic(golden.answer["usage"])
    elif golden.provider == "google":
        usage = from_gemini(golden.answer["usageMetadata"])
    else:
        usage = from_openai(golden.answer["usage"], reasoning_is_beside=golden.provider == "x-ai")
        assert usage is not None
        usage.variant = variant_of(golden.answer)
    assert usage is not None
    return usage


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{each.provider}: {each.name}" for each in GOLDEN])
def test_a_golden_cost(golden: Golden) -> None:
    now = datetime.fromisoformat(f"{golden.at}+00:00").timestamp()
    price = tariff(golden.provider, golden.model).at(now)
    assert cost(price, usage_of(golden)) == golden.nanodollars


def test_there_are_enough_of_them() -> None:
    assert len({(each.provider, each.name) for each in GOLDEN}) == len(GOLDEN) >= 34
