"""Who an OpenID provider says it is: discovery, the code's exchange, the ID token's proof.

OpenID Connect Core 1.0 and Discovery 1.0, the code flow with PKCE (RFC 7636). A token counts only where its
signature, issuer, audience, times and nonce are right and its e-mail address has been verified. Loaded only
where `[oidc]` is configured.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import ujson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from handlers.account_keeping import Identity
from providers.errors import ProviderError
from providers.transport import Transport
from providers.types import Endpoint, Timeouts, UpstreamRequest
from store.groups import Oidc

DISCOVERY: Final = "/.well-known/openid-configuration"
FRESH_SECONDS: Final = 3600.0  # of what was discovered
RENEWED_SECONDS: Final = 10.0  # a signature that fits no key has the keys read again, at most so often
WHOLE_SECONDS: Final = 15.0
TIMEOUTS: Final = Timeouts(connect_s=5.0)
MOST_BYTES: Final = 1024 * 1024
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS: Final = 60


class OidcFailed(Exception):
    """The provider could not be asked, or what it said proves nothing. The message is for the log."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way, as its cookie has it. account_id: which account it is to be linked with."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    account_id: int | None = None


class OidcClient:
    """clock: Unix seconds."""

    def __init__(self, settings: Oidc, transport: Transport, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._transport = transport
        self._clock = clock
        self._found: tuple[float, dict[str, Any], KeySet] | None = None
        self._lock = asyncio.Lock()

    async def authorization_url(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where to send the browser. Raises OidcFailed."""
        metadata, _ = await self._discovered()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
        terms = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(terms)}"

    async def identity(self, attempt: Attempt, code: str, redirect_uri: str) -> Identity:
        """Whom a code is for. Raises OidcFailed."""
        metadata, keys = await self._discovered()
        body = urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": attempt.verifier,
            }
        )
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote(self.settings.client_id, safe='')}:{quote(self.settings.client_secret, safe='')}"
        headers = (
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),
        )
        answer = await self._ask("POST", str(metadata["token_endpoint"]), headers, body.encode())
        token = str(answer.get("id_token"))
        try:
            return self._proved(token, keys, attempt.nonce)
        except (JoseError, ValueError):  # the provider may have changed its keys
            _, keys = await self._discovered(RENEWED_SECONDS)
        try:
            return self._proved(token, keys, attempt.nonce)
        except (JoseError, ValueError) as error:
            raise OidcFailed(f"the ID token proves nothing: {type(error).__name__}") from error

    def _proved(self, token: str, keys: KeySet, nonce: str) -> Identity:
        """Raises OidcFailed, and where none of the keys signed it JoseError or ValueError."""
        rules = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        claims = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
        try:
            rules.validate(claims)
        except JoseError as error:
            raise OidcFailed(f"the ID token proves nothing: {type(error).__name__}") from error
        subject, email = claims.get("sub"), claims.get("email")
        if not isinstance(subject, str) or not subject:
            raise OidcFailed("the ID token has no subject")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise OidcFailed("the ID token has no verified e-mail address")
        return Identity(f"{self.settings.issuer} {subject}", email)

    async def _discovered(self, fresh_seconds: float = FRESH_SECONDS) -> tuple[dict[str, Any], KeySet]:
        async with self._lock:
            now = self._clock()
            if self._found is None or now - self._found[0] > fresh_seconds:
                metadata = await self._ask("GET", self.settings.issuer.rstrip("/") + DISCOVERY)
                if metadata.get("issuer") != self.settings.issuer:
                    raise OidcFailed("the provider calls itself by another issuer than oidc.issuer")
                try:
                    keys = KeySet.import_key_set(await self._ask("GET", str(metadata["jwks_uri"])))  # type: ignore[arg-type]
                except (JoseError, ValueError, KeyError) as error:
                    raise OidcFailed("the provider's keys cannot be read") from error
                self._found = now, metadata, keys
            return self._found[1], self._found[2]

    async def _ask(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
    ) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + WHOLE_SECONDS
        try:
            endpoint = Endpoint.from_url(method, url, (("Accept", "application/json"), *headers))
            response = await self._transport.send(UpstreamRequest(endpoint, body), TIMEOUTS, deadline)
            parts: list[bytes] = []
            while part := await response.chunk():
                parts.append(part)
                if sum(map(len, parts)) > MOST_BYTES:
                    response.close()
                    raise OidcFailed("the provider's answer is too large")
            document = ujson.loads(b"".join(parts))
        except (ProviderError, ValueError) as error:
            raise OidcFailed(f"the provider cannot be asked: {type(error).__name__}") from error
        if response.status != 200 or not isinstance(document, dict):
            raise OidcFailed(f"the provider answers {response.status}")
        return document
