"""A chat answer in OpenAI's shape -> a message in Anthropic's, and what the two formats call things. Pure.

Usage is not read from the answer: what a client is told is what the ledger has. Anthropic's input excludes
what was read from a cache or written to one, OpenAI's includes both. Hosts' answers come here unchecked: what
has not the shape it should have counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import ujson

from providers import errors
from providers.answers import dump
from providers.conversation import arguments_of
from providers.errors import ProviderError
from providers.types import Call
from store.types import Tokens

STOP_REASONS: Final = {"length": "max_tokens", "content_filter": "refusal"}
THOUGHTS: Final = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}

Node = dict[str, Any]


def message(call: Call, body: bytes, used: Tokens) -> bytes:
    """A whole answer. body: a chat completion. Raises ProviderError where it is no JSON."""
    try:
        completion = ujson.loads(body)
    except ValueError:
        raise ProviderError(errors.FAILED, "the provider's answer is not valid JSON") from None
    choice: Node = next(objects(completion, "choices"), {})
    said = part(choice, "message")
    blocks = list(_blocks(call, said))
    is_calling = any(block["type"] == "tool_use" for block in blocks)
    ended = ending(text(choice, "finish_reason"), text(said, "refusal"), is_calling=is_calling)
    return dump({**opening(call), "content": blocks, **ended, "usage": usage(used)})


def opening(call: Call) -> Node:
    """A message of which nothing is known yet."""
    return {
        "id": f"msg_{call.request_id}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def ending(finish_reason: str, refusal: str, *, is_calling: bool) -> Node:
    """Why the answer ended. A client that is to run tools must hear so, also from hosts that say `stop`."""
    fields: Node = {"stop_reason": "refusal", "stop_sequence": None}
    if refusal:
        fields["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal}
    else:
        fields["stop_reason"] = STOP_REASONS.get(finish_reason, "tool_use" if is_calling else "end_turn")
    return fields


def usage(used: Tokens) -> Node:
    """What was used, as a client reads it."""
    fields: Node = {
        "input_tokens": max(0, used.input_tokens - used.cached_tokens - used.cache_write_tokens),
        "cache_creation_input_tokens": used.cache_write_tokens,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
    }
    if used.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": used.reasoning_tokens}
    return fields


def tool_use(call: Call, at: int, called: Node) -> Node:
    """The block of tool call number `at`, its input still to come; one without an id is given one."""
    tool_id = text(called, "id") or f"toolu_{call.request_id}_{at}"
    return {"type": "tool_use", "id": tool_id, "name": text(part(called, "function"), "name"), "input": {}}


def _blocks(call: Call, said: Node) -> Iterator[Node]:
    signed = list(thoughts(said))
    yield from signed
    if not signed and text(said, "reasoning_content"):
        yield {"type": "thinking", "thinking": said["reasoning_content"], "signature": ""}
    if text(said, "content"):
        yield {"type": "text", "text": said["content"]}
    for at, called in enumerate(objects(said, "tool_calls")):
        yield {**tool_use(call, at, called), "input": arguments_of(part(called, "function").get("arguments"))}


def thoughts(said: Node) -> Iterator[Node]:
    """What a model thought, as it signed it: blocks that it wants back as they are."""
    for block in objects(said, "thinking_blocks"):
        kind = text(block, "type")
        names = THOUGHTS.get(kind, ())
        if names:
            yield {"type": kind, **{name: text(block, name) for name in names}}


def part(node: Node, name: str) -> Node:
    """An object within another."""
    value = node.get(name)
    return value if isinstance(value, dict) else {}


def objects(node: Any, name: str) -> Iterator[Node]:
    """A list of objects within another."""
    value = node.get(name) if isinstance(node, dict) else None
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def text(node: Node, name: str) -> str:
    """A text within an object."""
    value = node.get(name)
    return value if isinstance(value, str) else ""
