"""What is rare of a call, as the ledger keeps it beside its columns: a small JSON object, most often none.

Of a failure it keeps the kind and the status, never the provider's own words: they may repeat what was asked.
"""

from __future__ import annotations

import json
from typing import Final

from providers.types import Usage
from store.types import LedgerRecord

MAX_VARIANT: Final = 40


def details(usage: Usage, record: LedgerRecord, error: str = "") -> str:
    """Empty if there is nothing of it. error: why it failed, in our own words."""
    found: dict[str, object] = {"error": error} if error else {}
    if usage.variant:
        found["variant"] = usage.variant[:MAX_VARIANT].encode("ascii", "replace").decode()
    if usage.requests > 1:
        found["requests"] = usage.requests
    elif usage.cost_nanodollars is not None:
        found["cost_by"] = "provider"
    if usage.is_unclear:
        found["is_reasoning_unclear"] = True
    if 0 < record.worst_nanodollars < record.cost_nanodollars:
        found["overrun_nanodollars"] = record.cost_nanodollars - record.worst_nanodollars
    for name in ("cache_write_1h_tokens", "cached_audio_tokens", "image_input_tokens", "image_output_tokens"):
        count = getattr(usage, name)
        if count:
            found[name] = count
    return json.dumps(found) if found else ""
