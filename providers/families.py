"""How hosts of OpenAI's dialect, and families of their models, want requests: the data of `quirks.py`.

Sources of the facts: each vendor's API reference and published SDK types as of November 2026. "Reported"
marks what only users' threads say. Which host is which is in `vendors.py`; nothing here knows an answer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from providers.quirks import Quirks

PLAIN: Final = Quirks()
AS_SYSTEM: Final = Quirks(system_role=True)
# All of these know max_tokens. DeepSeek is reported to ignore the newer name, and a cap ignored costs money.
OLD_CAP: Final = MappingProxyType({"max_completion_tokens": "max_tokens"})
CLASSIC: Final = Quirks(system_role=True, renames=OLD_CAP)

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
# Values of reasoning_effort: those that make a model think, and all of OpenAI's ("default" is Groq's).
THINKING: Final = frozenset(("minimal", "low", "medium", "high", "xhigh", "max"))
EFFORTS: Final = THINKING | {"none"}
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
    (re.compile(r"(?:ft:)?(?:chatgpt|gpt-(?:3\.?5|4))"), Quirks(drops=frozenset(("reasoning_effort",)))),
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
    refuses=frozenset(("functions",)),
    renames=MappingProxyType({**OLD_CAP, "seed": "random_seed"}),
    choices=MappingProxyType({"reasoning_effort": EFFORTS}),
    ranges=MappingProxyType({"temperature": (0, 1.5)}),
    values=MappingProxyType(
        {
            "reasoning_effort": MappingProxyType(
                {"minimal": "none", "low": "high", "medium": "high", "xhigh": "high", "max": "high"}
            )
        }
    ),
)  # fmt: skip
# They always think.
MISTRAL_FAMILIES: Final = (
    (re.compile("magistral"), replace(MISTRAL, drops=frozenset(("reasoning_effort",)))),
)

# https://api-docs.deepseek.com/guides/thinking_mode: `none` is a switch there, see deepseek.py.
DEEPSEEK: Final = Quirks(
    refuses=frozenset(("n",)),
    renames=OLD_CAP,
    choices=MappingProxyType({"reasoning_effort": EFFORTS}),
    values=MappingProxyType(
        {"reasoning_effort": MappingProxyType({"minimal": "low", "medium": "high", "xhigh": "high"})}
    ),
    system_role=True,
)

# https://console.groq.com/docs/reasoning: each family has its own words for how hard to think.
GROQ_TIERS: Final = frozenset(("auto", "on_demand", "flex", "performance"))
GROQ: Final = Quirks(
    drops=PENALTIES | {"logprobs", "top_logprobs", "logit_bias"},
    refuses=frozenset(("n",)),
    choices=MappingProxyType({"service_tier": GROQ_TIERS}),
    system_role=True,
    nameless=True,
)
GROQ_FAMILIES: Final = (
    (
        re.compile(r"(?:openai/)?gpt-oss"),
        replace(
            GROQ,
            choices=MappingProxyType({"service_tier": GROQ_TIERS, "reasoning_effort": THINKING}),
            values=MappingProxyType(
                {"reasoning_effort": MappingProxyType({"minimal": "low", "xhigh": "high", "max": "high"})}
            ),
        ),
    ),
    (
        re.compile(r"(?:qwen/)?qwen"),
        replace(
            GROQ,
            values=MappingProxyType(
                {
                    "reasoning_effort": MappingProxyType(
                        {**dict.fromkeys(THINKING, "default"), "minimal": "none"}
                    )
                }
            ),
        ),
    ),
)
