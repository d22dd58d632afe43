"""The parameter rules of the API reference and of OpenAI's wire format, as one table per operation.

Null counts as absent. Unknown parameters pass through untouched, except one that differs from a
known one in case alone: a vendor that ignores case would read there what nobody validated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "default")
# No model has as many; more would only be hard to reckon with (Lua's integers end at 2**53).
MAX_TOKENS: Final = 2**31 - 1
MAX_NAME: Final = 64  # of an unknown parameter, to be repeated in a message


def _model(name: str, value: Any) -> None:
    MODEL_LENGTH(name, value)
    if not value.isprintable():
        raise wrong_value(name, "it must not hold control characters")


MODEL_LENGTH: Final = string(256)

COMMON: Final[Mapping[str, Rule]] = {
    "model": _model,
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
    "max_tokens": integer(1, MAX_TOKENS),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "logit_bias": messages.logit_bias,
    "seed": integer(-(2**63), 2**63 - 1),
}
RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    CHAT: {
        **GENERATION,
        "messages": messages.messages,
        "max_completion_tokens": integer(1, MAX_TOKENS),
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
        "service_tier": string(64),
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
        "web_search_options",
    }
)
# No parameters of the operation, yet some vendor may go by them: they must at least be what they seem,
# since they decide what is served, capped and billed.
ELSEWHERE: Final[Mapping[str, Rule]] = {
    "n": integer(1, 128),
    "best_of": integer(1, 128),
    "max_tokens": integer(1, MAX_TOKENS),
    "max_completion_tokens": integer(1, MAX_TOKENS),
    "max_output_tokens": integer(1, MAX_TOKENS),
    "service_tier": string(64),
}
KNOWN: Final = FREE.union(ELSEWHERE, *RULES.values())
STREAM_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation", "include_cost"})


def validate(operation: str, payload: Mapping[str, Any], *, strict: bool = False) -> None:
    """Raises InvalidParameter. strict: parameters that the API does not know are refused too."""
    rules = RULES[operation]
    for name, value in payload.items():
        rule = rules.get(name)
        if rule is None:
            _check_unknown(operation, name, value, strict)
        elif value is not None:
            rule(name, value)
    if not payload.get("model"):
        raise missing("model")
    required = REQUIRED[operation]
    if payload.get(required) is None:
        raise missing(required)
    if operation != EMBEDDINGS:
        _check_together(operation, payload)


def _check_unknown(operation: str, name: str, value: Any, strict: bool) -> None:
    _check_case(name, KNOWN)
    if value is None:
        return
    if strict and name not in FREE:
        shown = name if name.isidentifier() and len(name) <= MAX_NAME else None
        message = f"Unknown parameter: {repr(shown) if shown else 'its name is long or odd'}."
        raise InvalidParameter(message, shown, "unknown_parameter")
    if name in ELSEWHERE:
        ELSEWHERE[name](name, value)
    elif name == "stream":
        boolean(name, value)
        if value:
            raise wrong_value(name, f"{operation} cannot be streamed")


def _check_case(name: str, known: Collection[str], parent: str = "") -> None:
    """Refuse a name that some parsers take for a known one: they ignore case, or end it at a NUL."""
    folded = name.partition("\0")[0].casefold()
    if folded != name and folded in known:
        param = parent + folded
        message = f"Unknown parameter: write '{param}' in lower case."
        raise InvalidParameter(message, param, "unknown_parameter")


def _check_together(operation: str, payload: Mapping[str, Any]) -> None:
    """What two parameters say of each other."""
    is_stream = payload.get("stream") is True
    options = payload.get("stream_options")
    if options is not None:
        if not is_stream:
            raise wrong_value("stream_options", "it is only allowed with 'stream': true")
        for name, value in options.items():
            if name not in STREAM_OPTIONS:
                _check_case(name, STREAM_OPTIONS, "stream_options.")
            elif value is not None:
                boolean(f"stream_options.{name}", value)
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
