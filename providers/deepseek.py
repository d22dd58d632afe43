"""DeepSeek: OpenAI's dialect, with thinking on unless it is switched off.

https://api-docs.deepseek.com (thinking mode, JSON output, tool calls). Where a turn with tool calls comes
back, its reasoning must come with it; clients of OpenAI drop it, and a blank is reported to do.
JSON schemas are not known: the schema becomes an instruction beside the JSON mode, and that is named.
While a call waits its turn, empty lines or comments come, also ahead of an answer that is no stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import ujson

from providers.openai import OpenAICodec
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.types import CHAT, Call, Reply

OFF: Final = {"type": "disabled"}

_KEEP_ALIVE: Final = re.compile(rb"(?:[ \t]*(?::[^\r\n]*)?[\r\n]+)+")


class Chat(RepairingChatCodec):
    extensions = frozenset(("reasoning_content",))

    def fits(self, payload: dict[str, Any]) -> bool:
        return _schema(payload) is None and not any(map(_lacks_reasoning, payload["messages"]))

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        if fields.get("reasoning_effort") == "none":
            del fields["reasoning_effort"]
            fields.setdefault("thinking", OFF)
        if fields.get("thinking") != OFF:
            fields["messages"] = [
                {**message, "reasoning_content": " "} if _lacks_reasoning(message) else message
                for message in fields["messages"]
            ]
        schema = _schema(fields)
        if schema is not None:
            text = ujson.dumps(schema, ensure_ascii=False, escape_forward_slashes=False)
            instruction = (
                f"Answer with one JSON object and nothing else. It must fit this JSON schema: {text}"
            )
            fields["messages"] = [{"role": "system", "content": instruction}, *fields["messages"]]
            fields["response_format"] = {"type": "json_object"}
            dropped.append("response_format.json_schema")

    def decode(self, call: Call, body: bytes) -> Reply:
        waited = _KEEP_ALIVE.match(body)
        return super().decode(call, body if waited is None else body[waited.end() :])


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}


def _lacks_reasoning(message: dict[str, Any]) -> bool:
    return bool(message.get("tool_calls")) and not message.get("reasoning_content")


def _schema(payload: dict[str, Any]) -> Any:
    wanted = payload.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    described = wanted.get("json_schema")
    return described.get("schema", {}) if isinstance(described, dict) else {}
