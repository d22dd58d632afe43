"""The pass-through: hosts that speak OpenAI's dialect.

What need not change goes up and comes back byte for byte; answers are only looked at for what they
used, for errors in disguise and for their end. What a host wants different is its row in
`vendors.py`, or an override in a file of its own; nothing here asks for a vendor's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import ujson

from providers import extensions, usage
from providers.adapter import Adapter, Codec
from providers.completions import CompletionsByChat
from providers.errors import ProviderError
from providers.failures import MAX_ERROR_BODY_BYTES, Failures
from providers.families import PLAIN
from providers.passthrough import PassThrough
from providers.quirks import Quirks
from providers.responses import ResponsesCodec
from providers.types import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    Call,
    Endpoint,
    ProviderSpec,
    Reply,
    Target,
    UpstreamRequest,
    Usage,
    join,
)
from providers.vendors import Vendor

MAX_REMEMBERED: Final = (
    1024  # endpoints and models, each; forgotten all at once, as more than that is no plan
)
OPENING_BYTES: Final = 256  # of an answer: what comes before the first word of the model
ASK_FOR_USAGE: Final = b'"stream_options":{"include_usage":true},'

_USUAL_END: Final = re.compile(
    rb'"usage": ?\{"prompt_tokens":(\d{1,9}),"completion_tokens":(\d{1,9}),"total_tokens":\d{1,9}'
    rb'(?:,"prompt_tokens_details":\{"cached_tokens":(\d{1,9})(?:,"(?!cached)[a-z_]+":0)*\})?'
    rb'(?:,"completion_tokens_details":\{"reasoning_tokens":0(?:,"(?!reasoning)[a-z_]+":0)*\})?\}'
    rb'(?:,"service_tier":(?:"default"|null))?(?:,"system_fingerprint":(?:"[\w-]*"|null))?\}\s*\Z'
)
_MODEL: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*"(?:[^"\\]|\\.)*"')


class OpenAICodec(Codec):
    """One operation; the operations differ in their path and in what an answer holds."""

    path: ClassVar[str]
    answer_field: ClassVar[bytes]  # as it stands in the bytes of an answer
    extensions: ClassVar[frozenset[str]] = frozenset()  # of those in extensions.py, what the host knows

    def __init__(self, adapter: OpenAIAdapter) -> None:
        self.adapter = adapter
        self._endpoints: dict[tuple[str, ...], Endpoint] = {}
        self._quirks: dict[str, Quirks] = {}

    # The request

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        payload = call.payload
        is_asking = call.stream and self.adapter.asks_for_usage and "stream_options" not in payload
        if call.verbatim and not call.is_extended and (is_asking or self._options_fit(call)):
            quirks = self.quirks(target.model)
            if (quirks is PLAIN or quirks.fit(payload)) and self.fits(payload):
                body = call.body if target.model == call.model else with_model(call.body, target.model)
                if body is not None:
                    if is_asking:
                        start = body.index(b"{") + 1
                        body = body[:start] + ASK_FOR_USAGE + body[start:]
                    return UpstreamRequest(self.endpoint(target), body)
        return self._encode_anew(call, target)

    def _options_fit(self, call: Call) -> bool:
        """Are the client's stream_options what the host should see?"""
        if not call.stream or "stream_options" not in call.payload:
            return True
        options = call.payload["stream_options"] or {}
        return self.adapter.asks_for_usage and call.wants_usage and "include_cost" not in options

    def _encode_anew(self, call: Call, target: Target) -> UpstreamRequest:
        payload, lost = extensions.plain(call, target, self.extensions)
        fields, dropped = self.quirks(target.model).apply(payload)
        dropped += lost
        fields["model"] = target.model
        if not self.adapter.asks_for_usage:
            fields.pop("stream_options", None)
        elif call.stream:
            fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
            fields["stream_options"].pop("include_cost", None)
        self.rewrite(fields, dropped)
        return UpstreamRequest(self.endpoint(target), dump(fields), tuple(dropped))

    def fits(self, payload: dict[str, Any]) -> bool:
        """For hosts whose ways no row can say: may the payload go up as it is?"""
        return True

    def rewrite(self, fields: dict[str, Any], dropped: list[str]) -> None:
        """What `fits` is about, done to a payload whose top level is a copy. Raises Unsupported."""

    def quirks(self, model: str) -> Quirks:
        """What the host wants different for this operation of a model."""
        return PLAIN

    def endpoint(self, target: Target) -> Endpoint:
        """Rendered once for each secret."""
        return self.remembered(target, (target.base_url, target.secret))

    def remembered(self, target: Target, key: tuple[str, ...]) -> Endpoint:
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            if len(self._endpoints) >= MAX_REMEMBERED:
                self._endpoints.clear()
            endpoint = self._endpoints[key] = self.adapter.endpoint(self.url(target), target.secret)
        return endpoint

    def url(self, target: Target) -> str:
        return join(target.base_url, self.path)

    # The answer

    def decode(self, call: Call, body: bytes) -> Reply:
        """A framed answer that begins and ends as one is taken for one, unread between.

        Hosts that put an error into a 200 send it in place of an answer, hence before any; searching for it
        through the whole of every answer would cost as much as all else here.
        """
        is_answer = body.find(self.answer_field, 0, OPENING_BYTES) >= 0 and body[-16:].rstrip()[-1:] == b"}"
        if is_answer and body.find(b'"error"', 0, OPENING_BYTES) < 0:
            is_tiered = "service_tier" in call.payload  # then the answer says which one it was, maybe early
            return Reply(body, find_usage=self.usage_anywhere if is_tiered else self.usage_in)
        return Reply(body, self.adapter.usage_of(self.parse(body)))

    def usage_in(self, body: bytes) -> Usage | None:
        """What an answer says was used: from its last bytes alone where they tell."""
        return usual_usage(body) or self.adapter.usage_of(fields_at_end(body) or self.parse(body))

    def usage_anywhere(self, body: bytes) -> Usage | None:
        """As `usage_in`, from the whole of the answer."""
        return self.adapter.usage_of(self.parse(body))

    def parse(self, body: bytes) -> dict[str, Any]:
        """A whole answer. Raises ProviderError where it is none."""
        try:
            payload = ujson.loads(body)
        except ValueError:
            payload = None
        if isinstance(payload, dict) and payload.get("error"):
            raise self.adapter.failures.from_event(payload)
        if not isinstance(payload, dict) or self.answer_field.decode()[1:-1] not in payload:
            raise self.adapter.failures.no_answer()
        return payload

    def decoder(self, call: Call) -> PassThrough:
        return PassThrough(self.adapter, self.choices(call), call.wants_usage)

    def choices(self, call: Call) -> int:
        """How many choices the answer will have."""
        choices = call.payload.get("n") or 1
        return choices if type(choices) is int else 1


class ChatCodec(OpenAICodec):
    path = "/chat/completions"
    answer_field = b'"choices"'

    def quirks(self, model: str) -> Quirks:
        quirks = self._quirks.get(model)
        if quirks is None:
            if len(self._quirks) >= MAX_REMEMBERED:
                self._quirks.clear()
            quirks = self._quirks[model] = self.adapter.vendor.quirks_of(model)
        return quirks


class CompletionsCodec(OpenAICodec):
    path = "/completions"
    answer_field = b'"choices"'

    def choices(self, call: Call) -> int:
        prompt = call.payload.get("prompt")
        if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
            return super().choices(call) * len(prompt)
        return super().choices(call)


class EmbeddingsCodec(OpenAICodec):
    path = "/embeddings"
    answer_field = b'"data"'


class OpenAIAdapter(Adapter):
    """A configured provider that speaks OpenAI's dialect, by its row. Raises ValueError without a URL."""

    operations: ClassVar[Mapping[str, type[OpenAICodec]]] = {
        CHAT: ChatCodec,
        COMPLETIONS: CompletionsCodec,
        EMBEDDINGS: EmbeddingsCodec,
    }

    def __init__(self, spec: ProviderSpec, vendor: Vendor) -> None:
        self.vendor = vendor
        self.failures = Failures(spec.secrets, vendor.statuses)
        self.asks_for_usage = vendor.include_usage
        self._codecs: dict[str, Codec] = {
            name: codec(self) for name, codec in self.operations.items() if name in vendor.operations
        }
        self._by_chat = CompletionsByChat(self._codecs[CHAT])
        self._responses = ResponsesCodec(self, self.responses_url)
        for secret in spec.secrets or ("",):
            self.endpoint(join(spec.base_url or vendor.base_url or "", "/"), secret)

    def codec(self, operation: str) -> Codec | None:
        if operation == COMPLETIONS:
            return self._codecs.get(operation, self._by_chat)
        return self._codecs.get(operation)

    def codec_for(self, call: Call, target: Target) -> Codec | None:
        if call.operation == COMPLETIONS and not self.vendor.completes(target.model):
            return self._by_chat
        if ("tools" in call.payload or "functions" in call.payload) and self._goes_apart(call, target):
            return self._responses
        return self.codec(call.operation)

    def _goes_apart(self, call: Call, target: Target) -> bool:
        quirks = self.vendor.quirks_of(target.model)
        return call.operation == CHAT and quirks.goes_apart(call.payload) and bool(self.responses_url(target))

    def responses_url(self, target: Target) -> str:
        """Where a target has its Responses, "" where it has none."""
        return join(target.base_url, "/responses")

    def endpoint(self, url: str, secret: str) -> Endpoint:
        """Where a POST goes, with the secret in its head. Raises ValueError."""
        headers = [("Content-Type", "application/json")]
        if secret:
            headers.append((self.vendor.header, self.vendor.scheme + secret))
        return Endpoint.from_url("POST", url, tuple(headers))

    def usage(self, reported: Any) -> Usage | None:
        """What a `usage` object says."""
        return usage.from_openai(reported, reasoning_is_beside=self.vendor.reasoning_is_beside)

    def usage_of(self, event: dict[str, Any]) -> Usage | None:
        """What a whole answer, or an event of a stream, says was used."""
        reported = event.get("usage")
        used = usage.from_openai(reported, reasoning_is_beside=self.vendor.reasoning_is_beside)
        if event.get("service_tier", "default") != "default" and used is not None:
            used.variant = usage.variant_of(event)
        return used

    def error_of(self, event: dict[str, Any]) -> Any:
        """The error that an event of a stream carries, falsy if none."""
        return event.get("error")

    def error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> ProviderError:
        failure = self.failures.from_answer(status, headers, body)
        if status in (400, 422) and self.vendor.include_usage and _is_about_usage(body):
            # A host that does not know the option: remember, so that the next attempt is without.
            self.asks_for_usage = False
            failure.is_learned = True
        return failure


def _is_about_usage(body: bytes) -> bool:
    if len(body) > MAX_ERROR_BODY_BYTES or b"include_obfuscation" in body:
        return False
    return b"stream_options" in body or b"include_usage" in body


def dump(fields: dict[str, Any]) -> bytes:
    return ujson.dumps(fields, ensure_ascii=False, escape_forward_slashes=False).encode()


def with_model(body: bytes, model: str) -> bytes | None:
    """A verbatim body with another model in place, None where more than one place might be the model's.

    A verbatim body has exactly one key "model" at its top, not escaped. So if the bytes `"model"` occur once,
    that is it: within a string the first quote would be escaped, which makes it another occurrence still.
    """
    start = body.find(b'"model"')
    if start < 0 or body.find(b'"model"', start + 7) >= 0:
        return None
    match = _MODEL.match(body, start)
    if match is None:
        return None
    name = ujson.dumps(model, ensure_ascii=False, escape_forward_slashes=False).encode()
    return b'%b"model":%b%b' % (body[:start], name, body[match.end() :])


def usual_usage(body: bytes) -> Usage | None:
    """The usage of an answer that ends as OpenAI's do, with nothing in it that is rare; None of any other.

    For what `fields_at_end` and `usage_of` would find, at a third of their time. To the answer's very last
    brace nothing is left out, so that what is matched is the outermost object's own end.
    """
    start = body.rfind(b'"usage"')
    found = _USUAL_END.match(body, start) if start > 0 and body[start - 1] != 92 else None
    if found is None:
        return None
    prompt, completion, cached = found.groups(b"0")
    usage = Usage(int(prompt), int(completion))
    usage.cached_tokens = min(int(cached), usage.input_tokens)
    return usage


def fields_at_end(body: bytes) -> dict[str, Any] | None:
    """The answer's top-level fields from `usage` on, by its last bytes alone; None where that cannot be.

    In valid JSON, `"usage"` not preceded by a backslash begins a string and is all of it: a quote inside
    a string is escaped, and after a closing quote no letter can follow. If what follows, with a brace put
    before it, is one whole object, then the string was a key and exactly one brace was open: the outermost.
    """
    start = body.rfind(b'"usage"')
    if start < 1 or body[start - 1] == 92 or body[0] != 123:  # a backslash, a brace
        return None
    try:
        fields = ujson.loads(b"{" + body[start:])
    except ValueError:
        return None
    return fields if type(fields) is dict and type(fields.get("usage")) is dict else None
