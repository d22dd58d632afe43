"""Chat completions by way of OpenAI's Responses, for models that take functions only there while they reason.

https://platform.openai.com/docs/api-reference/responses. Nothing is stored at the vendor. What the model
thought comes encrypted and is carried by the client, in extra_content.openai.reasoning of the first call that
it led to. Refused: custom tools beside functions, recordings, searches. Hints that Responses has no word for
are dropped and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

import ujson

from providers import answers, conversation, extensions, usage
from providers.adapter import Codec
from providers.answers import dump
from providers.conversation import Function, Media, Part, Text, ToolCall, ToolChoice, ToolResult, Turn
from providers.errors import Unsupported
from providers.failures import Failures
from providers.quirks import Quirks
from providers.translation import EventDecoder, dicts, one_by_one
from providers.types import Call, Reply, Target, UpstreamRequest, Usage

if TYPE_CHECKING:
    from providers.openai import OpenAIAdapter

CARRIED: Final = "reasoning.encrypted_content"
REASONING: Final = ("type", "id", "summary", "encrypted_content")  # of an item, what goes back
# Fields of a chat completion that are read here, and hints that have no word there; all others pass.
READ: Final = frozenset(
    (
        "messages", "n", "max_tokens", "max_completion_tokens", "max_output_tokens", "reasoning_effort",
        "response_format", "verbosity", "tools", "tool_choice", "functions", "function_call", "modalities",
        "stream", "stream_options", "logprobs", "store",
    )
)  # fmt: skip
NO_WORDS: Final = Quirks(
    drops=frozenset(("stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "prediction")),
    refuses=frozenset(("web_search_options", "audio")),
)


class ResponsesCodec(Codec):
    """Chat, for one adapter. `url` says where a target has its Responses."""

    def __init__(self, adapter: OpenAIAdapter, url: Callable[[Target], str]) -> None:
        self._adapter = adapter
        self._url = url

    def divide(self, call: Call) -> list[Call]:
        return one_by_one(call)

    def encode(self, call: Call, target: Target) -> UpstreamRequest:
        payload, lost = extensions.plain(call, target)
        fields, dropped = self._adapter.vendor.quirks_of(target.model).apply(payload)
        fields, without_words = NO_WORDS.apply(fields)
        body = {"model": target.model, **_body({**fields, "model": target.model}), "store": False}
        endpoint = self._adapter.endpoint(self._url(target), target.secret)
        return UpstreamRequest(endpoint, dump(body), (*dropped, *without_words, *lost))

    def decode(self, call: Call, body: bytes) -> Reply:
        failures = self._adapter.failures
        try:
            answer = ujson.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("output"), list):
            raise failures.from_event(answer) if _has_error(answer) else failures.no_answer()
        if _has_error(answer):
            raise failures.from_event(answer)
        used = used_by(answer)
        told = None if used is None else answers.reported(used)
        choice = answers.choice(call.first_choice or 0, *_message(answer))
        return Reply(answers.completion(call, [choice], told), used)

    def decoder(self, call: Call) -> ResponseDecoder:
        return ResponseDecoder(call, self._adapter.failures)


# The request


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    said = conversation.read(fields)
    items: list[dict[str, Any]] = []
    if said.system:
        items.append({"role": "developer", "content": [_input(text) for text in said.system]})
    for turn in said.turns:
        items += _items(turn)
    body: dict[str, Any] = {name: value for name, value in fields.items() if name not in READ}
    body |= {"input": items, "include": [CARRIED]}
    if fields.get("stream"):
        body |= {"stream": True, "stream_options": {"include_obfuscation": False}}
    if (cap := conversation.output_cap(fields)) is not None:
        body["max_output_tokens"] = cap
    if (effort := fields.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort, **body.get("reasoning", {})}
    if text := _text_settings(fields):
        body["text"] = text
    if fields.get("logprobs"):
        body["include"].append("message.output_text.logprobs")
    body["tools"] = [_tool(each) for each in conversation.functions(fields)]
    if (chosen := conversation.tool_choice(fields)) is not None:
        body["tool_choice"] = _choice(chosen)
    return body


def _text_settings(fields: dict[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = {}
    form = fields.get("response_format")
    if form is not None:
        described = form.get("json_schema")
        text["format"] = {"type": form["type"], **described} if isinstance(described, dict) else form
    if "verbosity" in fields:
        text["verbosity"] = fields["verbosity"]
    return text


def _tool(function: Function) -> dict[str, Any]:
    tool: dict[str, Any] = {"type": "function", "name": function.name}
    if function.description:
        tool["description"] = function.description
    return {**tool, "parameters": function.parameters, "strict": function.is_strict}


def _choice(chosen: ToolChoice) -> Any:
    if chosen.names is None:
        return chosen.mode
    if chosen.is_named:
        return {"type": "function", "name": chosen.names[0]}
    tools = [{"type": "function", "name": name} for name in chosen.names]
    return {"type": "allowed_tools", "mode": chosen.mode, "tools": tools}


def _items(turn: Turn) -> Iterator[dict[str, Any]]:
    """A turn's results of calls, what was said, and the calls it made; each call after what led to it."""
    spoken: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            yield {"type": "function_call_output", "call_id": part.call_id, "output": _output(part)}
        elif not isinstance(part, ToolCall):
            spoken.append(part)
    if spoken and turn.role == conversation.ASSISTANT:
        yield {"role": turn.role, "content": "".join(part.text for part in spoken if isinstance(part, Text))}
    elif spoken:
        yield {"role": turn.role, "content": [_input(part) for part in spoken]}
    for part in turn.parts:
        if isinstance(part, ToolCall):
            yield from _carried(part)
            arguments = dump(part.arguments).decode()
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}


def _carried(call: ToolCall) -> Iterator[dict[str, Any]]:
    own = call.extra.get("openai")
    for item in dicts(own.get("reasoning") if isinstance(own, dict) else None):
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            yield {name: item[name] for name in REASONING if name in item}


def _output(result: ToolResult) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in result.parts):
        return "".join(part.text for part in result.parts if isinstance(part, Text))
    return [_input(part) for part in result.parts]


def _input(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    assert isinstance(part, Media)
    data_url = part.url or f"data:{part.media_type};base64,{part.data}"
    if part.kind == "image":
        return {"type": "input_image", "image_url": data_url, "detail": part.detail or "auto"}
    if part.kind == "file":
        given = "file_url" if part.url else "file_data"
        name = {"filename": part.filename} if part.filename else {}
        return {"type": "input_file", given: data_url, **name}
    raise Unsupported(part.path, "The model takes no recordings together with functions.")


# The answer


def used_by(answer: dict[str, Any]) -> Usage | None:
    """What a response says was used, None where it says nothing."""
    reported = answer.get("usage")
    if type(reported) is not dict:
        return None
    used = usage.from_openai(
        {
            "prompt_tokens": reported.get("input_tokens"),
            "completion_tokens": reported.get("output_tokens"),
            "total_tokens": reported.get("total_tokens"),
            "prompt_tokens_details": reported.get("input_tokens_details"),
            "completion_tokens_details": reported.get("output_tokens_details"),
        }
    )
    if used is not None:
        used.variant = usage.variant_of(answer)
    return used


def _has_error(answer: Any) -> bool:
    return isinstance(answer, dict) and bool(answer.get("error"))


def _message(answer: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The message of a whole response, and why it ends."""
    texts, refusals, thoughts = [], [], []
    message: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    items = dicts(answer["output"])
    for item in items:
        kind = item.get("type")
        if kind == "message":
            for part in dicts(item.get("content")):
                texts.append(_string(part.get("text")))
                refusals.append(_string(part.get("refusal")))
                message["annotations"] = [*message.get("annotations", ()), *_annotations(part)]
        elif kind == "reasoning":
            thoughts += [_string(part.get("text")) for part in dicts(item.get("summary"))]
        elif kind == "function_call":
            made = _called(item, _string(item.get("arguments")))
            calls.append(made if calls else made | _carrying(items))
    message["content"] = "".join(texts) or (None if calls or any(refusals) else "")
    message["refusal"] = "".join(refusals) or None
    if not message.get("annotations"):
        message.pop("annotations", None)
    if any(thoughts):
        message["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message, _finish(answer, has_calls=bool(calls))


def _finish(answer: dict[str, Any], *, has_calls: bool) -> str:
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason == "content_filter":
        return "content_filter"
    if reason is not None or answer.get("status") == "incomplete":
        return "length"
    return "tool_calls" if has_calls else "stop"


def _called(item: dict[str, Any], arguments: str) -> dict[str, Any]:
    return answers.tool_call(_string(item.get("call_id")), _string(item.get("name")), arguments)


def _carrying(items: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first call carries of the thoughts before it."""
    kept = [
        {name: item[name] for name in REASONING if name in item}
        for item in items
        if item.get("type") == "reasoning" and item.get("encrypted_content")
    ]
    return {"extra_content": {"openai": {"reasoning": kept}}} if kept else {}


def _annotations(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in dicts(part.get("annotations")):
        if each.get("type") == "url_citation":
            cited = {name: value for name, value in each.items() if name != "type"}
            yield {"type": "url_citation", "url_citation": cited}


def _string(value: Any) -> str:
    return value if type(value) is str else ""


class ResponseDecoder(EventDecoder):
    """A stream of one response."""

    _readers: ClassVar[dict[str, Callable[[ResponseDecoder, dict[str, Any]], None]]]

    def __init__(self, call: Call, failures: Failures) -> None:
        super().__init__(call, failures)
        self._has_begun = False
        self._calls: dict[Any, int] = {}  # output_index -> number of the call
        self._has_arguments: set[Any] = set()
        self._thoughts: list[dict[str, Any]] = []

    def read(self, event: dict[str, Any]) -> None:
        reader = self._readers.get(_string(event.get("type")))
        if reader is not None:
            reader(self, event)

    def end(self) -> None:
        raise self.cut() if self._has_begun else self.failures.no_answer()

    def _begin(self, event: dict[str, Any]) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.emit(self.writer.role())

    def _say(self, event: dict[str, Any]) -> None:
        if piece := _string(event.get("delta")):
            self.emit(self.writer.content(piece))

    def _refuse(self, event: dict[str, Any]) -> None:
        self.emit(self.writer.delta({"refusal": _string(event.get("delta"))}))

    def _think(self, event: dict[str, Any]) -> None:
        if piece := _string(event.get("delta")):
            self.emit(self.writer.reasoning(piece))

    def _start_item(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        if isinstance(item, dict) and item.get("type") == "function_call":
            number = self._calls[event.get("output_index")] = len(self._calls)
            made = _called(item, "")
            self.emit(self.writer.tool_call(number, made if number else made | _carrying(self._thoughts)))

    def _read_arguments(self, event: dict[str, Any]) -> None:
        number, piece = self._calls.get(event.get("output_index")), _string(event.get("delta"))
        if number is not None and piece:
            self._has_arguments.add(number)
            self.emit(self.writer.arguments(number, piece))

    def _end_item(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            return
        if item.get("type") == "reasoning":
            self._thoughts.append(item)
        number = self._calls.get(event.get("output_index"))
        if number is not None and number not in self._has_arguments:
            self.emit(self.writer.arguments(number, _string(item.get("arguments")) or "{}"))

    def _finish(self, event: dict[str, Any]) -> None:
        answer = event.get("response")
        answer = answer if isinstance(answer, dict) else {}
        self.used = used_by(answer)
        self.emit(self.writer.finish(_finish(answer, has_calls=bool(self._calls))))
        self.complete()

    def _fail(self, event: dict[str, Any]) -> None:
        answer = event.get("response")
        error = answer.get("error") if isinstance(answer, dict) else event.get("error") or event
        raise self.failures.from_event({"error": error})

    _readers = {
        "response.created": _begin,
        "response.in_progress": _begin,
        "response.output_text.delta": _say,
        "response.refusal.delta": _refuse,
        "response.reasoning_summary_text.delta": _think,
        "response.output_item.added": _start_item,
        "response.function_call_arguments.delta": _read_arguments,
        "response.output_item.done": _end_item,
        "response.completed": _finish,
        "response.incomplete": _finish,
        "response.failed": _fail,
        "error": _fail,
    }
