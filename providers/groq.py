"""Groq: OpenAI's dialect; what it used, and failures inside a stream, may stand in `x_groq`.

https://console.groq.com/docs/openai, /docs/reasoning and the types of its SDK (groq 1.7). Left to Groq, which
says no by 400, is what some of its models take: a JSON schema beside tools or in a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.openai import OpenAICodec
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.types import CHAT, Usage


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        return payload.get("reasoning_format") != "raw" or not _is_structured(payload)

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        if fields.get("reasoning_format") == "raw" and _is_structured(fields):
            fields["reasoning_format"] = "parsed"  # thoughts in the text would break it; refused there
            dropped.append("reasoning_format")


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}

    def usage_of(self, event: dict[str, Any]) -> Usage | None:
        return super().usage_of(event) or self.usage(_own(event).get("usage"))

    def error_of(self, event: dict[str, Any]) -> Any:
        return super().error_of(event) or _own(event).get("error")


def _own(event: dict[str, Any]) -> dict[str, Any]:
    own = event.get("x_groq")
    return own if isinstance(own, dict) else {}


def _is_structured(payload: dict[str, Any]) -> bool:
    wanted = payload.get("response_format")
    return bool(payload.get("tools")) or isinstance(wanted, dict) and wanted.get("type") != "text"
