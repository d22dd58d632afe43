"""Embeddings of Gemini: one request for each input, a hundred of them in a call.

https://ai.google.dev/api/embeddings. Several texts in one request would become one vector, hence never.
Shortened vectors come unnormalised and are brought to length 1, as OpenAI's are. Refused: token numbers.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from providers import usage
from providers.answers import dump
from providers.errors import Unsupported
from providers.estimate import BYTES_PER_TOKEN, Estimator
from providers.gemini_models import traits
from providers.quirks import Quirks
from providers.translation import TranslatingCodec, dicts
from providers.types import Call, Reply, Target, UpstreamRequest, Usage

MOST_INPUTS: Final = 100
FIELDS: Final = Quirks(only=frozenset(("model", "input", "dimensions", "encoding_format")))


class Embeddings(TranslatingCodec):
    def divide(self, call: Call) -> list[Call]:
        """The first choice of a part is its first input."""
        texts = _inputs(call)
        if len(texts) <= MOST_INPUTS:
            return []
        parts = []
        for at in range(0, len(texts), MOST_INPUTS):
            payload = {**call.payload, "input": texts[at : at + MOST_INPUTS]}
            parts.append(replace(call, payload=payload, body=dump(payload), first_choice=at))
        return parts

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        fields, dropped = FIELDS.apply(call.payload)
        name = traits(target).name
        request: dict[str, Any] = {"model": f"models/{name}"}
        if "dimensions" in fields:
            request["outputDimensionality"] = fields["dimensions"]
        requests = [{**request, "content": {"parts": [{"text": text}]}} for text in _inputs(call)]
        endpoint = self.endpoint(target, f"/v1beta/models/{quote(name, safe='')}:batchEmbedContents")
        return UpstreamRequest(endpoint, dump({"requests": requests}), tuple(dropped))

    def translated(self, call: Call, answer: dict[str, Any]) -> Reply:
        vectors = [_vector(each.get("values")) for each in dicts(answer.get("embeddings"))]
        if len(vectors) != len(_inputs(call)) or not all(vectors):
            raise self.adapter.failures.no_answer()
        is_packed = call.payload.get("encoding_format") == "base64"
        is_shortened = call.payload.get("dimensions") is not None
        data = []
        for index, vector in enumerate(vectors, call.first_choice or 0):
            floats = _normalised(vector) if is_shortened else vector
            embedding = _packed(floats) if is_packed else floats
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        used = usage.from_gemini(answer.get("usageMetadata")) or _estimated(call)
        told = {"prompt_tokens": used.input_tokens, "total_tokens": used.input_tokens}
        return Reply(dump({"object": "list", "data": data, "model": call.model, "usage": told}), used)


def _inputs(call: Call) -> list[str]:
    given = call.payload["input"]
    texts: list[str] = [given] if isinstance(given, str) else given
    if not isinstance(texts[0], str):
        raise Unsupported("input", "The model's provider takes text only, no token numbers.")
    return texts


def _vector(values: Any) -> list[float]:
    """Empty for what is none."""
    is_one = isinstance(values, list) and all(type(value) in usage.NUMBERS for value in values)
    return values if is_one else []


def _normalised(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


def _packed(floats: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()


def _estimated(call: Call) -> Usage:
    """The vendor reports nothing for the models of 2025."""
    text_bytes, _ = Estimator.input_bytes(call.payload)
    return Usage(max(1, math.ceil(text_bytes / BYTES_PER_TOKEN)), source="estimated")
