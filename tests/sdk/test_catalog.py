"""The catalogue of a running gateway: its providers' own lists, aliases, the status, who may read them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import openai
import pytest

from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import Gateway, toml
from tests.sdk.conftest import recorded

LIST = "/v1/models"
NO_COUNT = "[limits]\nip_rpm = 0\n"


def models(*names: str, **more: Any) -> Answer:
    """A list of models in OpenAI's shape."""
    rows = [
        {"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "x", **more} for name in names
    ]
    return reply({"object": "list", "data": rows})


@pytest.fixture
def fake() -> Iterator[Vendor]:
    with Vendor() as vendor:
        vendor.answers[LIST] = models("llama-mine", "embed-mine")
        yield vendor


def two_providers(lab: str, other: str) -> str:
    """Two that are not known from the bundle, so that neither is the only one."""
    entry = '[[providers]]\nname = "{}"\nkind = "openai_compatible"\nbase_url = "{}"\n'
    return NO_COUNT + entry.format("lab", lab) + entry.format("other", other)


def get(gateway: Gateway, path: str, key: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def listed(gateway: Gateway) -> list[str]:
    return [row["id"] for row in get(gateway, LIST)[1]["data"]]


def status_of(gateway: Gateway, model: str) -> list[tuple[str, str, int | None]]:
    rows = get(gateway, "/v1/models/status")[1]["data"]
    return [
        (row["provider"], row["health_status"], row["last_health_latency_ms"])
        for row in rows
        if row["model_id"] == model
    ]


def test_the_providers_own_models_are_listed_from_the_start(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: listed(gateway) == ["embed-mine", "llama-mine"])
        with openai.OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as client:
            (_, first) = client.models.list().data
            assert (first.id, first.object, first.created, first.owned_by) == (
                "llama-mine",
                "model",
                1_750_000_000,
                "fake",
            )
            assert client.models.retrieve("llama-mine") == first
            assert client.models.retrieve("fake/llama-mine").id == "fake/llama-mine"
            with pytest.raises(openai.NotFoundError) as caught:
                client.models.retrieve("nobody/llama-mine")
            assert caught.value.code == "model_not_found"
        ((provider, word, latency_ms),) = status_of(gateway, "llama-mine")
        assert (provider, word) == ("fake", "healthy") and type(latency_ms) is int


def test_a_name_goes_to_the_provider_that_lists_it(fake: Vendor, tmp_path: Path) -> None:
    with Vendor() as other:
        other.answers[LIST] = models("theirs", "llama-mine")
        other.answers["theirs"] = other.answers["llama-mine"] = reply(recorded("chat"))
        fake.answers["llama-mine"] = reply(recorded("chat"))
        with Gateway(tmp_path, two_providers(fake.base_url, other.base_url)) as gateway:
            until(lambda: {"theirs", "embed-mine"} <= set(listed(gateway)))
            call = {"messages": [{"role": "user", "content": "Hello!"}]}
            for name in ("theirs", "llama-mine", "other/llama-mine"):
                assert gateway.post("/v1/chat/completions", {"model": name, **call})[0] == 200
            assert gateway.post("/v1/chat/completions", {"model": "nobodys", **call})[0] == 404
            # Of two that list a name the one configured first serves it.
            assert [request.json["model"] for request in fake.requests] == ["llama-mine"]
            assert [request.json["model"] for request in other.requests] == ["theirs", "llama-mine"]
            assert [row[0] for row in status_of(gateway, "llama-mine")] == ["lab", "other"]


def test_a_list_that_changes_is_known_to_the_running_gateway(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: listed(gateway) == ["embed-mine", "llama-mine"])
        fake.answers[LIST] = models("llama-mine", "llama-new")
        (outcome,) = gateway.run("models", "sync")
        assert outcome == {
            "provider": "fake",
            "failure": None,
            "new": ["llama-new"],
            "gone": ["embed-mine"],
            "changed": [],
        }
        until(lambda: listed(gateway) == ["llama-mine", "llama-new"], 3)
        assert [row["id"] for row in gateway.run("models", "list")] == ["llama-mine", "llama-new"]


def test_the_last_good_list_holds_where_reading_fails(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: len(listed(gateway)) == 2)
        fake.answers[LIST] = reply(b"<html>", 502)
        result = gateway.attempt("models", "sync")
        assert result.returncode == 1 and b"fake: could not be read" in result.stdout
        assert b"(502)" in result.stdout
        assert listed(gateway) == ["embed-mine", "llama-mine"]
        gateway.stop()
    # A restart goes on with it as well, though it still cannot be read.
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        assert listed(gateway) == ["embed-mine", "llama-mine"]


def test_sync_fails_only_where_every_list_does(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, two_providers(fake.base_url, "http://127.0.0.1:9/v1")) as gateway:
        result = gateway.attempt("models", "sync")
        assert result.returncode == 0
        assert b"lab: 0 new, 0 gone, 0 changed" in result.stdout or b"lab: 2 new" in result.stdout
        assert b"other: could not be read" in result.stdout and b"could not connect" in result.stdout
        assert gateway.attempt("models", "sync", "--yes").returncode == 1


def test_a_list_of_a_megabyte_is_read_as_well(fake: Vendor, tmp_path: Path) -> None:
    fake.answers[LIST] = models(*(f"org/model-{number}" for number in range(700)), description="x" * 1500)
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: len(listed(gateway)) == 700)
        assert get(gateway, "/v1/models/status")[1]["healthy"] == 700


def test_a_call_does_not_wait_for_a_list(fake: Vendor, tmp_path: Path) -> None:
    fake.answers[LIST] = Answer(end="hang")
    fake.answers["m"] = reply(recorded("chat"))
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        call = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}
        assert gateway.post("/v1/chat/completions", call)[0] == 200
        assert listed(gateway) == []
        until(lambda: len(fake.reads) == 1)


def test_the_reference_s_names_lead_to_todays_models(tmp_path: Path) -> None:
    vendors = dict.fromkeys(("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY"), "x" * 20)
    config = NO_COUNT + "".join(
        f'[[providers]]\nname = "{kind}"\nkind = "{kind}"\nbase_url = "http://127.0.0.1:9"\n'
        f'api_keys = ["env:{variable}"]\n'
        for kind, variable in zip(("anthropic", "gemini", "deepseek"), vendors, strict=True)
    )
    with Gateway(tmp_path, config, environ=vendors) as gateway:
        ids = listed(gateway)
        wanted = {"claude-3.5-sonnet", "claude-3-opus", "claude-3-haiku", "gemini-1.5-pro", "gemini-pro"}
        assert wanted | {"deepseek-chat", "deepseek-coder"} <= set(ids)
        assert len(ids) == len(set(ids)) and not {"gpt-4o", "mistral-large"} & set(ids)
        assert get(gateway, "/v1/models/claude-3.5-sonnet")[1]["owned_by"] == "anthropic"
        rows = {row["id"]: row for row in gateway.run("models", "list")}
        assert rows["claude-3.5-sonnet"]["model"] == "claude-sonnet-5-5"
        assert rows["claude-3.5-sonnet"]["input_usd"] == rows["claude-sonnet-5-5"]["input_usd"] is not None


def test_the_status_has_the_reference_s_shape(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, two_providers(fake.base_url, "http://127.0.0.1:9/v1")) as gateway:
        until(lambda: len(listed(gateway)) == 2)
        status, answer = get(gateway, "/v1/models/status")
        assert status == 200
        assert list(answer) == ["object", "data", "total", "healthy", "down", "unknown"]
        assert (answer["object"], answer["total"]) == ("list", len(answer["data"]))
        assert answer["total"] == answer["healthy"] + answer["down"] + answer["unknown"]
        row = next(row for row in answer["data"] if row["model_id"] == "embed-mine")
        assert list(row) == [
            *("id", "model_id", "provider", "model_type"),
            *("is_available", "health_status", "last_health_latency_ms"),
        ]
        assert row["id"] == str(uuid5(NAMESPACE_URL, "rooya:lab/embed-mine"))
        assert (row["provider"], row["model_type"], row["is_available"]) == ("lab", "embedding", True)


def test_hundreds_of_anonymous_reads_ask_no_provider(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: len(listed(gateway)) == 2)
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        for number in range(400):
            connection.request("GET", ("/v1/models/status", LIST, "/v1/models/llama-mine")[number % 3])
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()
        connection.close()
        assert [request.path for request in fake.reads] == [LIST] and not fake.requests


def test_reads_of_the_catalogue_are_counted(fake: Vendor, tmp_path: Path) -> None:
    with Gateway(tmp_path, toml(fake.base_url, "[limits]\nip_rpm = 60\n")) as gateway:
        answers = [get(gateway, path)[0] for path in ("/v1/models/status", LIST) * 30]
        assert answers[0] == 200 and answers[-1] == 429


def test_a_private_catalogue_wants_a_key(fake: Vendor, tmp_path: Path) -> None:
    private = f"[server]\npublic_catalog = false\n{NO_COUNT}"
    with Gateway(tmp_path, toml(fake.base_url, private)) as gateway:
        until(lambda: get(gateway, "/v1/models/llama-mine", gateway.key)[0] == 200)
        for path in (LIST, "/v1/models/status", "/v1/models/llama-mine"):
            assert get(gateway, path)[0] == 401
            assert get(gateway, path, "sk-" + "x" * 48)[0] == 401
            assert get(gateway, path, gateway.key)[0] == 200


def test_ids_with_slashes_are_found_and_status_is_no_id(fake: Vendor, tmp_path: Path) -> None:
    fake.answers[LIST] = models("org/model-a", "status", "org/status", "ünï/çødé")
    with Gateway(tmp_path, toml(fake.base_url)) as gateway:
        until(lambda: len(listed(gateway)) == 4)
        for path, name in (
            ("org/model-a", "org/model-a"),
            ("org%2Fmodel-a", "org/model-a"),
            ("org/status", "org/status"),
            ("%C3%BCn%C3%AF%2F%C3%A7%C3%B8d%C3%A9", "ünï/çødé"),
        ):
            assert get(gateway, f"/v1/models/{path}")[1]["id"] == name
        assert get(gateway, "/v1/models/status")[1]["object"] == "list"
        assert get(gateway, "/v1/models/%ff")[0] == 400


def test_a_paid_probe_says_how_a_model_does_that_nobody_called(tmp_path: Path) -> None:
    with Vendor() as vendor:
        choice = {"index": 0, "message": {"role": "assistant", "content": "p"}, "finish_reason": "stop"}
        vendor.answers["m"] = reply({"id": "c", "object": "chat.completion", "choices": [choice]})
        entry = '[[models]]\nid = "m"\ntargets = [{ provider = "lab", model = "m" }]\n'
        priced = entry + "price = { input = 1, output = 1 }\n"
        settings = two_providers(vendor.base_url, vendor.base_url) + priced
        with Gateway(tmp_path, settings + "[health]\npaid_probe_usd_per_day = 0.01\n") as gateway:

            def seen() -> list[str]:
                rows = get(gateway, "/v1/models/status")[1]["data"]
                return [row["health_status"] for row in rows if row["model_id"] == "m"]

            until(lambda: seen() == ["healthy"])
        assert len([each for each in vendor.requests if each.method == "POST"]) == 1
