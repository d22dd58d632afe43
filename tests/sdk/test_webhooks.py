"""Webhooks of a real gateway: what is told, to whom, signed as the field's own library reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.fakes.vendor import Vendor, reply
from tests.gateway import VENDOR_SECRET, Gateway, free_port
from tests.visitor import PASSWORD, Visitor, status_of

SETTINGS = """\
[server]
sync_catalog = false
[limits]
ip_rpm = 0
[limits.tiers.free]
rpm = 10000
tpd = 1000000
[[providers]]
name = "demo"
kind = "demo"
[[providers]]
name = "gone"
kind = "openai_compatible"
base_url = "http://127.0.0.1:{port}/v1"
api_keys = ["{secret}"]
"""


@pytest.fixture
def listener() -> Iterator[Vendor]:
    with Vendor() as listener:
        yield listener


@pytest.fixture
def gateway(tmp_path: Path, listener: Vendor) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, SETTINGS.format(port=free_port(), secret=VENDOR_SECRET))
    gateway.key = "none yet"
    gateway.secrets.add(PASSWORD)
    with gateway:
        yield gateway


def added(admin: Visitor, listener: Vendor, path: str = "/hook") -> str:
    """Its secret."""
    url = listener.base_url.removesuffix("/v1") + path
    answer = admin.send("POST", "/api/v1/webhooks", {"url": url})
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    admin.gateway.secrets.add(secret)
    return secret


def heard(listener: Vendor, count: int, path: str = "/hook") -> list[Any]:
    """The requests, once there are so many."""
    end = time.monotonic() + 30
    while True:
        found = [request for request in listener.requests if request.path == path]
        if len(found) >= count:
            return found
        assert time.monotonic() < end, [request.body for request in found]
        time.sleep(0.05)


def test_a_test_message_is_signed_as_the_standard_has_it(gateway: Gateway, listener: Vendor) -> None:
    listener.answers["/hook"] = reply({})
    with Visitor(gateway) as admin:
        admin.set_up()
        secret = added(admin, listener)
        assert admin.send("POST", "/api/v1/webhooks/1/test").json() == {"id": 1, "is_sent": True}
        (request,) = heard(listener, 1)
        assert Webhook(secret).verify(request.body, request.headers)["type"] == "test"
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(request.body.replace(b"test", b"text"), request.headers)
        end = time.monotonic() + 10
        while admin.get("/api/v1/webhooks").json()["data"][0]["told"] != "test: 200":
            assert time.monotonic() < end
        page = admin.get("/dashboard/admin/webhooks").text
        assert "test: 200" in page and secret not in page
        assert admin.send("DELETE", "/api/v1/webhooks/1").status_code == 200
        assert admin.get("/api/v1/webhooks").json()["data"] == []


def test_a_budget_is_told_of_when_it_is_nearly_and_wholly_spent(gateway: Gateway, listener: Vendor) -> None:
    listener.answers["/hook"] = reply({})
    with Visitor(gateway) as admin:
        admin.set_up()
        added(admin, listener)
        number, key = admin.make_key("ci", budget="0.001")
        while status_of(gateway, key) == 200:
            pass
        messages = [json.loads(request.body) for request in heard(listener, 1)]
        end = time.monotonic() + 30
        while messages[-1]["type"] != "budget.reached":
            assert time.monotonic() < end
            messages = [json.loads(request.body) for request in heard(listener, 1)]
        assert [message["type"] for message in messages] in (
            ["budget.nearly_reached", "budget.reached"], ["budget.reached"],  # both at one look
        )  # fmt: skip
        told = messages[-1]["data"]
        assert (told["key_id"], told["key_name"], told["percent"]) == (number, "ci", 100)
        assert told["budget_usd"] == 0.001 and 0 < told["spent_usd"] <= 0.001
        assert key.encode() not in b"".join(request.body for request in listener.requests)
        seen = len(listener.requests)
        assert admin.send("PATCH", f"/api/v1/keys/{number}", {"budget_usd": 0.0011}).status_code == 200
        while (status := status_of(gateway, key)) == 200:
            pass
        assert status == 402
        end = time.monotonic() + 30
        while not any(b"budget.reached" in request.body for request in listener.requests[seen:]):
            assert time.monotonic() < end, "the raised budget was reached, and nobody was told"
            time.sleep(0.05)


def test_a_provider_that_goes_down_is_told_of(gateway: Gateway, listener: Vendor) -> None:
    listener.answers["/hook"] = reply({})
    with Visitor(gateway) as admin:
        admin.set_up()
        added(admin, listener)
        _, gateway.key = admin.make_key("k")
        payload = {"model": "gone/m", "messages": [{"role": "user", "content": "Hello!"}]}
        for _ in range(3):
            assert gateway.post("/v1/chat/completions", payload)[0] == 502
        (request,) = heard(listener, 1)
        message = json.loads(request.body)
        assert (message["type"], message["data"]["provider"]) == ("provider.down", "gone")
        assert VENDOR_SECRET not in request.body.decode()


def test_a_message_that_does_not_arrive_is_sent_again_and_stays_the_same(
    gateway: Gateway, listener: Vendor
) -> None:
    listener.answers["/hook"] = reply({}, 503)
    with Visitor(gateway) as admin:
        admin.set_up()
        added(admin, listener)
        admin.post("/dashboard/admin/webhooks/1/test")
        first, second = heard(listener, 2)[:2]
        assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org", "http://", "https://user:pass@example.org", "http://a b",
        "http://[::1", "http://x:99999", "javascript:alert(1)", "http://x/" + "y" * 2000, "http://exämple.org",
        "http://x/\r\nHost: y",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(tmp_path: Path, url: str, refusing: Visitor) -> None:
    answer = refusing.send("POST", "/api/v1/webhooks", {"url": url})
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith("Url: ")


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    gateway = Gateway(tmp_path_factory.mktemp("refusing"), "")
    gateway.key = "none yet"
    with gateway, Visitor(gateway) as admin:
        admin.set_up()
        yield admin
