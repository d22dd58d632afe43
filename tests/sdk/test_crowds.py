"""A model that hangs takes no more than its share: calls to others go on, and what is too much is refused."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import CONTENT, ROOT, SERVE_AT_DEBUG, VENDOR_SECRET, Gateway

MOST: Final = 20
FEWER: Final = f"import providers.health\nproviders.health.MOST_CALLS = {MOST}\nimport rooya\n"
PROGRAM: Final = (sys.executable, "-c", SERVE_AT_DEBUG.replace("import rooya\n", FEWER), str(ROOT))
GOOD: Final = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
}


def settings(vendor: Vendor) -> str:
    def provider(name: str) -> str:
        row = f'[[providers]]\nname = "{name}"\nkind = "openai_compatible"\nbase_url = "{vendor.base_url}"\n'
        return f'{row}api_keys = ["{VENDOR_SECRET}"]\n'

    def model(name: str, *targets: tuple[str, str]) -> str:
        listed = ", ".join(
            f'{{ provider = "{where}", model = "{what}", priority = {at + 1} }}'
            for at, (where, what) in enumerate(targets)
        )
        return f'[[models]]\nid = "{name}"\ntargets = [{listed}]\n'

    return "".join(
        [
            "[limits]\nip_rpm = 0\n[retry]\nretries = 1\n",
            provider("one"),
            provider("other"),
            model("hung", ("one", "hung")),
            model("well", ("one", "well")),
            model("either", ("one", "hung"), ("other", "well")),
        ]
    )


def test_a_model_that_hangs_leaves_room_for_the_others(tmp_path: Path) -> None:
    release = threading.Event()
    with Vendor() as vendor:
        vendor.answers["hung"] = Answer([release, *reply(GOOD).pieces], framing="chunked")
        vendor.answers["well"] = reply(GOOD)
        with Gateway(tmp_path, settings(vendor), program=PROGRAM) as gateway:

            def ask(model: str) -> tuple[int, dict[str, str], bytes]:
                messages = [{"role": "user", "content": CONTENT}]
                return gateway.post("/v1/chat/completions", {"model": model, "messages": messages})

            with ThreadPoolExecutor(MOST) as pool:
                hanging = [pool.submit(ask, "hung") for _ in range(MOST)]
                end = time.monotonic() + 20
                while len(vendor.requests) < MOST:
                    assert time.monotonic() < end
                    time.sleep(0.01)
                status, headers, body = ask("hung")
                assert (status, headers["retry-after"]) == (503, "1") and b"too many calls wait" in body
                assert ask("well")[0] == 200
                status, headers, _ = ask("either")
                assert (status, headers["x-rooya-provider"]) == (200, "other")
                release.set()
                assert [call.result()[0] for call in hanging] == [200] * MOST
            assert ask("hung")[0] == 200
