"""What a call may say beyond OpenAI's format, because its client speaks another that has words for it.

Such a call is marked `is_extended`; one that came in OpenAI's format never is, whatever it holds, as unknown
parameters are the client's own business. Dialects that translate read what they know of it. Hosts of OpenAI's
dialect may refuse fields they do not know, so for them all is taken out but what they are known to take.
"""

from __future__ import annotations

from typing import Any, Final

# top_k: a sampling hint. cache_control: on messages and parts. thinking_blocks: Anthropic's, as its models
# signed them. reasoning_content: what other models thought in an earlier answer.
EXTENSIONS: Final = frozenset(("top_k", "cache_control", "thinking_blocks", "reasoning_content"))


def without(payload: dict[str, Any], known: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """A payload that holds none but the known of them, and the parameters that were dropped."""
    unknown = EXTENSIONS - known
    fields = _without(payload, unknown)
    fields["messages"] = [_plain(message, unknown) for message in payload["messages"]]
    return fields, sorted(payload.keys() & unknown)


def _plain(message: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    plain = _without(message, unknown)
    if isinstance(plain.get("content"), list):
        plain["content"] = [_without(part, unknown) for part in plain["content"]]
    return plain


def _without(node: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in unknown}
