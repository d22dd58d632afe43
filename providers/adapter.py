"""The interface between the gateway and a vendor's dialect: one page, pure.

Bytes and values in, bytes and values out: no await, no socket, no clock. What a vendor offers is
what its `operations` table holds; an absent operation *is* "not offered".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from providers import answers
from providers.answers import ChunkWriter
from providers.errors import ProviderError
from providers.pricing import Price
from providers.types import Call, Chunk, Reply, Target, UpstreamRequest, Usage


class Decoder:
    """Turns one vendor stream into OpenAI's, incrementally.

    `done` becomes True with the end of the answer ([DONE] or the dialect's own word for it): what
    follows is not for the client. `failure` is set when the vendor reported an error inside the
    stream or cut it; chunks returned by the same `feed` or `close` came before it. `text_bytes` counts the
    generated text as it passes, for streams that never say what they used.
    """

    done: bool = False
    text_bytes: int = 0
    failure: ProviderError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """Bytes as they came, however cut -> chunks that are complete (often one, may be none)."""
        raise NotImplementedError

    def close(self) -> list[Chunk]:
        """The vendor ended the body: the last chunks. Sets `failure` when the answer was not complete."""
        raise NotImplementedError


class Codec:
    """One operation in one dialect."""

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        """Raises Unsupported for content that cannot be translated."""
        raise NotImplementedError

    def decode(self, call: Call, body: bytes) -> Reply:
        """A whole 2xx body. Raises ProviderError when it is no answer (not JSON, or an error inside)."""
        raise NotImplementedError

    def decoder(self, call: Call) -> Decoder:
        """A fresh decoder for a stream."""
        raise NotImplementedError

    def divide(self, call: Call) -> list[Call]:
        """The calls that answer it together, where the vendor has no word for several answers.

        Empty = it goes as it is. Each part has a `first_choice`, from which its answer counts its choices.
        """
        return []

    def ending(self, call: Call, used: Usage | None) -> bytes:
        """What closes the stream of a divided call, after the streams of all its parts."""
        return ChunkWriter(call).end(None if used is None else answers.reported(used))


class Adapter:
    """One configured provider's dialect. `operations` maps an operation's name to its codec.

    local: it answers by itself, by `answer` and `stream`, and has neither codecs nor a wire.
    models and price: all that a local adapter serves, and what it costs.
    """

    local: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ()
    price: ClassVar[Price | None] = None
    operations: ClassVar[Mapping[str, type[Codec]]] = {}

    def codec(self, operation: str) -> Codec | None:
        """The codec of an operation, None where the vendor does not offer it."""
        raise NotImplementedError

    def codec_for(self, call: Call, target: Target) -> Codec | None:
        """The codec of a call, where it depends on more than its operation."""
        return self.codec(call.operation)

    def error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> ProviderError:
        """A non-2xx answer -> the failure it stands for. Header names come in lower case."""
        raise NotImplementedError

    def offers(self, operation: str) -> bool:
        """May the operation be asked of this provider?"""
        return self.codec(operation) is not None

    def answer(self, call: Call) -> Reply:
        """A whole answer of a local adapter. Raises Unsupported."""
        raise NotImplementedError

    def stream(self, call: Call) -> Iterator[Chunk]:
        """A streamed answer of a local adapter, up to and with its [DONE]. Raises Unsupported."""
        raise NotImplementedError
