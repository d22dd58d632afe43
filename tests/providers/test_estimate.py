"""Tokens from bytes: what counts as text, what is learned of it, and that nothing odd breaks or bends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.estimate import (
    BYTES_PER_TOKEN,
    GREATEST_RATIO,
    LEAST_RATIO,
    MAX_FAMILIES,
    SAMPLE_EVERY,
    Estimator,
    stream_text_bytes,
)

GPT = "openai gpt-4"
CLAUDE = "anthropic claude"


def event(line_end: str = "\n", *, spaced: bool = False, ascii_only: bool = False, **fields: Any) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps({"id": "c", **fields}, separators=separators, ensure_ascii=ascii_only)
    return f"data: {text}{line_end}{line_end}".encode()


def piece(delta: dict[str, Any]) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


# Ratios


def test_unlearned_text_has_the_usual_ratio() -> None:
    estimator = Estimator()
    assert [estimator.output_tokens(GPT, size) for size in (0, 1, 36, 37, 3600)] == [0, 1, 10, 11, 1000]
    assert estimator.input_tokens(GPT, {"prompt": "x" * 37}) == 11
    assert estimator.input_tokens(GPT, {}) == estimator.input_tokens(GPT, {"prompt": ""}) == 1


def test_what_vendors_report_moves_the_ratio() -> None:
    estimator = Estimator()
    estimator.learn_output(GPT, 400, 100)  # 3.6 + 0.25 * 0.4 = 3.7
    assert [estimator.output_tokens(GPT, size) for size in (3699, 3701)] == [1000, 1001]
    estimator.learn_output(GPT, 400, 100)  # 3.7 + 0.2 * 0.3 = 3.76
    assert [estimator.output_tokens(GPT, size) for size in (3759, 3761)] == [1000, 1001]


def test_each_family_and_each_side_has_its_own() -> None:
    estimator = Estimator()
    for _ in range(200):
        estimator.learn_output(GPT, 450, 100)
        estimator.learn_input(CLAUDE, 250, 100)
    text = {"prompt": "x" * 9000}
    assert (estimator.output_tokens(GPT, 9000), estimator.input_tokens(GPT, text)) == (2001, 2500)
    assert (estimator.output_tokens(CLAUDE, 9000), estimator.input_tokens(CLAUDE, text)) == (2500, 3600)


@pytest.mark.parametrize("sample", [(63, 16), (100, 0), (100, -5), (100, 101), (1201, 100), (0, 0)])
def test_no_likely_sample_is_not_learned_from(sample: tuple[int, int]) -> None:
    estimator = Estimator()
    estimator.learn_input(GPT, *sample)
    estimator.learn_output(GPT, *sample)
    assert (estimator.output_tokens(GPT, 3600), estimator.output_tokens(GPT, 3601)) == (1000, 1001)
    assert estimator.input_tokens(GPT, {"prompt": "x" * 3600}) == 1000


@pytest.mark.parametrize("sample", [(64, 16), (100, 100), (1200, 100)])
def test_samples_at_the_bounds_are_learned_from(sample: tuple[int, int]) -> None:
    estimator = Estimator()
    estimator.learn_output(GPT, *sample)
    assert estimator.output_tokens(GPT, 360_000) != 100_000


def test_one_odd_call_does_not_move_it_far() -> None:
    estimator = Estimator()
    estimator.learn_output(GPT, 1200, 100)  # counts as 5.4: 3.6 + 0.25 * 1.8
    assert [estimator.output_tokens(GPT, size) for size in (4049, 4051)] == [1000, 1001]
    estimator.learn_output(CLAUDE, 100, 100)  # counts as 2.4: 3.6 - 0.25 * 1.2
    assert [estimator.output_tokens(CLAUDE, size) for size in (3299, 3301)] == [1000, 1001]
    for _ in range(300):
        estimator.learn_output(GPT, 400, 100)
    estimator.learn_output(GPT, 10**9, 10**9 // 11)  # counts as 6.0: 4.0 + 0.05 * 2.0
    assert [estimator.output_tokens(GPT, size) for size in (4099, 4101)] == [1000, 1001]


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(-1, 10**7)), max_size=60))
def test_no_sample_moves_a_ratio_by_more_than_an_eighth(samples: list[tuple[int, int]]) -> None:
    estimator = Estimator()
    before = BYTES_PER_TOKEN
    for text_bytes, tokens in samples:
        estimator.learn_output(GPT, text_bytes, tokens)
        ratio = 10**9 / estimator.output_tokens(GPT, 10**9)
        assert before * 0.874 <= ratio <= before * 1.126
        assert LEAST_RATIO <= ratio <= GREATEST_RATIO
        before = ratio


def test_the_families_are_bounded() -> None:
    estimator = Estimator()
    for number in range(MAX_FAMILIES + 1):
        estimator.learn_output(f"family {number}", 500, 100)
    assert estimator.output_tokens("family 0", 3600) == 1000  # the oldest is forgotten
    assert estimator.output_tokens("family 1", 3600) == estimator.output_tokens("family 256", 3600) == 912


def test_the_first_calls_and_then_few_are_samples() -> None:
    estimator = Estimator()
    sampled = [at for at in range(1, 3 * SAMPLE_EVERY) if estimator.wants_sample()]
    assert sampled == [1, 2, 3, 4, SAMPLE_EVERY, 2 * SAMPLE_EVERY]


@pytest.mark.parametrize(
    ("kind", "model", "family"),
    [
        ("openai", "gpt-4o-2024-08-06", "openai gpt-4"),
        ("openai", "gpt-4.1-mini", "openai gpt-4"),
        ("openai", "gpt-5-nano", "openai gpt-5"),
        ("openai", "o3-mini", "openai o3"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", "openai gpt-4"),
        ("anthropic", "claude-sonnet-5-5", "anthropic claude"),
        ("mistral", "mistral-large-latest", "mistral mistral"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct", "together llama-3"),
        ("vllm", "/srv/models/Qwen2.5-72B", "vllm qwen2"),
        ("vllm", "7-42", "vllm 7-42"),
        ("vllm", "模型", "vllm 模型"),
        ("vllm", "x" * 500, "vllm " + "x" * 32),
        ("vllm", "", "vllm "),
    ],
)
def test_the_family_of_a_model(kind: str, model: str, family: str) -> None:
    assert Estimator.family(kind, model) == family


# What is text in a request

SCHEMA = {"type": "object", "properties": {"stadt": {"type": "string", "description": "Köln/Bonn"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
TOOLS_BYTES = len(json.dumps([TOOL], separators=(",", ":"), ensure_ascii=False).encode())
CALL = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": '{"a":1}'}}


def said(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **fields}]}


REQUESTS: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({}, (0, 0)),
    (said("Grüße 👋"), (12, 4)),
    (said("abc", name="Bo"), (5, 4)),
    ({"messages": [{"role": "system", "content": "abc"}, {"role": "user", "content": "de"}]}, (5, 8)),
    (said([{"type": "text", "text": "abc"}, {"type": "text", "text": "é"}]), (5, 4)),
    (said(["ab", {"type": "refusal", "refusal": "no"}]), (4, 4)),
    (said([{"text": "ab"}, {"type": 5, "text": "c"}, {"type": "text"}, None]), (3, 4)),
    (said([{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]), (3, 4)),
    (said([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 999}}]), (0, 804)),
    (said([{"type": "input_audio", "input_audio": {"data": "A" * 999}}]), (0, 1004)),
    (said([{"type": "file", "file": {"file_id": "f"}}, {"type": "text", "text": "x"}]), (1, 1004)),
    (said(None, tool_calls=[CALL, CALL]), (20, 4)),
    (said(None, tool_calls=[CALL, "x", 5, None, {"function": "x"}]), (10, 4)),
    ({"messages": ["abc", None, 5]}, (0, 12)),
    (said(None, function_call=CALL["function"]), (10, 4)),
    (said("a", reasoning_content="because", reasoning="because", refusal="no"), (10, 4)),
    ({"tools": [TOOL]}, (TOOLS_BYTES, 0)),
    ({"functions": [TOOL]}, (TOOLS_BYTES, 0)),
    ({"response_format": [TOOL]}, (TOOLS_BYTES, 0)),
    ({"tools": ["\ud800"]}, (5, 0)),
    ({"prompt": "abcé", "suffix": "xy"}, (7, 0)),
    ({"prompt": ["abc", "de"]}, (5, 0)),
    ({"prompt": [1, 2, 3]}, (0, 3)),
    ({"prompt": [[1, 2, 3], [4]]}, (0, 4)),
    ({"input": "abc"}, (3, 0)),
    ({"input": ["abc", "", "é"]}, (5, 0)),
    ({"input": [5] * 1000}, (0, 1000)),
    ({"model": "gpt", "user": "someone", "temperature": 1, "stop": ["x"]}, (0, 0)),
    (said("\ud800"), (1, 4)),
]


@pytest.mark.parametrize(("payload", "sizes"), REQUESTS)
def test_what_a_request_holds(payload: dict[str, Any], sizes: tuple[int, int]) -> None:
    assert Estimator.input_bytes(payload) == sizes


def test_an_estimate_of_a_request_adds_what_is_no_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.test/1.png"}}
    payload = said([{"type": "text", "text": "x" * 36}, image])
    assert Estimator().input_tokens(GPT, payload) == 10 + 4 + 800


NAMES = st.sampled_from(
    (
        "messages content type text refusal thinking name tool_calls function function_call arguments tools "
        "functions response_format prompt input suffix reasoning reasoning_content choices message delta"
    ).split()
)
TYPES = st.sampled_from(["text", "refusal", "thinking", "image_url", "input_audio", "file", ""])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TYPES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
PART = st.dictionaries(st.sampled_from(["type", "text", "refusal", "thinking"]), ANY_JSON)
MESSAGE = st.dictionaries(NAMES, ANY_JSON, max_size=5) | st.fixed_dictionaries({"content": st.lists(PART)})
LIKE_A_REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGE | ANY_JSON, max_size=4) | ANY_JSON,
        **dict.fromkeys(("tools", "functions", "response_format", "prompt", "input", "suffix"), ANY_JSON),
    },
)


def longer(value: Any, text: str) -> Any:
    """The same with more text in every string; what a part is stays what it is."""
    if isinstance(value, dict):
        return {name: each if name == "type" else longer(each, text) for name, each in value.items()}
    if isinstance(value, list):
        return [longer(each, text) for each in value]
    return value + text if isinstance(value, str) else value


@given(LIKE_A_REQUEST, st.text(min_size=1, max_size=5))
def test_any_request_can_be_estimated_and_more_text_is_never_less(payload: dict[str, Any], text: str) -> None:
    estimator = Estimator()
    size, fixed = estimator.input_bytes(payload)
    more = longer(payload, text)
    assert estimator.input_bytes(more) == (estimator.input_bytes(more)[0], fixed)
    assert estimator.input_bytes(more)[0] >= size >= 0
    assert estimator.input_tokens(GPT, more) >= estimator.input_tokens(GPT, payload) >= 1


@given(st.text(max_size=50), st.text(min_size=1, max_size=50))
def test_every_byte_of_more_text_is_seen(before: str, text: str) -> None:
    added = len(text.encode())
    for make in (
        lambda value: said(value),
        lambda value: said([{"type": "text", "text": value}]),
        lambda value: {"prompt": value},
        lambda value: {"input": ["x", value]},
    ):
        assert Estimator.input_bytes(make(before + text))[0] == Estimator.input_bytes(make(before))[0] + added


def test_what_no_client_can_have_sent_is_no_failure() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    for name in ("tools", "messages", "prompt", "input"):
        assert Estimator.input_bytes({name: deep})[0] == 0
    assert Estimator.input_bytes(said(deep))[0] == 0


def test_tools_as_deep_as_a_client_may_send_them_count() -> None:
    deep: Any = "x"
    for _ in range(510):
        deep = [deep]
    assert Estimator.input_bytes({"tools": deep})[0] == 1023


# What is text in an answer

ANSWERS: list[tuple[bytes, int]] = [
    (b'{"choices":[{"message":{"role":"assistant","content":"Gr\xc3\xbc\xc3\x9fe"}}]}', 7),
    (b'{"choices": [ {"message": {"content" : "a\\"b\\nc\\u00e9\\/"} } ] }', 8),
    (b'{"choices":[{"message":{"content":"ab"}},{"message":{"content":"cde"}}]}', 5),
    (b'{"choices":[{"text":"abc","index":0},{"text":"de"}]}', 5),
    (b'{"choices":[{"message":{"content":null,"refusal":"no","reasoning_content":"why"}}]}', 5),
    (b'{"choices":[{"message":{"content":"a","reasoning":"why","reasoning_content":"why"}}]}', 4),
    (b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"get","arguments":"{}"}}]}}]}', 5),
    (b'{"choices":[{"message":{"function_call":{"name":"get","arguments":"{}"}}}]}', 5),
    (b'{"choices":[{"message":{"content":[{"type":"text","text":"abc"}]}}]}', 3),
    (b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}],"text":"x"}', 1),
    (b'{"object":"list","data":[{"embedding":[0.1],"text":"abc"}]}', 0),
    (b'{"error":{"message":"content"},"choices":[]}', 0),
    (b'{"choices":[{"message":{"content":5}},{"message":"x"},"y",null]}', 0),
    (b'{"choices":{"message":{"content":"x"}}}', 0),
    (b'["choices"]', 0),
    (b'{"choices":[{"message":{"content":"abc', 0),
    (b"", 0),
]


@pytest.mark.parametrize(("body", "size"), ANSWERS)
def test_what_a_whole_answer_says(body: bytes, size: int) -> None:
    assert Estimator.output_text_bytes(body) == size


def test_embeddings_are_not_parsed_for_text_that_they_do_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> None:
        raise AssertionError(data)

    monkeypatch.setattr("providers.estimate.ujson.loads", parse)
    assert Estimator.output_text_bytes(b'{"object":"list","data":[{"embedding":[0.1]}]}') == 0


# What is text in a stream

USUAL = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
CUMULATIVE = {"message": {"role": "assistant", "content": "all so far"}, "delta": {"content": "far"}}
FILTERED = {"delta": {"content": "abc"}, "content_filter_results": {"hate": {"filtered": False}}}
TWO = [{"index": 0, "delta": {"content": "ab"}}, {"index": 1, "delta": {"content": "cde"}}]
STREAMED: list[tuple[bytes, int]] = [
    (USUAL, 5),
    (USUAL.replace(b"\n\n", b"\r\n\r\n"), 5),
    (USUAL.replace(b"word", b"w\\u00f6rd\\n\\"), 0),  # no JSON: the quote that ends it is escaped
    (USUAL.replace(b"word", b'say \\"hi\\"}\\n'), 11),
    (USUAL.replace(b"word", b"\\x"), 0),  # no JSON either
    (event(spaced=True, choices=[{"delta": {"content": " word"}}]), 5),
    (event(spaced=True, choices=[{"delta": {"role": "assistant", "content": " word"}}]), 5),
    (event(ascii_only=True, choices=[{"delta": {"content": "你好 👋"}}]), 11),
    (event(choices=[{"delta": {"content": "你好 👋"}}]), 11),
    (event(choices=[{"delta": {"content": "a"}}], obfuscation="xyzxyz", usage=None), 1),
    (event(choices=[CUMULATIVE]), 3),
    (event(choices=[FILTERED]), 3),
    (event(choices=TWO), 5),
    (event(choices=[{"delta": {"content": "ab"}}, {"delta": {"refusal": "c"}}]), 3),
    (event(choices=[{"text": " word", "index": 0}]), 5),
    (piece({"role": "assistant", "content": "", "refusal": None}), 0),
    (piece({"role": "assistant", "content": "assistant"}), 9),
    (piece({"content": "assistant", "reasoning_content": ""}), 9),
    (piece({"reasoning_content": "", "content": "assistant"}), 9),
    (piece({"content": "role", "role": "assistant"}), 4),
    (piece({"content": None, "reasoning_content": "hmm"}), 3),
    (piece({"content": "", "reasoning": "hmm"}), 3),
    (piece({"content": "a", "reasoning": "hmm", "reasoning_content": "hmm"}), 4),
    (piece({"content": "a", "reasoning_content": "hmm"}), 4),
    (piece({"reasoning_content": "hmm", "content": "a"}), 4),
    (piece({"reasoning": "hmm", "reasoning_details": [{"type": "reasoning.text", "text": "hmm"}]}), 3),
    (piece({"refusal": "no"}), 2),
    (piece({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "get", "arguments": ""}}]}), 3),
    (piece({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}), 4),
    (piece({"tool_calls": [{"index": 0, "function": {"arguments": "ab"}}, CALL]}), 12),
    (piece({"function_call": {"name": "get", "arguments": "{}"}}), 5),
    (piece({"content": [{"type": "text", "text": "abc"}]}), 3),
    (piece({}), 0),
    (piece({"content": '"delta":{"content":"x"}'}), 23),
    (event(choices=[{"delta": "text"}, {"delta": None}, 5]), 0),
    (event(choices=[], usage={"prompt_tokens": 5}, name="x", text="y"), 0),
    (event(error={"message": "no content", "text": "x"}), 0),
    (b'data: {"error":{"content":"boom","text":"boom"}}\n\n', 0),
    (b": content\n\n", 0),
    (b"data: [DONE]\n\n", 0),
    (b"data:\n\n\n\n", 0),
    (b"", 0),
]


@pytest.mark.parametrize(("block", "size"), STREAMED)
def test_what_an_event_says(block: bytes, size: int) -> None:
    assert stream_text_bytes(block) == size


DELTAS = [block for block, _ in STREAMED if b'"delta"' in block or b'"text"' not in block]


@given(st.lists(st.sampled_from(DELTAS), max_size=6))
def test_events_together_say_what_each_says(blocks: list[bytes]) -> None:
    sizes = dict(STREAMED)
    assert stream_text_bytes(b"".join(blocks)) == sum(sizes[block] for block in blocks)


@given(st.text(), st.booleans(), st.booleans(), st.sampled_from(["content", "reasoning_content", "refusal"]))
def test_a_text_counts_its_bytes_however_it_is_written(
    text: str, spaced: bool, ascii_only: bool, name: str
) -> None:
    block = event(spaced=spaced, ascii_only=ascii_only, choices=[{"index": 0, "delta": {name: text}}])
    assert stream_text_bytes(block) == len(text.encode())
    assert stream_text_bytes(block * 3) == 3 * len(text.encode())


@given(st.lists(st.dictionaries(NAMES, ANY_JSON, max_size=4) | ANY_JSON, max_size=3))
def test_no_answer_is_a_failure(choices: list[Any]) -> None:
    payload = {"choices": choices}
    assert stream_text_bytes(event(ascii_only=True, choices=choices)) >= 0
    assert Estimator.output_text_bytes(json.dumps(payload).encode()) >= 0


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: USUAL[:60] + data + USUAL[60:]))
def test_no_bytes_are_a_failure(data: bytes) -> None:
    assert stream_text_bytes(data) >= 0
    assert Estimator.output_text_bytes(data + b'"choices"') == 0
