"""Vendors that speak OpenAI's dialect, one row each: where they are, how they authenticate, what differs.

A vendor without quirks needs a row and no code. Sources of the facts: each vendor's API reference and
published SDK types as of November 2026. "Reported" marks what only users' threads say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from providers import errors
from providers.quirks import Quirks
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS

EVERYTHING: Final = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))
PLAIN: Final = Quirks()
AS_SYSTEM: Final = Quirks(system_role=True)

# Repairs of answers (providers/repairs.py)
REASONING: Final = "reasoning"  # `reasoning` and `reasoning_details` also as `reasoning_content`
TOOL_CALLS: Final = "tool_calls"  # missing index, repeated ids, arguments as an object
FINISH: Final = "finish"  # finish reasons outside of OpenAI's set
ROLE: Final = "role"  # missing role in the first delta
REPAIRS: Final = frozenset((REASONING, TOOL_CALLS, FINISH, ROLE))


@dataclass(frozen=True, slots=True)
class Vendor:
    """One kind of provider.

    base_url: None = the operator must give it. env: variables that switch it on. header and scheme: how the
    secret is sent. include_usage: takes stream_options.include_usage. families: model patterns with quirks of
    their own in place of `quirks`, the first match counts; both are for chat. statuses: numbers of its own.
    price_provider: its id in genai-prices, empty if it is not there. completing: the only models with legacy
    completions, None = all of them; the others complete by way of their chat.
    """

    name: str
    base_url: str | None = None
    env: tuple[str, ...] = ()
    header: str = "Authorization"
    scheme: str = "Bearer "
    needs_secret: bool = True
    operations: frozenset[str] = EVERYTHING
    include_usage: bool = True
    quirks: Quirks = PLAIN
    families: tuple[tuple[re.Pattern[str], Quirks], ...] = ()
    repairs: frozenset[str] = frozenset()
    statuses: Mapping[int, str] = field(default_factory=dict)
    reasoning_is_beside: bool = False
    price_provider: str = ""
    completing: re.Pattern[str] | None = None

    def completes(self, model: str) -> bool:
        """Has it legacy completions for one of its models?"""
        return self.completing is None or self.completing.match(model) is not None

    def quirks_of(self, model: str) -> Quirks:
        """The quirks of one of its models."""
        for pattern, quirks in self.families:
            if pattern.match(model):
                return quirks
        return self.quirks


SAMPLING: Final = frozenset(
    (
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
    )
)
PENALTIES: Final = frozenset(("presence_penalty", "frequency_penalty"))
NEW_CAP: Final = MappingProxyType({"max_tokens": "max_completion_tokens"})

# https://platform.openai.com/docs/guides/reasoning: models that reason take no max_tokens and, while
# they reason, no sampling parameters; o3 and o4-mini no `stop` either. gpt-5.1 to 5.4 reason only if asked.
OPENAI_FAMILIES: Final = (
    (
        re.compile(r"(?:ft:)?o[34]"),
        Quirks(drops=SAMPLING | {"stop"}, renames=NEW_CAP),
    ),
    (re.compile(r"(?:ft:)?o\d"), Quirks(drops=SAMPLING, renames=NEW_CAP)),
    (re.compile(r"gpt-\d[\d.]*-chat|chat-latest"), Quirks(renames=NEW_CAP)),
    (
        re.compile(r"(?:ft:)?gpt-5\.[24](?!\d)"),
        Quirks(
            drops=SAMPLING,
            renames=NEW_CAP,
            spared_without_effort=True,
            default_effort="none",
            functions_apart=True,
        ),
    ),
    (
        re.compile(r"(?:ft:)?gpt-5\.[13](?!\d)"),
        Quirks(drops=SAMPLING, renames=NEW_CAP, spared_without_effort=True, default_effort="none"),
    ),
    (
        re.compile(r"(?:ft:)?gpt-(?:5\.(?:[6-9]|\d\d)|[6-9]|1\d)(?!\d)"),
        Quirks(drops=SAMPLING, renames=NEW_CAP, spared_without_effort=True, functions_apart=True),
    ),
    (
        re.compile(r"(?:ft:)?gpt-(?:[5-9]|1\d)(?!\d)"),
        Quirks(drops=SAMPLING, renames=NEW_CAP, spared_without_effort=True),
    ),
)

# https://platform.openai.com/docs/api-reference/completions
OPENAI_COMPLETING: Final = re.compile(r"(?:ft:)?(?:gpt-3\.5-turbo-instruct|davinci|babbage|curie|ada)")

# https://docs.x.ai/docs/guides/reasoning: reasoning models refuse penalties and stop.
XAI_FAMILIES: Final = (
    (re.compile(r".*non-reasoning"), Quirks(system_role=True, lax_tools=True)),
    (
        re.compile(r"grok-(?:[4-9]|[1-9]\d|3-mini|code)"),
        Quirks(drops=PENALTIES | {"stop"}, system_role=True, lax_tools=True),
    ),
)

# https://docs.mistral.ai/api: unknown fields are refused (422 extra_forbidden), so this is all there is.
MISTRAL: Final = Quirks(
    only=frozenset(
        (
            "model", "messages", "temperature", "top_p", "max_tokens", "min_tokens", "stream", "stop",
            "random_seed", "metadata", "response_format", "tools", "tool_choice", "presence_penalty",
            "frequency_penalty", "repetition_penalty", "top_k", "logprobs", "top_logprobs", "n", "prediction",
            "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key",
            "service_tier", "safe_prompt",
        )
    ),
    renames=MappingProxyType({"max_completion_tokens": "max_tokens", "seed": "random_seed"}),
    ranges=MappingProxyType({"temperature": (0, 1.5)}),
    values=MappingProxyType(
        {
            "reasoning_effort": MappingProxyType(
                {"minimal": "none", "low": "high", "medium": "high", "xhigh": "high", "max": "high"}
            )
        }
    ),
)  # fmt: skip

_ROWS: Final = (
    Vendor(
        "openai",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        families=OPENAI_FAMILIES,
        price_provider="openai",
        completing=OPENAI_COMPLETING,
    ),
    Vendor(
        "azure", env=(), header="api-key", scheme="", families=OPENAI_FAMILIES, price_provider="azure"
    ),  # https://learn.microsoft.com/azure/ai-services/openai/reference
    Vendor(
        "anthropic",  # https://platform.claude.com/docs/en/api/messages
        "https://api.anthropic.com",
        ("ANTHROPIC_API_KEY",),
        header="x-api-key",
        scheme="",
        price_provider="anthropic",
    ),
    Vendor(
        "gemini",  # https://ai.google.dev/api/generate-content
        "https://generativelanguage.googleapis.com",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        header="x-goog-api-key",
        scheme="",
        statuses=MappingProxyType({499: errors.FAILED}),  # cancelled, on the vendor's side
        price_provider="google",
    ),
    Vendor(
        "mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        operations=frozenset((CHAT, EMBEDDINGS)),
        include_usage=False,
        quirks=MISTRAL,
        repairs=frozenset((FINISH, TOOL_CALLS)),
        price_provider="mistral",
    ),
    Vendor(
        "deepseek",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        operations=frozenset((CHAT,)),
        quirks=Quirks(refuses=frozenset(("n",)), system_role=True),
        repairs=frozenset((FINISH,)),
        price_provider="deepseek",
    ),
    Vendor(
        "groq",  # https://console.groq.com/docs/openai
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        operations=frozenset((CHAT, EMBEDDINGS)),
        quirks=Quirks(
            drops=PENALTIES | {"logprobs", "top_logprobs", "logit_bias"},
            refuses=frozenset(("n",)),
            choices=MappingProxyType(
                {"service_tier": frozenset(("auto", "on_demand", "flex", "performance"))}
            ),
            system_role=True,
            nameless=True,
        ),
        repairs=frozenset((REASONING,)),
        statuses=MappingProxyType({498: errors.OVERLOADED}),  # no flex capacity
        price_provider="groq",
    ),
    Vendor(
        "together",  # https://docs.together.ai/reference/chat-completions-1
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY",),
        quirks=AS_SYSTEM,
        repairs=frozenset((REASONING, FINISH)),
        price_provider="together",
    ),
    Vendor(
        "fireworks",  # https://docs.fireworks.ai/api-reference/post-chatcompletions; no `strict` is reported
        "https://api.fireworks.ai/inference/v1",
        ("FIREWORKS_API_KEY",),
        quirks=Quirks(system_role=True, lax_tools=True),
        price_provider="fireworks",
    ),
    Vendor(
        "openrouter",  # https://openrouter.ai/docs/api-reference; reported: max is called xhigh
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        quirks=Quirks(values=MappingProxyType({"reasoning_effort": MappingProxyType({"max": "xhigh"})})),
        repairs=frozenset((REASONING, FINISH)),
        price_provider="openrouter",
    ),
    Vendor(
        "xai",
        "https://api.x.ai/v1",
        ("XAI_API_KEY",),
        quirks=Quirks(system_role=True, lax_tools=True),
        families=XAI_FAMILIES,
        repairs=frozenset((FINISH,)),
        reasoning_is_beside=True,
        price_provider="x-ai",
    ),
    Vendor(
        "cerebras",  # https://inference-docs.cerebras.ai/api-reference/chat-completions
        "https://api.cerebras.ai/v1",
        ("CEREBRAS_API_KEY",),
        operations=frozenset((CHAT, COMPLETIONS)),
        include_usage=False,  # it comes with the last chunk anyway
        quirks=Quirks(drops=PENALTIES | {"logit_bias"}, refuses=frozenset(("n",)), system_role=True),
        repairs=frozenset((REASONING,)),
        price_provider="cerebras",
    ),
    Vendor(
        "perplexity",  # https://docs.perplexity.ai/api-reference
        "https://api.perplexity.ai",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        operations=frozenset((CHAT,)),
        include_usage=False,  # it comes with every chunk anyway
        quirks=Quirks(
            drops=frozenset(("logit_bias", "seed", "tool_choice", "parallel_tool_calls", "functions")),
            refuses=frozenset(("n", "tools")),
            system_role=True,
            nameless=True,
        ),
        repairs=frozenset((ROLE,)),
        price_provider="perplexity",
    ),
    Vendor(
        "nvidia",  # https://docs.api.nvidia.com/nim/reference/llm-apis
        "https://integrate.api.nvidia.com/v1",
        ("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"),
        quirks=AS_SYSTEM,
    ),
    Vendor(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        ("DEEPINFRA_API_KEY",),
        quirks=AS_SYSTEM,
    ),
    Vendor(
        "novita",
        "https://api.novita.ai/openai/v1",
        ("NOVITA_API_KEY",),
        quirks=AS_SYSTEM,
        price_provider="novita",
    ),
    Vendor(
        "meta",
        "https://api.meta.ai/v1",
        ("META_API_KEY",),
        operations=frozenset((CHAT,)),
        quirks=AS_SYSTEM,
        price_provider="meta",
    ),
    Vendor(
        "ollama",  # https://docs.ollama.com/openai; reported: every tool call has index 0
        "http://localhost:11434/v1",
        needs_secret=False,
        quirks=AS_SYSTEM,
        repairs=REPAIRS,
    ),
    Vendor(
        "vllm",  # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        "http://localhost:8000/v1",
        needs_secret=False,
        quirks=AS_SYSTEM,
        repairs=frozenset((REASONING,)),
    ),
    Vendor("lmstudio", "http://localhost:1234/v1", needs_secret=False, quirks=AS_SYSTEM),
    Vendor("openai_compatible", needs_secret=False),
    Vendor("demo", "", needs_secret=False),
)
ROWS: Final[Mapping[str, Vendor]] = MappingProxyType({row.name: row for row in _ROWS})


def kinds() -> frozenset[str]:
    """The valid values of a provider's `kind`."""
    return frozenset(ROWS)


def env_kinds() -> Mapping[str, str]:
    """Environment variable -> the kind of provider that it switches on."""
    return {variable: row.name for row in _ROWS for variable in row.env}
