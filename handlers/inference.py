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
from handlers.gate import Gate
from handlers.head import Head
from handlers.payload import is_verbatim, parse
from handlers.relay import Relay
from handlers.validate import validate
from providers.types import Call
from store.errors import KeyRefused, StoreUnavailable
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

    async def has_valid_key(self, head: Head) -> bool:
        """Does a request come with a key that holds, for all that can be known?"""
        try:
            digest, key = self.find(head.field(b"authorization"))
            return key is not None or await self.look_up(digest) is not None
        except (Refused, KeyRefused):
            return False
        except StoreUnavailable:
            return True


def _tidied(authorization: bytes) -> bytes:
    """The header as it is usually written, from any other spelling of the scheme and any blanks behind it."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise Refused("missing_api_key", "The Authorization header must be 'Bearer' and an API key.")
    return b"Bearer " + key.strip()


class Inference:
    """chat completions, completions and embeddings: one endpoint, told apart by `operation`."""

    def __init__(self, *, authenticator: Authenticator, gate: Gate, relay: Relay, is_strict: bool) -> None:
        self._authenticator = authenticator
        self._gate = gate
        self._relay = relay
        self._is_strict = is_strict

    async def serve(self, exchange: Exchange, operation: str, key: ApiKey | None = None) -> None:
        """key: whose call it is, where that is known already."""
        self._gate.enter(exchange)
        if key is None:
            digest, key = self._authenticator.find(exchange.head.field(b"authorization"))
            if key is None:
                key = await self._authenticator.look_up(digest)
        exchange.key = key
        body = await exchange.read_body()
        payload = parse(body)
        validate(operation, payload, strict=self._is_strict)
        is_stream = payload.get("stream") is True
        call = Call(
            operation, payload["model"], payload, body, is_stream, is_verbatim(body), exchange.request_id
        )
        call.passing = exchange.passing
        named = exchange.head.field(b"x-client-request-id")
        if named is not None:
            call.client_request_id = named[:MAX_CLIENT_ID].decode("latin-1")
        if is_stream:
            await self._stream(exchange, call, key)
        else:
            answered = await self._relay.fetch(call, key)
            account = answered.account
            cost = COST % divmod(account.cost_nanodollars, NANODOLLARS)
            headers = cost + account.terms.served_by + self._gate.fields(account)
            if answered.dropped or account.lowered_to:
                headers += rare_fields(answered.dropped, account.lowered_to)
            exchange.respond(200, answered.reply.body, headers)

    async def _stream(self, exchange: Exchange, call: Call, key: ApiKey) -> None:
        opened = await self._relay.open(call, key)
        account = opened.account
        headers = account.terms.served_by + self._gate.fields(account)
        try:
            await stream.send(exchange, opened, headers + rare_fields(opened.dropped, account.lowered_to))
        finally:
            opened.close()


def rare_fields(dropped: tuple[str, ...], lowered_to: int) -> bytes:
    """What became of the request on its way up, where it did not go as it came."""
    fields = b"X-Rooya-Output-Cap: %d\r\n" % lowered_to if lowered_to else b""
    if dropped:
        fields += b"X-Rooya-Dropped-Params: %b\r\n" % ", ".join(dropped).encode("ascii", "replace")
    return fields
