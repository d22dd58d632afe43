"""What a Gemini model takes, by what the catalogue says of it, else by its family and version.

https://ai.google.dev/gemini-api/docs/models, as of November 2026. A name that says no version (an alias such
as gemini-flash-latest, or one to come) counts as the newest: what the newest refuse is left out for it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from providers.quirks import NOTHING
from providers.types import Target

NEWEST: Final = (99, 0)
BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
LEVELS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
LEAST_PRO_BUDGET: Final = 128  # 2.5 Pro always thinks

_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?![\d.])")


@dataclass(frozen=True, slots=True)
class Traits:
    """name: as it stands in a path. is_fixed: takes no sampling parameters, one candidate, and no prefill."""

    name: str
    version: tuple[int, int]
    is_fixed: bool
    has_minimal_effort: bool

    @property
    def is_signed(self) -> bool:
        """Does it sign its calls, give them ids, and take JSON answers and functions together?"""
        return self.version >= (3, 0)

    @property
    def is_open(self) -> bool:
        """Gemma: has no thinking to be set."""
        return self.name.startswith("gemma")

    def thinking(self, effort: str) -> Mapping[str, int | str | bool]:
        """The thinkingConfig of a reasoning_effort; thoughts are shown where there should be some."""
        if self.is_open:
            return NOTHING
        if not self.is_signed:
            if effort == "none":
                return {"thinkingBudget": LEAST_PRO_BUDGET if "-pro" in self.name else 0}
            return {"thinkingBudget": BUDGETS[effort], "includeThoughts": True}
        level = LEVELS.get(effort) or ("minimal" if self.has_minimal_effort else "low")
        if effort == "none":
            return {"thinkingLevel": level}
        return {"thinkingLevel": level, "includeThoughts": True}


def traits(target: Target) -> Traits:
    """What the target's model takes."""
    name = target.model.removeprefix("models/")
    found = _VERSION.match(name)
    version = NEWEST if found is None else (int(found[1]), int(found[2] or 0))
    is_lite = name.startswith("gemini-3.5-flash-lite")
    is_open = name.startswith("gemma")
    quirks = NOTHING if target.known is None else target.known.quirks
    samples = quirks.get("sampling_params", is_open or (version < (3, 6) and not is_lite))
    minimal = quirks.get("minimal_reasoning_effort", version < (3, 7) and "-pro" not in name)
    return Traits(name, version, not samples, minimal)
