"""What a Claude model takes, by what the catalogue says of it, else by its family and version.

https://platform.claude.com/docs/en/about-claude/models, as of November 2026. A version that is not known yet
counts as the newest, whose demands the older ones mostly meet; a name that is no Claude's, on a server that
speaks the dialect, counts as a model without demands of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from providers.quirks import NOTHING
from providers.types import Target

BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32000, "max": 32000}
LEAST_BUDGET: Final = 1024
USUAL_MAX_OUTPUT: Final = 4096  # where nobody says how long its answers may be
OLDEST: Final = (0, 0)
NEWEST: Final = (99, 0)

_NAME: Final = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")


@dataclass(frozen=True, slots=True)
class Traits:
    """is_adaptive: decides itself how much it thinks. thinks_always: cannot be told not to. thinks_at_first:
    until it is told not to. can_be_forced: to call a tool. has_xhigh: knows that effort.
    """

    samples: bool
    is_adaptive: bool
    thinks_always: bool
    thinks_at_first: bool
    thinks_between_tools: bool
    can_be_forced: bool
    has_prefill: bool
    has_xhigh: bool
    max_output: int | None

    def thinking(self, effort: str | None, cap: int, *, must_not: bool) -> dict[str, Any]:
        """The fields of a reasoning_effort, None = the client left it open. cap: of the answer, in tokens.

        must_not: it is forced to call a tool, or its last thoughts are lost.
        """
        if not self.is_adaptive:
            return self._budget(effort, cap, must_not=must_not)
        fields: dict[str, Any] = {}
        if effort == "none" and self.thinks_between_tools:
            return {"thinking": {"type": "between_tools"}}
        if effort == "none" and self.thinks_always:
            return {"output_config": {"effort": "low"}}
        if effort == "none" or (must_not and self.thinks_at_first):
            fields["thinking"] = {"type": "disabled"}
        elif effort is not None and not must_not:
            fields["thinking"] = {"type": "adaptive", "display": "summarized"}
        if effort not in (None, "none"):
            words = {"minimal": "low", "xhigh": "xhigh" if self.has_xhigh else "high"}
            fields["output_config"] = {"effort": words.get(effort, effort)}
        return fields

    def _budget(self, effort: str | None, cap: int, *, must_not: bool) -> dict[str, Any]:
        if effort is None or effort == "none" or must_not or cap <= LEAST_BUDGET:
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": min(BUDGETS[effort], cap - 1)}}


def traits(target: Target) -> Traits:
    """What the target's model takes."""
    found = _NAME.match(target.model)
    family = found[1] if found is not None else ""
    version = (int(found[2]), int(found[3] or 0)) if found is not None else OLDEST
    if found is None and target.model.startswith("claude"):
        family, version = "claude", NEWEST
    quirks: Mapping[str, Any] = NOTHING if target.known is None else target.known.quirks
    is_known = target.known is not None
    is_always = quirks.get("thinking_always_on", not is_known and _thinks_always(family, version))
    is_adaptive = quirks.get("adaptive_thinking", not is_known and version >= (4, 6))
    return Traits(
        samples=quirks.get("sampling_params", version < (4, 7)),
        is_adaptive=is_adaptive,
        thinks_always=is_always,
        thinks_at_first=is_adaptive and version >= (5, 0) and not is_always,
        thinks_between_tools=family == "sonnet" and version >= (5, 5),
        can_be_forced=quirks.get("forced_tool_use", not is_always),
        has_prefill=quirks.get("assistant_prefill", version < (4, 6)),
        has_xhigh=quirks.get("xhigh_reasoning_effort", version >= (4, 7)),
        max_output=target.known.max_output if target.known is not None else None,
    )


def _thinks_always(family: str, version: tuple[int, int]) -> bool:
    if family in ("fable", "mythos"):
        return True
    return version > (5, 0) and family != "haiku"
