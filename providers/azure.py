"""Azure OpenAI: OpenAI's dialect and rules under other addresses; models are deployments.

https://learn.microsoft.com/azure/ai-services/openai/reference: a base URL that ends with /openai/v1 is used
as it is; else the deployment stands in the path and an api-version in the query (the base URL's own, if any).
Chunks that hold no choices but verdicts of the content filter are left out: clients index choices[0].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit, urlunsplit

from providers.openai import ChatCodec, CompletionsCodec, EmbeddingsCodec, OpenAIAdapter, OpenAICodec
from providers.passthrough import PassThrough, load
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call, Endpoint, Target, join

API_VERSION: Final = "2024-10-21"

_NO_CHOICES: Final = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\]')


class Deployment(OpenAICodec):
    """Where an operation of a deployment is."""

    def url(self, target: Target) -> str:
        parts = urlsplit(target.base_url)
        path = parts.path.rstrip("/")
        if path.endswith("/openai/v1"):
            return join(target.base_url, self.path)
        path = (
            path.removesuffix("/openai") + f"/openai/deployments/{quote(target.model, safe='')}" + self.path
        )
        query = parts.query if "api-version=" in parts.query else f"api-version={API_VERSION}"
        return urlunsplit(parts._replace(path=path, query=query, fragment=""))

    def endpoint(self, target: Target) -> Endpoint:
        return self.remembered(target, (target.base_url, target.secret, target.model))

    def decoder(self, call: Call) -> PassThrough:
        return Decoder(self.adapter, self.choices(call), call.wants_usage)


class Decoder(PassThrough):
    """Leaves out the filter's chunks."""

    def plain_length(self, block: bytes) -> int:
        plain = super().plain_length(block)
        return plain if _NO_CHOICES.search(block) is None else 0

    def parse(self, event: bytes, data: bytes) -> dict[str, Any] | None:
        return load(data) if _NO_CHOICES.search(data) else super().parse(event, data)

    def is_unasked(self, payload: dict[str, Any]) -> bool:
        is_filters = not payload.get("choices") and payload.get("usage") is None and "error" not in payload
        return is_filters or super().is_unasked(payload)


class Chat(Deployment, ChatCodec):
    pass


class Completions(Deployment, CompletionsCodec):
    pass


class Embeddings(Deployment, EmbeddingsCodec):
    pass


class Adapter(OpenAIAdapter):
    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {
        CHAT: Chat,
        COMPLETIONS: Completions,
        EMBEDDINGS: Embeddings,
    }

    def responses_url(self, target: Target) -> str:
        """Only the newer of the two forms of address has them."""
        is_new = urlsplit(target.base_url).path.rstrip("/").endswith("/openai/v1")
        return super().responses_url(target) if is_new else ""
