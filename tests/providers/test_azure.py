"""Azure OpenAI: its addresses, its header, its filter."""

from __future__ import annotations

import pytest

from providers import errors
from providers.types import EMBEDDINGS, Usage
from tests.providers.calling import (
    DONE,
    FINISH,
    SECRET,
    asking_call,
    codec_of,
    hear_every_way,
    make_adapter,
    make_call,
    make_target,
    stream_call,
)

HOST = "https://res.openai.azure.com"
CLASSIC = "/openai/deployments/my%2Fgpt/chat/completions?api-version="
FILTER = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
    b'[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n'
)
ROLE = (
    b'data: {"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},'
    b'"finish_reason":null,"index":0}]}\n\n'
)
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        (HOST, CLASSIC + "2024-10-21"),
        (HOST + "/", CLASSIC + "2024-10-21"),
        (HOST + "/openai", CLASSIC + "2024-10-21"),
        (HOST + "?api-version=2025-04-01-preview", CLASSIC + "2025-04-01-preview"),
        (HOST + "/openai/v1", "/openai/v1/chat/completions"),
        (HOST + "/openai/v1/", "/openai/v1/chat/completions"),
        (HOST + "/openai/v1?api-version=preview", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
def test_the_address_follows_the_base_url(base_url: str, path: str) -> None:
    adapter = make_adapter("azure", base_url)
    call = make_call(model="alias")
    target = make_target(adapter, call, "my/gpt", base_url)
    request = codec_of(adapter).encode(call, target)
    assert request.endpoint.head.split(b" ")[1].decode() == path
    assert b"\r\napi-key: %b\r\n" % SECRET.encode() in request.endpoint.head
    assert b"Authorization" not in request.endpoint.head
    assert b'"model":"my/gpt"' in request.body


def test_each_deployment_has_its_own_address() -> None:
    adapter = make_adapter("azure", HOST)
    codec = codec_of(adapter, EMBEDDINGS)
    call = make_call(EMBEDDINGS, input="x")
    heads = [codec.encode(call, make_target(adapter, call, name, HOST)).endpoint.head for name in ("a", "b")]
    assert b"/deployments/a/embeddings?" in heads[0] and b"/deployments/b/embeddings?" in heads[1]


def test_the_filters_chunks_are_left_out() -> None:
    recording = FILTER + ROLE + FILTER + FINISH + USAGE + DONE
    heard = hear_every_way("azure", stream_call(), recording)
    assert heard.body == ROLE + FINISH + DONE and heard.usage == Usage(5, 7)
    assert hear_every_way("azure", asking_call(), recording).body == ROLE + FINISH + USAGE + DONE


def test_the_filters_chunk_alone_is_no_answer() -> None:
    heard = hear_every_way("azure", stream_call(), FILTER)
    assert heard.failure is not None and heard.failure.kind == errors.INCOMPLETE and heard.body == b""


def test_an_error_without_choices_is_not_left_out() -> None:
    heard = hear_every_way(
        "azure", stream_call(), b'data: {"choices":[],"error":{"message":"no","code":429}}\n\n'
    )
    assert heard.failure is not None and heard.failure.kind == errors.RATE_LIMIT
