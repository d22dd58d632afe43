"""A gateway with priced models, a vendor behind it that answers when it is told to, and requests by hand.

Every test makes keys of its own, so that one gateway serves them all. Prices are such that sums can be done
in the head: a token of output is 10,000 nano-dollars, one of input 1,000, and of the model `even` nothing.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import openai
import pytest

from tests.fakes.vendor import Answer, Vendor, stream
from tests.gateway import CONTENT, Gateway
from tests.sdk.test_ledger import DONE, chat, chunk, usage_chunk, used

CHAT = "/v1/chat/completions"
HELLO: Any = [{"role": "user", "content": CONTENT}]
OUTPUT = 10_000  # nano-dollars a token
PRICE = "price = { input = 1, output = 10 }\n"
LONGEST = 1000  # tokens of an answer
RATE_HEADERS = (
    "x-ratelimit-limit-rpm",
    "x-ratelimit-remaining-rpm",
    "x-ratelimit-limit-tpd",
    "x-ratelimit-remaining-tpd",
)


class Reply(NamedTuple):
    """What came back. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.json["error"])

    @property
    def outcome(self) -> tuple[int, str | None]:
        """Status, and the code of an error."""
        return self.status, self.error["code"] if self.status >= 400 else None


class Sender(NamedTuple):
    """Who asks: an address of this machine, what it says of others, and a key."""

    address: str = "127.0.0.1"
    forwarded_for: str | None = None
    key: str | None = None


def send(
    gateway: Gateway, sender: Sender, method: str = "GET", path: str = "/v1/key", body: bytes | None = None
) -> Reply:
    """One request on a connection of its own."""
    headers = {"Content-Type": "application/json"}
    if sender.key is not None:
        headers["Authorization"] = f"Bearer {sender.key}"
    if sender.forwarded_for is not None:
        headers["X-Forwarded-For"] = sender.forwarded_for
    connection = http.client.HTTPConnection(
        "127.0.0.1", gateway.port, timeout=30, source_address=(sender.address, 0)
    )
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def ask(gateway: Gateway, key: str, path: str = CHAT, **fields: Any) -> Reply:
    """A call to the model `even`, or what `fields` say else."""
    usual: dict[str, Any] = {"model": "even"}
    if path == CHAT:
        usual["messages"] = HELLO
    return send(gateway, Sender(key=key), "POST", path, json.dumps({**usual, **fields}).encode())


def about(gateway: Gateway, key: str) -> dict[str, Any]:
    """What GET /v1/key says."""
    answer = send(gateway, Sender(key=key))
    assert answer.status == 200, answer
    return dict(answer.json)


def reserved_usd(gateway: Gateway, key: str) -> float:
    return float(about(gateway, key)["budget"]["reserved_usd"])


def create(gateway: Gateway, *options: str) -> dict[str, Any]:
    """A key without other limits than those of `options`."""
    generous = ("--rpm", "1000000", "--tpd", "1000000000000")
    return dict(gateway.run("keys", "create", "--name", "limited", *generous, *options))


def models(vendor: Vendor) -> str:
    """even: its input is free. new: of OpenAI's own, takes no max_tokens. eye: says what an image takes."""
    provider = f'[[providers]]\nname = "own"\nkind = "openai"\nbase_url = "{vendor.base_url}"\n'
    entry = '[[models]]\nid = "%s"\ntargets = [{ provider = "%s", model = "%s" }]\n'
    rest = f"max_output_tokens = {LONGEST}\n{PRICE}"
    free = f"max_output_tokens = {LONGEST}\nprice = {{ input = 0, output = 10 }}\n"
    return "".join(
        (
            provider + 'api_keys = ["own-secret"]\n',
            *(entry % (name, "fake", name) + rest for name in ("m", "emb", "old")),
            entry % ("even", "fake", "even") + free,
            entry % ("new", "own", "o3") + rest,
            entry % ("eye", "fake", "m") + rest + "max_image_tokens = 100\n",
            entry % ("vast", "fake", "m") + PRICE,
            entry % ("unpriced", "fake", "m"),
            entry % ("slow", "fake", "even") + free + "request_s = 0.3\nstream_s = 0.3\n",
        )
    )


def answered(output_tokens: int, *, is_stream: bool = False, input_tokens: int = 5) -> Answer:
    """What a vendor says, with so many tokens used."""
    return held(None, used(input_tokens, output_tokens), is_stream)


def held(until: threading.Event | None, usage: dict[str, Any], is_stream: bool) -> Answer:
    """The same, held back until something is so: after the head, or after a stream's first chunk."""
    waiting: list[bytes | float | threading.Event] = [] if until is None else [until]
    if is_stream:
        return stream(chunk("Hi"), *waiting, chunk(None, "stop"), usage_chunk(**usage), DONE)
    return Answer([*waiting, json.dumps(chat(usage)).encode()])


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Wait for it, within reason."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_booked(gateway: Gateway, made: dict[str, Any], nanodollars: int) -> None:
    """The ledger has what the limiter says, to the nano-dollar; it takes a moment to get there."""
    assert about(gateway, made["key"])["budget"]["spent_usd"] == nanodollars / 10**9

    def cost() -> int:
        rows = gateway.run("usage", "--by", "key")["rows"]
        return sum(row["cost_nanodollars"] for row in rows if row["key_id"] == made["id"])

    eventually(lambda: cost() == nanodollars, "the ledger says otherwise")
    assert gateway.run("usage", "verify")["is_equal"] is True
    shown = gateway.run("keys", "show", str(made["id"]))
    assert (shown["spent_usd"], shown["reserved_usd"]) == (nanodollars / 10**9, 0)


def by_sdk(gateway: Gateway, key: str, **fields: Any) -> tuple[openai.APIStatusError, int]:
    """What the official client makes of a call that is refused, and how many requests it sends for it."""
    sent: list[Any] = []
    transport = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    with openai.OpenAI(base_url=gateway.base_url, api_key=key, http_client=transport) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="even", messages=HELLO, **fields)
    return caught.value, len(sent)


@contextmanager
def under_way(
    gateway: Gateway, vendor: Vendor, key: str, count: int, is_stream: bool = False
) -> Iterator[list[Future[Reply]]]:
    """So many calls of at most 100 tokens that have reached the vendor, and are answered at the end."""
    release = threading.Event()
    vendor.answers["even"] = held(release, used(5, 100), is_stream)
    before = len(vendor.requests)
    with ThreadPoolExecutor(count) as pool:
        try:
            calls = [pool.submit(ask, gateway, key, max_tokens=100, stream=is_stream) for _ in range(count)]
            eventually(lambda: len(vendor.requests) == before + count, "they have not reached the vendor")
            yield calls
        finally:
            release.set()


@contextmanager
def hanging(gateway: Gateway, key: str, **fields: Any) -> Iterator[socket.socket]:
    """A call whose client leaves at the end, whatever has come until then."""
    body = json.dumps({"model": "even", "messages": HELLO, "max_tokens": 100, **fields}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    with gateway.connect() as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield sock
