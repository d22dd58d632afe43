"""A vendor's own list of its models -> rows: pure, tolerant and bounded.

    python -m providers.model_lists KIND < BODY

does the same in a process of its own, for lists that would hold the event loop up. A row that is no model is
passed over, a field that is not understood is unknown; refused (ValueError) is only what is no list at all.
Kinds of provider without a list of what can be called there: `DIALECTS` has None for them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import ujson

MOST_MODELS: Final = 2000  # of one list; the longest that is known has 700
LONGEST_NAME: Final = 256
LONGEST_CURSOR: Final = 1024
MOST_TOKENS: Final = 10**9
LATEST: Final = 2**40  # a time in Unix seconds; milliseconds are more

Row = dict[str, Any]


class ListedModel(NamedTuple):
    """context and max_output: tokens. created: Unix seconds. retires: a date. quirks: JSON."""

    id: str
    type: str
    context: int | None = None
    max_output: int | None = None
    created: int | None = None
    retires: str | None = None
    quirks: str = "{}"


class Page(NamedTuple):
    """next: where the rest of the list begins, empty at its end."""

    models: list[ListedModel]
    next: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """path: of the list, below the base URL. rows: the field it is in. cursor: the parameter that asks for a
    further page. headers: that the vendor wants beside the secret."""

    read: Callable[[Row], Iterator[ListedModel]]
    path: str = "/models"
    rows: str = "data"
    cursor: str = ""
    following: Callable[[Row], Any] = lambda content: None
    headers: tuple[tuple[str, str], ...] = ()


def page(kind: str, body: bytes) -> Page:
    """Raises ValueError."""
    dialect = DIALECTS.get(kind, USUAL)
    if dialect is None:
        raise ValueError(f"{kind} has no list of models")
    try:
        content = ujson.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("the answer is not JSON") from error
    is_bare = isinstance(content, list)
    if not is_bare and not (isinstance(content, dict) and dialect.rows in content):
        raise ValueError("the answer holds no list of models")
    rows = content if is_bare else content[dialect.rows]
    if rows is None:  # so says Ollama that it has none
        rows = []
    if not isinstance(rows, list):
        raise ValueError("the answer's list of models is none")
    found: dict[str, ListedModel] = {}
    for row in rows[:MOST_MODELS]:
        for model in dialect.read(row) if isinstance(row, dict) else ():
            found.setdefault(model.id, model)
    following = "" if is_bare else dialect.following(content)
    has_more = isinstance(following, str) and len(following) <= LONGEST_CURSOR
    return Page(list(found.values()), following if has_more else "")


# What rows say


def _name(value: Any) -> str:
    """A model's name, empty for what cannot be one."""
    is_one = isinstance(value, str) and len(value) <= LONGEST_NAME and value.isprintable()
    return value if is_one and value == value.strip() else ""


def _tokens(row: Row, *names: str) -> int | None:
    for name in names:
        value = row.get(name)
        if isinstance(value, int | float) and 1 < value <= MOST_TOKENS:
            return int(value)
    return None


def _moment(value: Any) -> int | None:
    """Unix seconds, of a number or of a date; those of the epoch say that nobody knows."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, int | float):
        moment = value
    else:
        return None
    return int(moment) if 1 < moment < LATEST else None


def _date(value: Any) -> str | None:
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except (TypeError, ValueError):
        return None


def _table(row: Row, name: str) -> Row:
    value = row.get(name)
    return value if isinstance(value, dict) else {}


# What kind of model it is

TYPES: Final = MappingProxyType(
    {
        "chat": "chat",
        "language": "completion",
        "code": "completion",
        "embedding": "embedding",
        "embeddings": "embedding",
        "image": "image",
        "video": "video",
        "audio": "audio",
        "speech": "audio",
        "tts": "audio",
        "transcribe": "audio",
        "transcription": "audio",
        "moderation": "moderation",
        "rerank": "rerank",
    }
)
BY_NAME: Final = (
    (re.compile(r"embed|(?:^|/)(?:bge|e5|gte)-|minilm", re.I), "embedding"),
    (re.compile(r"rerank", re.I), "rerank"),
    (re.compile(r"moderation", re.I), "moderation"),
    (re.compile(r"(?:^|[-/])(?:sora|veo|video)", re.I), "video"),
    (re.compile(r"dall-e|image|(?:^|/)flux|stable-diffusion", re.I), "image"),
    (re.compile(r"whisper|transcribe|(?:^|[-/])tts|realtime|lyria|(?:^|/)orpheus|-live-", re.I), "audio"),
    # OpenAI's that have neither chat nor completions, and those that have only the latter
    (
        re.compile(r"(?:o\d|gpt-\d[\w.]*)-pro\b|(?:o\d|mini)-deep-research|gpt-.*codex|computer-use"),
        "responses",
    ),
    (re.compile(r"(?:davinci|babbage)-\d|gpt-3\.5-turbo-instruct"), "completion"),
)


def type_by_name(model: str) -> str:
    """What a model is by its name alone: a chat model, if nothing says otherwise."""
    return next((kind for pattern, kind in BY_NAME if pattern.search(model)), "chat")


def _type(row: Row, model: str) -> str:
    """What the row says, in the words of any of the vendors that do."""
    for name in ("type", "model_type"):
        value = row.get(name)
        if isinstance(value, str) and value in TYPES:
            return TYPES[value]
    modalities = _table(row, "architecture").get("output_modalities")  # OpenRouter
    if isinstance(modalities, list) and modalities:
        if "text" in modalities and type_by_name(model) != "embedding":
            return "chat"
        return next((TYPES[word] for word in modalities if isinstance(word, str) and word in TYPES), "other")
    guess = type_by_name(model)
    return "other" if guess == "chat" and row.get("supports_chat") is False else guess  # Fireworks


# The dialects


def _usual(row: Row) -> Iterator[ListedModel]:
    """OpenAI's own shape, and what those who speak it have added."""
    model = _name(row.get("id"))
    if not model or row.get("active") is False or row.get("archived") is True:
        return
    more = {**_table(row, "metadata"), **_table(row, "top_provider"), **row}  # DeepInfra, OpenRouter
    yield ListedModel(
        model,
        _type(row, model),
        _tokens(
            more, "context_length", "context_window", "max_context_length", "context_size", "max_model_len"
        ),
        _tokens(more, "max_completion_tokens", "max_output_tokens"),
        _moment(row.get("created")),
        _date(row.get("shutdown_date") or row.get("expiration_date")),
    )


def _mistral(row: Row) -> Iterator[ListedModel]:
    """A model answers to its aliases too; `deprecation` is the day from which nobody should begin with it."""
    can = _table(row, "capabilities")
    for model in _usual(row):
        if can.get("completion_chat") is True:
            model = model._replace(type="chat")
        elif can and model.type == "chat":
            model = model._replace(type="audio" if can.get("audio_transcription") is True else "other")
        yield model
        aliases = row.get("aliases")
        for alias in aliases if isinstance(aliases, list) else ():
            if name := _name(alias):
                yield model._replace(id=name)


def _anthropic(row: Row) -> Iterator[ListedModel]:
    model = _name(row.get("id"))
    if not model or row.get("lifecycle") == "retired":
        return
    can = _table(row, "capabilities")
    thinking, effort = _table(_table(can, "thinking"), "types"), _table(can, "effort")
    supported = {
        "adaptive_thinking": _table(thinking, "adaptive"),
        "xhigh_reasoning_effort": _table(effort, "xhigh"),
        "max_reasoning_effort": _table(effort, "max"),
    }
    quirks = {name: True for name, each in supported.items() if each.get("supported") is True}
    yield ListedModel(
        model,
        "chat",
        _tokens(row, "max_input_tokens"),
        _tokens(row, "max_tokens"),
        _moment(row.get("created_at")),
        _date(row.get("retires_at")),
        ujson.dumps(quirks),
    )


METHODS: Final = (
    ("generateContent", "chat"),
    ("embedContent", "embedding"),
    ("predictLongRunning", "video"),
    ("predict", "image"),
    ("bidiGenerateContent", "audio"),
)


def _gemini(row: Row) -> Iterator[ListedModel]:
    prefix, _, model = _name(row.get("name")).partition("/")
    if prefix != "models" or not model:
        return
    methods = row.get("supportedGenerationMethods")
    can = methods if isinstance(methods, list) else []
    said = next((kind for method, kind in METHODS if method in can), "other")
    guess = type_by_name(model)
    is_plain = said != "chat" or guess == "chat"  # images and speech come from generateContent as well
    context, max_output = _tokens(row, "inputTokenLimit"), _tokens(row, "outputTokenLimit")
    yield ListedModel(model, said if is_plain else guess, context, max_output)


USUAL: Final = Dialect(_usual)
DIALECTS: Final[Mapping[str, Dialect | None]] = MappingProxyType(
    {
        "anthropic": Dialect(
            _anthropic,
            "/v1/models?limit=1000",
            cursor="after_id",
            following=lambda content: content.get("last_id") if content.get("has_more") is True else None,
            headers=(("anthropic-version", "2023-06-01"),),
        ),
        "gemini": Dialect(
            _gemini,
            "/v1beta/models?pageSize=1000",
            rows="models",
            cursor="pageToken",
            following=lambda content: content.get("nextPageToken"),
        ),
        "mistral": Dialect(_mistral),
        "azure": None,  # its list is of what could be deployed
        "perplexity": None,
        "demo": None,
    }
)


def main(kind: str) -> int:
    """The body on stdin; the page as JSON on stdout, or status 1 and the reason on stderr."""
    try:
        found = page(kind, sys.stdin.buffer.read())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(ujson.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
