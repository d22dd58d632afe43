"""A browser without a screen: keeps cookies, fills in forms, and sends what no browser would."""

from __future__ import annotations

import re
from typing import Any

import httpx2

from tests.gateway import Gateway

PASSWORD = "rotten turnip cabinet 12"
TOKEN = re.compile(r'name="_xsrf" value="([^"]+)"')


class Visitor:
    """`with Visitor(gateway) as visitor:`. Redirects are not followed."""

    def __init__(self, gateway: Gateway, *, token: str = "", headers: dict[str, str] | None = None) -> None:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        self.gateway = gateway
        self.http = httpx2.Client(
            base_url=gateway.base_url.removesuffix("/v1"), headers={**given, **(headers or {})}, timeout=30
        )

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.http.get(path, **more)

    def xsrf(self) -> str:
        """A token that goes with the cookie."""
        found = TOKEN.search(self.get("/login").text) or TOKEN.search(self.get("/dashboard/account").text)
        assert found is not None
        return found[1]

    def post(self, path: str, **fields: str) -> httpx2.Response:
        """A form, as the page would send it."""
        return self.http.post(path, data={"_xsrf": self.xsrf(), **fields})

    def send(self, method: str, path: str, document: Any = None) -> httpx2.Response:
        """JSON for the management API; with a session, as our own script would send it."""
        headers = {} if "Authorization" in self.http.headers else {"X-XSRFToken": self.xsrf()}
        return self.http.request(method, path, json=document, headers=headers)

    # What people do

    def set_up(self, email: str = "ada@example.org", password: str = PASSWORD) -> httpx2.Response:
        link = re.findall(r"/setup\?token=(\S+)", self.gateway.log.read_text())[-1]
        return self.post("/setup", token=link, email=email, password=password)

    def sign_up(self, email: str, password: str = PASSWORD, token: str = "") -> httpx2.Response:
        more = {"token": token} if token else {}
        return self.post("/register", email=email, password=password, **more)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        return self.post("/login", email=email, password=password)

    def is_signed_in(self) -> bool:
        return self.get("/dashboard/account").status_code == 200

    def make_key(self, name: str, **fields: str) -> tuple[int, str]:
        """Its number and its plaintext."""
        page = self.post("/dashboard/keys", name=name, **fields).text
        plaintext = re.search(r"sk-[A-Za-z0-9]{48}", page)
        number = re.search(r"/dashboard/keys/(\d+)", page)
        assert plaintext is not None and number is not None, page
        self.gateway.secrets.add(plaintext[0])
        return int(number[1]), plaintext[0]

    def make_token(self, name: str = "test") -> str:
        page = self.post("/dashboard/account/tokens", name=name).text
        found = re.search(r"rt-[A-Za-z0-9_-]{43}", page)
        assert found is not None, page
        self.gateway.secrets.add(found[0])
        return found[0]


def status_of(gateway: Gateway, key: str) -> int:
    """What a call with a key is answered."""
    gateway.key = key
    payload = {"model": "demo-echo", "messages": [{"role": "user", "content": "Hello!"}]}
    return gateway.post("/v1/chat/completions", payload)[0]
