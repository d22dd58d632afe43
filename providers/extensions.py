"""What a call may say beyond OpenAI's format, because its client speaks another that has words for it.

Such a call is marked `is_extended`; one that came in OpenAI's format never is, whatever it holds, as unknown
parameters are the client's own business. Dialects that translate read what they know of it. Hosts of OpenAI's
dialect may refuse fields they do not know, so for them all is taken out but what they are known to take. Such
clients also ask for answers as long as other models give them: a cap that would be refused is lowered.
"""

from __future__ import annotations

from typing import Any, Final

from providers.types import Call, Target

# top_k: a sampling hint. thinking: how to think, where no reasoning_effort says it.
# cache_control: of the request, of messages and of parts. thinking_blocks: of messages, as Anthropic's models
# signed them. reasoning_content: of messages, what other models thought.
EXTENSIONS: Final = frozenset(("top_k", "thinking", "cache_control", "thinking_blocks", "reasoning_content"))
TOLD: Final = frozenset(("top_k",))  # of what is lost, what has no counterpart at all


def plain(
    call: Call, target: Target, known: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[str]]:
    """A call's payload as a host takes it that knows some of them, and the hints that are lost by that."""
    payload = call.payload
    if not call.is_extended:
        return payload, []
    unknown = EXTENSIONS - known
    fields = _without(payload, unknown)
    fields["messages"] = [_plain_message(message, unknown) for message in payload["messages"]]
    longest = None if target.known is None else target.known.max_output
    if longest is not None and fields.get("max_tokens", 0) > longest:
        fields["max_tokens"] = longest
    return fields, sorted(TOLD & unknown & payload.keys())


def _plain_message(message: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    plain = _without(message, unknown)
    if isinstance(plain.get("content"), list):
        plain["content"] = [_without(part, unknown) for part in plain["content"]]
    return plain


def _without(node: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in unknown}
