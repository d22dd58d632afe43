"""The management API of a real gateway: what the pages do, for programs, and who may do it to whom."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tests.gateway import Gateway
from tests.visitor import PASSWORD, Visitor, status_of

SETTINGS = '[server]\nregistration = "open"\n[limits]\nip_rpm = 0\n'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("api"), SETTINGS)
    gateway.key = "none yet"
    gateway.secrets.add(PASSWORD)
    with gateway, Visitor(gateway) as admin:
        admin.set_up()
        for name in ("user", "other"):
            with Visitor(gateway) as visitor:
                visitor.sign_up(f"{name}@example.org")
        yield gateway


def by_token(gateway: Gateway, email: str) -> Visitor:
    token = gateway.run("users", "token", email)["token"]
    gateway.secrets.add(token)
    return Visitor(gateway, token=token)


@pytest.fixture(scope="module")
def admin(gateway: Gateway) -> Iterator[Visitor]:
    with by_token(gateway, "ada@example.org") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def user(gateway: Gateway) -> Iterator[Visitor]:
    with by_token(gateway, "user@example.org") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def other(gateway: Gateway) -> Iterator[Visitor]:
    with by_token(gateway, "other@example.org") as visitor:
        yield visitor


def made(visitor: Visitor, **fields: Any) -> dict[str, Any]:
    """A new key."""
    answer = visitor.send("POST", "/api/v1/keys", {"name": "k", **fields})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    visitor.gateway.secrets.add(document["key"])
    return document


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# A key's life


def test_a_key_works_at_once_and_not_a_moment_after_its_end(gateway: Gateway, user: Visitor) -> None:
    key = made(user, name="ci", budget_usd=5, budget_period="month", models=["demo-echo"])
    path = f"/api/v1/keys/{key['id']}"
    assert status_of(gateway, key["key"]) == 200
    shown = user.get(path).json()
    assert "key" not in shown and (shown["prefix"], shown["last4"]) == (key["key"][:7], key["key"][-4:])
    assert (shown["budget_usd"], shown["budget_period"], shown["models"]) == (5, "month", ["demo-echo"])
    assert user.send("POST", f"{path}/deactivate").json()["state"] == "inactive"
    assert status_of(gateway, key["key"]) == 401
    assert user.send("POST", f"{path}/activate").json()["state"] == "active"
    assert status_of(gateway, key["key"]) == 200
    user.send("PATCH", path, {"models": ["something-else"]})
    assert status_of(gateway, key["key"]) in (403, 404)
    user.send("PATCH", path, {"models": None, "expires_at": int(time.time()) + 2})
    assert status_of(gateway, key["key"]) == 200
    end = time.monotonic() + 10
    while status_of(gateway, key["key"]) != 401:
        assert time.monotonic() < end


def test_a_rotated_key_has_two_secrets_and_one_budget(gateway: Gateway, user: Visitor) -> None:
    key = made(user, budget_usd=0.001)
    path = f"/api/v1/keys/{key['id']}"
    rotated = user.send("POST", f"{path}/rotate", {"grace": "1h"}).json()
    gateway.secrets.add(rotated["key"])
    assert rotated["id"] == key["id"] and rotated["key"] != key["key"]
    served = 0
    while status_of(gateway, (key["key"], rotated["key"])[served % 2]) == 200:
        served += 1
        assert served < 100
    assert {status_of(gateway, each) for each in (key["key"], rotated["key"])} == {402}
    refused = user.get(path).json()["refused"]
    assert refused["count"] >= 2 and refused["reason"] == "budget_exceeded"
    user.send("PATCH", path, {"budget_usd": 5})
    last = user.send("POST", f"{path}/rotate").json()  # without a grace period
    gateway.secrets.add(last["key"])
    assert [status_of(gateway, each) for each in (key["key"], rotated["key"], last["key"])] == [401, 401, 200]


def test_spend_is_told_and_can_be_reset_by_an_admin(gateway: Gateway, admin: Visitor, user: Visitor) -> None:
    key = made(user, budget_usd=1)
    path = f"/api/v1/keys/{key['id']}"
    assert status_of(gateway, key["key"]) == 200
    end = time.monotonic() + 10
    while not user.get(path).json()["spent_usd"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert user.get(path).json()["last_used_at"] is not None
    assert code(user.send("PATCH", path, {"reset_spend": True})) == (400, "invalid_value")
    assert admin.send("PATCH", path, {"reset_spend": True}).status_code == 200
    assert user.get(path).json()["spent_usd"] == 0


# Who may do what


def test_nobody_touches_another_s_keys(user: Visitor, other: Visitor, admin: Visitor) -> None:
    key = made(user)
    path = f"/api/v1/keys/{key['id']}"
    for answer in (
        other.get(path),
        other.send("PATCH", path, {"name": "mine"}),
        other.send("POST", f"{path}/deactivate"),
        other.send("POST", f"{path}/activate"),
        other.send("POST", f"{path}/rotate"),
    ):
        assert code(answer) == (404, "not_found")
    assert key["id"] not in [row["id"] for row in other.get("/api/v1/keys?all=true").json()["data"]]
    assert key["id"] in [row["id"] for row in admin.get("/api/v1/keys?all=true").json()["data"]]
    assert key["id"] not in [row["id"] for row in admin.get("/api/v1/keys").json()["data"]]
    assert user.get(path).json()["name"] == "k"


@pytest.mark.parametrize(
    "fields",
    [
        {"tier": "enterprise"}, {"rpm": 61}, {"tpd": 100_001}, {"rpm": 10**9}, {"user_id": 1},
        {"spend_reset_at": 1}, {"disabled_at": None}, {"tier": "no-such-tier"}, {"id": 1}, {"digest": "x"},
    ],
)  # fmt: skip
def test_a_user_cannot_lift_his_own_limits(user: Visitor, fields: dict[str, Any]) -> None:
    assert code(user.send("POST", "/api/v1/keys", {"name": "k", **fields})) == (400, "invalid_value")
    key = made(user, rpm=5)
    assert code(user.send("PATCH", f"/api/v1/keys/{key['id']}", fields)) == (400, "invalid_value")
    assert user.get(f"/api/v1/keys/{key['id']}").json()["rpm"] == 5


def test_an_admin_lifts_them_and_what_he_deactivates_stays_so(
    gateway: Gateway, admin: Visitor, user: Visitor
) -> None:
    key = made(user)
    path = f"/api/v1/keys/{key['id']}"
    lifted = admin.send("PATCH", path, {"tier": "pro", "rpm": 5000}).json()
    assert (lifted["tier"], lifted["rpm"]) == ("pro", 5000)
    assert user.send("PATCH", path, {"rpm": 300}).status_code == 200  # its tier is pro now
    admin.send("POST", f"{path}/deactivate")
    refused = user.send("POST", f"{path}/activate")
    assert refused.status_code == 400 and "admin deactivated" in refused.json()["error"]["message"]
    assert status_of(gateway, key["key"]) == 401
    assert admin.send("POST", f"{path}/activate").status_code == 200


def test_a_new_tier_holds_for_the_account_s_next_keys(gateway: Gateway, admin: Visitor) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("rising@example.org")
        number = visitor.get("/api/v1/me").json()["id"]
        assert admin.send("PATCH", f"/api/v1/users/{number}", {"tier": "pro"}).json()["tier"] == "pro"
        assert code(admin.send("PATCH", f"/api/v1/users/{number}", {"tier": "gold"})) == (
            400,
            "invalid_value",
        )
        assert made(visitor)["tier"] == "pro"


def test_an_admin_can_make_and_unmake_admins(gateway: Gateway, admin: Visitor) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("deputy@example.org")
        number = visitor.get("/api/v1/me").json()["id"]
        assert code(visitor.get("/api/v1/users")) == (403, "not_allowed")
        admin.send("PATCH", f"/api/v1/users/{number}", {"is_admin": True})
        assert visitor.get("/api/v1/users").status_code == 200
        admin.send("PATCH", f"/api/v1/users/{number}", {"is_admin": False})
        assert visitor.get("/api/v1/users").status_code == 403


# Bad input


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("POST", "/api/v1/keys", {}), ("POST", "/api/v1/keys", {"name": ""}),
        ("POST", "/api/v1/keys", {"name": "k", "budget": 5}), ("POST", "/api/v1/keys", {"name": "x" * 201}),
        ("POST", "/api/v1/keys", {"name": "k", "budget_period": "year"}),
        ("POST", "/api/v1/me/tokens", {}), ("POST", "/api/v1/me/tokens", {"name": 5}),
        ("POST", "/api/v1/me/tokens", {"name": "x", "more": 1}), ("POST", "/api/v1/me/tokens", {"name": " "}),
        ("POST", "/api/v1/me/password", {"current": "x"}),
        ("POST", "/api/v1/invites", {"tier": "gold"}), ("POST", "/api/v1/invites", {}),
        ("PATCH", "/api/v1/users/1", {}), ("PATCH", "/api/v1/users/1", {"email": "x"}),
        ("PATCH", "/api/v1/users/1", {"is_admin": "yes"}), ("PATCH", "/api/v1/users/1", {"tier": None}),
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused_in_words(admin: Visitor, method: str, path: str, document: Any) -> None:
    answer = admin.send(method, path, document)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", (
        answer.text
    )
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b'{"name": NaN}', b'"x"', b"[" * 5000])
def test_what_is_no_json_object_is_400(admin: Visitor, body: bytes) -> None:
    assert admin.http.post("/api/v1/keys", content=body).status_code == 400


def test_what_is_not_there_is_404_and_what_is_not_offered_405(admin: Visitor) -> None:
    for method, path in (
        ("GET", "/api/v1/keys/999999"),
        ("PATCH", "/api/v1/users/999999999999999"),
        ("GET", "/api/v1/nothing"),
        ("DELETE", "/api/v1/invites/999999"),
        ("DELETE", "/api/v1/me/sessions/999999"),
        ("GET", "/api/v2/keys"),
        ("GET", "/api/v1/keys/9999999999999999999999"),
        ("GET", "/api/v1/keys/-1"),
        ("GET", "/api/v1/keys/1%00"),
        ("POST", "/api/v1/keys/999999/rotate"),
    ):  # fmt: skip
        document = {"tier": "pro"} if method == "PATCH" else None
        assert code(admin.send(method, path, document)) == (404, "not_found"), path
    answer = admin.send("DELETE", "/api/v1/keys")
    assert code(answer) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("token", ["rt-", "rt-" + "x" * 43, "sk-" + "x" * 48, "", "x" * 5000])
def test_a_token_that_is_none_lets_nobody_in(gateway: Gateway, token: str) -> None:
    for scheme in ("Bearer", "bearer", "Basic", ""):
        with Visitor(gateway, headers={"Authorization": f"{scheme} {token}".strip()}) as visitor:
            assert code(visitor.get("/api/v1/me")) == (401, "not_signed_in")


def test_a_session_is_no_token_and_a_token_no_session(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_in("user@example.org")
        cookie, token = visitor.http.cookies["rooya_session"], visitor.make_token()
        with Visitor(gateway, token=cookie) as thief:
            assert thief.get("/api/v1/me").status_code == 401
        with Visitor(gateway, headers={"Cookie": f"rooya_session={token}"}) as thief:
            assert thief.get("/dashboard/account").status_code == 303
        assert status_of(gateway, token) == 401


# The log of changes, and what must not be in it


def test_every_change_is_written_down_by_whom_and_by_which_way(gateway: Gateway, admin: Visitor) -> None:
    with Visitor(gateway) as page:
        page.sign_in("ada@example.org")
        number, _ = page.make_key("by page")
        admin.send("PATCH", f"/api/v1/keys/{number}", {"name": "by api", "budget_usd": 2.5})
        gateway.run("keys", "deactivate", str(number))
        rows = admin.get(f"/api/v1/audit?subject=key%20{number}").json()["data"]
        assert [(row["action"], row["actor"], row["way"]) for row in rows] == [
            ("key.deactivate", "operator", "command line"),
            ("key.update", "ada@example.org", "api"),
            ("key.create", "ada@example.org", "page"),
        ]
        assert rows[1]["before"] == {"name": "by page", "budget_nanodollars": None}
        assert rows[1]["after"] == {"name": "by api", "budget_nanodollars": 2_500_000_000}
        html = page.get("/dashboard/admin/audit").text
        assert "key.deactivate" in html and "by api" in html


def test_no_secret_is_on_any_page_but_the_one_that_shows_it(gateway: Gateway) -> None:
    """Canaries: everything secret that a session has made."""
    with Visitor(gateway) as visitor:
        visitor.sign_in("ada@example.org")
        number, key = visitor.make_key("canary")
        token = visitor.make_token("canary")
        link = re.search(
            r"register\?token=([\w-]+)", visitor.post("/dashboard/admin/invites", tier="free").text
        )
        assert link is not None
        status_of(gateway, key)
        canaries = [key, token, link[1], PASSWORD, visitor.http.cookies["rooya_session"]]
        gateway.secrets |= set(canaries)
        paths = [
            "/dashboard", "/dashboard/requests", "/dashboard/requests.csv", "/dashboard/models",
            "/dashboard/keys", f"/dashboard/keys/{number}", "/dashboard/playground",
            "/dashboard/account", "/dashboard/admin/users", "/dashboard/admin/keys",
            "/dashboard/admin/providers", "/dashboard/admin/audit", "/login", "/nope", "/api/v1/me",
            "/api/v1/me/sessions", "/api/v1/keys?all=true", f"/api/v1/keys/{number}",
            "/api/v1/users", "/api/v1/invites", "/api/v1/audit", "/api/v1/usage",
            "/api/v1/requests", "/api/v1/providers", "/api/v1/state", "/api/v1/models",
        ]  # fmt: skip
        for path in paths:
            body = visitor.get(path).text
            assert not [canary for canary in canaries if canary in body], path


def test_the_log_is_read_by_the_page(admin: Visitor) -> None:
    newest = admin.get("/api/v1/audit").json()["data"]
    older = admin.get(f"/api/v1/audit?below={newest[0]['id']}").json()["data"]
    assert older[0]["id"] == newest[1]["id"]
    for word in ("x", "-1", "1.5", "9" * 30):
        assert code(admin.get(f"/api/v1/audit?below={word}")) == (400, "invalid_value")


# When the database is not there


def test_a_database_that_cannot_be_written_is_503(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, SETTINGS)
    gateway.key = "none yet"
    with gateway, Visitor(gateway) as visitor:
        visitor.set_up()
        token = visitor.make_token()
        with sqlite3.connect(gateway.data_dir / "rooya.db", isolation_level=None) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            answer = visitor.http.post(
                "/api/v1/keys", json={"name": "k"}, headers={"Authorization": f"Bearer {token}"}
            )
            lock.execute("ROLLBACK")
        lock.close()
        assert answer.status_code == 503, answer.text
        assert json.loads(answer.text)["error"]["type"] == "server_error"
        assert visitor.is_signed_in()


def test_a_second_factor_goes_on_and_off(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("two@example.org")
        drawn = visitor.send("POST", "/api/v1/me/second-factor", {}).json()
        gateway.secrets.add(drawn["secret"])
        wrong = {"salt": drawn["salt"], "code": "000000"}
        assert visitor.send("POST", "/api/v1/me/second-factor", wrong).status_code == 400
        right = {"salt": drawn["salt"], "code": pyotp.TOTP(drawn["secret"]).now()}
        assert len(visitor.send("POST", "/api/v1/me/second-factor", right).json()["recovery_codes"]) == 8
        assert visitor.get("/api/v1/me").json()["has_second_factor"]
        assert visitor.send("DELETE", "/api/v1/me/second-factor", {"password": "no"}).status_code == 401
        assert visitor.send("DELETE", "/api/v1/me/second-factor", {"password": PASSWORD}).status_code == 200
        assert not visitor.get("/api/v1/me").json()["has_second_factor"]
