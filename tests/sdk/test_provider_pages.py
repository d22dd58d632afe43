"""The operator tests a provider's connection, and hears on every page when something is wrong."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.provider_states import fingerprint
from tests.fakes.vendor import Vendor, reply
from tests.gateway import VENDOR_SECRET, Gateway
from tests.visitor import PASSWORD, Visitor

SECRETS = [f"{VENDOR_SECRET}-{letter}" for letter in "ab"]
SETTINGS = """\
[server]
sync_catalog = false
[limits]
ip_rpm = 0
[[providers]]
name = "lab"
kind = "openai_compatible"
base_url = "{base_url}"
api_keys = {secrets}
[[providers]]
name = "gone"
kind = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"
api_keys = ["{secret}"]
"""


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture
def gateway(vendor: Vendor, tmp_path: Path) -> Iterator[Gateway]:
    settings = SETTINGS.format(base_url=vendor.base_url, secrets=json.dumps(SECRETS), secret=VENDOR_SECRET)
    gateway = Gateway(tmp_path, settings)
    gateway.key = "none yet"
    gateway.secrets.add(PASSWORD)
    with gateway:
        yield gateway


def test_each_secret_is_tried_by_itself(gateway: Gateway, vendor: Vendor) -> None:
    models = [{"id": name, "object": "model"} for name in ("one", "two")]
    vendor.answers["/v1/models"] = reply({"object": "list", "data": models})
    with Visitor(gateway) as admin:
        admin.set_up()
        found = admin.send("POST", "/api/v1/providers/lab/test").json()["data"]
        assert [(each["fingerprint"], each["models"], each["failure"]) for each in found] == [
            (fingerprint(secret), 2, "") for secret in SECRETS
        ]
        assert all(each["latency_ms"] >= 0 for each in found)
        sent = [request.headers["authorization"] for request in vendor.reads]
        assert sent == [f"Bearer {secret}" for secret in SECRETS]
        page = admin.post("/dashboard/admin/providers/lab/test").text
        assert page.count("2 models in") == 2 and VENDOR_SECRET not in page


def test_what_is_wrong_is_said(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["/v1/models"] = reply({"error": {"message": f"bad key {SECRETS[0]}"}}, 401)
    with Visitor(gateway) as admin:
        admin.set_up()
        found = admin.send("POST", "/api/v1/providers/lab/test").json()["data"]
        assert [each["models"] for each in found] == [None, None]
        assert all("(401)" in each["failure"] for each in found)
        (gone,) = admin.send("POST", "/api/v1/providers/gone/test").json()["data"]
        assert gone["failure"] and gone["models"] is None
        page = admin.post("/dashboard/admin/providers/gone/test").text
        assert gone["failure"].split(".")[0] in page and VENDOR_SECRET not in page
        assert admin.send("POST", "/api/v1/providers/nobody/test").status_code == 404


def test_an_admin_hears_on_every_page_that_the_ledger_waits(gateway: Gateway) -> None:
    with Visitor(gateway) as admin, Visitor(gateway) as user:
        admin.set_up()
        user.sign_up("user@example.org")
        _, key = admin.make_key("k")
        assert 'id="trouble"' not in admin.get("/dashboard/keys").text
        with sqlite3.connect(gateway.data_dir / "rooya.db", isolation_level=None) as lock:
            lock.execute("BEGIN IMMEDIATE")
            gateway.key = key
            payload = {"model": "lab/m", "messages": [{"role": "user", "content": "Hello!"}]}
            end = time.monotonic() + 30
            while 'id="trouble"' not in admin.get("/dashboard/keys").text:
                gateway.post("/v1/chat/completions", payload)
                assert time.monotonic() < end
            for path in ("/dashboard/models", "/dashboard/admin/keys", "/dashboard/admin/providers"):
                assert admin.get(path).text.count("they wait in the journal") == 1, path
            assert 'id="trouble"' not in user.get("/dashboard/keys").text
            lock.execute("ROLLBACK")
        lock.close()
        end = time.monotonic() + 30
        while 'id="trouble"' in admin.get("/dashboard/keys").text:
            assert time.monotonic() < end
            time.sleep(0.05)
