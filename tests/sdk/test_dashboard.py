"""The dashboard as people use it: a real browser, the real gateway, the real SDK."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import NARROW, WIDE, barriers, chromium, keep, overflow, window
from tests.gateway import Gateway

PASSWORD = "rotten turnip cabinet 12"
MODEL = "demo-echo"
SETTINGS = '[server]\nregistration = "open"\n[limits]\nip_rpm = 0\n'
ASK = [{"role": "user", "content": "Hello!"}]
PAGES = {
    "overview": "/dashboard",
    "overview-30-days": "/dashboard?range=30d",
    "requests": "/dashboard/requests",
    "models": "/dashboard/models",
    "keys": "/dashboard/keys",
    "key-new": "/dashboard/keys/new",
    "key": "/dashboard/keys/1",
    "playground": "/dashboard/playground",
    "docs": "/docs",
    "account": "/dashboard/account",
    "second-factor": "/dashboard/account/second-factor",
    "admin-users": "/dashboard/admin/users",
    "admin-keys": "/dashboard/admin/keys",
    "admin-providers": "/dashboard/admin/providers",
    "admin-webhooks": "/dashboard/admin/webhooks",
    "admin-changes": "/dashboard/admin/audit",
    "not-there": "/dashboard/not-there",
}
ENTRIES = {"login": "/login", "register": "/register", "register-spent": "/register?token=spent"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, SETTINGS)
    gateway.key = "none yet"
    with gateway:
        gateway.secrets.add(PASSWORD)
        yield gateway


def root(gateway: Gateway) -> str:
    return gateway.base_url.removesuffix("/v1")


def set_up(gateway: Gateway, page: Page) -> None:
    """Become the first admin by the link that `serve` prints."""
    link = re.search(r"\S+/setup\?token=\S+", gateway.log.read_text())
    assert link is not None
    page.goto(link[0])
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def sign_up(page: Page, email: str) -> None:
    page.goto("/register")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def make_key(gateway: Gateway, page: Page, name: str, budget: str = "") -> str:
    """Its plaintext, by the page's own button."""
    page.goto("/dashboard/keys/new")
    page.locator("[name=name]").fill(name)
    page.get_by_label("Budget in USD").fill(budget)
    page.get_by_role("button", name="Make the key").click()
    return copied(gateway, page)


def copied(gateway: Gateway, page: Page) -> str:
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    key: str = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", key)
    gateway.secrets.add(key)
    return key


def call(gateway: Gateway, key: str) -> str:
    """A call by the SDK; the answer's text."""
    with openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=20)  # type: ignore[arg-type]
    return answer.choices[0].message.content or ""


def tile(page: Page, name: str) -> str:
    return page.locator(f'[data-tile="{name}"] .tile-value').inner_text()


def test_from_sign_up_to_a_key_that_is_deactivated(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        set_up(gateway, page)
        key = make_key(gateway, page, "laptop", budget="0.001")
        snippets = page.locator("pre").all_inner_texts()
        assert len(snippets) == 3
        assert all(root(gateway) in text and key in text and MODEL in text for text in snippets)
        assert "    model=" in snippets[1]  # indented, as it will be pasted

        page.goto("/dashboard")
        expect(page.locator("#live")).to_have_attribute("data-is-live", "yes")
        assert tile(page, "requests") == "0"
        call(gateway, key)
        called = time.monotonic()
        expect(page.locator('[data-tile="requests"] .tile-value')).to_have_text("1", timeout=2000)
        assert time.monotonic() - called < 2 and tile(page, "spend") != "$0"
        keep(page, "flow-cost-appears")

        calls = 1
        with pytest.raises(openai.APIStatusError) as refused:
            while calls < 100:
                call(gateway, key)
                calls += 1
        assert refused.value.status_code == 402 and calls > 3
        page.goto("/dashboard/keys/1")
        expect(page.locator("#refused")).to_contain_text("1 call was refused")
        expect(page.locator("#refused")).to_contain_text("more than is left of the budget")
        keep(page, "flow-budget-reached")
        page.get_by_label("Budget in USD").fill("5")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("of $5.00")).to_be_visible()
        expect(page.locator("#refused")).to_have_count(0)
        call(gateway, key)

        page.get_by_label("Grace period").select_option(label="1 day")
        page.get_by_role("button", name="Rotate").click()
        successor = copied(gateway, page)
        assert successor != key
        call(gateway, key)
        call(gateway, successor)

        page.goto("/dashboard/keys/1")
        page.get_by_role("button", name="Deactivate").click()
        expect(page.get_by_role("button", name="Activate")).to_be_visible()
        for each in (key, successor):
            with pytest.raises(openai.AuthenticationError):
                call(gateway, each)
        page.get_by_role("button", name="Activate").click()
        expect(page.get_by_role("button", name="Deactivate")).to_be_visible()
        call(gateway, successor)


def test_the_playground_talks_as_one_of_the_keys(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        sign_up(page, "bob@example.org")
        page.goto("/dashboard/playground")
        expect(page.get_by_role("heading", name="Make a key first")).to_be_visible()
        make_key(gateway, page, "playing")
        page.goto("/dashboard/playground")
        page.locator("[name=message]").fill("Tell me something")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".turn.assistant .text")).to_contain_text("Tell me something")
        page.get_by_role("link", name="what it cost").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Requests")
        end = time.monotonic() + 10
        while not page.locator("table.log tbody tr").count():  # the ledger's journal is moved every moment
            assert time.monotonic() < end
            page.reload()
        expect(page.locator('td[data-label="Key"]')).to_have_text("playing")
        keep(page, "flow-playground-cost")
        page.goto("/dashboard/playground")
        page.locator("[name=model]").fill("no-such-model")
        page.locator("[name=message]").fill("Hello?")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#said")).to_contain_text("no-such-model")
        expect(page.locator("[name=message]")).to_have_value("Hello?")


def test_a_form_without_its_token_is_refused(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        sign_up(page, "bob@example.org")
        page.goto("/dashboard/keys/new")
        page.locator("[name=name]").fill("forged")
        page.evaluate("document.querySelectorAll('main [name=_xsrf]').forEach((field) => field.remove())")
        page.get_by_role("button", name="Make the key").click()
        expect(page.get_by_text("The form is too old or came from another site")).to_be_visible()
        page.goto("/dashboard/keys")
        expect(page.get_by_text("Make your first key")).to_be_visible()


def test_who_guesses_passwords_has_to_wait(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        sign_up(page, "bob@example.org")
        page.get_by_role("button", name="Sign out").click()
        alert = page.get_by_role("alert")
        for _ in range(20):
            page.get_by_label("E-mail address").fill("bob@example.org")
            page.get_by_label("Password").fill("not the password")
            page.get_by_role("button", name="Sign in").click()
            expect(alert).to_be_visible()
            if "Too many failed attempts" in alert.inner_text():
                break
        expect(alert).to_contain_text("Too many failed attempts")
        keep(page, "flow-throttled")


def test_the_keyboard_is_enough(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        page.goto("/register")
        page.keyboard.type("eve@example.org")  # the first field has the focus
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        press_until(page, "Keys")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("API keys")
        press_until(page, "New key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("New key")
        expect(page.locator("[name=name]")).to_be_focused()
        page.keyboard.type("by hand")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("by hand is made")
        press_until(page, "Copy the key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        gateway.secrets.add(page.evaluate("navigator.clipboard.readText()"))


def press_until(page: Page, text: str) -> None:
    """Tab to what is called so, and see on the way that the focus can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; return [e.textContent.trim(), "
            "e === document.body || getComputedStyle(e).outlineStyle !== 'none']; }"
        )
        assert focused[1], focused
        if focused[0] == text:
            return
    raise AssertionError(f"no Tab leads to {text}")


def test_every_page_fits_and_has_no_barrier(gateway: Gateway, browser: Browser) -> None:
    with window(browser, root(gateway)) as page:
        for name, path in ENTRIES.items():
            look_at(page, name, path)
        set_up(gateway, page)
        key = make_key(gateway, page, "a key with a rather long name that has to go somewhere", budget="2.5")
        look_at(page, "key-created", "")
        for _ in range(3):
            call(gateway, key)
        page.goto("/dashboard")
        expect(page.locator('[data-tile="requests"] .tile-value')).to_have_text("3")
        for name, path in PAGES.items():
            look_at(page, name, path)
        page.emulate_media(color_scheme="dark")
        for name in ("overview", "requests", "key", "admin-providers", "playground"):
            page.goto(PAGES[name])
            assert barriers(page) == [], f"{name} in the dark"


def look_at(page: Page, name: str, path: str) -> None:
    """Both widths, a picture of each, and what keeps people out. path: empty = where we are."""
    if path:
        page.goto(path)
    assert page.get_by_role("heading", level=1).count() == 1, name
    for width in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) <= 0, f"{name} at {width}"
        assert barriers(page) == [], f"{name} at {width}"
        keep(page, f"{name}-{width}")
    page.set_viewport_size({"width": WIDE, "height": 900})
