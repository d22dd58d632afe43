"""What a process learns of a vendor: known to its fellows within a second, and to the next start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway
from tests.limits.redis_servers import RedisServer

PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": CONTENT}]}


def settings(first: Vendor, second: Vendor, more: str = "") -> str:
    provider = '[[providers]]\nname = "%s"\nkind = "vllm"\nbase_url = "%s"\napi_keys = ["%s"]\n'
    target = '{ provider = "%s", model = "m", priority = %d }'
    listed = f"[{target % ('first', 1)}, {target % ('second', 2)}]"
    return (
        f"[limits]\nip_rpm = 0\n{more}"
        + provider % ("first", first.base_url, VENDOR_SECRET)
        + provider % ("second", second.base_url, VENDOR_SECRET)
        + f'[[models]]\nid = "m"\ntargets = {listed}\n'
    )


def good() -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return reply({"id": "c", "object": "chat.completion", "choices": [choice]})


def served_by(gateway: Gateway) -> str:
    status, headers, _ = gateway.post("/v1/chat/completions", PAYLOAD)
    assert status == 200
    return headers["x-rooya-provider"]


def eventually(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 4  # a first rest is five seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_next_start_knows_who_rests(tmp_path: Path) -> None:
    with Vendor() as first, Vendor() as second:
        first.answers["m"], second.answers["m"] = reply({"error": "no"}, 500), good()
        with Gateway(tmp_path, settings(first, second)) as gateway:
            assert [served_by(gateway) for _ in range(4)] == ["second"] * 4
        assert len(first.requests) == 3
        key = gateway.key
        again = Gateway(tmp_path, settings(first, second))
        again.key = key
        with again:
            assert served_by(again) == "second"
        assert len(first.requests) == 3
        end = time.monotonic() + 20
        first.answers["m"] = good()
        third = Gateway(tmp_path, settings(first, second))
        third.key = key
        with third:
            while served_by(third) != "first":
                assert time.monotonic() < end


def test_the_other_processes_know_who_rests(tmp_path: Path) -> None:
    with RedisServer() as redis, Vendor() as first, Vendor() as second:
        first.answers["m"], second.answers["m"] = reply({"error": "no"}, 500), good()
        more = f'redis_url = "{redis.url}"\n[server]\nprocesses = 2\n'
        one = Gateway(tmp_path, settings(first, second, more))
        other_home = tmp_path / "other"
        other_home.mkdir()
        with one:
            other = Gateway(other_home, settings(first, second, more))
            other.data_dir, other.key = one.data_dir, one.key
            with other:
                assert [served_by(one) for _ in range(3)] == ["second"] * 3
                asked = len(first.requests)
                assert asked == 3

                def is_left_alone() -> bool:
                    before = len(first.requests)
                    assert served_by(other) == "second"
                    return len(first.requests) == before

                eventually(is_left_alone)
