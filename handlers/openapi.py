"""The reference as an OpenAPI 3.1 document. https://spec.openapis.org/oas/v3.1.1.html"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from handlers.reference import ACCOUNT, ADMIN, KEY, Chapter, Endpoint, Field, Schema

ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type"],
        }
    },
    "required": ["error"],
}
SCHEMES: Final[dict[str, Any]] = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, sk-…"},
    "token": {"type": "http", "scheme": "bearer", "description": "An account's token, rt-…"},
    "session": {"type": "apiKey", "in": "cookie", "name": "rooya_session"},
}
SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {
    KEY: [{"apiKey": []}],
    ACCOUNT: [{"token": []}, {"session": []}],
    ADMIN: [{"token": []}, {"session": []}],
}
PATH_FIELDS: Final[dict[str, Schema]] = {
    "id": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
    "model": {"type": "string", "minLength": 1},
    "name": {"type": "string", "minLength": 1},
}


def document(chapters: Iterable[Chapter], base_url: str, version: str, model: str) -> dict[str, Any]:
    """base_url: without a path. model: one to be called in examples."""
    paths: dict[str, Any] = {}
    for chapter in chapters:
        for endpoint in chapter.endpoints:
            operations = paths.setdefault(endpoint.path, {})
            operations[endpoint.method.lower()] = _operation(endpoint, chapter.title, model)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Rooya", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {"securitySchemes": SCHEMES, "schemas": {"Error": ERROR}},
    }


def _operation(endpoint: Endpoint, tag: str, model: str) -> dict[str, Any]:
    inside = [
        {"name": name, "in": "path", "required": True, "schema": PATH_FIELDS[name]}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    operation: dict[str, Any] = {
        "operationId": endpoint.anchor,
        "summary": endpoint.title,
        "description": endpoint.text,
        "tags": [tag],
        "security": SECURITY.get(endpoint.who, []),
        "responses": _responses(endpoint),
    }
    if parameters := [*inside, *map(_parameter, endpoint.query)]:
        operation["parameters"] = parameters
    if endpoint.body:
        is_required = any(field.is_required for field in endpoint.body)
        content = _json(_body(endpoint))
        if endpoint.example:
            content["application/json"]["example"] = json.loads(endpoint.example.replace("MODEL", model))
        operation["requestBody"] = {"required": is_required, "content": content}
    return operation


def _parameter(field: Field) -> dict[str, Any]:
    return {"name": field.name, "in": "query", "description": field.text, "schema": field.schema}


def _body(endpoint: Endpoint) -> Schema:
    properties = {field.name: {**field.schema, "description": field.text} for field in endpoint.body}
    schema: Schema = {"type": "object", "properties": properties}
    if required := [field.name for field in endpoint.body if field.is_required]:
        schema["required"] = required
    return schema if endpoint.is_open else {**schema, "additionalProperties": False}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    good = _json(endpoint.answer)
    if endpoint.has_stream:
        good["text/event-stream"] = {}  # 3.1 has no words for the events of a stream
    statuses = {
        *endpoint.statuses,
        429,
        *((401,) if endpoint.who else ()),
        *((403,) if endpoint.who == ADMIN else ()),
    }
    refusal = {"description": "Refused.", "content": _json({"$ref": "#/components/schemas/Error"})}
    return {
        str(endpoint.status): {"description": endpoint.title, "content": good},
        **{str(status): refusal for status in sorted(statuses)},
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
