"""Usage and cost on every way a call can go, as a real gateway's ledger has them (R-12 to R-14, R-25)."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, Gateway, free_port, toml

HELLO = [{"role": "user", "content": CONTENT}]
PRICE = "price = { input = 2.5, cached_input = 1.25, output = 10, reasoning = 20 }"
LONG = b"word " * 400  # of generated text: some 550 tokens
DONE = b"data: [DONE]\n\n"


def models(vendor: Vendor, deaf_port: int = 1) -> str:
    target = 'targets = [{ provider = "fake", model = "%s" }]\n'
    provider = '[[providers]]\nname = "%s"\nkind = "vllm"\nbase_url = "http://127.0.0.1:%d/v1"\n'
    own = f'[[providers]]\nname = "router"\nkind = "openrouter"\nbase_url = "{vendor.base_url}"\n'
    return "".join(
        [
            provider % ("dead", free_port()) + provider % ("deaf", deaf_port),
            own + 'api_keys = ["router-secret"]\n',
            *(f'[[models]]\nid = "{name}"\n{target % name}{PRICE}\n' for name in ("m", "emb", "old")),
            f'[[models]]\nid = "free"\n{target % "m"}price = {{ input = 0, output = 0 }}\n',
            f'[[models]]\nid = "unpriced"\n{target % "m"}',
            f'[[models]]\nid = "slow"\n{target % "m"}{PRICE}\nrequest_s = 0.3\nstream_s = 0.3\n',
            f'[[models]]\nid = "late"\n{target % "m"}{PRICE}\nfirst_byte_s = 0.3\n',
            f'[[models]]\nid = "gone"\n{target.replace("fake", "dead") % "m"}{PRICE}\n',
            f'[[models]]\nid = "deaf"\n{target.replace("fake", "deaf") % "m"}{PRICE}\n',
            '[[models]]\nid = "two"\ntargets = [{ provider = "dead", model = "m" }, '
            f'{{ provider = "fake", model = "m", priority = 2 }}]\n{PRICE}\n',
        ]
    )


@pytest.fixture(scope="module")
def deaf_port() -> Iterator[int]:
    """Of a listener that lets nobody in any more: who connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            yield address[1]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, deaf_port: int) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        config = toml(vendor.base_url, "[limits]\nip_rpm = 0\n") + models(vendor, deaf_port)
        with Gateway(tmp_path_factory.mktemp("ledger"), config) as gateway:
            yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    return places[0]


@pytest.fixture
def gateway(places: tuple[Vendor, Gateway]) -> Gateway:
    return places[1]


def query(gateway: Gateway, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(gateway.data_dir / "rooya.db", timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, parameters)]


def awaited(gateway: Gateway, count: int, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    """So many rows of the ledger and no more; it takes a moment for them to get there."""
    end = time.monotonic() + 10
    while len(found := query(gateway, f"SELECT * FROM ledger {sql}", *parameters)) < count:
        assert time.monotonic() < end, "it is not in the ledger"
        time.sleep(0.02)
    assert len(found) == count
    return found


def rows(gateway: Gateway, request_id: str, count: int = 1) -> list[dict[str, Any]]:
    """What the ledger says of a request."""
    return awaited(gateway, count, "WHERE request_id = ? ORDER BY attempt", request_id)


def count(gateway: Gateway) -> int:
    """Of rows, once all that has ended is there: it is moved in the order in which it ended."""
    rows(gateway, post(gateway, model="gone")[1]["x-request-id"])
    return int(query(gateway, "SELECT count(*) AS n FROM ledger")[0]["n"])


def assert_estimated(row: dict[str, Any], text_bytes: int) -> None:
    """Within 40 % of what so many bytes of generated text usually are."""
    assert row["usage_source"] == "estimated"
    assert 0.6 * text_bytes / 3.6 < row["output_tokens"] < 1.4 * text_bytes / 3.6 + 1


charged = itemgetter("status", "usage_source", "input_tokens", "output_tokens", "cost_nanodollars")


def chat(usage: dict[str, Any] | None, text: str = "Hi") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole: dict[str, Any] = {"id": "c", "object": "chat.completion", "choices": [choice]}
    return whole if usage is None else {**whole, "usage": usage}


def chunk(text: str | None, finish: str | None = None, index: int = 0) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


def used(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **details}


def usage_chunk(**usage: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


def post(gateway: Gateway, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    return gateway.post("/v1/chat/completions", {"model": "m", "messages": HELLO, **fields})


def test_a_reported_usage_is_charged_to_the_nanodollar(vendor: Vendor, gateway: Gateway) -> None:
    cached, thought = {"cached_tokens": 40}, {"reasoning_tokens": 7}
    details = {"prompt_tokens_details": cached, "completion_tokens_details": thought}
    vendor.answers["m"] = reply(chat(used(101, 33, **details)))
    _, headers, _ = post(gateway)
    (row,) = rows(gateway, headers["x-request-id"])
    # 61 at 2,500 + 40 at 1,250 + 26 at 10,000 + 7 at 20,000 nano-dollars a token
    assert charged(row) == ("ok", "reported", 101, 33, 152_500 + 50_000 + 260_000 + 140_000)
    assert headers["x-rooya-cost-usd"] == "0.000602500"
    assert (row["cached_tokens"], row["reasoning_tokens"], row["endpoint"]) == (40, 7, "chat")
    assert (row["model"], row["provider"], row["attempt"], row["details"]) == ("m", "fake", 0, None)


def test_without_a_usage_it_is_estimated_and_not_free(vendor: Vendor, gateway: Gateway) -> None:
    vendor.answers["m"] = reply(chat(None, LONG.decode()))
    _, headers, _ = post(gateway)
    (row,) = rows(gateway, headers["x-request-id"])
    assert_estimated(row, len(LONG))
    assert headers["x-rooya-cost-usd"] == f"{row['cost_nanodollars'] / 10**9:.9f}"
    assert row["input_tokens"] >= 1
    assert row["cost_nanodollars"] == row["input_tokens"] * 2500 + row["output_tokens"] * 10_000


@pytest.mark.parametrize("asked", ["", "include_usage", "include_cost"])
def test_a_stream_is_charged_by_its_usage_chunk_shown_only_where_asked(
    vendor: Vendor, gateway: Gateway, asked: str
) -> None:
    vendor.answers["m"] = stream(chunk("Hi"), chunk(None, "stop"), usage_chunk(**used(10, 20)), DONE)
    options = {"stream_options": {asked: True}} if asked else {}
    _, headers, body = post(gateway, stream=True, **options)
    assert vendor.last().json["stream_options"] == {"include_usage": True}
    events = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
    assert [event["choices"] == [] for event in events] == [False, False, *[True] * bool(asked)]
    assert body.endswith(DONE) and body.count(b"[DONE]") == 1
    told = events[-1].get("usage", {}).get("cost")
    assert told == (0.000225 if asked == "include_cost" else None)
    assert charged(rows(gateway, headers["x-request-id"])[0]) == ("ok", "reported", 10, 20, 225_000)


def test_a_stream_without_usage_is_estimated_from_the_text_of_all_its_choices(
    vendor: Vendor, gateway: Gateway
) -> None:
    ends = [chunk(None, "stop", index) for index in range(2)]
    vendor.answers["m"] = stream(*[chunk("word "), chunk("word ", index=1)] * 200, *ends, DONE)
    (row,) = rows(gateway, post(gateway, stream=True, n=2)[1]["x-request-id"])
    assert row["status"] == "ok"
    assert_estimated(row, 2000)


def test_embeddings_and_legacy_completions_are_charged(vendor: Vendor, gateway: Gateway) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    vendor.answers["emb"] = reply(
        {"object": "list", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    )
    _, headers, _ = gateway.post("/v1/embeddings", {"model": "emb", "input": [CONTENT, "b"]})
    (row,) = rows(gateway, headers["x-request-id"])
    assert (row["endpoint"], *charged(row)) == ("embeddings", "ok", "reported", 9, 0, 22_500)
    choices = [{"index": n, "text": "x", "finish_reason": "stop"} for n in range(4)]
    vendor.answers["old"] = reply({"object": "text_completion", "choices": choices, "usage": used(4, 8)})
    _, headers, _ = gateway.post("/v1/completions", {"model": "old", "prompt": [CONTENT, "b"], "n": 2})
    (row,) = rows(gateway, headers["x-request-id"])
    assert (row["endpoint"], *charged(row)) == ("completions", "ok", "reported", 4, 8, 90_000)


def test_embeddings_and_legacy_completions_without_usage_are_estimated(
    vendor: Vendor, gateway: Gateway
) -> None:
    vendor.answers["emb"] = reply({"data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]})
    _, headers, _ = gateway.post("/v1/embeddings", {"model": "emb", "input": [CONTENT] * 50})
    (row,) = rows(gateway, headers["x-request-id"])
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 0)
    assert 0.6 * 50 * len(CONTENT) / 3.6 < row["input_tokens"] < 1.4 * 50 * len(CONTENT) / 3.6
    choices = [{"index": n, "text": LONG.decode(), "finish_reason": "stop"} for n in range(2)]
    vendor.answers["old"] = reply({"object": "text_completion", "choices": choices})
    _, headers, _ = gateway.post("/v1/completions", {"model": "old", "prompt": [CONTENT, "b"]})
    (row,) = rows(gateway, headers["x-request-id"])
    assert_estimated(row, 2 * len(LONG))


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_error_before_any_token_costs_nothing(
    vendor: Vendor, gateway: Gateway, status: int, is_stream: bool
) -> None:
    error = {"error": {"message": "a long story of what went wrong " * 50, "type": "x"}}
    vendor.answers["m"] = reply(error, status)
    _, headers, _ = post(gateway, stream=is_stream)
    (row,) = rows(gateway, headers["x-request-id"])
    assert charged(row) == ("error", "none", 0, 0, 0)


def test_an_error_in_mid_stream_is_charged_what_came_before(vendor: Vendor, gateway: Gateway) -> None:
    failure = b'data: {"error": {"message": "' + b"overloaded " * 200 + b'"}}\n\n'
    for answer in (
        stream(*[chunk("word ")] * 100, failure),
        stream(*[chunk("word ")] * 100, end="reset"),
        stream(*[chunk("word ")] * 100),
    ):
        vendor.answers["m"] = answer
        _, headers, body = post(gateway, stream=True)
        (row,) = rows(gateway, headers["x-request-id"])
        assert row["status"] == "error"
        # A reset may take with it what the vendor wrote last.
        assert_estimated(row, 5 * body.count(b"word "))


def test_each_target_has_its_row_and_the_request_counts_once(
    vendor: Vendor, deaf_port: int, tmp_path: Path
) -> None:
    vendor.answers["m"] = reply(chat(used(10, 20)))
    config = toml(vendor.base_url, "[retry]\nretries = 1\n") + models(vendor, deaf_port)
    with Gateway(tmp_path, config) as gateway:
        found = rows(gateway, post(gateway, model="two")[1]["x-request-id"], 2)
        assert [(row["provider"], row["attempt"], *charged(row)) for row in found] == [
            ("dead", 0, "error", "none", 0, 0, 0),
            ("fake", 1, "ok", "reported", 10, 20, 225_000),
        ]
        sums = "SELECT sum(requests) AS n FROM usage_hourly WHERE model = 'two'"
        assert query(gateway, sums) == [{"n": 1}]


@pytest.mark.parametrize("model", ["slow", "late"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_time_out_after_the_dispatch_is_charged(
    vendor: Vendor, gateway: Gateway, is_stream: bool, model: str
) -> None:
    vendor.answers["m"] = Answer([], end="hang")
    (row,) = rows(gateway, post(gateway, model=model, stream=is_stream)[1]["x-request-id"])
    assert (row["status"], row["usage_source"], row["output_tokens"]) == ("timeout", "estimated", 0)
    assert row["cost_nanodollars"] == 2500 * row["input_tokens"] > 0


def test_a_provider_that_was_never_reached_costs_nothing(gateway: Gateway) -> None:
    (row,) = rows(gateway, post(gateway, model="gone")[1]["x-request-id"])
    assert charged(row) == ("error", "none", 0, 0, 0)


def left(
    gateway: Gateway, until: Callable[[bytes], bool], is_stream: bool = True, model: str = "m"
) -> dict[str, Any]:
    """The one row of a client that asks, reads until something is so, and hangs up."""
    before = count(gateway)
    body = json.dumps({"model": model, "messages": HELLO, "stream": is_stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
    with gateway.connect() as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        sock.settimeout(0.005)
        received = b""
        end = time.monotonic() + 10
        while not until(received):
            assert time.monotonic() < end
            with suppress(TimeoutError):
                received += sock.recv(65536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    row = awaited(gateway, before + 1, "ORDER BY started_at_ms")[-1]
    assert count(gateway) == before + 2
    return row


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_gone_before_the_first_byte_pays_for_its_prompt(
    vendor: Vendor, gateway: Gateway, is_stream: bool
) -> None:
    vendor.answers["m"] = Answer([], end="hang")
    row = left(gateway, lambda _: bool(vendor.requests), is_stream)
    assert (row["status"], row["usage_source"], row["output_tokens"]) == ("client_gone", "estimated", 0)
    assert row["cost_nanodollars"] == 2500 * row["input_tokens"] > 0


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_gone_before_the_provider_was_reached_pays_nothing(
    deaf_port: int, gateway: Gateway, is_stream: bool
) -> None:
    connecting = f"0100007F:{deaf_port:04X} 02 "  # SYN_SENT
    row = left(gateway, lambda _: connecting in Path("/proc/net/tcp").read_text(), is_stream, "deaf")
    assert charged(row) == ("client_gone", "none", 0, 0, 0)


@pytest.mark.parametrize("place", ["mid-stream", "before the usage", "at the usage"])
def test_a_client_gone_in_mid_stream_pays_for_what_was_seen(
    vendor: Vendor, gateway: Gateway, place: str
) -> None:
    held = threading.Event()
    pieces = [*[chunk("word ")] * 100, chunk("last")]
    if place != "mid-stream":
        pieces.append(chunk(None, "stop"))
    if place == "at the usage":
        pieces.append(usage_chunk(**used(10, 20)))
    vendor.answers["m"] = stream(b"".join(pieces), held, DONE)
    row = left(gateway, lambda received: b"last" in received)
    held.set()
    assert row["status"] == "client_gone"
    if place == "at the usage":
        assert charged(row) == ("client_gone", "reported", 10, 20, 225_000)
    else:
        assert_estimated(row, 504)


def test_a_client_gone_at_done_pays_what_was_reported(vendor: Vendor, gateway: Gateway) -> None:
    vendor.answers["m"] = stream(chunk("Hi"), chunk(None, "stop"), usage_chunk(**used(10, 20)), DONE)
    row = left(gateway, lambda received: b"[DONE]" in received)
    assert charged(row) == ("ok", "reported", 10, 20, 225_000)


def test_a_vendors_own_cost_goes_before_any_price(vendor: Vendor, gateway: Gateway) -> None:
    vendor.answers["some/model"] = reply(chat({**used(10, 20), "cost": 0.0123}))
    (row,) = rows(gateway, post(gateway, model="router/some/model")[1]["x-request-id"])
    assert row["cost_nanodollars"] == 12_300_000
    assert json.loads(row["details"])["cost_by"] == "provider"


def test_an_unpriced_model_is_marked_and_refused_to_a_key_with_a_budget(
    vendor: Vendor, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.answers["m"] = reply(chat(used(10, 20)))
    (row,) = rows(gateway, post(gateway, model="unpriced")[1]["x-request-id"])
    assert (row["price_id"], *charged(row)) == (0, "ok", "reported", 10, 20, 0)
    monkeypatch.setattr(gateway, "key", gateway.run("keys", "create", "--name", "b", "--budget", "5")["key"])
    for is_stream in (False, True):
        status, _, body = post(gateway, model="unpriced", stream=is_stream)
        assert (status, json.loads(body)["error"]["code"]) == (400, "model_not_priced")
        assert "unpriced" in json.loads(body)["error"]["message"]
    (row,) = rows(gateway, post(gateway, model="free")[1]["x-request-id"])
    assert row["price_id"] != 0 and row["cost_nanodollars"] == 0


def test_a_clients_own_request_id_is_noted_and_spares_no_charge(vendor: Vendor, gateway: Gateway) -> None:
    vendor.answers["m"] = reply(chat(used(10, 20)))
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    for name in (b"mine-1", b"mine-1", b'\xff\xfe"\\' * 100):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        with gateway.connect() as sock:
            sock.sendall(
                head.encode()
                + b"X-Client-Request-Id: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                % (name, len(body))
                + body
            )
            answer = sock.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        (row,) = rows(gateway, answer.lower().partition(b"x-request-id: ")[2].split(b"\r")[0].decode())
        assert row["cost_nanodollars"] == 225_000
        noted = json.loads(row["details"])["client_request_id"]
        assert noted == "mine-1" if name == b"mine-1" else len(noted) <= 128


@pytest.mark.parametrize("is_stream", [False, True])
def test_always_synced_calls_are_answered_many_at_once(tmp_path: Path, is_stream: bool) -> None:
    with Vendor() as vendor:
        more = '[limits]\nip_rpm = 0\n[ledger]\njournal_sync = "always"\n'
        with Gateway(tmp_path, toml(vendor.base_url, more) + models(vendor)) as gateway:
            vendor.answers["m"] = (
                stream(chunk("Hi"), chunk(None, "stop"), DONE) if is_stream else reply(chat(used(10, 20)))
            )
            with ThreadPoolExecutor(50) as pool:
                statuses = list(pool.map(lambda _: post(gateway, stream=is_stream)[0], range(50)))
            assert statuses == [200] * 50
            assert count(gateway) == 51


def test_the_demo_is_charged_its_fictional_price(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        for is_stream in (False, True):
            _, headers, _ = post(gateway, model="demo-echo", stream=is_stream)
            (row,) = rows(gateway, headers["x-request-id"])
            assert row["cost_nanodollars"] == 1000 * (row["input_tokens"] + row["output_tokens"]) > 0
