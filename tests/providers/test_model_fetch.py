"""Reading a provider's list: its pages, its secrets, its bounds, and the words for what goes wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from providers import model_fetch, model_lists
from providers.failures import Failures
from providers.model_fetch import ListFailed, ListReader, ReadList
from providers.model_lists import DIALECTS, ListedModel, page
from providers.transport import Transport
from providers.types import ProviderSpec
from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import free_port
from tests.providers.test_model_lists import SHAPES, body


def read(vendor: Vendor, kind: str = "openai", *secrets: str, **more: Any) -> ReadList:
    """A list as the reader has it from a fake vendor."""
    base_url = vendor.base_url if kind == "openai" else vendor.base_url.removesuffix("/v1")
    return read_from(base_url, kind, *secrets, **more)


def read_from(base_url: str, kind: str = "openai", *secrets: str, **more: Any) -> ReadList:
    async def within() -> ReadList:
        transport = Transport()
        try:
            spec = ProviderSpec("it", kind, base_url, secrets or ("very-secret",))
            return await ListReader(transport, **more).read(spec)
        finally:
            await transport.close()

    return asyncio.run(within())


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


def test_a_list_is_asked_for_with_the_providers_secret(vendor: Vendor) -> None:
    vendor.answers["/v1/models"] = reply(body("openai"))
    found = read(vendor)
    assert [model.id for model in found.models] == [row[0] for row in SHAPES["openai"][0]]
    assert 0 <= found.latency_ms < 20_000
    (request,) = vendor.reads
    assert (request.method, request.body, request.headers["authorization"]) == (
        "GET",
        b"",
        "Bearer very-secret",
    )


def test_anthropics_pages_follow_each_other(vendor: Vendor) -> None:
    vendor.answers["/v1/models?limit=1000"] = reply(body("anthropic.1"))
    vendor.answers["/v1/models?limit=1000&after_id=claude-haiku-4-5-20251001"] = reply(body("anthropic.2"))
    assert len(read(vendor, "anthropic").models) == 3
    assert [request.headers["x-api-key"] for request in vendor.reads] == ["very-secret"] * 2
    assert {request.headers["anthropic-version"] for request in vendor.reads} == {"2023-06-01"}


def test_geminis_pages_follow_each_other(vendor: Vendor) -> None:
    vendor.answers["/v1beta/models?pageSize=1000"] = reply(body("gemini.1"))
    vendor.answers["/v1beta/models?pageSize=1000&pageToken=Ch9tb2RlbHM%3D"] = reply(body("gemini.2"))
    assert len(read(vendor, "gemini").models) == 8
    assert {request.headers["x-goog-api-key"] for request in vendor.reads} == {"very-secret"}


def test_pages_have_an_end(vendor: Vendor) -> None:
    always = {"models": [{"name": "models/m"}], "nextPageToken": "t"}
    vendor.answers["/v1beta/models?pageSize=1000"] = reply(always)
    vendor.answers["/v1beta/models?pageSize=1000&pageToken=t"] = reply(always)
    assert [model.id for model in read(vendor, "gemini").models] == ["m"]
    assert len(vendor.reads) <= model_fetch.MOST_PAGES + 1


def test_the_next_secret_is_tried_where_one_is_refused(vendor: Vendor) -> None:
    vendor.answers["/v1/models"] = [reply({"error": "bad key"}, 401), reply(body("openai"))]
    assert read(vendor, "openai", "first-secret", "second-secret").models
    assert [request.headers["authorization"][7:] for request in vendor.reads] == [
        "first-secret",
        "second-secret",
    ]


def test_a_large_list_is_read_by_a_child(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str, body: bytes) -> Any:
        raise AssertionError("parsed in the event loop")

    monkeypatch.setattr(model_fetch, "page", refuse)
    large = [
        {"id": f"org/model-{number}", "context_length": number + 2, "description": "x" * 500}
        for number in range(1000)
    ]
    vendor.answers["/v1/models"] = reply({"data": large})
    models = read(vendor).models
    assert len(models) == 1000 and models[7] == ListedModel("org/model-7", "chat", 9)


def test_the_child_reads_pages_and_refuses_what_is_none() -> None:
    command = [sys.executable, "-m", "providers.model_lists", "gemini"]
    good = subprocess.run(command, input=body("gemini.1"), capture_output=True, timeout=30, check=True)
    models, cursor = json.loads(good.stdout)
    assert [tuple(row) for row in models] == page("gemini", body("gemini.1")).models
    assert cursor == "Ch9tb2RlbHM="
    bad = subprocess.run(command, input=b"<html>", capture_output=True, timeout=30)
    assert (bad.returncode, bad.stderr) == (1, b"the answer is not JSON\n")


FAILURES: list[tuple[Answer, str, bool]] = [
    (reply({"error": {"message": "bad key very-secret"}}, 401), "credentials", False),
    (reply({"error": {"message": "slow down"}}, 429), "slow down", False),
    (reply(b"not here", 404), "404", False),
    (reply(b"<html>", 500), "500", True),
    (reply(b"", 503), "503", True),
    (reply(b"<html>"), "not JSON", False),
    (reply({"error": "no"}), "no list of models", False),
    (reply({"data": []}), "is empty", False),
    (reply(b"<" * 40_000), "not JSON", False),
    (Answer([b"{"], end="cut", framing="chunked"), "", True),
    (Answer([b"{"], end="reset", framing="chunked"), "", True),
    (Answer(end="hang"), "", True),
    (Answer([b"{"], end="hang", framing="chunked"), "", True),
]


@pytest.mark.parametrize(("answer", "words", "is_outage"), FAILURES)
def test_a_list_that_fails_says_why(vendor: Vendor, answer: Answer, words: str, is_outage: bool) -> None:
    vendor.answers["/v1/models"] = answer
    with pytest.raises(ListFailed) as caught:
        read(vendor, whole_s=1.0)
    assert words in str(caught.value) and "very-secret" not in str(caught.value)
    assert caught.value.is_outage is is_outage


def test_a_server_at_home_may_have_nothing(vendor: Vendor) -> None:
    vendor.answers["/models"] = reply({"data": None})
    assert read(vendor, "ollama").models == []


def test_a_provider_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(ListFailed, match="could not connect") as caught:
        read_from(f"http://127.0.0.1:{free_port()}/v1")
    assert caught.value.is_outage


def test_an_endless_list_is_given_up(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch, "MOST_BYTES", 100_000)
    vendor.answers["/v1/models"] = Answer([b" " * 50_000] * 4, end="hang", framing="chunked")
    with pytest.raises(ListFailed, match="larger than any"):
        read(vendor)


@pytest.mark.parametrize("kind", [kind for kind, dialect in DIALECTS.items() if dialect is None])
def test_some_have_no_list(vendor: Vendor, kind: str) -> None:
    with pytest.raises(ListFailed, match="publishes no list"):
        read(vendor, kind)
    assert not vendor.reads


def test_no_secret_shows() -> None:
    spec = ProviderSpec("it", "openai", "http://x", ("s3cret",))
    asking = model_fetch._Asking(spec, model_lists.USUAL, "s3cret", Failures(("s3cret",)))
    assert "s3cret" not in repr(asking) + repr(asking.endpoint(""))
