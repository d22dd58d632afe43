"""Each row's facts and quirks: what its vendor reads, and what the client is told was left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import vendors
from providers.errors import ProviderError, Unsupported
from providers.quirks import Quirks
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Usage
from providers.vendors import ROWS, env_kinds, kinds
from tests.providers.calling import (
    DONE,
    FINISH,
    HELLO,
    Heard,
    asking_call,
    codec_of,
    encode,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    sent,
    stream_call,
)

SPEAKING_OPENAI = kinds() - {"demo", "anthropic", "gemini"}
HOSTED = {
    "openai": "https://api.openai.com/v1",
    "mistral": "https://api.mistral.ai/v1",
    "deepseek": "https://api.deepseek.com",
    "groq": "https://api.groq.com/openai/v1",
    "together": "https://api.together.ai/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "xai": "https://api.x.ai/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "perplexity": "https://api.perplexity.ai",
    "nvidia": "https://integrate.api.nvidia.com/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "novita": "https://api.novita.ai/openai/v1",
    "meta": "https://api.meta.ai/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}


def test_the_vendors_are_where_their_documents_say() -> None:
    assert {name: row.base_url for name, row in ROWS.items() if row.needs_secret and row.base_url} == HOSTED
    assert kinds() == {*HOSTED, "azure", "ollama", "vllm", "lmstudio", "openai_compatible", "demo"}


def test_a_vendors_usual_variable_switches_it_on() -> None:
    switches = env_kinds()
    assert switches["OPENAI_API_KEY"] == "openai" and switches["XAI_API_KEY"] == "xai"
    assert set(switches.values()) == set(HOSTED)
    assert switches["GEMINI_API_KEY"] == switches["GOOGLE_API_KEY"] == "gemini"


def test_rows_name_only_repairs_that_there_are() -> None:
    assert all(row.repairs <= vendors.REPAIRS for row in ROWS.values())


@pytest.mark.parametrize("kind", sorted(SPEAKING_OPENAI))
def test_no_quirk_changes_an_ordinary_conversation(kind: str) -> None:
    messages = [{"role": "system", "content": "s"}, *HELLO, {"role": "assistant", "content": "a"}, *HELLO]
    call = make_call(messages=messages, temperature=0.5, top_p=0.9, max_tokens=9, stop=["x"])
    request = encode(kind, call, "plain-model")
    assert json.loads(request.body) == {**call.payload, "model": "plain-model"}
    assert request.dropped == ()


@pytest.mark.parametrize("kind", sorted(SPEAKING_OPENAI))
def test_usage_of_a_stream_is_asked_for_where_the_vendor_takes_it(kind: str) -> None:
    assert ("stream_options" in sent(kind, stream_call())) == ROWS[kind].include_usage
    assert ("stream_options" in sent(kind, asking_call())) == ROWS[kind].include_usage


@pytest.mark.parametrize("kind", sorted(SPEAKING_OPENAI))
def test_an_ordinary_stream_is_relayed_byte_for_byte(kind: str) -> None:
    delta = b'{"role":"assistant","content":"a"}'
    choice = b'{"index":0,"delta":%b,"finish_reason":null}' % delta
    role = b'data: {"id":"c1","created":1,"choices":[%b]}\n\n' % choice
    assert hear(kind, stream_call(), role + FINISH + DONE).body == role + FINISH + DONE


@pytest.mark.parametrize(
    "kind", sorted(SPEAKING_OPENAI - {"openai", "azure", "openrouter", "openai_compatible"})
)
def test_the_developers_words_are_the_systems(kind: str) -> None:
    messages = [{"role": "developer", "content": "d"}, *HELLO]
    assert sent(kind, make_call(messages=messages))["messages"][0] == {"role": "system", "content": "d"}


@pytest.mark.parametrize("kind", ["openai", "openai_compatible", "openrouter"])
def test_elsewhere_the_developer_stays(kind: str) -> None:
    call = make_call(messages=[{"role": "developer", "content": "d"}])
    assert encode(kind, call).body is call.body


@pytest.mark.parametrize("kind", sorted(SPEAKING_OPENAI))
def test_a_null_is_never_made_and_left_out_of_what_is_written_anew(kind: str) -> None:
    """OpenAI's dialect allows a client's own null: what goes up as it came keeps it."""
    call = make_call(seed=None, stop=None, user=None)
    read = sent(kind, call)
    assert read in (call.payload, {"model": "some-model", "messages": HELLO})
    assert None not in sent(kind, make_call(verbatim=False, seed=None, stop=None)).values()


def test_whatever_a_generic_host_is_sent_goes_up_unchanged() -> None:
    call = make_call(temperature=0.1, n=3, logit_bias={"1": 2}, anything={"x": None}, max_tokens=3, user=None)
    assert encode("openai_compatible", call, "o3").body.replace(b'"o3"', b'"some-model"') == call.body


# OpenAI's own rules

SAMPLED: dict[str, Any] = {
    "temperature": 0.2,
    "top_p": 0.5,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 2},
}


@pytest.mark.parametrize("kind", ["openai", "azure"])
@pytest.mark.parametrize(
    "model", ["o1", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.6", "gpt-6-sol", "gpt-10"]
)
def test_models_that_reason_lose_sampling_and_are_told_so(kind: str, model: str) -> None:
    request = encode(kind, make_call(max_tokens=5, seed=1, **SAMPLED), model)
    assert json.loads(request.body) == {
        "model": model,
        "messages": HELLO,
        "max_completion_tokens": 5,
        "seed": 1,
    }
    assert set(request.dropped) == set(SAMPLED)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "gpt-35-turbo", "omni", "chatgpt-4o-latest"]
)
def test_other_models_keep_everything(model: str) -> None:
    call = make_call(max_tokens=5, stop="x", **SAMPLED)
    assert json.loads(encode("openai", call, model).body) == {**call.payload, "model": model}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "ft:gpt-4o-mini:me::x"])
def test_models_that_cannot_reason_are_not_asked_to(model: str) -> None:
    request = encode("openai", make_call(reasoning_effort="low", temperature=0.5), model)
    assert json.loads(request.body) == {"model": model, "messages": HELLO, "temperature": 0.5}
    assert request.dropped == ("reasoning_effort",)


def test_what_a_model_assumes_anyway_is_dropped_without_a_word() -> None:
    request = encode("openai", make_call(temperature=1, top_p=1.0, presence_penalty=0, logprobs=False), "o3")
    assert json.loads(request.body) == {"model": "o3", "messages": HELLO} and request.dropped == ()


@pytest.mark.parametrize(
    ("model", "effort", "is_kept"),
    [
        ("gpt-5.1", None, True),
        ("gpt-5.4-mini", None, True),
        ("gpt-5.4", "high", False),
        ("gpt-5.6", None, False),
        ("gpt-5.6", "none", True),
        ("gpt-6-sol", "none", True),
        ("gpt-5.10", None, False),
        ("o3", "none", False),
    ],
)
def test_sampling_is_kept_while_a_model_does_not_reason(
    model: str, effort: str | None, is_kept: bool
) -> None:
    fields = sent("openai", make_call(temperature=0.2, reasoning_effort=effort), model)
    assert ("temperature" in fields) == is_kept


@pytest.mark.parametrize(
    ("model", "is_kept"), [("o3", False), ("o4-mini", False), ("o1", True), ("gpt-5", True)]
)
def test_stop_is_refused_by_few(model: str, is_kept: bool) -> None:
    assert ("stop" in sent("openai", make_call(stop="x", max_tokens=1), model)) == is_kept


def test_the_new_cap_wins_over_the_old() -> None:
    fields = sent("openai", make_call(max_tokens=5, max_completion_tokens=7), "gpt-5")
    assert fields["max_completion_tokens"] == 7 and "max_tokens" not in fields


@pytest.mark.parametrize(
    "kind",
    "mistral deepseek together perplexity nvidia deepinfra novita ollama lmstudio".split(),
)
def test_a_cap_is_sent_by_the_name_that_the_host_knows(kind: str) -> None:
    """One that it would ignore is none, and may cost a budget more than there is."""
    assert sent(kind, make_call(max_completion_tokens=7))["max_tokens"] == 7
    fields = sent(kind, make_call(max_tokens=5, max_completion_tokens=7))
    assert fields["max_tokens"] == 7 and "max_completion_tokens" not in fields


def test_legacy_completions_know_no_such_rules() -> None:
    call = make_call(COMPLETIONS, prompt="x", max_tokens=5, temperature=0.5)
    assert encode("openai", call).body is call.body


# Others


@pytest.mark.parametrize("kind", ["deepseek", "groq", "cerebras", "perplexity"])
def test_several_choices_where_there_is_one(kind: str) -> None:
    assert "n" not in sent(kind, make_call(n=1))
    assert encode(kind, make_call(n=1)).dropped == ()
    with pytest.raises(Unsupported) as caught:
        encode(kind, make_call(n=2))
    assert caught.value.param == "n"


def test_groq_drops_and_says_so() -> None:
    messages = [{"role": "user", "content": "x", "name": "n"}]
    call = make_call(messages=messages, logprobs=True, logit_bias={"1": 1}, service_tier="scale", seed=1)
    request = encode("groq", call)
    assert json.loads(request.body) == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "x"}],
        "seed": 1,
    }
    assert sorted(request.dropped) == ["logit_bias", "logprobs", "messages.name", "service_tier"]
    assert sent("groq", make_call(service_tier="flex"))["service_tier"] == "flex"


def test_groqs_own_usage_and_errors_are_read() -> None:
    used = {
        "id": "c1",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    }
    assert talk("groq", used).usage == Usage(3, 4)
    failed = talk("groq", {"id": "c1", "choices": [], "x_groq": {"error": "over capacity"}})
    assert failed.failure is not None and failed.failure.message == "over capacity"


def talk(kind: str, *payloads: dict[str, Any]) -> Heard:
    return hear_every_way(
        kind, stream_call(), b"".join(b"data: " + json.dumps(p).encode() + b"\n\n" for p in payloads) + DONE
    )


def test_openrouters_failures_come_inside_a_200() -> None:
    error = {"code": 502, "message": "Upstream died", "metadata": {}}
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    heard = talk("openrouter", {"id": "c1", "choices": [choice], "error": error})
    assert heard.failure is not None and heard.failure.message == "Upstream died" and not heard.body
    with pytest.raises(ProviderError):
        codec_of(make_adapter("openrouter")).decode(make_call(), json.dumps({"error": error}).encode())


def test_together_counts_its_logprobs() -> None:
    assert sent("together", make_call(logprobs=True, top_logprobs=3))["logprobs"] == 3
    assert sent("together", make_call(logprobs=True))["logprobs"] == 1
    assert not {"logprobs", "top_logprobs"} & sent("together", make_call(logprobs=False)).keys()


@pytest.mark.parametrize("kind", ["fireworks", "xai"])
def test_strict_tools_are_not_known_everywhere(kind: str) -> None:
    call = make_call(tools=[{"type": "function", "function": {"name": "f", "strict": True}}, "odd"])
    request = encode(kind, call)
    assert json.loads(request.body)["tools"] == [{"type": "function", "function": {"name": "f"}}, "odd"]
    assert request.dropped == ("tools.function.strict",)
    lax = make_call(tools=[{"type": "function", "function": {"name": "f", "strict": None}}])
    assert encode(kind, lax).dropped == ()


def test_openrouters_word_for_the_most_effort() -> None:
    assert sent("openrouter", make_call(reasoning_effort="max"))["reasoning_effort"] == "xhigh"
    assert sent("openrouter", make_call(reasoning_effort="low"))["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("model", "is_kept"),
    [("grok-4", False), ("grok-4.5-fast", False), ("grok-4-1-fast-non-reasoning", True), ("grok-2", True)],
)
def test_xais_reasoning_models_take_no_stop(model: str, is_kept: bool) -> None:
    request = encode("xai", make_call(stop="x", presence_penalty=1), model)
    assert ("stop" in json.loads(request.body)) == is_kept
    assert sorted(request.dropped) == ([] if is_kept else ["presence_penalty", "stop"])


def test_xais_reasoning_is_beside_the_completion() -> None:
    usage = {
        "prompt_tokens": 2,
        "completion_tokens": 1,
        "total_tokens": 9,
        "completion_tokens_details": {"reasoning_tokens": 6},
    }
    body = json.dumps({"id": "c1", "created": 1, "choices": [], "usage": usage}).encode()
    reply = codec_of(make_adapter("xai")).decode(make_call(), body)
    assert reply.usage == Usage(2, 7, reasoning_tokens=6) and reply.body is body


def test_cerebras_drops() -> None:
    request = encode("cerebras", make_call(presence_penalty=1, logit_bias={"1": 1}, seed=2))
    assert json.loads(request.body) == {"model": "some-model", "messages": HELLO, "seed": 2}
    assert sorted(request.dropped) == ["logit_bias", "presence_penalty"]


def test_perplexity_merges_turns_that_do_not_alternate() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": [{"type": "text", "text": "d"}]},
    ]
    assert sent("perplexity", make_call(messages=messages))["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "user", "content": "Continue."},
    ]
    assert messages[1]["content"] == "a"


def test_perplexity_has_no_tools() -> None:
    with pytest.raises(Unsupported) as caught:
        encode("perplexity", make_call(tools=[{"type": "function", "function": {"name": "f"}}]))
    assert caught.value.param == "tools"
    assert "seed" not in sent("perplexity", make_call(seed=1))


@pytest.mark.parametrize(
    ("kind", "offered"),
    [
        ("openai", {CHAT, COMPLETIONS, EMBEDDINGS}),
        ("openai_compatible", {CHAT, COMPLETIONS, EMBEDDINGS}),
        ("mistral", {CHAT, COMPLETIONS, EMBEDDINGS}),
        ("perplexity", {CHAT, COMPLETIONS}),
        ("cerebras", {CHAT, COMPLETIONS}),
    ],
)
def test_what_is_not_offered_has_no_codec(kind: str, offered: set[str]) -> None:
    adapter = make_adapter(kind)
    assert {name for name in (CHAT, COMPLETIONS, EMBEDDINGS) if adapter.codec(name)} == offered


def test_quirks_name_no_more_than_a_header_can_hold() -> None:
    fields, dropped = Quirks(only=frozenset(("model",))).apply({f"f{n}": n for n in range(100)})
    assert fields == {} and len(dropped) == 32
