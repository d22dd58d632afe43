"""The pages of usage of a real gateway: what was called, live, for whom it belongs to and nobody else."""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.signed_in import end_sessions, sign_in

HOSTILE = "<script>alert(1)</script>\"'=cmd"
ADMIN, USER, OTHER, LEAVER = (
    "admin@example.org",
    "user@example.org",
    "other@example.org",
    "leaver@example.org",
)
PAGES = ("/dashboard", "/dashboard/requests", "/dashboard/models")
DATA = ("/dashboard/requests.csv", "/api/v1/usage", "/api/v1/requests", "/api/v1/models")
EVENTS = "/dashboard/events"
ADMIN_PAGES = ("/dashboard/admin/providers",)
ADMIN_DATA = ("/api/v1/providers", "/api/v1/state")


class Site(Gateway):
    """A gateway with a demo model, two users with a key each, and an admin."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "[limits]\nip_rpm = 0\n")
        self.keys: dict[str, str] = {}
        self.cookies: dict[str, str] = {"": ""}

    def __enter__(self) -> Site:
        super().__enter__()
        for email in (ADMIN, USER, OTHER, LEAVER):
            self.run("users", "create", "--email", email, *(["--admin"] if email == ADMIN else []))
            self.cookies[email] = sign_in(self.data_dir, email)
        for who, name in ((USER, HOSTILE), (OTHER, "other's")):
            self.keys[who] = self.run("keys", "create", "--name", name, "--user", who)["key"]
        return self

    def call(self, who: str, text: str = "Hello!", model: str = "demo-echo") -> str:
        """A call with a user's key; its request id."""
        self.key = self.keys[who]
        payload = {"model": model, "messages": [{"role": "user", "content": text}]}
        status, headers, _ = self.post("/v1/chat/completions", payload)
        assert status == 200
        return headers["x-request-id"]

    def headers(self, who: str) -> dict[str, str]:
        return {"Cookie": self.cookies[who]}

    def get(self, who: str, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, headers=self.headers(who))
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def json(self, who: str, path: str) -> Any:
        status, _, body = self.get(who, path)
        assert status == 200, body
        return json.loads(body)

    def until_moved(self, who: str, count: int) -> list[dict[str, Any]]:
        """The user's rows, once there are so many."""
        end = time.monotonic() + 10
        while True:
            rows: list[dict[str, Any]] = self.json(who, "/api/v1/requests")["data"]
            if len(rows) >= count:
                assert len(rows) == count
                return rows
            assert time.monotonic() < end, rows
            time.sleep(0.02)


class Events:
    """An open page's events."""

    def __init__(self, site: Site, who: str, path: str = EVENTS) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=15)
        self._connection.request("GET", path, headers=site.headers(who))
        self.answer = self._connection.getresponse()

    def __iter__(self) -> Iterator[str]:
        """The live part of the page, each time that it is another."""
        while line := self.answer.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def tile(markup: str, name: str) -> str:
    """Its value."""
    found = re.search(rf'data-tile="{name}">.*?class="tile-value"[^>]*>([^<]*)<', markup, re.S)
    assert found is not None, markup[:2000]
    return found[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as found:
        for number in range(3):
            found.call(USER, f"call {number}")
        found.call(OTHER)
        found.until_moved(USER, 3)
        found.until_moved(OTHER, 1)
        yield found


def test_an_open_page_changes_within_two_seconds_of_a_call(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        events = {who: Events(site, who) for who in (USER, OTHER, ADMIN)}
        pictures = {who: iter(each) for who, each in events.items()}
        for each in pictures.values():
            assert tile(next(each), "requests") == "0"
        for count in ("1", "2"):
            site.call(USER)
            called = time.monotonic()
            for who in (USER, ADMIN):
                while tile(next(pictures[who]), "requests") != count:
                    assert time.monotonic() - called < 2
            assert time.monotonic() - called < 2
        site.call(OTHER)  # who saw nothing of those before
        seen = next(pictures[OTHER])
        while tile(seen, "requests") == "0":
            seen = next(pictures[OTHER])
        assert tile(seen, "requests") == "1"
        for one in events.values():
            one.close()


def test_open_pages_end_when_the_gateway_drains(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        events = [Events(site, USER) for _ in range(3)]
        streams = [iter(one) for one in events]
        for stream in streams:
            next(stream)
        started = time.monotonic()
        site.stop()
        assert time.monotonic() - started < 5
        for one, stream in zip(events, streams, strict=True):
            assert list(stream) == []
            one.close()


def test_a_session_that_ends_ends_its_page(site: Site) -> None:
    events = Events(site, LEAVER)
    pictures = iter(events)
    next(pictures)
    end_sessions(site.data_dir, LEAVER)
    list(pictures)  # the stream comes to its end
    events.close()


def test_a_page_that_is_closed_before_anybody_listens_leaves_nothing(site: Site) -> None:
    request = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nCookie: {site.cookies[ADMIN]}\r\n\r\n"
    for _ in range(40):
        with site.connect() as connection:
            connection.sendall(request.encode())
    events, end = Events(site, ADMIN), time.monotonic() + 4  # nothing is written before five seconds
    while events.answer.status != 200:
        events.close()
        assert time.monotonic() < end
        events = Events(site, ADMIN)
    events.close()


def test_one_account_has_so_many_open_pages_and_leaves_room_for_others(site: Site) -> None:
    events = []
    while (one := Events(site, USER)).answer.status == 200:
        events.append(one)
        assert len(events) < 100
    assert one.answer.status == 503 and len(events) == 8
    other = Events(site, OTHER)
    assert other.answer.status == 200
    for each in (*events, one, other):
        each.close()


# Who sees what


def test_who_is_not_signed_in_sees_nothing(site: Site) -> None:
    for path in (*PAGES, *ADMIN_PAGES):
        status, headers, body = site.get("", path)
        assert (status, headers["location"], body) == (303, f"/login?next={path}", ""), path
    for path in (*DATA, EVENTS, *ADMIN_DATA):
        status, _, body = site.get("", path)
        assert status == 401 and json.loads(body)["error"]["code"] == "not_signed_in", path


def test_what_is_for_admins_is_refused_to_others(site: Site) -> None:
    for path in (*ADMIN_PAGES, *ADMIN_DATA):
        assert site.get(USER, path)[0] == 403 and site.get(ADMIN, path)[0] == 200, path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_here_changes_anything(site: Site, method: str) -> None:
    for path in (*PAGES, *ADMIN_PAGES, *DATA, *ADMIN_DATA, EVENTS):
        assert site.get(ADMIN, path, method)[0] in (403, 405), path


def test_nobody_sees_anothers_calls(site: Site) -> None:
    own = {row["request_id"] for row in site.until_moved(USER, 3)}
    (foreign,) = site.until_moved(OTHER, 1)
    key = foreign["key_id"]
    for path in (*PAGES, *DATA):
        for words in ("", f"?key={key}", f"?request_id={foreign['request_id']}", f"?range=30d&key={key}"):
            body = site.get(USER, path + words)[2]
            assert "other&#" not in body and "other's" not in body, path + words
            assert foreign["request_id"] not in re.sub(r'value="[^"]*"|href="[^"]*"', "", body), path + words
    assert site.json(USER, f"/api/v1/requests?key={key}")["data"] == []
    assert site.json(USER, f"/api/v1/usage?key={key}")["total"]["calls"] == 0
    seen = {row["request_id"] for row in site.json(ADMIN, "/api/v1/requests")["data"]}
    assert seen == own | {foreign["request_id"]}


# What it says


def test_the_figures_are_those_of_the_log(site: Site) -> None:
    for who, count in ((USER, 3), (OTHER, 1), (ADMIN, 4)):
        rows = site.json(who, "/api/v1/requests")["data"]
        usage = site.json(who, "/api/v1/usage")
        total = usage["total"]
        assert len(rows) == total["calls"] == total["requests"] == count
        for name in ("input_tokens", "output_tokens", "cost_nanodollars"):
            assert total[name] == sum(row[name] for row in rows), name
        for name in ("series", "by_model", "by_key"):
            assert sum(each["cost_nanodollars"] for each in usage[name]) == total["cost_nanodollars"]
        assert total["p50_ms"] is not None


def test_the_export_is_the_log(site: Site) -> None:
    for who, words in (
        (USER, ""),
        (ADMIN, ""),
        (ADMIN, "?status=failed"),
        (ADMIN, "?model=demo-echo&from=2026-01-01"),
    ):
        status, headers, body = site.get(who, f"/dashboard/requests.csv{words}")
        assert status == 200 and headers["content-type"].startswith("text/csv")
        assert headers["content-disposition"].startswith("attachment")
        exported = list(csv.DictReader(io.StringIO(body, newline="")))
        logged = site.json(who, f"/api/v1/requests{words}")["data"]
        assert [row["request_id"] for row in exported] == [row["request_id"] for row in logged]
        for row, known in zip(exported, logged, strict=True):
            assert row["cost_usd"] == known["cost_usd"] and row["time"] == known["time"]
            assert int(row["cost_nanodollars"]) == known["cost_nanodollars"]


def test_a_page_of_the_log_goes_on_where_the_one_before_ended(site: Site) -> None:
    whole = [row["request_id"] for row in site.json(ADMIN, "/api/v1/requests")["data"]]
    found, words = [], ""
    while True:
        page = site.json(ADMIN, f"/api/v1/requests?limit=1{words}")
        found += [row["request_id"] for row in page["data"]]
        if page["older"] is None:
            break
        words = f"&before={page['older']}"
    assert found == whole


def test_the_models_page_tells_the_price_and_the_health(site: Site) -> None:
    body = site.get(USER, "/dashboard/models?q=DEMO")[2]
    assert "demo-echo" in body and "healthy" in body and "$1.00" in body
    assert "No model is like that" in site.get(USER, "/dashboard/models?q=nothing-like-it")[2]
    (model,) = site.json(USER, "/api/v1/models")["data"]
    assert model["id"] == "demo-echo" and model["price"]["input_usd"] == 1.0 and model["health"] == "healthy"


def test_the_operator_sees_how_all_does(site: Site) -> None:
    body = site.get(ADMIN, "/dashboard/admin/providers")[2]
    assert "demo" in body and "in this process" in body and "up to date" in body
    assert site.json(ADMIN, "/api/v1/state")["word"] == "ok"
    (provider,) = site.json(ADMIN, "/api/v1/providers")["data"]
    assert (provider["name"], provider["word"], provider["models"]) == ("demo", "healthy", 1)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dashboard", "range=never"), ("/dashboard", "from=2026-02-30"), ("/dashboard", "key=x"),
        ("/dashboard/requests", "status=fine"), ("/dashboard/requests", "before=x"),
        ("/dashboard/requests", "request_id=%27OR%201"), ("/dashboard/models", "page=-1"),
        ("/api/v1/usage", "by=moon"), ("/api/v1/requests", "limit=1000"),
        ("/dashboard/events", "range=never"),
    ],
)  # fmt: skip
def test_words_that_say_nothing_are_refused_in_words(site: Site, path: str, words: str) -> None:
    status, headers, body = site.get(USER, f"{path}?{words}")
    assert status == 400
    if path.startswith("/dashboard") and not path.endswith("events"):
        assert headers["content-type"].startswith("text/html") and "<h1>Bad Request</h1>" in body
    else:
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


# Markup


class Markup(HTMLParser):
    """Everything that must not be in a page; and that what is opened is closed."""

    VOID = {"meta", "link", "img", "input", "br", "hr", "rect", "line", "polyline"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or "style" in given or (tag == "script" and "src" not in given):
            self.faults.append(f"inline {tag}")
        self.faults += [f"{tag} {name}" for name in given if name.startswith("on")]
        for name in ("src", "href", "action"):
            if (given.get(name) or "/").startswith(("http", "//", "javascript")):
                self.faults.append(f"{tag} {name} {given[name]}")
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def test_no_page_has_what_its_policy_forbids_or_a_hostile_name(site: Site) -> None:
    queries = ("", "?range=30d", "?range=custom&from=2026-01-01&to=2026-06-30", "?status=failed", "?q=zz")
    for path in (*PAGES, *ADMIN_PAGES):
        for words in queries:
            status, headers, body = site.get(ADMIN, path + words)
            assert status == 200, (path, words, body)
            assert headers["content-security-policy"].startswith("default-src 'self'")
            markup = Markup()
            markup.feed(body)
            assert (markup.faults, markup.open) == ([], []), path + words
            assert len(markup.ids) == len(set(markup.ids))
            assert "alert(1)</script>" not in body
    assert "&lt;script&gt;alert(1)" in site.get(USER, "/dashboard/requests")[2]
    assert "&lt;script&gt;alert(1)" in site.get(USER, "/dashboard")[2]


def test_a_hostile_search_is_given_back_as_text(site: Site) -> None:
    words = "%22%3E%3Cscript%3Ealert(2)%3C/script%3E"
    for path in ("/dashboard/requests?model=", "/dashboard/requests?provider=", "/dashboard/models?q="):
        body = site.get(USER, path + words)[2]
        assert "<script>alert(2)" not in body, path


def test_heads_are_answered_without_a_body(site: Site) -> None:
    for path in (*PAGES, *DATA):
        status, _, body = site.get(USER, path, "HEAD")
        assert (status, body) == (200, ""), path
