"""Chat completions by way of OpenAI's Responses, for models that take functions only there while they reason.

https://platform.openai.com/docs/api-reference/responses. Nothing is stored at the vendor. What the model
thought comes encrypted and is carried by the client, in extra_content.openai.reasoning of the first call that
it led to. Refused: recordings, searches. Hints that Responses has no word for are dropped and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

import ujson

from providers import answers, extensions, usage
from providers.adapter import Codec
from providers.answers import dump
from providers.failures import Failures
from providers.quirks import Quirks
from providers.responses_requests import REASONING, request_body
from providers.translation import EventDecoder, dicts, one_by_one
from providers.types import Call, Reply, Target, UpstreamRequest, Usage

if TYPE_CHECKING:
    from providers.openai import OpenAIAdapter

# An item that is a call -> its field for what the tool is given.
CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
# Hints that have no word there, and what cannot be left out.
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
        fitted = {"model": target.model, **request_body({**fields, "model": target.model}), "store": False}
        endpoint = self._adapter.endpoint(self._url(target), target.secret)
        return UpstreamRequest(endpoint, dump(fitted), (*dropped, *without_words, *lost))

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
        elif kind in CALLS:
            made = _called(item, _string(item.get(CALLS[kind])))
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


def _called(item: dict[str, Any], given: str) -> dict[str, Any]:
    call = answers.custom_call if item.get("type") == "custom_tool_call" else answers.tool_call
    return call(_string(item.get("call_id")), _string(item.get("name")), given)


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
        if isinstance(item, dict) and item.get("type") in CALLS:
            number = self._calls[event.get("output_index")] = len(self._calls)
            made = _called(item, "")
            self.emit(self.writer.tool_call(number, made if number else made | _carrying(self._thoughts)))

    def _read_arguments(self, event: dict[str, Any]) -> None:
        number, piece = self._calls.get(event.get("output_index")), _string(event.get("delta"))
        if number is not None and piece:
            self._has_arguments.add(number)
            self.emit(self.writer.arguments(number, piece))

    def _read_input(self, event: dict[str, Any]) -> None:
        number, piece = self._calls.get(event.get("output_index")), _string(event.get("delta"))
        if number is not None and piece:
            self._has_arguments.add(number)
            self.emit(self.writer.custom_input(number, piece))

    def _end_item(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            return
        if item.get("type") == "reasoning":
            self._thoughts.append(item)
        number = self._calls.get(event.get("output_index"))
        if number is None or number in self._has_arguments:
            return
        if item.get("type") == "custom_tool_call":
            self.emit(self.writer.custom_input(number, _string(item.get("input"))))
        else:
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
        "response.custom_tool_call_input.delta": _read_input,
        "response.output_item.done": _end_item,
        "response.completed": _finish,
        "response.incomplete": _finish,
        "response.failed": _fail,
        "error": _fail,
    }
