"""Whatever a provider does wrong: what the client gets, and whether it is tried again, rests and is charged.

The table (R-20) is what the README's section on reliability shows; a test keeps the two the same.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway, free_port

ROOT: Final = Path(__file__).resolve().parent.parent.parent
KINDS: Final = ("openai_compatible",)
PRICE: Final = "price = { input = 1.0, output = 2.0 }"
HTML: Final = b"<html><body>502 Bad Gateway</body></html>"


class Row(NamedTuple):
    """status and code: of the answer. requests: seen by the only target, with two retries. rests: what."""

    fault: str
    status: int
    code: str | None
    requests: int
    rests: str
    is_charged: bool


def failing(status: int, **headers: str) -> Answer:
    fields = (("Content-Type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items()))
    return reply({"error": {"message": "no", "type": "x"}}, status, fields)


FAULTS: Final = {
    "refuses the connection": None,
    "resets before the head": Answer(raw=b"", end="reset"),
    "resets in mid-body": Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", end="reset"),
    "hangs": Answer(end="hang"),
    "200 with HTML": reply(HTML, 200, (("Content-Type", "text/html"),)),
    "200 with an empty body": reply(b"", 200),
    "200 with an error inside": reply({"error": {"message": "no", "code": 503}}, 200),
    "400": failing(400),
    "401": failing(401),
    "403": failing(403),
    "404": failing(404),
    "408": failing(408),
    "413": failing(413),
    "429": failing(429),
    "429 with Retry-After: 17": failing(429, Retry_After="17"),
    "500": failing(500),
    "502 with HTML": reply(HTML, 502, (("Content-Type", "text/html"),)),
    "503": failing(503),
    "504": failing(504),
    "529": failing(529),
}
TABLE: Final = (
    Row("refuses the connection", 502, "upstream_error", 0, "model", False),
    Row("resets before the head", 502, "upstream_error", 3, "model", False),
    Row("resets in mid-body", 502, "upstream_incomplete", 3, "model", False),
    Row("hangs", 504, "upstream_timeout", 1, "", True),
    Row("200 with HTML", 502, "upstream_error", 3, "model", False),
    Row("200 with an empty body", 502, "upstream_error", 3, "model", False),
    Row("200 with an error inside", 503, "upstream_overloaded", 3, "model", False),
    Row("400", 400, None, 1, "", False),
    Row("401", 502, "upstream_auth_error", 1, "secret", False),
    Row("403", 502, "upstream_auth_error", 1, "secret", False),
    Row("404", 404, "model_not_found", 1, "", False),
    Row("408", 504, "upstream_timeout", 3, "model", False),
    Row("413", 400, None, 1, "", False),
    Row("429", 429, "upstream_rate_limit", 3, "secret", False),
    Row("429 with Retry-After: 17", 429, "upstream_rate_limit", 1, "secret", False),
    Row("500", 502, "upstream_error", 3, "model", False),
    Row("502 with HTML", 502, "upstream_error", 3, "model", False),
    Row("503", 503, "upstream_overloaded", 3, "model", False),
    Row("504", 504, "upstream_timeout", 3, "model", False),
    Row("529", 503, "upstream_overloaded", 3, "model", False),
)


def settings(vendor: Vendor) -> str:
    """A model for every fault at every kind of provider, so that what rests in one is not met in another."""
    origin = vendor.base_url.removesuffix("/v1")
    nobody = f"http://127.0.0.1:{free_port()}"
    lines = ["[limits]\nip_rpm = 0\n[timeouts]\nrequest_s = 4\nstream_s = 4\n"]
    for kind in KINDS:
        for name, place in ((kind, origin), (f"{kind}-gone", nobody)):
            base_url = place if kind in ("anthropic", "gemini") else f"{place}/v1"
            lines.append(f'[[providers]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{base_url}"\n')
            lines.append(f'api_keys = ["{VENDOR_SECRET}"]\n')
        for at, fault in enumerate(FAULTS):
            provider = f"{kind}-gone" if FAULTS[fault] is None else kind
            target = f'{{ provider = "{provider}", model = "{kind}-{at}" }}'
            lines.append(f'[[models]]\nid = "{kind}-{at}"\ntargets = [{target}]\n{PRICE}\n')
    return "".join(lines)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        with Gateway(tmp_path_factory.mktemp("faults"), settings(vendor)) as gateway:
            yield vendor, gateway


def query(gateway: Gateway, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(gateway.data_dir / "rooya.db")) as database:
        return database.execute(sql, parameters).fetchall()


def resting(gateway: Gateway, model: str) -> str:
    """What rests of it, once all that is known is written."""
    sql = "SELECT max(secret) FROM target_rests WHERE model = ? AND until_ms > 0"
    ((secret,),) = query(gateway, sql, model)
    return "" if secret is None else "model" if secret < 0 else "secret"


def charged(gateway: Gateway, request_id: str, attempts: int) -> int:
    end = time.monotonic() + 20
    while True:
        rows = query(gateway, "SELECT cost_nanodollars FROM ledger WHERE request_id = ?", request_id)
        if len(rows) == attempts:
            return sum(cost for (cost,) in rows)
        assert time.monotonic() < end, rows
        time.sleep(0.02)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.fault)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_has_its_row(places: tuple[Vendor, Gateway], kind: str, row: Row) -> None:
    vendor, gateway = places
    model = f"{kind}-{list(FAULTS).index(row.fault)}"
    answer = FAULTS[row.fault]
    if answer is not None:
        vendor.answers[model] = answer
    payload = {"model": model, "messages": [{"role": "user", "content": CONTENT}]}
    status, headers, body = gateway.post("/v1/chat/completions", payload)
    assert (status, json.loads(body)["error"]["code"]) == (row.status, row.code)
    asked = sum(model in request.path + str(request.body) for request in vendor.requests)
    is_stale = (
        row.fault == "resets before the head"
    )  # a connection used before is tried once more, on a new one
    assert asked in (row.requests, row.requests + is_stale)
    assert (charged(gateway, headers["x-request-id"], row.requests or 3) > 0) is row.is_charged
    end = time.monotonic() + (3 if row.rests else 0)
    while resting(gateway, model) != row.rests:
        assert time.monotonic() < end
        time.sleep(0.05)


def table() -> str:
    """As the README shows it."""
    lines = [
        "| the provider ... | the client gets | code | requests to it | rests | charged |",
        "|---|---|---|---|---|---|",
    ]
    for row in TABLE:
        code = "its own" if row.code is None else f"`{row.code}`"
        asked = row.requests or 3
        lines.append(
            f"| {row.fault} | {row.status} | {code} | {asked} | {row.rests or '-'} |"
            f" {'an estimate' if row.is_charged else 'no'} |"
        )
    return "\n".join(lines)


def test_the_readme_shows_the_table() -> None:
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_fault_is_in_the_table() -> None:
    assert [row.fault for row in TABLE] == list(FAULTS)
