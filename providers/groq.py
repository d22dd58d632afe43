"""Groq: OpenAI's dialect; what it used, and failures inside a stream, may stand in `x_groq`.

https://console.groq.com/docs/openai and the types of its SDK (groq 1.7).
"""

from __future__ import annotations

from typing import Any

from providers.repairs import RepairingAdapter
from providers.types import Usage


class Adapter(RepairingAdapter):
    def usage_of(self, event: dict[str, Any]) -> Usage | None:
        return super().usage_of(event) or self.usage(_own(event).get("usage"))

    def error_of(self, event: dict[str, Any]) -> Any:
        return super().error_of(event) or _own(event).get("error")


def _own(event: dict[str, Any]) -> dict[str, Any]:
    own = event.get("x_groq")
    return own if isinstance(own, dict) else {}
