"""Reads a provider's own list of its models: free of charge, with a bound on time, size and pages.

What takes long to parse is parsed by a child process. Secrets are tried in turn until one is accepted. Every
failure is a ListFailed whose reason holds no secret and no part of a body.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote

import ujson

from providers import errors
from providers.errors import ProviderError
from providers.failures import MAX_ERROR_BODY_BYTES, Failures
from providers.model_lists import DIALECTS, MOST_MODELS, USUAL, Dialect, ListedModel, Page, page
from providers.price_list import INHERITED, ROOT
from providers.transport import Response, Transport
from providers.types import Endpoint, ProviderSpec, Timeouts, UpstreamRequest, join
from providers.vendors import ROWS

COMMAND: Final = (sys.executable, "-m", "providers.model_lists")
TIMEOUTS: Final = Timeouts(connect_s=5.0)
WHOLE_S: Final = 20.0  # for all pages of a list
MOST_BYTES: Final = 16 * 1024 * 1024  # of a page
MOST_BYTES_AT_ONCE: Final = 32 * 1024  # to parse in the event loop: a millisecond or two
MOST_PAGES: Final = 20
OUTAGES: Final = frozenset((errors.FAILED, errors.OVERLOADED, errors.TIMEOUT, errors.INCOMPLETE))


class ListFailed(Exception):
    """is_outage: the provider could not be reached or failed itself, rather than refused to tell."""

    def __init__(self, reason: str, *, is_outage: bool = False) -> None:
        super().__init__(reason)
        self.is_outage = is_outage


class ReadList(NamedTuple):
    """latency_ms: of its first page."""

    models: list[ListedModel]
    latency_ms: int


class ListReader:
    """Reads lists over the process's own connections."""

    def __init__(self, transport: Transport, *, whole_s: float = WHOLE_S) -> None:
        self._transport = transport
        self._whole_s = whole_s

    async def read(self, provider: ProviderSpec) -> ReadList:
        """All pages. Raises ListFailed."""
        dialect = DIALECTS.get(provider.kind, USUAL)
        if dialect is None:
            raise ListFailed("publishes no list of models")
        deadline = asyncio.get_running_loop().time() + self._whole_s
        failures = Failures(provider.secrets, ROWS[provider.kind].statuses)
        secrets = provider.secrets or ("",)
        for number, secret in enumerate(secrets, 1):
            try:
                return await self._read(_Asking(provider, dialect, secret, failures), deadline)
            except ProviderError as failure:
                if failure.kind != errors.AUTH or number == len(secrets):
                    raise _failed(failure) from failure
        raise AssertionError("the last secret returns or raises")

    async def _read(self, asking: _Asking, deadline: float) -> ReadList:
        clock = asyncio.get_running_loop().time
        started = clock()
        body = await self._body(asking, "", deadline)
        latency_ms = round((clock() - started) * 1000)
        found: dict[str, ListedModel] = {}
        for _ in range(MOST_PAGES):
            models, cursor = await _parsed(asking.provider.kind, body)
            found |= {model.id: model for model in models}
            if not cursor or len(found) >= MOST_MODELS:
                break
            body = await self._body(asking, cursor, deadline)
        if not found and ROWS[asking.provider.kind].needs_secret:
            raise ListFailed("the list is empty")  # no vendor has nothing, while a server at home may
        return ReadList(list(found.values())[:MOST_MODELS], latency_ms)

    async def _body(self, asking: _Asking, cursor: str, deadline: float) -> bytes:
        response = await self._transport.send(
            UpstreamRequest(asking.endpoint(cursor), b""), TIMEOUTS, deadline
        )
        is_good = 200 <= response.status < 300
        body = await _whole(response, MOST_BYTES if is_good else MAX_ERROR_BODY_BYTES)
        if not is_good:
            raise asking.failures.from_answer(response.status, response.headers, body)
        return body


@dataclass(frozen=True, slots=True)
class _Asking:
    """One list, asked for with one of the provider's secrets."""

    provider: ProviderSpec
    dialect: Dialect
    secret: str = field(repr=False)
    failures: Failures

    def endpoint(self, cursor: str) -> Endpoint:
        """Where the page that begins at the cursor is."""
        path, _, query = self.dialect.path.partition("?")
        url = join(self.provider.base_url or "", path)
        terms = [query, f"{self.dialect.cursor}={quote(cursor, safe='')}" if cursor else ""]
        if more := "&".join(filter(None, terms)):
            url += ("&" if "?" in url else "?") + more
        vendor = ROWS[self.provider.kind]
        headers = [*self.dialect.headers]
        if self.secret:
            headers.append((vendor.header, vendor.scheme + self.secret))
        return Endpoint.from_url("GET", url, tuple(headers))


def _failed(failure: ProviderError) -> ListFailed:
    number = f" ({failure.status})" if failure.status else ""
    return ListFailed(failure.message.rstrip(".") + number, is_outage=failure.kind in OUTAGES)


async def _whole(response: Response, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await response.chunk():
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            response.close()
            raise ListFailed("the list is larger than any list of models")
    return b"".join(parts)


async def _parsed(kind: str, body: bytes) -> Page:
    """Raises ListFailed."""
    if len(body) > MOST_BYTES_AT_ONCE:
        return await _parsed_by_child(kind, body)
    try:
        return page(kind, body)
    except ValueError as error:
        raise ListFailed(str(error)) from error


async def _parsed_by_child(kind: str, body: bytes) -> Page:
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    child = await asyncio.create_subprocess_exec(
        *COMMAND, kind, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=environment
    )
    try:
        async with asyncio.timeout(WHOLE_S):
            text, words = await child.communicate(body)
    except TimeoutError as error:
        raise ListFailed("the list took too long to read") from error
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode:
        raise ListFailed(
            words.decode(errors="replace").strip().rpartition("\n")[2] or "the list cannot be read"
        )
    rows, cursor = ujson.loads(text)
    return Page([ListedModel(*row) for row in rows], cursor)
