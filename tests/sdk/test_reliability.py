"""Retries and fallbacks of a real gateway: who is asked next, when, and when nobody is (R-19 to R-21)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from tests.fakes.vendor import Answer, Vendor, reply, stream
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway, free_port

HELLO: Final = [{"role": "user", "content": CONTENT}]
USED: Final = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
SECRETS: Final = [f"{VENDOR_SECRET}-{letter}" for letter in "ab"]


def settings(first: Vendor, second: Vendor) -> str:
    def provider(name: str, base_url: str, secrets: list[str]) -> str:
        row = f'[[providers]]\nname = "{name}"\nkind = "openai_compatible"\nbase_url = "{base_url}"\n'
        return f"{row}api_keys = {json.dumps(secrets)}\n"

    def model(name: str, *targets: str, more: str = "") -> str:
        listed = ", ".join(
            f'{{ provider = "{target}", model = "{name}", priority = {at + 1} }}'
            for at, target in enumerate(targets)
        )
        return f'[[models]]\nid = "{name}"\ntargets = [{listed}]\n{more}'

    return "".join(
        [
            "[limits]\nip_rpm = 0\n",
            provider("first", first.base_url, SECRETS[:1]),
            provider("second", second.base_url, SECRETS[:1]),
            provider("keyed", first.base_url, SECRETS),
            provider("refusing", f"http://127.0.0.1:{free_port()}/v1", SECRETS[:1]),
            *(model(f"one-{number}", "first") for number in range(20)),
            *(model(f"two-{number}", "first", "second") for number in range(20)),
            *(model(f"keys-{number}", "keyed") for number in range(4)),
            model("hasty", "first", more="request_s = 0.3\n"),
            model("dying", "refusing", "second"),
        ]
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Vendor, Gateway]]:
    with Vendor() as first, Vendor() as second:
        with Gateway(tmp_path_factory.mktemp("reliability"), settings(first, second)) as gateway:
            yield first, second, gateway


class Names:
    """A model of its own for every test: what rests in one must not be met in another."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, -1) + 1
        return f"{kind}-{self._counts[kind]}"


@pytest.fixture(scope="module")
def names() -> Names:
    return Names()


def good(text: str = "Hi") -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return reply({"id": "c", "object": "chat.completion", "choices": [choice], "usage": USED})


def bad(status: int, **headers: str) -> Answer:
    fields = (("Content-Type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items()))
    return reply({"error": {"message": "no", "type": "x"}}, status, fields)


def ask(gateway: Gateway, model: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    return gateway.post("/v1/chat/completions", {"model": model, "messages": HELLO, **fields})


def asked(vendor: Vendor, model: str) -> int:
    return sum(request.json["model"] == model for request in vendor.requests)


RETRYABLE: Final = [408, 429, 500, 502, 503, 504, 529]


@pytest.mark.parametrize("status", RETRYABLE)
def test_the_next_target_is_asked_at_once(
    places: tuple[Vendor, Vendor, Gateway], names: Names, status: int
) -> None:
    first, second, gateway = places
    model = names.next("two")
    first.answers[model], second.answers[model] = bad(status), good()
    answered, headers, _ = ask(gateway, model)
    assert (answered, headers["x-rooya-provider"]) == (200, "second")
    assert asked(first, model) == asked(second, model) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_the_only_target_is_asked_again_after_a_while(
    places: tuple[Vendor, Vendor, Gateway], names: Names, status: int
) -> None:
    first, _, gateway = places
    model = names.next("one")
    first.answers[model] = [bad(status), bad(status), good()]
    began = time.monotonic()
    answered, headers, _ = ask(gateway, model)
    assert (answered, headers["x-rooya-provider"], asked(first, model)) == (200, "first", 3)
    assert time.monotonic() - began > 0.25 + 0.5


def test_two_retries_and_no_more(places: tuple[Vendor, Vendor, Gateway], names: Names) -> None:
    first, _, gateway = places
    model = names.next("one")
    first.answers[model] = bad(500)
    assert ask(gateway, model)[0] == 502 and asked(first, model) == 3


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_the_request_caused_is_not_tried_elsewhere(
    places: tuple[Vendor, Vendor, Gateway], names: Names, status: int
) -> None:
    first, second, gateway = places
    model = names.next("two")
    first.answers[model], second.answers[model] = bad(status), good()
    assert ask(gateway, model)[0] in (400, 404)
    assert (asked(first, model), asked(second, model)) == (1, 0)


def test_a_time_a_vendor_names_is_waited_for(places: tuple[Vendor, Vendor, Gateway], names: Names) -> None:
    first, _, gateway = places
    model = names.next("one")
    first.answers[model] = [bad(429, Retry_After="1"), good()]
    began = time.monotonic()
    assert ask(gateway, model)[0] == 200
    assert time.monotonic() - began >= 1


def test_a_time_too_long_to_wait_is_passed_on(places: tuple[Vendor, Vendor, Gateway], names: Names) -> None:
    first, _, gateway = places
    model = names.next("one")
    first.answers[model] = [bad(429, Retry_After="17"), good()]
    status, headers, _ = ask(gateway, model)
    assert (status, headers["retry-after"], asked(first, model)) == (429, "17", 1)


def test_our_own_time_out_is_not_tried_again(places: tuple[Vendor, Vendor, Gateway]) -> None:
    first, _, gateway = places
    first.answers["hasty"] = Answer(end="hang")
    assert ask(gateway, "hasty")[0] == 504 and asked(first, "hasty") == 1


@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_one_secret_may_not_the_next_one_may(
    places: tuple[Vendor, Vendor, Gateway], names: Names, status: int
) -> None:
    first, _, gateway = places
    model = names.next("keys")
    first.answers[model] = [bad(status), *[good()] * 9]
    assert ask(gateway, model)[0] == 200
    secrets = [
        request.headers["authorization"] for request in first.requests if request.json["model"] == model
    ]
    assert sorted(secrets) == [f"Bearer {secret}" for secret in SECRETS]
    assert [ask(gateway, model)[0] for _ in range(2)] == [200, 200]
    latest = first.requests[-1].headers["authorization"]
    assert latest == secrets[1]  # the other one rests


def test_nothing_is_tried_again_once_a_byte_was_sent(
    places: tuple[Vendor, Vendor, Gateway], names: Names
) -> None:
    first, second, gateway = places
    model = names.next("two")
    piece = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    first.answers[model] = stream(b"data: %b\n\n" % json.dumps(piece).encode(), end="reset")
    second.answers[model] = good()
    status, _, body = ask(gateway, model, stream=True)
    assert status == 200 and b"upstream_incomplete" in body and asked(second, model) == 0


def test_a_stream_that_fails_before_its_first_event_goes_elsewhere(
    places: tuple[Vendor, Vendor, Gateway], names: Names
) -> None:
    first, second, gateway = places
    model = names.next("two")
    first.answers[model] = stream(b'data: {"error": {"message": "no", "code": 503}}\n\n')
    piece = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    second.answers[model] = stream(b"data: %b\n\n" % json.dumps(piece).encode(), b"data: [DONE]\n\n")
    status, headers, body = ask(gateway, model, stream=True)
    assert (status, headers["x-rooya-provider"]) == (200, "second") and body.endswith(b"data: [DONE]\n\n")


def test_a_target_that_keeps_failing_is_left_alone(
    places: tuple[Vendor, Vendor, Gateway], names: Names
) -> None:
    first, second, gateway = places
    model = names.next("two")
    first.answers[model], second.answers[model] = bad(500), good()
    for _ in range(10):
        assert ask(gateway, model)[0] == 200
    assert asked(first, model) == 3 and asked(second, model) == 10


def test_200_calls_at_once_notice_nothing_of_a_target_that_died(
    places: tuple[Vendor, Vendor, Gateway],
) -> None:
    _, second, gateway = places
    second.answers["dying"] = good()
    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(lambda _: ask(gateway, "dying")[0], range(200)))
    assert statuses == [200] * 200
