"""What a vendor in OpenAI's dialect says a call used -> Usage.

Cached and cache-write tokens are parts of the input, reasoning is part of the output (OpenAI's own
accounting). Vendors differ on reasoning: some count it beside the completion (xAI). The payload
itself tells, by which sum its total is; only where it does not, the vendor's row decides.
"""

from __future__ import annotations

from typing import Any, Final

from providers.types import Usage

NUMBERS: Final = (int, float)  # a boolean is none


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
    if type(details) is dict:
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
        if _is_beside(usage, total, reasoning_is_beside):
            usage.output_tokens += usage.reasoning_tokens
    if type(details) is dict and (audio := details.get("audio_tokens")):
        usage.audio_output_tokens = min(_count(audio), usage.output_tokens)
    return usage


def _note_input(usage: Usage, details: dict[str, Any]) -> None:
    """No part is more than its whole: input = uncached + cached + written, whatever the vendor says."""
    if cached := details.get("cached_tokens"):
        usage.cached_tokens = min(_count(cached), usage.input_tokens)
    if written := details.get("cache_write_tokens"):
        usage.cache_write_tokens = min(_count(written), usage.input_tokens - usage.cached_tokens)
    if audio := details.get("audio_tokens"):
        usage.audio_input_tokens = min(_count(audio), usage.input_tokens)


def _is_beside(usage: Usage, total: Any, by_default: bool) -> bool:
    """Is the reasoning not in the completion's count? With some reasoning no total can be both sums."""
    inside = usage.input_tokens + usage.output_tokens
    if total == inside:
        return False
    if total == inside + usage.reasoning_tokens:
        return True
    return by_default or usage.reasoning_tokens > usage.output_tokens


def _count(value: Any) -> int:
    """Null, text and nonsense count nothing; a float (some hosts) is rounded up."""
    if type(value) is int:
        return value if value > 0 else 0
    if type(value) is float and 0 < value < 1e15:
        return int(-(-value // 1))
    return 0
