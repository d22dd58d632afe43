"""The unmodified OpenAI SDK for Node, through the real gateway, against recorded bytes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendor import Vendor, reply, stream
from tests.gateway import Gateway
from tests.sdk.conftest import recorded

HERE = Path(__file__).resolve().parent
TEXT = "Hello! Grüße – 👋"


def run(gateway: Gateway, scenario: str) -> Any:
    result = subprocess.run(
        ["node", str(HERE / "node_sdk.mjs"), scenario, gateway.base_url, gateway.key],
        capture_output=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr.decode()
    return json.loads(result.stdout)


def test_chat(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("chat"))
    assert run(gateway, "chat")["choices"] == json.loads(recorded("chat"))["choices"]


def test_a_stream_without_and_with_usage(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(recorded("chat_stream"))
    assert run(gateway, "stream") == {"text": TEXT, "usages": 0, "empty": 0, "finish": "stop"}
    assert run(gateway, "usage") == {"text": TEXT, "usages": 1, "empty": 1, "finish": "stop"}


def test_the_stream_helper_accumulates_tool_calls(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(recorded("tools_stream"))
    calls = run(gateway, "helper")["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"])["city"] for call in calls] == ["Paris", "Rome"]


def test_embeddings_come_as_base64_and_arrive_as_numbers(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = reply(recorded("embeddings_base64"))
    numbers = run(gateway, "embeddings")["data"][0]["embedding"]
    assert vendor.last().json["encoding_format"] == "base64"
    wanted = json.loads(recorded("embeddings_float"))["data"][0]["embedding"]
    assert numbers == pytest.approx(wanted, rel=1e-6)


def test_legacy_completions_stream(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(recorded("completion_stream"))
    assert run(gateway, "completion")["text"] == "Old pond"


def test_models(gateway: Gateway) -> None:
    found = run(gateway, "models")
    assert "alias" in found["ids"]
    assert found["one"]["id"] == "org/model-with/slashes"


@pytest.mark.parametrize(
    ("theirs", "name", "ours", "code"),
    [
        (400, "BadRequestError", 400, "some_code"),
        (401, "InternalServerError", 502, "upstream_auth_error"),
        (404, "NotFoundError", 404, "model_not_found"),
        (429, "RateLimitError", 429, "upstream_rate_limit"),
        (500, "InternalServerError", 502, "upstream_error"),
        (503, "InternalServerError", 503, "upstream_overloaded"),
    ],
)
def test_a_vendor_s_error_is_the_sdk_s_exception(
    gateway: Gateway, vendor: Vendor, theirs: int, name: str, ours: int, code: str
) -> None:
    vendor.answers["m"] = reply({"error": {"message": "no", "code": "some_code"}}, theirs)
    failure = run(gateway, "error")
    assert (failure["name"], failure["status"], failure["code"]) == (name, ours, code)
    assert failure["hasRequestID"]


def test_our_own_refusals_are_the_sdk_s_exceptions(gateway: Gateway) -> None:
    wrong = run(gateway, "wrongKey")
    assert (wrong["name"], wrong["status"], wrong["code"]) == ("AuthenticationError", 401, "invalid_api_key")
    bad = run(gateway, "parameter")
    assert (bad["name"], bad["param"]) == ("BadRequestError", "temperature")


def test_a_stream_cut_in_the_middle_throws(gateway: Gateway, vendor: Vendor) -> None:
    vendor.answers["m"] = stream(recorded("chat_stream")[:600], end="reset")
    assert run(gateway, "cut")["code"] == "upstream_incomplete"


def test_a_client_that_leaves_stops_the_vendor(gateway: Gateway, vendor: Vendor) -> None:
    first = recorded("chat_stream").split(b"\n\n")[0] + b"\n\n"
    vendor.answers["m"] = stream(*[first, 0.01] * 3000)
    assert run(gateway, "abort") == {"left": True}
    end = time.monotonic() + 5
    while vendor.last().gone_at is None:
        assert time.monotonic() < end
        time.sleep(0.005)
