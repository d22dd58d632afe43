"""What an API reference is made of: endpoints, their fields and their answers, as data. No words of its own.

`reference_calls.py` and `reference_management.py` have the endpoints; `openapi.py` and the docs' page read
them, so that both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]

KEY: Final = "key"  # an API key
ACCOUNT: Final = "account"  # a session or a token of an account
ADMIN: Final = "admin"  # that of an admin
NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Field:
    """Of a body, a query or a path. text: what it is for, in Markdown without markup but `code`."""

    name: str
    schema: Schema
    text: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """path: with `{names}`. who: one of the words above. statuses: of refusals, beside those that all have.

    example: a body to copy. media: further types of the answer, by what they are for.
    """

    method: str
    path: str
    title: str
    text: str
    who: str
    answer: Schema
    status: int = 200
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    statuses: tuple[int, ...] = ()
    example: str = ""
    has_stream: bool = False
    is_open: bool = False  # may the body have further fields?

    @property
    def anchor(self) -> str:
        """Its name within a page."""
        words = self.path.strip("/").replace("{", "").replace("}", "").replace("/", "-")
        return f"{self.method.lower()}-{words}"


@dataclass(frozen=True, slots=True)
class Chapter:
    """Endpoints that belong together."""

    title: str
    text: str
    endpoints: tuple[Endpoint, ...]


def string(**more: Any) -> Schema:
    return {"type": "string", **more}


def integer(**more: Any) -> Schema:
    return {"type": "integer", **more}


def number(**more: Any) -> Schema:
    return {"type": "number", **more}


def boolean() -> Schema:
    return {"type": "boolean"}


def maybe(schema: Schema) -> Schema:
    """Or null."""
    return {**schema, "type": [schema["type"], "null"]}


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def record(**properties: Schema) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def listed(items: Schema, **more: Schema) -> Schema:
    """Rows under `data`."""
    return record(data=array(items), **more)
