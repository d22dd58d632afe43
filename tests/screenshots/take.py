"""Takes the README's pictures anew:  make screenshots

Of the real pages, after calls to the demo model under three names that an operator could have given it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.browser import chromium, window  # noqa: E402  (the checkout has to be found first)
from tests.gateway import Gateway  # noqa: E402

NAMES = ("house-fast", "house-clever", "house-writer")
SETTINGS = """\
[limits]
ip_rpm = 0
[[providers]]
name = "demo"
kind = "demo"
""" + "".join(
    f'[[models]]\nid = "{name}"\ntargets = [{{ provider = "demo", model = "demo-echo" }}]\n' for name in NAMES
)
CALLS = 40
PASSWORD = "rotten turnip cabinet 12"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Gateway(Path(folder), SETTINGS) as gateway:
        link = re.search(r"\S+/setup\?token=\S+", gateway.log.read_text())
        assert link is not None
        with chromium() as browser, window(browser, gateway.base_url.removesuffix("/v1"), width=1100) as page:
            page.goto(link[0])
            page.get_by_label("E-mail address").fill("ada@example.org")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Make the account").click()
            page.goto("/dashboard/keys/new")
            page.locator("[name=name]").fill("laptop")
            page.get_by_label("Budget in USD").fill("5")
            page.get_by_role("button", name="Make the key").click()
            page.screenshot(path=HERE / "key.png")
            gateway.key = page.locator("#plaintext").inner_text()
            for number in range(CALLS):
                words = "Why is the sky blue? " * (1 + number * 7 % 23)
                payload = {"model": NAMES[number % 7 % 3], "messages": [{"role": "user", "content": words}]}
                status, _, body = gateway.post("/v1/chat/completions", payload)
                assert status == 200, json.loads(body)
            page.goto("/dashboard")
            while page.locator('[data-tile="requests"] .tile-value').inner_text() != str(CALLS):
                time.sleep(0.1)
            page.screenshot(path=HERE / "overview.png", full_page=True)


if __name__ == "__main__":
    main()
