"""The inference endpoints: key, body, rules, relay, answer.

Hot: plain coroutines on an Exchange, no RequestHandler. The order is the contract's: the key is
checked at the head, before a byte of the body is waited for; what fails raises, and the server
turns it into the documented envelope.
"""

from __future__ import annotations

from hashlib import sha256
from time import time
from typing import Final

from handlers import stream
from handlers.answering import NANODOLLARS
from handlers.errors import Refused
from handlers.exchange import JSON, Exchange
from handlers.payload import is_verbatim, parse
from handlers.relay import Relay
from handlers.validate import validate
from providers.types import Call
from store.keyring import Keyring
from store.types import ApiKey

BEARER: Final = b"Bearer sk-"
COST: Final = JSON + b"X-Rooya-Cost-USD: %d.%09d\r\n"
MAX_CLIENT_ID: Final = 128  # of a client's own request id, what is noted of it


class Authenticator:
    """Authorization header -> ApiKey."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def find(self, authorization: bytes | None) -> tuple[bytes, ApiKey | None]:
        """The key's digest, and the key where memory has it. Raises Refused, KeyRefused."""
        if authorization is None:
            raise Refused("missing_api_key")
        if not authorization.startswith(BEARER):
            authorization = _tidied(authorization)
        digest = sha256(authorization[7:]).digest()
        return digest, self._keyring.find(digest, time())

    async def look_up(self, digest: bytes) -> ApiKey:
        """The key where memory has it not. Raises KeyRefused, StoreUnavailable."""
        return await self._keyring.lookup(digest, time())


def _tidied(authorization: bytes) -> bytes:
    """The header as it is usually written, from any other spelling of the scheme and any blanks behind it."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise Refused("missing_api_key", "The Authorization header must be 'Bearer' and an API key.")
    return b"Bearer " + key.strip()


class Inference:
    """chat completions, completions and embeddings: one endpoint, told apart by `operation`."""

    def __init__(self, *, authenticator: Authenticator, relay: Relay, is_strict: bool) -> None:
        self._authenticator = authenticator
        self._relay = relay
        self._is_strict = is_strict

    async def serve(self, exchange: Exchange, operation: str) -> None:
        digest, key = self._authenticator.find(exchange.head.field(b"authorization"))
        if key is None:
            key = await self._authenticator.look_up(digest)
        body = await exchange.read_body()
        payload = parse(body)
        validate(operation, payload, strict=self._is_strict)
        is_stream = payload.get("stream") is True
        call = Call(
            operation, payload["model"], payload, body, is_stream, is_verbatim(body), exchange.request_id
        )
        named = exchange.head.field(b"x-client-request-id")
        if named is not None:
            call.client_request_id = named[:MAX_CLIENT_ID].decode("latin-1")
        if call.stream:
            await self._stream(exchange, call, key)
        else:
            answered = await self._relay.fetch(call, key)
            headers = COST % divmod(answered.cost_nanodollars, NANODOLLARS)
            if answered.dropped:
                headers += _dropped_field(answered.dropped)
            exchange.respond(200, answered.reply.body, headers)

    async def _stream(self, exchange: Exchange, call: Call, key: ApiKey) -> None:
        opened = await self._relay.open(call, key)
        try:
            await stream.send(exchange, opened, _dropped_field(opened.dropped))
        finally:
            opened.close()


def _dropped_field(dropped: tuple[str, ...]) -> bytes:
    if not dropped:
        return b""
    return b"X-Rooya-Dropped-Params: %b\r\n" % ", ".join(dropped).encode("ascii", "replace")
