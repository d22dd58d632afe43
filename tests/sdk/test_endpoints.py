"""The small print of the HTTP interface, at the real process."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, ROOT, Gateway, toml
from tests.sdk.conftest import recorded

CHAT = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": CONTENT}]}


def ask(
    gateway: Gateway, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any, bytes]:
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def test_health_has_the_reference_s_fields(gateway: Gateway) -> None:
    status, headers, body = ask(gateway, "GET", "/health")
    health = json.loads(body)
    assert status == 200
    assert set(health) == {"status", "timestamp", "uptime", "memory"}
    assert health["status"] == "ok"
    assert len(health["timestamp"]) == len("2026-04-25T02:00:00.000Z")
    assert type(health["uptime"]) is int
    assert 20 < health["memory"]["rss"] < 100
    assert 0 < health["memory"]["heap"] <= health["memory"]["rss"]
    assert headers["X-Request-ID"]
    assert headers["Server"] is None


def test_models_have_the_reference_s_shape(gateway: Gateway) -> None:
    status, _, body = ask(gateway, "GET", "/v1/models")
    listed = json.loads(body)
    assert (status, listed["object"]) == (200, "list")
    assert set(listed["data"][0]) == {"id", "object", "created", "owned_by"}
    for path in (
        "/v1/models/alias",
        "/v1/models/org/model-with/slashes",
        "/v1/models/org%2Fmodel-with%2Fslashes",
    ):
        assert ask(gateway, "GET", path)[0] == 200
    status, _, body = ask(gateway, "GET", "/v1/models/nobody")
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/chat", "/v1/chat/completions/", "/v2/models", "//health", "/%00"]
)
def test_what_is_not_there_is_404_in_the_envelope(gateway: Gateway, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        status, headers, body = ask(gateway, method, path)
        assert status == 404
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(CHAT, "POST"), ("/v1/completions", "POST"), ("/v1/embeddings", "POST")]
    + [(path, "GET, HEAD") for path in ("/health", "/v1/models", "/v1/models/alias")],
)
def test_a_wrong_method_is_405_with_allow(gateway: Gateway, path: str, allowed: str) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "GET" if allowed == "POST" else "POST"):
        status, headers, body = ask(gateway, method, path)
        assert (status, headers["Allow"]) == (405, allowed)
        assert json.loads(body)["error"]["code"] == "method_not_allowed"


def test_head_is_get_without_its_body(gateway: Gateway) -> None:
    for path in ("/health", "/v1/models"):
        status, headers, body = ask(gateway, "HEAD", path)
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 20


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic abc", "sk-only", "Bearer sk-wrong", "Bearer \xff\xfe"],
)
def test_a_bad_key_is_401_before_the_body_is_looked_at(gateway: Gateway, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, answered, body = ask(gateway, "POST", CHAT, b"not json", **headers)
    assert status == 401
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert answered["X-Request-ID"]


def test_the_scheme_s_case_does_not_matter(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    body = json.dumps(HELLO).encode()
    for scheme in ("bearer", "BEARER", "Bearer "):
        assert ask(gateway, "POST", CHAT, body, Authorization=f"{scheme} {gateway.key}")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","model":"other","messages":[{"role":"user","content":"x"}]}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"temperature":1e400}',
        b"\xff\xfe",
    ],
    ids=["empty", "cut", "array", "NaN", "surrogate", "doubled", "deep", "1e400", "binary"],
)
def test_a_body_that_is_no_json_is_400_and_the_next_request_is_served(
    gateway: Gateway, vendor: Vendor, body: bytes
) -> None:
    status, _, answer = gateway.post(CHAT, body)
    assert status == 400
    assert json.loads(answer)["error"]["code"] == "invalid_json"
    assert vendor.requests == []
    vendor.answers["m"] = reply(recorded("chat"))
    assert gateway.post(CHAT, HELLO)[0] == 200


def test_a_missing_content_type_is_no_matter(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    body = json.dumps(HELLO).encode()
    assert ask(gateway, "POST", CHAT, body, Authorization=f"Bearer {gateway.key}")[0] == 200


def test_a_stream_s_first_event_is_awaited_before_the_status(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(b": waking up\n\n", 0.05, b'data: {"error":{"message":"no","code":400}}\n\n')
    status, headers, body = gateway.post(CHAT, {**HELLO, "stream": True})
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_an_alias_falls_back_to_its_next_target(tmp_path: Path, vendor: Vendor) -> None:
    models = (
        '[[models]]\nid = "both"\ntargets = [{ provider = "fake", model = "first" }, '
        '{ provider = "fake", model = "second", priority = 2 }]\n'
        '[[models]]\nid = "hasty"\nrequest_s = 0.2\ntargets = [{ provider = "fake", model = "slow" }]\n'
    )
    vendor.answers["first"] = reply({"error": {"message": "down"}}, 503)
    vendor.answers["second"] = reply(recorded("chat"))
    vendor.answers["slow"] = Answer(end="hang")
    with Gateway(tmp_path, toml(vendor.base_url, "[retry]\nretries = 1\n") + models) as gateway:
        assert gateway.post(CHAT, {**HELLO, "model": "both"})[0] == 200
        assert [request.json["model"] for request in vendor.requests] == ["first", "second"]
        assert gateway.post(CHAT, {**HELLO, "model": "hasty"})[0] == 504
        vendor.answers["first"] = reply({"error": {"message": "bad"}}, 400)
        assert gateway.post(CHAT, {**HELLO, "model": "both"})[0] == 400
        assert vendor.last().json["model"] == "first"


def test_the_catalogue_can_be_kept_to_those_with_a_key(tmp_path: Path, vendor: Vendor) -> None:
    with Gateway(tmp_path, toml(vendor.base_url, "[server]\npublic_catalog = false\n")) as gateway:
        assert ask(gateway, "GET", "/v1/models")[0] == 401
        assert ask(gateway, "GET", "/v1/models", Authorization="Bearer sk-no")[0] == 401
        assert ask(gateway, "GET", "/v1/models", Authorization=f"Bearer {gateway.key}")[0] == 200


def test_a_second_server_on_the_port_says_so_and_ends(gateway: Gateway, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "rooya.py"), "serve", "--port", str(gateway.port)]
    result = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, timeout=30, cwd=tmp_path
    )
    assert result.returncode == 1
    assert b"in use" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_unix_socket_serves(tmp_path: Path, vendor: Vendor) -> None:
    path = tmp_path / "rooya.sock"
    config = toml(vendor.base_url, f'[server]\nunix = "{path}"\n')
    with Gateway(tmp_path, config, unix=path) as gateway:
        assert gateway.key
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert not path.exists()


def test_health_is_degraded_while_the_database_cannot_be_asked(tmp_path: Path, vendor: Vendor) -> None:
    def status() -> str:
        return str(json.loads(ask(gateway, "GET", "/health")[2])["status"])

    def wait_for(wanted: str) -> None:
        end = time.monotonic() + 10
        while status() != wanted:
            assert time.monotonic() < end
            time.sleep(0.02)

    vendor.answers["m"] = reply(recorded("chat"))
    with Gateway(tmp_path, toml(vendor.base_url)) as gateway:
        assert gateway.post(CHAT, HELLO)[0] == 200
        with sqlite3.connect(gateway.data_dir / "rooya.db") as shell:
            shell.execute("ALTER TABLE versions RENAME TO hidden")
            shell.commit()
            wait_for("degraded")
            assert gateway.post(CHAT, HELLO)[0] == 200
            unknown = ask(gateway, "POST", CHAT, b"{}", Authorization="Bearer sk-unknown")
            assert (unknown[0], json.loads(unknown[2])["error"]["code"]) == (503, "store_unavailable")
            shell.execute("ALTER TABLE hidden RENAME TO versions")
            shell.commit()
        shell.close()
        wait_for("ok")
        assert ask(gateway, "POST", CHAT, b"{}", Authorization="Bearer sk-unknown")[0] == 401
