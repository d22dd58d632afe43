"""Together: OpenAI's dialect, but `logprobs` is how many of them (https://docs.together.ai/reference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.openai import OpenAICodec
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.types import CHAT


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        return "logprobs" not in payload and "top_logprobs" not in payload

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        is_wanted = fields.pop("logprobs", None)
        count = fields.pop("top_logprobs", None)
        if is_wanted:
            fields["logprobs"] = count or 1


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}
