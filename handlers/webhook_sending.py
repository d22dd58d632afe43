"""Sends what webhooks are to be told, signed, and again where it did not arrive. By the Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. No redirect is
followed, and of an answer only its status counts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from typing import Final

from providers.errors import ProviderError
from providers.transport import Transport
from providers.types import Endpoint, Timeouts, UpstreamRequest
from store.errors import StoreUnavailable
from store.webhooks import PREFIX, Message, Webhooks

log = logging.getLogger("rooya.webhooks")

LOOK_SECONDS: Final = 1.0
ATTEMPT_SECONDS: Final = 10.0
TIMEOUTS: Final = Timeouts(connect_s=5.0)
# Between an attempt and the next; after the last of them it is given up.
PAUSES: Final = (5, 30, 120, 600, 1800, 7200, 21600, 43200)


class Sender:
    """clock: Unix seconds."""

    def __init__(
        self, webhooks: Webhooks, transport: Transport, clock: Callable[[], float] = time.time
    ) -> None:
        self._webhooks = webhooks
        self._transport = transport
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """What is under way is tried again by whoever comes next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.gather(*map(self._send, await self._webhooks.claim()))
            except StoreUnavailable as error:
                log.debug("webhooks wait: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _send(self, message: Message) -> None:
        told = await self._attempt(message)
        is_done = told.startswith("2") or told.startswith("410")  # Gone: it does not want any
        again_in = None
        if not is_done and message.attempts <= len(PAUSES):
            again_in = PAUSES[message.attempts - 1]
        await self._webhooks.done(message.id, told, again_in=again_in)

    async def _attempt(self, message: Message) -> str:
        """The status, or why there was none."""
        body = message.body.encode()
        secret = self._webhooks.secret(message.webhook_id, message.salt)
        headers = {
            **signed(secret, f"msg_{message.id}", int(self._clock()), body),
            "Content-Type": "application/json",
        }
        endpoint = Endpoint.from_url("POST", message.url, tuple(headers.items()))
        deadline = asyncio.get_running_loop().time() + ATTEMPT_SECONDS
        try:
            response = await self._transport.send(UpstreamRequest(endpoint, body), TIMEOUTS, deadline)
        except ProviderError as failure:
            return failure.message
        response.close()
        return str(response.status)


def signed(secret: str, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The header fields that prove whom a message is from, and that nobody has changed it."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}
