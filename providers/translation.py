"""What the dialects that are no OpenAI's have in common: an adapter, its codecs, and the frame of a decoder.

A vendor's file says what its requests, answers and events mean; here is what does not depend on that: where
calls go, JSON that is none, errors in place of an answer, events in pieces, a body that just ends. Pure, as
all adapters are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import ujson

from providers import answers, errors, sse
from providers.adapter import Adapter, Codec, Decoder
from providers.answers import ChunkWriter
from providers.completions import CompletionsByChat
from providers.errors import ProviderError
from providers.failures import Failures
from providers.sse import EventTooLarge, Splitter
from providers.types import CHAT, COMPLETIONS, Call, Chunk, Endpoint, ProviderSpec, Reply, Target, Usage, join
from providers.vendors import Vendor

MAX_REMEMBERED = 1024  # endpoints; forgotten all at once, as more than that is no plan


class TranslatingAdapter(Adapter):
    """A configured provider of another dialect, by its row. Raises ValueError without a URL."""

    operations: ClassVar[Mapping[str, type[TranslatingCodec]]]

    def __init__(self, spec: ProviderSpec, vendor: Vendor) -> None:
        self.vendor = vendor
        self.failures = self.make_failures(spec)
        codecs = {name: codec(self) for name, codec in self.operations.items()}
        self._codecs: dict[str, Codec] = {**codecs, COMPLETIONS: CompletionsByChat(codecs[CHAT])}
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        for secret in spec.secrets or ("",):
            self.endpoint(join(spec.base_url or vendor.base_url or "", "/"), secret)

    def make_failures(self, spec: ProviderSpec) -> Failures:
        """What maps the vendor's failures."""
        return Failures(spec.secrets, self.vendor.statuses)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What the vendor wants in every head, beside the secret."""
        return ()

    def codec(self, operation: str) -> Codec | None:
        return self._codecs.get(operation)

    def endpoint(self, url: str, secret: str) -> Endpoint:
        """Where a POST goes, with the secret in its head; rendered once. Raises ValueError."""
        endpoint = self._endpoints.get((url, secret))
        if endpoint is None:
            if len(self._endpoints) >= MAX_REMEMBERED:
                self._endpoints.clear()
            headers = [("Content-Type", "application/json"), *self.headers()]
            if secret:
                headers.append((self.vendor.header, self.vendor.scheme + secret))
            endpoint = self._endpoints[url, secret] = Endpoint.from_url("POST", url, tuple(headers))
        return endpoint

    def error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> ProviderError:
        return self.failures.from_answer(status, headers, body)


class TranslatingCodec(Codec):
    """One operation of such a dialect."""

    def __init__(self, adapter: TranslatingAdapter) -> None:
        self.adapter = adapter

    def endpoint(self, target: Target, path: str) -> Endpoint:
        """Where a call of this target goes. path: below the base URL, perhaps with a query."""
        path, mark, query = path.partition("?")
        return self.adapter.endpoint(join(target.base_url, path) + mark + query, target.secret)

    def decode(self, call: Call, body: bytes) -> Reply:
        try:
            answer = ujson.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self.adapter.failures.no_answer()
        if answer.get("error"):
            raise self.adapter.failures.from_event(answer)
        return self.translated(call, answer)

    def translated(self, call: Call, answer: dict[str, Any]) -> Reply:
        """A whole answer of the vendor's. Raises ProviderError where there is none in it."""
        raise NotImplementedError


class EventDecoder(Decoder):
    """A stream of JSON events -> chunks. A dialect's `read` and `end` `emit` what they make of it.

    `used` is what the vendor has reported so far; it goes along with the chunks of the read that brought it.
    """

    def __init__(self, call: Call, failures: Failures) -> None:
        self.writer = ChunkWriter(call)
        self.failures = failures
        self.done = False
        self.failure = None
        self.used: Usage | None = None
        self._splitter = Splitter()
        self._out: list[bytes] = []
        self._told: Usage | None = None

    def read(self, event: dict[str, Any]) -> None:
        """One event of the vendor's. Raises ProviderError for one that ends the answer."""
        raise NotImplementedError

    def end(self) -> None:
        """The vendor ended the body. Raises ProviderError where the answer was not complete."""
        raise NotImplementedError

    def emit(self, chunk: bytes) -> None:
        """An event for the client."""
        self._out.append(chunk)

    def feed(self, data: bytes) -> list[Chunk]:
        if self.is_over():
            return []
        try:
            for block in self._splitter.feed(data):
                self._read_all(block)
        except EventTooLarge:
            self.failure = ProviderError(errors.INCOMPLETE, "the provider sent an event beyond all bounds")
        except ProviderError as failure:
            failure.usage = self.used
            self.failure = failure
        return self._taken()

    def close(self) -> list[Chunk]:
        if self.is_over():
            return []
        try:
            rest = self._splitter.rest()
            self._read_all(rest if rest.lstrip().startswith(b"data") else b"data: " + rest)
            if not self.is_over():
                self.end()
        except ProviderError as failure:
            failure.usage = self.used
            self.failure = failure
        return self._taken()

    def complete(self, *, has_cache: bool = False) -> None:
        """The answer is whole: its usage, where the client asked for it, and [DONE]."""
        told = None if self.used is None else answers.reported(self.used, has_cache=has_cache)
        self.emit(self.writer.end(told))
        self._told = None  # it goes along with the chunk that shows it, for its cost to be put in there
        self.done = True

    def is_over(self) -> bool:
        """Has it ended, well or not?"""
        return self.done or self.failure is not None

    def cut(self) -> ProviderError:
        """What to raise where the body ends before the answer."""
        message = "upstream stream ended before completion"
        return ProviderError(errors.INCOMPLETE, message, code="upstream_incomplete")

    def _read_all(self, block: bytes) -> None:
        for data in sse.events(block):
            try:
                event = ujson.loads(data)
            except ValueError:
                continue  # a comment in data's place, or a word such as [DONE]: no dialect's event
            if isinstance(event, list) and len(event) == 1:
                event = event[0]
            if isinstance(event, dict):
                self.read(event)
            if self.done:
                break

    def _taken(self) -> list[Chunk]:
        """What was emitted since, as one chunk; the usage beside it where it is news."""
        self.text_bytes = self.writer.text_bytes
        news = self.used if self.used is not self._told else None
        data = b"".join(self._out)
        self._out.clear()
        if not data and news is None:
            return []
        chunk = Chunk(data, news)
        self._told = self.used
        return [chunk]


def one_by_one(call: Call) -> list[Call]:
    """The parts of a call to a vendor that gives one answer at a time; none where one is wanted."""
    wanted = call.payload.get("n") or 1
    if wanted == 1:
        return []
    payload = {name: value for name, value in call.payload.items() if name != "n"}
    return [replace(call, payload=payload, first_choice=at) for at in range(wanted)]


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing else that a host may have put there."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
