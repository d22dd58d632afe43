"""Perplexity: OpenAI's dialect, with turns that strictly alternate and end with the user's.

https://docs.perplexity.ai/api-reference: after what the system says come user and assistant in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Final

from providers.openai import OpenAICodec
from providers.quirks import joined
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.types import CHAT

GO_ON: Final = {"role": "user", "content": "Continue."}


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        roles = [message.get("role") for message in payload["messages"]]
        return roles[-1] == "user" and all(before != after for before, after in pairwise(roles))

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        merged: list[dict[str, Any]] = []
        for message in fields["messages"]:
            if merged and merged[-1].get("role") == message.get("role"):
                merged[-1] = {**merged[-1], "content": joined([merged[-1], message])}
            else:
                merged.append(message)
        if merged[-1].get("role") == "assistant":
            merged.append(GO_ON)
        fields["messages"] = merged


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}
