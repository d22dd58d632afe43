"""Together: OpenAI's dialect, with words of its own for two things.

https://docs.together.ai/reference: `logprobs` is how many of them; not to reason is `reasoning.enabled`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from providers.openai import OpenAICodec
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.types import CHAT

OFF: Final = {"enabled": False}


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        is_off = payload.get("reasoning_effort") == "none"
        return "logprobs" not in payload and "top_logprobs" not in payload and not is_off

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        is_wanted = fields.pop("logprobs", None)
        count = fields.pop("top_logprobs", None)
        if is_wanted:
            fields["logprobs"] = count or 1
        if fields.get("reasoning_effort") == "none":
            del fields["reasoning_effort"]
            fields.setdefault("reasoning", OFF)


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}
