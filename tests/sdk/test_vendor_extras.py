"""What only a vendor knows passes both ways, by the unmodified SDK: `extra_body`, and fields of answers.

For every kind of host that speaks OpenAI's dialect, but Mistral, which refuses fields that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest

from providers.vendors import ROWS
from tests.fakes.vendor import Vendor, reply, stream
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway

KINDS: Final = sorted(ROWS.keys() - {"demo", "anthropic", "gemini", "mistral"})
HELLO: Final[Any] = [{"role": "user", "content": CONTENT}]
EXTRA: Final = {"vendor_flag": True, "vendor_thing": {"deep": [1, 2.5, None]}}
THEIRS: Final = {"citations": ["https://a.example"], "timing": {"queue": 0.5}}
USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "queue_time": 0.25}


def answer(field: str, kind: str, finish_reason: str | None, **said: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        field: {"role": "assistant", "content": "Hi", **said},
        "finish_reason": finish_reason,
    }
    choice["verdict"] = {"safe": True}
    return {"id": "c1", "object": kind, "created": 1, "model": "m", "choices": [choice], **THEIRS}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        entries = "".join(
            f'[[providers]]\nname = "{kind}"\nkind = "{kind}"\nbase_url = "{vendor.base_url}"\n'
            f'api_keys = ["{VENDOR_SECRET}"]\n'
            for kind in KINDS
        )
        settings = f"[server]\nsync_catalog = false\n[limits]\nip_rpm = 0\n{entries}"
        with Gateway(tmp_path_factory.mktemp("gateway"), settings) as gateway:
            yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    return places[0]


@pytest.fixture
def client(places: tuple[Vendor, Gateway]) -> Iterator[openai.OpenAI]:
    gateway = places[1]
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def test_extras_of_a_whole_call(vendor: Vendor, client: openai.OpenAI) -> None:
    for kind in KINDS:
        body = answer("message", "chat.completion", "stop", mood="fine")
        vendor.answers["m"] = reply({**body, "usage": USAGE})
        got = client.chat.completions.create(model=f"{kind}/m", messages=HELLO, extra_body=EXTRA)
        assert vendor.last().json == {"model": "m", "messages": HELLO, **EXTRA}
        assert got.to_dict() == {**body, "usage": USAGE}


def test_extras_of_a_stream(vendor: Vendor, client: openai.OpenAI) -> None:
    for kind in KINDS:
        begun = answer("delta", "chat.completion.chunk", None, mood="fine")
        ended = answer("delta", "chat.completion.chunk", "stop")
        del ended["choices"][0]["delta"]["role"]
        events = [b"data: %b\n\n" % json.dumps(each).encode() for each in (begun, ended)]
        vendor.answers["m"] = stream(*events, b"data: [DONE]\n\n")
        chunks = client.chat.completions.create(
            model=f"{kind}/m", messages=HELLO, extra_body=EXTRA, stream=True
        )
        assert [chunk.to_dict() for chunk in chunks] == [begun, ended]
        asked = {name: value for name, value in vendor.last().json.items() if name != "stream_options"}
        assert asked == {"model": "m", "messages": HELLO, "stream": True, **EXTRA}


def test_extras_of_what_is_written_anew(vendor: Vendor, client: openai.OpenAI) -> None:
    vendor.answers["m"] = reply({**answer("message", "chat.completion", "stop"), "usage": USAGE})
    raw = client.chat.completions.with_raw_response.create(
        model="groq/m", messages=HELLO, logit_bias={"1": 1}, extra_body=EXTRA
    )
    assert raw.headers["x-rooya-dropped-params"] == "logit_bias"
    assert vendor.last().json == {"model": "m", "messages": HELLO, **EXTRA}
