"""Anthropic's messages -> OpenAI's: one of theirs may be several of ours.

Tool results become messages of their own, before what the user says beside them; images in them follow, as no
tool message has any. Thinking goes along for the models that want it back: what is signed as it is, what is
not as text. Blocks that OpenAI's format has no word for are refused with their path, never silently lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import ujson

from handlers.errors import shown
from handlers.rules import filled, mapping, missing, one_of, required, string, wrong_type
from providers.errors import Unsupported

TEXT: Final = string()
ROLE: Final = one_of(("user", "assistant", "system"))
CACHE: Final = "cache_control"

Node = dict[str, Any]
Reader = Callable[[str, Node], list[Node]]


def messages(value: list[Any]) -> list[Node]:
    """A conversation. Raises InvalidParameter, Unsupported."""
    found: list[Node] = []
    for at, message in enumerate(value):
        path = f"messages[{at}]"
        mapping(path, message)
        role = required(path, message, "role", ROLE)
        if message.get("content") is None:
            raise missing(f"{path}.content")
        found += ROLES[role](f"{path}.content", message["content"])
    return found


def system(path: str, content: Any) -> list[Node]:
    """Instructions, as the one message they make; none where nothing is said."""
    texts, marker = [], None
    for here, block in _blocks(path, content):
        if block["type"] != "text":
            raise _unsupported(here, block)
        texts.append(required(here, block, "text", TEXT))
        marker = _marker(block) or marker
    said = "\n\n".join(text for text in texts if text)
    return [{"role": "system", "content": said, **_marked(marker)}] if said else []


def _from_user(path: str, content: Any) -> list[Node]:
    results: list[Node] = []
    parts: list[Node] = []
    if type(content) is list:
        filled(path, content)
    for here, block in _blocks(path, content):
        if block["type"] == "tool_result":
            results.append(_result(here, block, parts))
        else:
            parts += _parts(here, block)
    if not parts:
        return results
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"], **_marked(parts[0].get(CACHE))}]
    return [*results, {"role": "user", "content": parts}]


def _result(path: str, block: Node, beside: list[Node]) -> Node:
    """What a tool answered; what of it is no text is put `beside`."""
    call_id = required(path, block, "tool_use_id", TEXT)
    texts = []
    for here, inner in _blocks(f"{path}.content", block.get("content") or ""):
        for part in _parts(here, inner):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                beside.append(part)
    said = ("Error: " if block.get("is_error") is True else "") + "\n".join(texts)
    return {"role": "tool", "tool_call_id": call_id, "content": said, **_marked(_marker(block))}


def _from_assistant(path: str, content: Any) -> list[Node]:
    texts: list[str] = []
    calls: list[Node] = []
    signed: list[Node] = []
    thoughts: list[str] = []
    marker = None
    for here, block in _blocks(path, content):
        kind = block["type"]
        if kind == "text":
            texts.append(required(here, block, "text", TEXT))
        elif kind == "tool_use":
            calls.append(_call(here, block))
        elif kind == "redacted_thinking" or (kind == "thinking" and block.get("signature")):
            signed.append(block)
        elif kind == "thinking":
            thoughts.append(required(here, block, "thinking", TEXT))
        else:
            raise _unsupported(here, block)
        marker = _marker(block) or marker
    said: Node = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    optional = {"tool_calls": calls, "thinking_blocks": signed, "reasoning_content": "".join(thoughts)}
    said.update((name, value) for name, value in optional.items() if value)
    return [{**said, **_marked(marker)}]


def _call(path: str, block: Node) -> Node:
    call_id = required(path, block, "id", TEXT)
    name = required(path, block, "name", TEXT)
    arguments = ujson.dumps(
        required(path, block, "input", mapping), ensure_ascii=False, escape_forward_slashes=False
    )
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _blocks(path: str, content: Any) -> Iterator[tuple[str, Node]]:
    """The blocks of a content, each with its path; a string is a block of text."""
    if type(content) is str:
        yield path, {"type": "text", "text": content}
        return
    if type(content) is not list:
        raise wrong_type(path, "a string or an array of blocks", content)
    for at, block in enumerate(content):
        here = f"{path}[{at}]"
        mapping(here, block)
        required(here, block, "type", TEXT)
        yield here, block


def _parts(path: str, block: Node) -> list[Node]:
    reader = READERS.get(block["type"])
    if reader is None:
        raise _unsupported(path, block)
    parts = reader(path, block)
    if parts:
        parts[-1] = {**parts[-1], **_marked(_marker(block))}
    return parts


def _text(path: str, block: Node) -> list[Node]:
    return [{"type": "text", "text": required(path, block, "text", TEXT)}]


def _image(path: str, block: Node) -> list[Node]:
    source, kind = _source(path, block)
    if kind not in ("base64", "url"):
        raise Unsupported(f"{path}.source", f"Images of source '{shown(kind)}' are not supported here.")
    return [{"type": "image_url", "image_url": {"url": _url(f"{path}.source", source, kind)}}]


def _document(path: str, block: Node) -> list[Node]:
    """What it holds, after what is said about it."""
    source, kind = _source(path, block)
    title, context = (
        required(path, block, name, TEXT) if block.get(name) is not None else ""
        for name in ("title", "context")
    )
    about = "\n\n".join(filter(None, (title, context)))
    parts: list[Node] = [{"type": "text", "text": about}] if about else []
    here = f"{path}.source"
    if kind == "text":
        parts.append({"type": "text", "text": required(here, source, "data", TEXT)})
    elif kind == "content":
        for inner_path, inner in _blocks(f"{here}.content", source.get("content") or ""):
            if inner["type"] not in ("text", "image"):
                raise _unsupported(inner_path, inner)
            parts += _parts(inner_path, inner)
    elif kind in ("base64", "url"):
        file = {"filename": title or "document.pdf", "file_data": _url(here, source, kind)}
        parts.append({"type": "file", "file": file})
    else:
        raise Unsupported(here, f"Documents of source '{shown(kind)}' are not supported here.")
    return parts


def _search_result(path: str, block: Node) -> list[Node]:
    lines = [required(path, block, name, TEXT) for name in ("title", "source")]
    for here, inner in _blocks(f"{path}.content", block.get("content") or ""):
        if inner["type"] != "text":
            raise _unsupported(here, inner)
        lines.append(required(here, inner, "text", TEXT))
    return [{"type": "text", "text": "\n\n".join(lines)}]


def _source(path: str, block: Node) -> tuple[Node, str]:
    source = required(path, block, "source", mapping)
    return source, required(f"{path}.source", source, "type", TEXT)


def _url(path: str, source: Node, kind: str) -> str:
    if kind == "url":
        url: str = required(path, source, "url", TEXT)
        return url
    media_type = required(path, source, "media_type", TEXT)
    return f"data:{media_type};base64,{required(path, source, 'data', TEXT)}"


def _unsupported(path: str, block: Node) -> Unsupported:
    return Unsupported(path, f"A block of type '{shown(block['type'])}' is not supported here.")


def _marker(block: Node) -> Node | None:
    marker = block.get(CACHE)
    return marker if isinstance(marker, dict) else None


def _marked(marker: Node | None) -> Node:
    return {CACHE: marker} if marker is not None else {}


ROLES: Final[Mapping[str, Reader]] = {"user": _from_user, "assistant": _from_assistant, "system": system}
READERS: Final[Mapping[str, Reader]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
