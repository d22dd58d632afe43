"""Google's Gemini API behind OpenAI's chat completions and embeddings.

https://ai.google.dev/api/generate-content, .../embeddings and .../troubleshooting. What goes up is in
gemini_requests.py, what comes back in gemini_answers.py. The secret is a header and never in a URL, which
would end up in logs. Refused: what has no word in this dialect (custom tools, file ids, spoken answers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import quote

from providers import errors
from providers import gemini_requests as requests
from providers.adapter import Codec
from providers.answers import dump
from providers.errors import ProviderError
from providers.failures import MAX_RETRY_AFTER_SECONDS, Failures
from providers.gemini_answers import AnswerDecoder, reply
from providers.gemini_embeddings import Embeddings
from providers.gemini_models import traits
from providers.repairs import dicts
from providers.translation import TranslatingAdapter, TranslatingCodec
from providers.types import CHAT, EMBEDDINGS, Call, ProviderSpec, Reply, Target, UpstreamRequest
from providers.vendors import Vendor

BAD_KEYS: Final = frozenset(("API_KEY_INVALID", "API_KEY_EXPIRED"))  # said with status 400


class Chat(TranslatingCodec):
    """Several choices are the vendor's own candidates, as many as it makes at once."""

    most_choices: ClassVar[int] = 8

    def divide(self, call: Call) -> list[Call]:
        wanted = call.payload.get("n") or 1
        if wanted <= self.most_choices:
            return []
        return [
            _part(call, first, min(self.most_choices, wanted - first))
            for first in range(0, wanted, self.most_choices)
        ]

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        model = traits(target)
        body, dropped = requests.body(call.payload, model)
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        endpoint = self.endpoint(target, f"/v1beta/models/{quote(model.name, safe='')}:{method}")
        return UpstreamRequest(endpoint, dump(body), tuple(dropped))

    def translated(self, call: Call, answer: dict[str, Any]) -> Reply:
        return reply(call, answer, self.adapter.failures)

    def decoder(self, call: Call) -> AnswerDecoder:
        return AnswerDecoder(call, self.adapter.failures)


class OneByOne(Chat):
    """Of models that make no more than one candidate."""

    most_choices = 1


class GeminiFailures(Failures):
    """google.rpc.Status: what matters is often only in its `details`, and streams wrap it in an array."""

    def make(self, status: int | None, payload: Any) -> ProviderError:
        if isinstance(payload, list):
            payload = next(iter(dicts(payload)), None)
        details = _details(payload)
        if any(detail.get("reason") in BAD_KEYS for detail in details):
            status = 401
        failure = super().make(status, payload)
        failure.retry_after_seconds = next(filter(None, map(_delay_seconds, details)), None)
        if failure.kind == errors.INVALID_REQUEST and _is_about_signatures(failure.message):
            failure.amend = requests.without_signatures
        return failure


class Adapter(TranslatingAdapter):
    operations: ClassVar[Mapping[str, type[TranslatingCodec]]] = {CHAT: Chat, EMBEDDINGS: Embeddings}

    def __init__(self, spec: ProviderSpec, vendor: Vendor) -> None:
        super().__init__(spec, vendor)
        self._one_by_one = OneByOne(self)

    def make_failures(self, spec: ProviderSpec) -> Failures:
        return GeminiFailures(spec.secrets, self.vendor.statuses)

    def codec_for(self, call: Call, target: Target) -> Codec | None:
        is_single = call.operation == CHAT and traits(target).is_fixed
        return self._one_by_one if is_single else self.codec(call.operation)


def _part(call: Call, first: int, choices: int) -> Call:
    payload = {name: value for name, value in call.payload.items() if name != "n"}
    if choices > 1:
        payload["n"] = choices
    return replace(call, payload=payload, first_choice=first)


def _details(payload: Any) -> list[dict[str, Any]]:
    error = payload.get("error") if isinstance(payload, dict) else None
    return dicts(error.get("details")) if isinstance(error, dict) else []


def _delay_seconds(detail: dict[str, Any]) -> float | None:
    """A duration such as "34.07s"."""
    delay = detail.get("retryDelay")
    try:
        seconds = float(delay.removesuffix("s")) if isinstance(delay, str) else 0.0
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _is_about_signatures(message: str) -> bool:
    return "thought signature" in message.lower().replace("_", " ")
