"""What a vendor says a call used -> Usage: OpenAI's dialect, Anthropic and Gemini.

Cached and cache-write tokens are parts of the input, reasoning is part of the output (OpenAI's own
accounting). Vendors differ on reasoning: some count it beside the completion (xAI). The payload
itself tells, by which sum its total is; only where it does not, the vendor's row decides. Refuses to
invent: nothing reported is None and not zero, and nonsense counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.pricing import nanodollars
from providers.types import Usage

NUMBERS: Final = (int, float)  # a boolean is none
STANDARD: Final = frozenset(("default", "auto", "standard", "on_demand", ""))
MOST_USD: Final = 1_000_000  # more for one call is nonsense
LONGEST_TIER: Final = 32


def from_openai(reported: Any, *, reasoning_is_beside: bool = False) -> Usage | None:
    """None where nothing was reported. reasoning_is_beside: what holds if the sums do not tell.

    Once per call on the hot path, hence a look at each value before a call is spent on it.
    """
    if type(reported) is not dict:
        return None
    prompt = reported.get("prompt_tokens")
    completion = reported.get("completion_tokens")
    total = reported.get("total_tokens")
    if type(prompt) is not int and not any(type(value) in NUMBERS for value in (prompt, completion, total)):
        return None
    if type(prompt) is int and type(completion) is int and prompt >= 0 <= completion:
        usage = Usage(prompt, completion)
    else:
        usage = Usage(_count(prompt), _count(completion))
    if prompt is None:
        usage.input_tokens = max(0, _count(total) - usage.output_tokens)
    details = reported.get("prompt_tokens_details")
    if type(details) is dict and any(details.values()):
        _note_input(usage, details)
    if not usage.cached_tokens:  # DeepSeek's own word, then Together's and Moonshot's
        cached = reported.get("prompt_cache_hit_tokens") or reported.get("cached_tokens")
        if cached:
            usage.cached_tokens = min(_count(cached), usage.input_tokens)
    details = reported.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if type(details) is dict else None
    reasoning = reasoning or reported.get("reasoning_tokens")  # the latter is Perplexity's
    if reasoning:
        usage.reasoning_tokens = _count(reasoning)
        _place_reasoning(usage, total, reasoning_is_beside)
    if type(details) is dict:
        if audio := details.get("audio_tokens"):
            usage.audio_output_tokens = min(_count(audio), usage.output_tokens)
        if images := details.get("image_tokens"):
            usage.image_output_tokens = min(_count(images), usage.output_tokens)
    if (charged := reported.get("cost")) is not None:
        usage.cost_nanodollars = _charged(charged, reported)
    return usage


def _note_input(usage: Usage, details: dict[str, Any]) -> None:
    """No part is more than its whole: input = uncached + cached + written, whatever the vendor says."""
    if cached := details.get("cached_tokens"):
        usage.cached_tokens = min(_count(cached), usage.input_tokens)
    if written := details.get("cache_write_tokens"):
        usage.cache_write_tokens = min(_count(written), usage.input_tokens - usage.cached_tokens)
    if audio := details.get("audio_tokens"):
        usage.audio_input_tokens = min(_count(audio), usage.input_tokens)
        parts = details.get("cached_tokens_details")
        if cached and type(parts) is dict:
            cached_audio = _count(parts.get("audio_tokens"))
            usage.cached_audio_tokens = min(cached_audio, usage.cached_tokens, usage.audio_input_tokens)
    if images := details.get("image_tokens"):
        usage.image_input_tokens = min(_count(images), usage.input_tokens)


def _place_reasoning(usage: Usage, total: Any, by_default: bool) -> None:
    """Is the reasoning in the completion's count? With some reasoning no total can be both sums.

    More reasoning than completion cannot be in it, whatever the total says (Perplexity's deep research).
    """
    inside = usage.input_tokens + usage.output_tokens
    is_more = usage.reasoning_tokens > usage.output_tokens
    if total == inside and not is_more:
        return
    usage.is_unclear = total != inside + usage.reasoning_tokens
    if not usage.is_unclear or by_default or is_more:
        usage.output_tokens += usage.reasoning_tokens


def _charged(charged: Any, reported: dict[str, Any]) -> int | None:
    """A number of US dollars (OpenRouter), or a table of them with their sum (Perplexity).

    With a vendor's key of one's own, OpenRouter's number is its fee, and what the vendor takes is beside it.
    """
    if type(charged) is dict:
        return _nanodollars(charged.get("total_cost"))
    fee = _nanodollars(charged)
    if fee is None or reported.get("is_byok") is not True:
        return fee
    details = reported.get("cost_details")
    upstream = _nanodollars(details.get("upstream_inference_cost")) if type(details) is dict else None
    return None if upstream is None else fee + upstream


def _nanodollars(usd: Any) -> int | None:
    """None for what is no sensible amount; the comparison leaves out NaN and infinity."""
    return nanodollars(usd) if type(usd) in NUMBERS and 0 <= usd <= MOST_USD else None


def from_anthropic(reported: Any) -> Usage | None:
    """None where nothing was reported. Cached and written tokens are beside its input, thinking is in."""
    if type(reported) is not dict:
        return None
    numbers = (reported.get("input_tokens"), reported.get("output_tokens"))
    if not any(type(value) in NUMBERS for value in numbers):
        return None
    uncached, output = map(_count, numbers)
    cached = _count(reported.get("cache_read_input_tokens"))
    written = _count(reported.get("cache_creation_input_tokens"))
    hour = 0
    if type(lives := reported.get("cache_creation")) is dict:
        hour = _count(lives.get("ephemeral_1h_input_tokens"))
        written = max(written, hour + _count(lives.get("ephemeral_5m_input_tokens")))
    usage = Usage(uncached + cached + written, output, cached, written, cache_write_1h_tokens=hour)
    if type(details := reported.get("output_tokens_details")) is dict:
        usage.reasoning_tokens = min(_count(details.get("thinking_tokens")), output)
    # Prices know the speed and not the tier; at most one of the two is other than standard.
    usage.variant = _variant("speed", reported.get("speed")) or variant_of(reported)
    return usage


def from_gemini(reported: Any) -> Usage | None:
    """None where nothing was reported. Thoughts and the prompts of tools are beside the other counts.

    Some proxies count the thoughts among the candidates already: then prompt and candidates are the total.
    """
    if type(reported) is not dict:
        return None
    numbers = [reported.get(name) for name in ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")]
    if not any(type(value) in NUMBERS for value in numbers):
        return None
    prompt, candidates, total = map(_count, numbers)
    prompt += _count(reported.get("toolUsePromptTokenCount"))
    usage = Usage(prompt, candidates)
    if thoughts := _count(reported.get("thoughtsTokenCount")):
        usage.reasoning_tokens = thoughts
        _place_reasoning(usage, total, by_default=True)
    if numbers[0] is None:
        usage.input_tokens = max(0, total - usage.output_tokens)
    usage.cached_tokens = min(_count(reported.get("cachedContentTokenCount")), usage.input_tokens)
    inputs = ("promptTokensDetails", "toolUsePromptTokensDetails")
    audio, images = (
        sum(_of_sort(reported.get(name), sort) for name in inputs) for sort in ("AUDIO", "IMAGE")
    )
    usage.audio_input_tokens = min(audio, usage.input_tokens)
    usage.image_input_tokens = min(images, usage.input_tokens)
    cached_audio = _of_sort(reported.get("cacheTokensDetails"), "AUDIO")
    usage.cached_audio_tokens = min(cached_audio, usage.cached_tokens, usage.audio_input_tokens)
    made = reported.get("candidatesTokensDetails")
    usage.audio_output_tokens = min(_of_sort(made, "AUDIO"), usage.output_tokens)
    usage.image_output_tokens = min(_of_sort(made, "IMAGE"), usage.output_tokens)
    return usage


def _of_sort(details: Any, sort: str) -> int:
    """The tokens of a modality in Gemini's list of them."""
    if type(details) is not list:
        return 0
    return sum(
        _count(each.get("tokenCount"))
        for each in details
        if type(each) is dict and each.get("modality") == sort
    )


def variant_of(answer: Mapping[str, Any]) -> str:
    """What an answer or an event of a stream says of its price: "service_tier=flex", empty if standard."""
    tier = answer.get("service_tier")
    return "" if tier is None else _variant("service_tier", tier)


def _variant(name: str, value: Any) -> str:
    """The words are the vendor's: what does not look like one is none."""
    if type(value) is not str or value in STANDARD or len(value) > LONGEST_TIER or not value.isidentifier():
        return ""
    return f"{name}={value}"


def _count(value: Any) -> int:
    """Null, text and nonsense count nothing; a float (some hosts) is rounded up."""
    if type(value) is int:
        return value if value > 0 else 0
    if type(value) is float and 0 < value < 1e15:
        return int(-(-value // 1))
    return 0
