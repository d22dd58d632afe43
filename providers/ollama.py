"""Ollama: OpenAI's dialect, with pictures in the request itself.

https://docs.ollama.com/openai. It fetches no picture from elsewhere, and neither does the gateway: such a
call is refused. What Ollama would silently ignore is in its row: told, or refused where it is content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.errors import Unsupported
from providers.openai import OpenAICodec
from providers.repairs import RepairingAdapter, RepairingChatCodec
from providers.translation import dicts
from providers.types import CHAT


class Chat(RepairingChatCodec):
    def fits(self, payload: dict[str, Any]) -> bool:
        return not any(map(_has_foreign_image, payload["messages"]))

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        for at, message in enumerate(fields["messages"]):
            if _has_foreign_image(message):
                why = "The model's provider takes images as data URLs only."
                raise Unsupported(f"messages[{at}].content", why)


class Adapter(RepairingAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {**RepairingAdapter.operations, CHAT: Chat}


def _has_foreign_image(message: dict[str, Any]) -> bool:
    images = [part.get("image_url") for part in dicts(message.get("content"))]
    urls = [image.get("url") if isinstance(image, dict) else image for image in images]
    return any(isinstance(url, str) and not url.startswith("data:") for url in urls)
