"""Anthropic's Messages behind OpenAI's chat completions.

https://platform.claude.com/docs/en/api/overview and .../api/errors. What goes up is in anthropic_requests.py,
what comes back in anthropic_answers.py. Sent as version 2023-06-01: it is still taken, allows sampling where
a model has it, and is what other servers of this dialect know. Several answers are as many requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from providers import anthropic_requests as requests
from providers import anthropic_thoughts as thoughts
from providers import errors
from providers.answers import dump
from providers.anthropic_answers import MessageDecoder, reply
from providers.anthropic_models import traits
from providers.errors import ProviderError
from providers.failures import Failures
from providers.translation import TranslatingAdapter, TranslatingCodec, one_by_one
from providers.types import CHAT, Call, ProviderSpec, Reply, Target, UpstreamRequest

VERSION: Final = "2023-06-01"
SPENT: Final = frozenset(("enforced_spend_limit_reached", "contract_spend_limit_reached"))


class Chat(TranslatingCodec):
    def divide(self, call: Call) -> list[Call]:
        return one_by_one(call)

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        body, dropped = requests.body({**call.payload, "model": target.model}, traits(target))
        return UpstreamRequest(self.endpoint(target, "/v1/messages"), dump(body), tuple(dropped))

    def translated(self, call: Call, answer: dict[str, Any]) -> Reply:
        return reply(call, answer, self.adapter.failures)

    def decoder(self, call: Call) -> MessageDecoder:
        return MessageDecoder(call, self.adapter.failures)


class AnthropicFailures(Failures):
    """Of two kinds that need a look at the words.

    A spend limit comes as a rate limit, but no pause ends it: it is the operator's account that is refused.
    Thoughts are bound to their model and to the conversation up to them: without them it may be taken.
    """

    def make(self, status: int | None, payload: Any) -> ProviderError:
        failure = super().make(402 if _is_spent(payload) else status, payload)
        failure.status = status
        if failure.kind == errors.INVALID_REQUEST and _is_about_thoughts(failure.message):
            failure.amend = thoughts.without
        return failure


class Adapter(TranslatingAdapter):
    operations: ClassVar[Mapping[str, type[TranslatingCodec]]] = {CHAT: Chat}

    def make_failures(self, spec: ProviderSpec) -> Failures:
        return AnthropicFailures(spec.secrets, self.vendor.statuses)

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("anthropic-version", VERSION),)


def _is_spent(payload: Any) -> bool:
    error = payload.get("error") if isinstance(payload, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    code = details.get("error_code") if isinstance(details, dict) else None
    return isinstance(code, str) and code in SPENT


def _is_about_thoughts(message: str) -> bool:
    words = message.lower()
    return "thinking" in words or "bound to a different conversation" in words
