"""With no configuration at all the demo answers, so that everything can be tried at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai

from tests.gateway import Gateway

HELLO: Any = [{"role": "user", "content": "Hello!"}]


def test_chat_stream_and_embeddings_work_with_nothing_configured(tmp_path: Path) -> None:
    with (
        Gateway(tmp_path) as gateway,
        openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key) as client,
    ):
        answer = client.chat.completions.create(model="demo-echo", messages=HELLO)
        text = answer.choices[0].message.content or ""
        assert "demo" in text and "Hello!" in text
        assert answer.usage is not None and answer.usage.completion_tokens > 0
        chunks = client.chat.completions.create(model="demo-echo", messages=HELLO, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
        assert len(client.embeddings.create(model="demo-echo", input="x").data[0].embedding) > 0
        assert [model.id for model in client.models.list()] == ["demo-echo"]
        assert client.completions.create(model="demo-echo", prompt="Once").choices[0].text


def test_an_environment_key_switches_its_vendor_on_and_the_demo_off(tmp_path: Path) -> None:
    with Gateway(
        tmp_path, "[server]\nsync_catalog = false\n", environ={"MISTRAL_API_KEY": "m-secret"}
    ) as gateway:
        ids = [model.id for model in openai.OpenAI(base_url=gateway.base_url, api_key="-").models.list()]
        assert len(ids) > 5
        assert "demo-echo" not in ids
        assert "m-secret" not in gateway.log.read_text()


def test_a_restart_keeps_keys_and_a_drain_finishes_streams(tmp_path: Path) -> None:
    with Gateway(tmp_path) as first:
        key = first.key
    with Gateway(tmp_path) as second, openai.OpenAI(base_url=second.base_url, api_key=key) as client:
        chunks = client.chat.completions.create(model="demo-echo", messages=HELLO, stream=True)
        first_chunk = next(iter(chunks))
        second.process.terminate()
        rest = list(chunks)
        assert first_chunk.choices[0].delta.role == "assistant"
        assert rest[-1].choices[0].finish_reason == "stop"
        assert second.process.wait(20) == 0
