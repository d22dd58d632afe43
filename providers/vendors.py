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
from providers.families import (
    AS_SYSTEM,
    CLASSIC,
    DEEPSEEK,
    GROQ,
    GROQ_FAMILIES,
    MISTRAL,
    MISTRAL_FAMILIES,
    OLD_CAP,
    OPENAI_COMPLETING,
    OPENAI_FAMILIES,
    PENALTIES,
    PLAIN,
    XAI_FAMILIES,
)
from providers.quirks import Quirks
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS

EVERYTHING: Final = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

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
        families=MISTRAL_FAMILIES,
        repairs=frozenset((FINISH, TOOL_CALLS)),
        price_provider="mistral",
    ),
    Vendor(
        "deepseek",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        operations=frozenset((CHAT,)),
        quirks=DEEPSEEK,
        repairs=frozenset((FINISH,)),
        price_provider="deepseek",
    ),
    Vendor(
        "groq",  # https://console.groq.com/docs/openai
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        operations=frozenset((CHAT, EMBEDDINGS)),
        quirks=GROQ,
        families=GROQ_FAMILIES,
        repairs=frozenset((REASONING, FINISH)),
        statuses=MappingProxyType({498: errors.OVERLOADED}),  # no flex capacity
        price_provider="groq",
    ),
    Vendor(
        "together",  # https://docs.together.ai/reference/chat-completions-1
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY",),
        quirks=CLASSIC,
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
        repairs=frozenset((FINISH, TOOL_CALLS)),
        reasoning_is_beside=True,
        price_provider="x-ai",
    ),
    Vendor(
        "cerebras",  # https://inference-docs.cerebras.ai/api-reference/chat-completions
        "https://api.cerebras.ai/v1",
        ("CEREBRAS_API_KEY",),
        operations=frozenset((CHAT, COMPLETIONS)),
        include_usage=False,  # it comes with the last chunk anyway
        quirks=Quirks(
            drops=PENALTIES | {"logit_bias"},
            refuses=frozenset(("n",)),
            system_role=True,
            system_first=True,
        ),
        repairs=frozenset((REASONING, FINISH)),
        price_provider="cerebras",
    ),
    Vendor(
        "perplexity",  # https://docs.perplexity.ai/api-reference
        "https://api.perplexity.ai",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        operations=frozenset((CHAT,)),
        include_usage=False,  # it comes with every chunk anyway
        quirks=Quirks(
            drops=frozenset(("logit_bias", "seed", "tool_choice", "parallel_tool_calls")),
            refuses=frozenset(("n", "tools", "functions")),
            renames=OLD_CAP,
            system_role=True,
            system_first=True,
            nameless=True,
        ),
        repairs=frozenset((ROLE,)),
        price_provider="perplexity",
    ),
    Vendor(
        "nvidia",  # https://docs.api.nvidia.com/nim/reference/llm-apis
        "https://integrate.api.nvidia.com/v1",
        ("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"),
        quirks=CLASSIC,
    ),
    Vendor(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        ("DEEPINFRA_API_KEY",),
        quirks=CLASSIC,
    ),
    Vendor(
        "novita",
        "https://api.novita.ai/openai/v1",
        ("NOVITA_API_KEY",),
        quirks=CLASSIC,
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
        quirks=Quirks(  # what it would ignore
            drops=frozenset(("logit_bias",)),
            refuses=frozenset(("n",)),
            renames=OLD_CAP,
            choices=MappingProxyType({"tool_choice": frozenset(("auto", "none"))}),
            system_role=True,
        ),
        repairs=REPAIRS,
    ),
    Vendor(
        "vllm",  # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        "http://localhost:8000/v1",
        needs_secret=False,
        quirks=AS_SYSTEM,
        repairs=frozenset((REASONING, FINISH)),
    ),
    Vendor("lmstudio", "http://localhost:1234/v1", needs_secret=False, quirks=CLASSIC),
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
