"""Mistral: OpenAI's dialect with closed lists of fields, for requests and for each message (else 422).

https://docs.mistral.ai/api and the types of its SDK (mistralai 3.7). Answers may hold their content as parts,
thinking among them. Ids of tool calls have nine letters or digits (reported for older models): others become
a hash, so that call and result still agree. Refused: custom tools.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from providers.errors import Unsupported
from providers.openai import EmbeddingsCodec, OpenAICodec, dump
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.translation import dicts
from providers.types import CHAT, EMBEDDINGS, Call, Reply

MESSAGE_FIELDS: Final = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "assistant": ("role", "content", "tool_calls", "prefix"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
OPENAI_TIERS: Final = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))
EMBEDDING_FIELDS: Final = ("model", "input", "metadata", "output_dimension", "output_dtype")
ID_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        return False

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        messages = [_message(message) for message in fields["messages"]]
        if any(message.get("name") and message["role"] != "tool" for message in fields["messages"]):
            dropped.append("messages.name")
        if messages[-1].get("role") == "assistant":
            messages[-1]["prefix"] = True  # it is to be gone on with; refused otherwise
        fields["messages"] = messages
        if fields.get("service_tier") in OPENAI_TIERS and fields.pop("service_tier") != "auto":
            dropped.append("service_tier")
        if any(isinstance(tool, dict) and tool.get("type") == "custom" for tool in fields.get("tools", ())):
            raise Unsupported("tools", "The model's provider does not support custom tools.")


class Embeddings(EmbeddingsCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        return False

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        if "dimensions" in fields:
            fields.setdefault("output_dimension", fields.pop("dimensions"))
        for name in [name for name in fields if name not in EMBEDDING_FIELDS]:
            del fields[name]
            if name != "encoding_format":  # both forms are given, see `decode`
                dropped.append(name)

    def decode(self, call: Call, body: bytes) -> Reply:
        """Base64, which OpenAI's SDKs ask for unasked, is made here: Mistral has floats only."""
        if call.payload.get("encoding_format") != "base64":
            return super().decode(call, body)
        payload = self.parse(body)
        for item in dicts(payload["data"]):
            if isinstance(item.get("embedding"), list):
                item["embedding"] = _base64(item["embedding"])
        return Reply(dump(payload), self.adapter.usage_of(payload))


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {
        **RepairingAdapter.operations,
        CHAT: Chat,
        EMBEDDINGS: Embeddings,
    }

    def repair_messages(self, payload: dict[str, Any]) -> bool:
        """Content in parts: thinking becomes reasoning_content, text is joined."""
        is_changed = False
        for choice in dicts(payload.get("choices")):
            message = choice.get("delta") or choice.get("message")
            if isinstance(message, dict) and isinstance(message.get("content"), list):
                parts = dicts(message["content"])
                thinking = "".join(_text(part.get("thinking")) for part in parts)
                message["content"] = _text([part for part in parts if "thinking" not in part]) or None
                if thinking:
                    message["reasoning_content"] = thinking
                is_changed = True
        return is_changed


def _message(message: dict[str, Any]) -> dict[str, Any]:
    role = "system" if message.get("role") == "developer" else message.get("role")
    known = MESSAGE_FIELDS.get(role) if isinstance(role, str) else None
    plain = {name: value for name, value in message.items() if known is None or name in known}
    plain["role"] = role
    if "tool_call_id" in plain:
        plain["tool_call_id"] = short_id(plain["tool_call_id"])
    if plain.get("tool_calls"):
        plain["tool_calls"] = [
            {"id": short_id(call.get("id")), "type": "function", "function": call.get("function")}
            for call in plain["tool_calls"]
        ]
    return plain


def short_id(call_id: Any) -> Any:
    """Nine letters or digits, the same ones for the same id."""
    if not isinstance(call_id, str) or _ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).digest()
    return "".join(ID_ALPHABET[byte % len(ID_ALPHABET)] for byte in digest[:9])


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    texts = [part.get("text") for part in dicts(parts)]
    return "".join(text for text in texts if isinstance(text, str))


def _base64(floats: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
