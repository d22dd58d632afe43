"""The reference of a real gateway: it says what there is, and what it says holds."""

from __future__ import annotations

import configparser
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from handlers.docs_pages import CHAPTERS, VERSION
from tests.gateway import ROOT, Gateway
from tests.sdk.test_route_roles import OTHERS, TABLE
from tests.visitor import PASSWORD, Visitor

# For browsers: forms, pages and what they load.
PAGES = re.compile(r"/dashboard.*|/(login|logout|register|setup|docs|openapi|api/\.\*).*|/")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "6")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("reference"), "[limits]\nip_rpm = 0\n")
    gateway.secrets.add(PASSWORD)
    with gateway, Visitor(gateway) as admin:
        admin.set_up()
        yield gateway


def document(gateway: Gateway) -> dict[str, Any]:
    with Visitor(gateway) as visitor:
        found: dict[str, Any] = visitor.get("/openapi.json").json()
        return found


def test_it_is_valid_openapi_and_of_this_gateway(gateway: Gateway) -> None:
    found = document(gateway)
    OpenAPIV31SpecValidator(found).validate()
    assert found["servers"] == [{"url": gateway.base_url.removesuffix("/v1")}]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert found["info"]["version"] == VERSION == setup["metadata"]["version"]


def test_it_has_every_route_that_is_no_page_and_no_other(gateway: Gateway) -> None:
    told = {
        (re.sub(r"{\w+}", "*", path), method.upper())
        for path, operations in document(gateway)["paths"].items()
        for method in operations
    }
    served = set()
    for pattern, methods in {**TABLE, **OTHERS}.items():
        if not PAGES.fullmatch(pattern):
            path = re.sub(r"\((?!activate)[^)]*\)", "*", pattern)
            actions = ("activate", "deactivate", "rotate") if "(activate" in path else ("",)
            for action in actions:
                served |= {(re.sub(r"\(activate.*\)", action, path), method) for method in methods}
    assert told == served


def test_the_page_says_the_same_with_calls_that_work(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        page = visitor.get("/docs").text
    for chapter in CHAPTERS:
        for endpoint in chapter.endpoints:
            assert f'id="{endpoint.anchor}"' in page and endpoint.path in page
    assert "demo-echo" in page and "budget_exceeded" in page and "enterprise" in page
    call = re.search(r'<pre id="post-v1-chat-completions-call"[^>]*><code>(.*?)</code>', page, re.S)
    assert call is not None
    command = call[1].replace("&quot;", '"').replace("&#x27;", "'").replace("&#39;", "'")
    command = command.replace("sk-your-api-key", gateway.key)
    answered = subprocess.run(command, shell=True, capture_output=True, timeout=20, check=True)
    assert json.loads(answered.stdout)["choices"][0]["message"]["content"]


def test_who_may_not_see_the_models_does_not_find_them_here(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "[server]\npublic_catalog = false\n")
    gateway.secrets.add(PASSWORD)
    with gateway, Visitor(gateway) as visitor:
        assert "demo-echo" not in visitor.get("/docs").text
        visitor.set_up()
        assert "demo-echo" in visitor.get("/docs").text


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", ["calls", "management"])
def test_the_gateway_keeps_what_it_says(gateway: Gateway, part: str, tmp_path: Path) -> None:
    secret, paths = gateway.key, "^/(v1|health)"
    if part == "management":
        with sqlite3.connect(gateway.data_dir / "rooya.db") as database:
            # Its own session has a number that no random id meets, so that it is not ended.
            database.execute("UPDATE sqlite_sequence SET seq = 987654321 WHERE name = 'sessions'")
        database.close()
        secret, paths = gateway.run("users", "token", "ada@example.org")["token"], "^/api"
        gateway.secrets.add(secret)
    root = gateway.base_url.removesuffix("/v1")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{root}/openapi.json",
        "--header", f"Authorization: Bearer {secret}", "--include-path-regex", paths,
        "--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic",
        "--request-timeout", "30", "--no-color", "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    if part == "management":
        with Visitor(gateway, token=secret) as visitor:
            assert visitor.get("/api/v1/me").status_code == 200  # all of it was asked by an admin
