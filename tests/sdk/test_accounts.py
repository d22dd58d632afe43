"""Accounts of a real gateway: how one gets in, who does not, and what ends it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from tests.gateway import Gateway
from tests.visitor import PASSWORD, Visitor, status_of

NEW = "another cabinet of beets 7"


def started(directory: Path, *, registration: str = "open", more: str = "") -> Gateway:
    directory.mkdir(exist_ok=True)
    settings = f'[server]\nregistration = "{registration}"\n{more}\n[limits]\nip_rpm = 0\n'
    gateway = Gateway(directory, settings)
    gateway.key = "none yet"
    gateway.secrets |= {PASSWORD, NEW}
    return gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with started(tmp_path_factory.mktemp("accounts")) as gateway, Visitor(gateway) as admin:
        assert admin.set_up().status_code == 303
        yield gateway


@pytest.fixture
def admin(gateway: Gateway) -> Iterator[Visitor]:
    with Visitor(gateway) as admin:
        assert admin.sign_in("ada@example.org").status_code == 303
        yield admin


# Getting an account


def test_the_set_up_link_is_good_once(tmp_path: Path) -> None:
    with started(tmp_path, registration="closed") as gateway, Visitor(gateway) as visitor:
        page = visitor.get("/login")
        assert "no admin yet" in page.text.lower() or "set" in page.text.lower()
        weak = visitor.set_up(password="password123")
        assert weak.status_code == 400 and "guessed" in weak.text and not visitor.is_signed_in()
        answer = visitor.set_up()
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        assert visitor.is_signed_in() and visitor.get("/dashboard/admin/users").status_code == 200
        with Visitor(gateway) as other:
            late = other.set_up("eve@example.org")
            assert late.status_code == 403 and "has been used" in late.text and not other.is_signed_in()
            assert other.sign_up("eve@example.org").status_code == 403


def test_a_restart_prints_a_link_only_while_there_is_no_admin(tmp_path: Path) -> None:
    first = started(tmp_path)
    with first, Visitor(first) as visitor:
        assert visitor.set_up().status_code == 303
        cookie = visitor.http.cookies["rooya_session"]
    second = started(tmp_path)
    with second, Visitor(second, headers={"Cookie": f"rooya_session={cookie}"}) as visitor:
        assert "/setup?token=" not in second.log.read_text()
        assert visitor.get("/dashboard/account").status_code == 200  # sessions outlive the process


def test_an_invitation_is_good_once_and_gives_its_tier(gateway: Gateway, admin: Visitor) -> None:
    page = admin.post("/dashboard/admin/invites", tier="pro").text
    token = re.search(r"/register\?token=([\w-]+)", page)
    assert token is not None
    with Visitor(gateway) as guest, Visitor(gateway) as late:
        assert "Sign up" in guest.get(f"/register?token={token[1]}").text
        assert guest.sign_up("guest@example.org", token=token[1]).status_code == 303
        assert guest.get("/api/v1/me").json()["tier"] == "pro"
        assert late.sign_up("late@example.org", token=token[1]).status_code == 403
        assert not late.is_signed_in()


def test_who_may_sign_up_the_settings_say(tmp_path: Path) -> None:
    with started(tmp_path / "i", registration="invite") as gateway, Visitor(gateway) as admin:
        admin.set_up()
        with Visitor(gateway) as guest:
            assert guest.get("/register").status_code == 403
            assert guest.sign_up("guest@example.org").status_code == 403
            token = re.search(r"token=([\w-]+)", admin.post("/dashboard/admin/invites", tier="free").text)
            assert token is not None
            assert guest.sign_up("guest@example.org", token=token[1]).status_code == 303


def test_an_address_is_taken_once(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        answer = visitor.sign_up("ADA@example.org ")
        assert answer.status_code == 400 and "already" in answer.text
        assert visitor.sign_up("no address").status_code == 400


# Signing in


def test_wrong_words_are_one_answer_whoever_is_asked_for(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        answers = [
            visitor.sign_in("ada@example.org", "not the password"),
            visitor.sign_in("nobody@example.org", "not the password"),
            visitor.sign_in("", ""),
            visitor.sign_in("x" * 5000, "y" * 5000),
        ]
        for answer in answers:
            assert answer.status_code == 401 and "address or the password is wrong" in answer.text
            assert "not the password" not in answer.text
        assert not visitor.is_signed_in()


def test_guessing_is_throttled_by_account_wherever_it_comes_from(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("slow@example.org")
    for number in range(40):
        with Visitor(gateway, headers={"X-Forwarded-For": f"198.51.100.{number}"}) as guesser:
            answer = guesser.sign_in("slow@example.org", "a guess")
            if answer.status_code == 429:
                break
            assert answer.status_code == 401
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert 3 <= number <= 10
    with Visitor(gateway) as owner:  # the right password has to wait as well
        assert owner.sign_in("slow@example.org").status_code == 429
        assert owner.sign_in("ada@example.org").status_code == 303


def test_the_session_knows_the_client_s_address(gateway: Gateway) -> None:
    with Visitor(gateway, headers={"X-Forwarded-For": "203.0.113.9"}) as visitor:
        visitor.sign_in("ada@example.org")
        (row,) = [row for row in visitor.get("/api/v1/me/sessions").json()["data"] if row["is_current"]]
        assert row["address"] == "203.0.113.9" and "id" in row and "digest" not in row


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/dashboard/keys?x=1", "/dashboard/keys?x=1"), ("//evil.example", "/dashboard"),
        ("https://evil.example/", "/dashboard"), ("/\\evil.example", "/dashboard"), ("", "/dashboard"),
        ("javascript:alert(1)", "/dashboard"), ("/a\r\nSet-Cookie: x=1", "/dashboard"),
        ("/\t/evil.example", "/dashboard"),
    ],
)  # fmt: skip
def test_a_link_leads_nowhere_else_after_the_login(gateway: Gateway, asked: str, led_to: str) -> None:
    with Visitor(gateway) as visitor:
        answer = visitor.post("/login", email="ada@example.org", password=PASSWORD, next=asked)
        assert (answer.status_code, answer.headers["location"]) == (303, led_to)
        assert "x" not in visitor.http.cookies


def test_a_page_that_needs_a_session_leads_to_the_login_and_back(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        answer = visitor.get("/dashboard/keys/1?a=b")
        assert answer.headers["location"] == "/login?next=/dashboard/keys/1%3Fa%3Db"
        assert visitor.get("/api/v1/keys").status_code == 401


def test_cookies_are_for_us_alone(gateway: Gateway, tmp_path: Path) -> None:
    with Visitor(gateway) as visitor:
        for cookie in visitor.sign_in("ada@example.org").headers.get_list("set-cookie"):
            assert cookie.startswith('rooya_login=""') or ("HttpOnly" in cookie and "SameSite=Lax" in cookie)
            assert "Secure" not in cookie
    secure = started(tmp_path, more='public_url = "https://llm.example.org"')
    with secure, Visitor(secure) as visitor:
        page = visitor.get("/login")
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        given = page.headers.get_list("set-cookie")
        assert token is not None and all("Secure" in cookie for cookie in given)
        link = re.findall(r"https://llm\.example\.org/setup\?token=(\S+)", secure.log.read_text())[-1]
        fields = {"_xsrf": token[1], "token": link, "email": "ada@example.org", "password": PASSWORD}
        answer = visitor.http.post("/setup", data=fields, headers={"Cookie": given[0].partition(";")[0]})
        assert answer.status_code == 303
        session = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("rooya_session="))
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(session.split("; "))


# What ends it


def test_signing_out_ends_the_session_itself(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor, Visitor(gateway) as thief:
        visitor.sign_in("ada@example.org")
        thief.http.cookies.update(visitor.http.cookies)
        assert thief.is_signed_in()
        assert visitor.post("/logout").headers["location"] == "/login"
        assert not visitor.is_signed_in() and not thief.is_signed_in()


def test_a_new_password_ends_everything_else(gateway: Gateway) -> None:
    with Visitor(gateway) as here, Visitor(gateway) as there:
        here.sign_up("moving@example.org")
        there.sign_in("moving@example.org")
        token = here.make_token()
        wrong = here.post("/dashboard/account/password", current="not it", new=NEW)
        assert wrong.status_code == 401 and there.is_signed_in()
        assert here.post("/dashboard/account/password", current=PASSWORD, new="password").status_code == 400
        assert here.post("/dashboard/account/password", current=PASSWORD, new=NEW).status_code == 200
        assert here.is_signed_in() and not there.is_signed_in()
        with Visitor(gateway, token=token) as program:
            assert program.get("/api/v1/me").status_code == 401
        assert there.sign_in("moving@example.org").status_code == 401
        assert there.sign_in("moving@example.org", NEW).status_code == 303


def test_a_disabled_account_is_out_with_its_keys_and_tokens(gateway: Gateway, admin: Visitor) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("gone@example.org")
        _, key = visitor.make_key("k")
        token = visitor.make_token()
        user_id = visitor.get("/api/v1/me").json()["id"]
        assert status_of(gateway, key) == 200
        admin.post(f"/dashboard/admin/users/{user_id}", state="disabled")
        assert not visitor.is_signed_in() and status_of(gateway, key) == 401
        assert visitor.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        assert visitor.sign_in("gone@example.org").status_code == 401
        admin.post(f"/dashboard/admin/users/{user_id}", state="active")
        assert status_of(gateway, key) == 200 and visitor.is_signed_in()


def test_sessions_can_be_ended_one_by_one_by_their_owner(gateway: Gateway, admin: Visitor) -> None:
    with Visitor(gateway) as here, Visitor(gateway) as there:
        here.sign_up("many@example.org")
        there.sign_in("many@example.org")
        rows = there.get("/api/v1/me/sessions").json()["data"]
        mine = next(row["id"] for row in rows if row["is_current"])
        assert admin.post(f"/dashboard/account/sessions/{mine}/end").status_code == 404
        assert here.post(f"/dashboard/account/sessions/{mine}/end").status_code == 303
        assert not there.is_signed_in() and here.is_signed_in()


def test_the_last_admin_cannot_leave(gateway: Gateway, admin: Visitor) -> None:
    me = admin.get("/api/v1/me").json()["id"]
    for fields in ({"role": "user"}, {"state": "disabled"}):
        answer = admin.post(f"/dashboard/admin/users/{me}", **fields)
        assert answer.status_code == 400 and "last admin" in answer.text
    assert admin.get("/dashboard/admin/users").status_code == 200


# The second factor


def test_a_second_factor_is_asked_for_and_each_code_is_good_once(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("careful@example.org")
        page = visitor.get("/dashboard/account/second-factor").text
        salt = re.search(r'name="salt" value="([0-9a-f]{32})"', page)
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page)
        assert salt is not None and secret is not None and "<svg" in page
        gateway.secrets.add(secret[1])
        code = pyotp.TOTP(secret[1])
        refused = visitor.post("/dashboard/account/second-factor", salt=salt[1], code="000000")
        assert refused.status_code == 400 and salt[1] in refused.text
        now = int(time.time())
        page = visitor.post("/dashboard/account/second-factor", salt=salt[1], code=code.at(now)).text
        recovery = re.findall(r"[a-z2-7]{4}(?:-[a-z2-7]{4}){3}", page)
        assert len(recovery) == 8
        gateway.secrets |= set(recovery)
        assert visitor.get("/api/v1/me").json()["has_second_factor"]
        page = visitor.get(
            "/dashboard/account/second-factor"
        ).text  # a thief of the session would draw another
        salt, secret = (
            re.search(r'name="salt" value="(\w+)"', page),
            re.search(r"<code>(\w{32})</code>", page),
        )
        assert salt is not None and secret is not None
        gateway.secrets.add(secret[1])
        form = {"salt": salt[1], "code": pyotp.TOTP(secret[1]).now()}
        refused = visitor.post("/dashboard/account/second-factor", **form)
        assert refused.status_code == 400 and "switch it off first" in refused.text

        with Visitor(gateway) as again:
            page = again.sign_in("careful@example.org").text
            assert "Second factor" in page and not again.is_signed_in()
            assert again.post("/login/code", code=code.at(now)).status_code == 401  # has been used
            assert again.post("/login/code", code=recovery[0]).status_code == 303
            assert again.is_signed_in()
        with Visitor(gateway) as again:
            again.sign_in("careful@example.org")
            assert again.post("/login/code", code=recovery[0]).status_code == 401
            assert again.post("/login/code", code=recovery[1]).status_code == 303
        with Visitor(gateway) as stranger:  # without the password before it
            assert "took too long" in stranger.post("/login/code", code=recovery[2]).text
            assert not stranger.is_signed_in()

        assert visitor.post("/dashboard/account/second-factor/off", password="no").status_code == 401
        new = f"{PASSWORD} and more"
        gateway.secrets.add(new)
        for old, fresh in ((PASSWORD, new), (new, PASSWORD)) * 4:  # a right password is no failed attempt
            answer = visitor.post("/dashboard/account/password", current=old, new=fresh)
            assert answer.status_code == 200, answer.text
        assert visitor.post("/dashboard/account/second-factor/off", password=PASSWORD).status_code == 200
        with Visitor(gateway) as again:
            assert again.sign_in("careful@example.org").status_code == 303


def test_codes_cannot_be_guessed(gateway: Gateway) -> None:
    with Visitor(gateway) as visitor:
        visitor.sign_up("guessed@example.org")
        page = visitor.get("/dashboard/account/second-factor").text
        salt = re.search(r'name="salt" value="([0-9a-f]{32})"', page)
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page)
        assert salt is not None and secret is not None
        gateway.secrets.add(secret[1])
        visitor.post("/dashboard/account/second-factor", salt=salt[1], code=pyotp.TOTP(secret[1]).now())
        with Visitor(gateway) as guesser:
            guesser.sign_in("guessed@example.org")
            statuses = [guesser.post("/login/code", code=f"{n:06}").status_code for n in range(10)]
            assert statuses[-1] == 429 and 200 not in statuses and 303 not in statuses


# Forms of other sites, and hostile words


def test_what_changes_something_wants_its_token(gateway: Gateway, admin: Visitor) -> None:
    before = admin.get("/api/v1/audit").json()["data"]
    for path in (
        "/login", "/logout", "/register", "/setup", "/login/code", "/dashboard/keys", "/dashboard/keys/1",
        "/dashboard/keys/1/deactivate", "/dashboard/account/password", "/dashboard/account/tokens",
        "/dashboard/admin/users/1", "/dashboard/admin/invites",
    ):  # fmt: skip
        for fields in ({}, {"_xsrf": "forged"}, {"_xsrf": "2|12345678|" + "0" * 32 + "|1790000000"}):
            answer = admin.http.post(path, data={"email": "x@example.org", "name": "forged", **fields})
            assert answer.status_code == 403 and "came from another site" in answer.text, path
    for method, path in (
        ("POST", "/api/v1/keys"),
        ("PATCH", "/api/v1/users/1"),
        ("DELETE", "/api/v1/invites/1"),
    ):
        answer = admin.http.request(method, path, json={"name": "forged"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "xsrf_refused")
    assert admin.get("/api/v1/audit").json()["data"] == before


HOSTILE = "\"><script>alert(1)</script>'{{ 7*7 }}\u202e"


def test_hostile_names_are_text_wherever_they_are_shown(gateway: Gateway) -> None:
    with (
        Visitor(gateway, headers={"User-Agent": "<script>alert(1)</script>"}) as visitor,
        Visitor(gateway) as admin,
    ):
        visitor.sign_up('"<b>x</b>"@example.org')
        answer = visitor.post("/dashboard/keys", name=HOSTILE.replace("\u202e", ""))
        assert answer.status_code == 200
        key = re.search(r"sk-[A-Za-z0-9]{48}", answer.text)
        assert key is not None
        gateway.secrets.add(key[0])
        status_of(gateway, key[0])
        refused = visitor.post("/dashboard/keys", name=HOSTILE)
        assert refused.status_code == 400  # a name is printable
        admin.sign_in("ada@example.org")
        pages = [answer.text, refused.text]
        pages += [visitor.get(path).text for path in ("/dashboard", "/dashboard/keys", "/dashboard/account")]
        pages += [
            admin.get(f"/dashboard{path}").text
            for path in ("", "/requests", "/keys", "/admin/users", "/admin/keys", "/admin/audit")
        ]
        pages.append(visitor.get("/login?next=/<script>").text)
        pages.append(visitor.get("/register?token=<script>alert(1)</script>").text)
        for page in pages:
            assert (
                "<script>" not in page
                and "<b>x</b>" not in page
                and "49" not in page.partition("{{ 7*7 }}")[0][-3:]
            )


def test_every_page_says_what_a_browser_may_do_with_it(gateway: Gateway, admin: Visitor) -> None:
    for path in (
        "/login",
        "/register",
        "/setup",
        "/dashboard",
        "/dashboard/keys",
        "/dashboard/nope",
        "/api/v1/me",
    ):
        headers = admin.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';"), path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"name=%ff%fe",
        b"name=a&name=b",
        b"name=%00",
        b"=" * 1000,
        b"&" * 5000,
        b"name=" + b"x" * 60000,
    ],
)
def test_broken_forms_are_refused_in_words(gateway: Gateway, admin: Visitor, body: bytes) -> None:
    before = len(admin.get("/api/v1/keys").json()["data"])
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-XSRFToken": admin.xsrf()}
    answer = admin.http.post("/dashboard/keys", content=body, headers=headers)
    if answer.status_code == 200:  # of two fields of one name the last counts
        gateway.secrets |= set(re.findall(r"sk-[A-Za-z0-9]{48}", answer.text))
        assert body == b"name=a&name=b"
    else:
        assert answer.status_code == 400 and "<h1>" in answer.text
        assert len(admin.get("/api/v1/keys").json()["data"]) == before


def test_a_form_that_is_too_large_is_413(gateway: Gateway, admin: Visitor) -> None:
    token = admin.xsrf()
    answer = admin.http.post("/dashboard/keys", data={"_xsrf": token, "name": "x" * 70_000})
    assert answer.status_code == 413


def test_nobody_can_fill_the_log_with_broken_forms(gateway: Gateway) -> None:
    before = gateway.log.read_text().count("WARNING")
    with Visitor(gateway) as visitor:
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "application/json"):
            headers = {"Content-Type": kind}
            for path in ("/login", "/dashboard/keys", "/api/v1/keys", "/openapi.json"):
                assert visitor.http.put(path, content=b"\xff--", headers=headers).status_code < 500
    assert gateway.log.read_text().count("WARNING") == before
