"""Signing in by an OpenID provider: a real gateway and an issuer that signs what a test wants it to say."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fakes.vendor import Vendor, reply
from tests.gateway import Gateway
from tests.visitor import PASSWORD, Visitor

CLIENT, SECRET = "rooya", "an oidc client's secret/+"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
STRANGER = RSAKey.generate_key(2048, {"kid": "one"})


class Issuer:
    """What a test changes: the claims, and what signs them."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.url = vendor.base_url.removesuffix("/v1")
        self.key = KEY
        metadata = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        vendor.answers["/.well-known/openid-configuration"] = reply(metadata)
        vendor.answers["/keys"] = reply({"keys": [KEY.as_dict(private=False)]})

    def says(self, nonce: str, /, *, algorithm: str = "RS256", **changed: Any) -> None:
        """What the next code is worth."""
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce,
            "email": "carol@example.org", "email_verified": True, **changed,
        }  # fmt: skip
        claims.setdefault("sub", claims["email"])
        token = jwt.encode({"alg": algorithm, "kid": "one"}, claims, self.key)
        self.vendor.answers["/token"] = reply(
            {"access_token": "x", "token_type": "Bearer", "id_token": token}
        )


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Vendor() as vendor:
        yield Issuer(vendor)


def started(directory: Path, issuer: Issuer, registration: str = "open") -> Gateway:
    settings = (
        f'[server]\nregistration = "{registration}"\n[limits]\nip_rpm = 0\n[oidc]\nissuer = "{issuer.url}"\n'
        f'client_id = "{CLIENT}"\nclient_secret = "env:OIDC_SECRET"\nname = "Example ID"\n'
    )
    gateway = Gateway(directory, settings, environ={"OIDC_SECRET": SECRET})
    gateway.key = "none yet"
    gateway.secrets.add(PASSWORD)
    return gateway


@pytest.fixture(scope="module")
def gateway(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with started(tmp_path_factory.mktemp("oidc"), issuer) as gateway, Visitor(gateway) as admin:
        admin.set_up()
        yield gateway


def begin(visitor: Visitor, next_path: str = "/dashboard/keys") -> dict[str, str]:
    """What the provider is asked."""
    answer = visitor.get(f"/login/oidc?next={next_path}")
    assert answer.status_code == 303, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def finish(visitor: Visitor, state: str, code: str = "a-code") -> Any:
    return visitor.get(f"/login/oidc/callback?state={state}&code={code}")


def test_who_the_provider_knows_is_signed_in(gateway: Gateway, issuer: Issuer) -> None:
    issuer.key = KEY
    with Visitor(gateway) as visitor:
        assert "Sign in with Example ID" in visitor.get("/login").text
        asked = begin(visitor)
        assert (asked["response_type"], asked["client_id"], asked["scope"]) == (
            "code",
            CLIENT,
            "openid email",
        )
        assert asked["redirect_uri"] == gateway.base_url.removesuffix("/v1") + "/login/oidc/callback"
        issuer.says(asked["nonce"])
        answer = finish(visitor, asked["state"])
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/keys")
        assert visitor.get("/api/v1/me").json()["email"] == "carol@example.org"
        sent = issuer.vendor.requests[-1]
        form = {name: values[0] for name, values in parse_qs(sent.body.decode()).items()}
        assert (form["code"], form["redirect_uri"]) == ("a-code", asked["redirect_uri"])
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        pair = base64.b64decode(sent.headers["authorization"].removeprefix("Basic ")).decode()
        assert pair == f"{CLIENT}:an%20oidc%20client%27s%20secret%2F%2B"


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"}, {"aud": "somebody-else"}, {"iss": "https://evil.example"}, {"exp": 1},
        {"sub": ""}, {"sub": None}, {"sub": 7}, {"aud": ["somebody-else", "another"]},
        {"email_verified": False}, {"email_verified": "true"}, {"email": None}, {"email": ""},
    ],
)  # fmt: skip
def test_a_token_that_proves_nothing_signs_nobody_in(
    gateway: Gateway, issuer: Issuer, changed: dict[str, Any]
) -> None:

    issuer.key = KEY
    with Visitor(gateway) as visitor:
        asked = begin(visitor)
        issuer.says(asked["nonce"], **{"sub": "unknown", **changed})
        assert finish(visitor, asked["state"]).status_code in (400, 502)
        assert not visitor.is_signed_in()


def test_a_signature_of_a_stranger_is_none(gateway: Gateway, issuer: Issuer) -> None:
    issuer.key = STRANGER
    with Visitor(gateway) as visitor:
        asked = begin(visitor)
        issuer.says(asked["nonce"])
        assert finish(visitor, asked["state"]).status_code == 502 and not visitor.is_signed_in()
        issuer.vendor.answers["/token"] = reply({"id_token": unsigned(asked["nonce"], issuer)})
        asked = begin(visitor)
        assert finish(visitor, asked["state"]).status_code == 502 and not visitor.is_signed_in()
    issuer.key = KEY


def unsigned(nonce: str, issuer: Issuer) -> str:
    """With the algorithm `none`."""
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    claims = f'{{"iss":"{issuer.url}","aud":"{CLIENT}","exp":9999999999,"nonce":"{nonce}","email":"a@b.c",'
    body = base64.urlsafe_b64encode((claims + '"email_verified":true}').encode()).rstrip(b"=").decode()
    return f"{head}.{body}."


def test_an_answer_that_was_not_asked_for_is_refused(gateway: Gateway, issuer: Issuer) -> None:
    with Visitor(gateway) as visitor, Visitor(gateway) as victim:
        asked = begin(visitor)
        issuer.says(asked["nonce"])
        assert finish(victim, asked["state"]).status_code == 400  # another browser began it
        assert finish(visitor, "another-state").status_code == 400
        assert finish(visitor, asked["state"]).status_code == 400  # it is good once
        assert not visitor.is_signed_in() and not victim.is_signed_in()
        asked = begin(visitor)
        denied = visitor.get(f"/login/oidc/callback?state={asked['state']}&error=access_denied")
        assert denied.status_code == 502


def come(visitor: Visitor, issuer: Issuer, **claims: Any) -> int:
    """By the provider, all the way: the status of the last answer."""
    asked = begin(visitor)
    issuer.says(asked["nonce"], **claims)
    status: int = finish(visitor, asked["state"]).status_code
    return status


def link(visitor: Visitor, issuer: Issuer, **claims: Any) -> int:
    """From the account's page: the status of the last answer."""
    found = re.search(r'href="(/login/oidc\?link=1[^"]*)"', visitor.get("/dashboard/account").text)
    assert found is not None
    location = visitor.get(html.unescape(found[1])).headers["location"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    issuer.says(asked["nonce"], **claims)
    status: int = finish(visitor, asked["state"]).status_code
    return status


def me(visitor: Visitor) -> int:
    number: int = visitor.get("/api/v1/me").json()["id"]
    return number


def test_an_address_alone_opens_no_account_that_somebody_signed_up_for(
    gateway: Gateway, issuer: Issuer
) -> None:
    issuer.key = KEY
    with Visitor(gateway) as squatter, Visitor(gateway) as owner:
        squatter.sign_up("dan@example.org")  # nobody has asked whether the address is theirs
        assert come(owner, issuer, email="Dan@Example.org") == 403 and not owner.is_signed_in()


def test_an_account_with_a_password_is_linked_from_its_page_and_unlinked_with_the_password(
    gateway: Gateway, issuer: Issuer
) -> None:
    issuer.key = KEY
    with Visitor(gateway) as visitor, Visitor(gateway) as again:
        visitor.sign_up("erin@example.org")
        number = me(visitor)
        assert link(visitor, issuer, sub="erin at work", email="e@work.example") == 303
        assert "linked" in visitor.get("/dashboard/account").text
        assert come(again, issuer, sub="erin at work", email="another@work.example") == 303
        assert me(again) == number
        assert visitor.post("/dashboard/account/oidc/unlink", password="no").status_code == 401
        assert visitor.post("/dashboard/account/oidc/unlink", password=PASSWORD).status_code == 200
    with Visitor(gateway) as stranger:
        assert come(stranger, issuer, sub="erin at work", email="erin@example.org") == 403


def test_a_link_is_for_who_asked_for_it(gateway: Gateway, issuer: Issuer) -> None:
    issuer.key = KEY
    with Visitor(gateway) as victim, Visitor(gateway) as nobody:
        victim.sign_up("frank@example.org")
        assert victim.get("/login/oidc?link=1").status_code == 403  # another site's link
        assert nobody.get(f"/login/oidc?link=1&_xsrf={nobody.xsrf()}").status_code == 401
        begun = victim.get(f"/login/oidc?link=1&_xsrf={victim.xsrf()}").headers["location"]
        asked = {name: values[0] for name, values in parse_qs(urlsplit(begun).query).items()}
        issuer.says(asked["nonce"], sub="frank's")
        victim.post("/logout")
        victim.sign_up("grace@example.org")
        assert finish(victim, asked["state"]).status_code == 400
        assert come(nobody, issuer, sub="frank's", email="new-one@example.org") == 303
        victim.sign_in("frank@example.org")
        assert me(nobody) != me(victim)
        assert link(victim, issuer, sub="frank's") == 400  # it is another account's now


def test_an_address_that_became_another_s_leads_to_nobody_s_account(gateway: Gateway, issuer: Issuer) -> None:
    issuer.key = KEY
    with Visitor(gateway) as first, Visitor(gateway) as second, Visitor(gateway) as third:
        assert come(first, issuer, sub="first", email="info@example.org") == 303
        assert come(second, issuer, sub="second", email="info@example.org") == 403
        assert come(third, issuer, sub="first", email="moved@example.org") == 303 and me(third) == me(first)


def test_an_account_that_the_operator_made_is_its_address_s(gateway: Gateway, issuer: Issuer) -> None:
    issuer.key = KEY
    gateway.run("users", "create", "--email", "gail@example.org")
    with Visitor(gateway) as visitor:
        assert come(visitor, issuer, sub="gail", email="gail@example.org") == 303
        assert visitor.get("/api/v1/me").json()["email"] == "gail@example.org"
    gateway.run("users", "disable", "gail@example.org")
    with Visitor(gateway) as visitor:
        assert come(visitor, issuer, sub="gail", email="else@example.org") == 401
        assert come(visitor, issuer, sub="new", email="gail@example.org") == 401
        assert not visitor.is_signed_in()


def test_keys_that_the_provider_has_changed_are_read_again(issuer: Issuer, tmp_path: Path) -> None:
    issuer.key = KEY
    with started(tmp_path, issuer) as gateway, Visitor(gateway) as visitor:
        assert come(visitor, issuer) == 303
        end = time.monotonic() + 30
        issuer.key = STRANGER
        issuer.vendor.answers["/keys"] = reply({"keys": [STRANGER.as_dict(private=False)]})
        try:
            while come(visitor, issuer) != 303:  # the keys are not read at every wrong signature
                assert time.monotonic() < end
        finally:
            issuer.key = KEY
            issuer.vendor.answers["/keys"] = reply({"keys": [KEY.as_dict(private=False)]})


def test_nobody_new_gets_in_where_registration_is_closed(issuer: Issuer, tmp_path: Path) -> None:
    issuer.key = KEY
    with started(tmp_path, issuer, "invite") as gateway, Visitor(gateway) as visitor:
        asked = begin(visitor)
        issuer.says(asked["nonce"], email="new@example.org")
        assert finish(visitor, asked["state"]).status_code == 403 and not visitor.is_signed_in()


def test_half_of_it_stops_the_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, '[oidc]\nissuer = "https://id.example.org"\nclient_id = "x"\n')
    result = gateway.attempt("check")
    assert result.returncode == 1 and b"oidc.client_secret: is missing" in result.stdout + result.stderr
