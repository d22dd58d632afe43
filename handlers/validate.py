"""The parameter rules of the API reference and of OpenAI's wire format, as one table per operation.

Null counts as absent. Unknown parameters pass through untouched, except one that differs from a
governed one in case alone: a vendor that ignores case would read there what nobody validated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from handlers import messages
from handlers.rules import (
    InvalidParameter,
    Rule,
    boolean,
    integer,
    mapping,
    missing,
    number,
    one_of,
    string,
    strings,
    wrong_value,
)
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS

__all__ = ["InvalidParameter", "validate"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

COMMON: Final[Mapping[str, Rule]] = {
    "model": string(256),
    "user": string(),
}
GENERATION: Final[Mapping[str, Rule]] = {
    **COMMON,
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "n": integer(1, 128),
    "stream": boolean,
    "stream_options": mapping,
    "stop": strings(4),
    "max_tokens": integer(1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "logit_bias": messages.logit_bias,
    "seed": integer(-(2**63), 2**63 - 1),
}
RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    CHAT: {
        **GENERATION,
        "messages": messages.messages,
        "max_completion_tokens": integer(1),
        "logprobs": boolean,
        "top_logprobs": integer(0, 20),
        "safety_identifier": string(128),
        "tools": messages.tools,
        "tool_choice": messages.tool_choice,
        "parallel_tool_calls": boolean,
        "functions": messages.functions,
        "response_format": messages.response_format,
        "reasoning_effort": one_of(EFFORTS),
        "verbosity": one_of(("low", "medium", "high")),
        "store": boolean,
        "metadata": mapping,
    },
    COMPLETIONS: {
        **GENERATION,
        "prompt": messages.prompt,
        "suffix": string(),
        "logprobs": integer(0, 5),
        "echo": boolean,
        "best_of": integer(1, 128),
    },
    EMBEDDINGS: {
        **COMMON,
        "input": messages.embedding_input,
        "dimensions": integer(1),
        "encoding_format": one_of(("float", "base64")),
    },
}
REQUIRED: Final = {CHAT: "messages", COMPLETIONS: "prompt", EMBEDDINGS: "input"}
# Known to the API though without a rule of their own: `strict_params` lets them pass.
FREE: Final = frozenset(
    {
        "audio",
        "function_call",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",
        "web_search_options",
    }
)
# What decides what is served, capped and billed.
GOVERNED: Final = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "service_tier",
    }
)


def validate(operation: str, payload: Mapping[str, Any], *, strict: bool = False) -> None:
    """Raises InvalidParameter. strict: parameters that the API does not know are refused too."""
    rules = RULES[operation]
    for name, value in payload.items():
        rule = rules.get(name)
        if rule is None:
            _check_unknown(name, strict)
        elif value is not None:
            rule(name, value)
    if not payload.get("model"):
        raise missing("model")
    required = REQUIRED[operation]
    if payload.get(required) is None:
        raise missing(required)
    if operation != EMBEDDINGS:
        _check_together(operation, payload)


def _check_unknown(name: str, strict: bool) -> None:
    folded = name.casefold()
    if folded in GOVERNED and name != folded:
        message = f"Unknown parameter: write '{folded}' in lower case."
        raise InvalidParameter(message, folded, "unknown_parameter")
    if strict and name not in FREE:
        raise InvalidParameter(
            "The request has a parameter that is not known here.", None, "unknown_parameter"
        )


def _check_together(operation: str, payload: Mapping[str, Any]) -> None:
    """What two parameters say of each other."""
    is_stream = payload.get("stream") is True
    options = payload.get("stream_options")
    if options is not None:
        if not is_stream:
            raise wrong_value("stream_options", "it is only allowed with 'stream': true")
        for name in ("include_usage", "include_obfuscation"):
            if options.get(name) is not None:
                boolean(f"stream_options.{name}", options[name])
    if operation == CHAT:
        if payload.get("top_logprobs") is not None and payload.get("logprobs") is not True:
            raise wrong_value("top_logprobs", "it needs 'logprobs': true")
        return
    best_of = payload.get("best_of")
    if best_of is not None:
        if is_stream and best_of > 1:
            raise wrong_value("best_of", "it is not allowed with 'stream': true")
        if best_of < (payload.get("n") or 1):
            raise wrong_value("best_of", "it must be at least 'n'")
