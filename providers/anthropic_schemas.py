"""JSON schemas as Anthropic's structured outputs take them: closed objects, no bounds on values.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs. What a schema loses here (bounds of
numbers, lengths of texts and arrays) the model is not held to; a client that validates finds out.
"""

from __future__ import annotations

from typing import Any, Final

from providers.errors import Unsupported

DEEPEST: Final = 100
UNKNOWN: Final = frozenset(
    (
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "minProperties",
        "maxProperties", "$schema",
    )
)  # fmt: skip
OF_NAMES: Final = frozenset(("properties", "$defs", "definitions", "patternProperties"))


def open_object(schema: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of a tool's arguments: an object, if only of nothing."""
    return {"type": "object", "properties": {}, **(schema or {})}


def closed(schema: dict[str, Any], param: str, depth: int = 0) -> dict[str, Any]:
    """With `additionalProperties: false` on every object, without what is not known. Raises Unsupported.

    param: of the request that it is in.
    """
    if depth > DEEPEST:
        raise Unsupported(param, "The JSON schema is nested too deeply.")
    fields = {
        name: _closed(name, value, param, depth + 1)
        for name, value in schema.items()
        if name not in UNKNOWN and not (name == "minItems" and value not in (0, 1))
    }
    if fields.get("type") == "object" or "properties" in fields:
        fields["additionalProperties"] = False
    return fields


def _closed(name: str, value: Any, param: str, depth: int) -> Any:
    if name in OF_NAMES and isinstance(value, dict):
        return {each: closed(s, param, depth) if isinstance(s, dict) else s for each, s in value.items()}
    if name in ("items", "not") and isinstance(value, dict):
        return closed(value, param, depth)
    if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [closed(each, param, depth) if isinstance(each, dict) else each for each in value]
    return value
