"""The Messages API: Anthropic's format in and out, any model behind it.

A message is a chat call whose client speaks another format: the same gate, limits, relay and ledger, where it
is `chat`. Failures are told in Anthropic's envelope (`Exchange.envelope`, which the route sets). A count of
tokens is an estimate from the bytes of the text; it counts as a request of its address and reserves nothing.
"""

from __future__ import annotations

from handlers import anthropic_answer, anthropic_errors, stream
from handlers.accounting import Account
from handlers.answering import NANODOLLARS, Stream
from handlers.anthropic_request import translated
from handlers.anthropic_stream import EventWriter
from handlers.errors import Refused
from handlers.exchange import JSON, Exchange
from handlers.gate import Gate, pass_
from handlers.head import Head
from handlers.inference import COST, MAX_CLIENT_ID, Authenticator, rare_fields
from handlers.payload import parse
from handlers.relay import Relay
from providers.answers import dump
from providers.estimate import Estimator
from providers.router import Router
from providers.types import CHAT, Call
from store.types import ApiKey


class Messages:
    """Messages, plain and streamed, and what one would count."""

    def __init__(
        self, *, authenticator: Authenticator, gate: Gate, relay: Relay, router: Router, estimator: Estimator
    ) -> None:
        self._authenticator = authenticator
        self._gate = gate
        self._relay = relay
        self._router = router
        self._estimator = estimator

    async def serve(self, exchange: Exchange) -> None:
        """POST /v1/messages."""
        key = await self._enter(exchange)
        payload = translated(parse(await exchange.read_body()))
        call = Call(
            CHAT, payload["model"], payload, dump(payload), "stream" in payload, True, exchange.request_id
        )
        call.is_extended = True
        call.passing = exchange.passing
        named = exchange.head.field(b"x-client-request-id") or b""
        call.client_request_id = named[:MAX_CLIENT_ID].decode("latin-1")
        if call.stream:
            opened = await self._relay.open(call, key)
            try:
                await self._send(exchange, opened, EventWriter(call))
            finally:
                opened.close()
        else:
            answered = await self._relay.fetch(call, key)
            account = answered.account
            body = anthropic_answer.message(call, answered.reply.body, account.used)
            cost = COST % divmod(account.cost_nanodollars, NANODOLLARS)
            exchange.respond(200, body, cost + self._fields(exchange, account, answered.dropped))

    async def count(self, exchange: Exchange) -> None:
        """POST /v1/messages/count_tokens."""
        key = await self._enter(exchange)
        payload = translated(parse(await exchange.read_body()), is_counted=True)
        model = payload["model"]
        if key.models is not None and model not in key.models:
            raise Refused("model_not_allowed", param="model")
        target = self._router.first_target(model)
        await pass_(exchange.passing)
        family = self._estimator.family(target.kind, target.model)
        body = dump({"input_tokens": self._estimator.input_tokens(family, payload)})
        fields = anthropic_errors.request_id_field(exchange.request_id)
        exchange.respond(200, body, JSON + fields + await self._gate.fields_of(key))

    async def _enter(self, exchange: Exchange) -> ApiKey:
        self._gate.enter(exchange)
        digest, key = self._authenticator.find(authorization(exchange.head))
        exchange.key = key or await self._authenticator.look_up(digest)
        return exchange.key

    async def _send(self, exchange: Exchange, opened: Stream, writer: EventWriter) -> None:
        account = opened.account
        exchange.start(200, stream.HEADERS + self._fields(exchange, account, opened.dropped))
        chunks = opened.chunks
        while chunks:
            exchange.write_piece(writer.feed(b"".join([chunk.data for chunk in chunks])))
            if exchange.is_clogged:
                await exchange.drain()
            chunks = await opened.next()
        if opened.failure is None:
            exchange.write_piece(writer.end(account.used))
        else:
            exchange.write_piece(anthropic_errors.event(opened.failure, exchange.request_id))
        exchange.end()

    def _fields(self, exchange: Exchange, account: Account, dropped: tuple[str, ...]) -> bytes:
        about = anthropic_errors.request_id_field(exchange.request_id) + account.terms.served_by
        return about + self._gate.fields(account) + rare_fields(dropped, account.lowered_to)


def authorization(head: Head) -> bytes | None:
    """A request's key as the Authorization header has it; older clients send `x-api-key`. Raises Refused."""
    given, key = head.field(b"authorization"), head.field(b"x-api-key")
    if key is None:
        return given
    if given is not None and given.partition(b" ")[2].strip() != key:
        raise Refused("unknown", "The headers x-api-key and Authorization hold different keys.")
    return b"Bearer " + key
