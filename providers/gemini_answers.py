"""Answers of generateContent, whole and in pieces -> OpenAI's.

https://ai.google.dev/api/generate-content. Each event of a stream is a whole response whose parts are pieces;
its usage counts from the beginning; nothing marks the end but the end of the body. A call comes in one piece,
and its thought signature goes to the client with it, as extra_content.google.thought_signature. An answer
that the vendor itself calls malformed is a failure where nothing of it can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from providers import answers, errors, usage
from providers.errors import ProviderError
from providers.failures import MAX_MESSAGE_CHARS, Failures
from providers.gemini_requests import without_signatures
from providers.translation import EventDecoder, dicts
from providers.types import Call, Reply

LENGTH: Final = frozenset(("MAX_TOKENS", "CONTINUATION"))
FILTERED: Final = frozenset(
    (
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR",
    )
)  # fmt: skip
UNSIGNED: Final = "MISSING_THOUGHT_SIGNATURE"
MALFORMED: Final = frozenset(
    ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", UNSIGNED)
)


def reply(call: Call, answer: dict[str, Any], failures: Failures) -> Reply:
    """A whole answer. Raises ProviderError where nothing in it can be used."""
    candidates = sorted(dicts(answer.get("candidates")), key=_index)
    used = usage.from_gemini(answer.get("usageMetadata"))
    choices = [_choice(call, candidate) for candidate in candidates]
    if not candidates:
        reason = _blocked(answer)
        if not reason:
            raise failures.no_answer()
        choices = [answers.choice(call.first_choice or 0, {"refusal": _refusal(reason)}, "content_filter")]
    elif not any(map(_is_usable, choices)):
        broken = next((each for each in candidates if _reason(each) in MALFORMED), None)
        if broken is not None:
            failure = _malformed(broken)
            failure.usage = used
            raise failure
    told = None if used is None else answers.reported(used)
    return Reply(answers.completion(call, choices, told), used)


class AnswerDecoder(EventDecoder):
    """A stream of one or more candidates, in any order among each other."""

    def __init__(self, call: Call, failures: Failures) -> None:
        super().__init__(call, failures)
        self._call = call
        self._progress: dict[int, Progress] = {}
        self._reported: dict[str, Any] = {}

    def read(self, event: dict[str, Any]) -> None:
        if event.get("error"):
            raise self.failures.from_event(event)
        reported = event.get("usageMetadata")
        if type(reported) is dict and reported != self._reported:
            self._reported |= {name: value for name, value in reported.items() if value is not None}
            self.used = usage.from_gemini(self._reported)
        for candidate in dicts(event.get("candidates")):
            self._read_candidate(candidate)
        if not self._progress and (reason := _blocked(event)):
            self._begin(0)
            self.emit(self.writer.delta({"refusal": _refusal(reason)}))
            self._finish(0, "content_filter")

    def end(self) -> None:
        if not self._progress or not all(each.is_finished for each in self._progress.values()):
            raise self.cut()
        self.complete()

    def _read_candidate(self, candidate: dict[str, Any]) -> None:
        index = _index(candidate)
        progress = self._progress.get(index)
        if progress is not None and progress.is_finished:
            return
        for part in _parts(candidate):
            self._read_part(index, part)
        if logprobs := _logprobs(candidate):
            self._begin(index)
            self.emit(self.writer.delta({"content": ""}, index, logprobs))
        if reason := _reason(candidate):
            if reason in MALFORMED and not any(each.is_usable for each in self._progress.values()):
                raise _malformed(candidate)
            progress = self._begin(index)
            self._finish(index, _finish(reason, has_calls=progress.calls > 0))

    def _read_part(self, index: int, part: dict[str, Any]) -> None:
        if part.get("thought"):
            if text := _text(part):
                self._begin(index)
                self.emit(self.writer.reasoning(text, index))
        elif text := _text(part):
            self._begin(index).is_usable = True
            self.emit(self.writer.content(text, index))
        elif picture := _inline(part):  # its bytes are no text to count tokens of
            self._begin(index).is_usable = True
            self.emit(self.writer.delta({"content": picture}, index))
        elif "functionCall" in part:
            progress = self._begin(index)
            if not (progress.calls and _is_single(self._call)):
                progress.is_usable = True
                made = _called(self._call, part, index, progress.calls)
                self.emit(self.writer.tool_call(progress.calls, made, index))
                progress.calls += 1

    def _begin(self, index: int) -> Progress:
        """A choice's state. What comes first says its role: a failure before that leaves nothing behind."""
        progress = self._progress.get(index)
        if progress is None:
            progress = self._progress[index] = Progress()
            self.emit(self.writer.role(index))
        return progress

    def _finish(self, index: int, reason: str) -> None:
        self._progress[index].is_finished = True
        self.emit(self.writer.finish(reason, index))


@dataclass(slots=True)
class Progress:
    """How far a choice of a stream is. calls: how many it has made."""

    calls: int = 0
    is_usable: bool = False
    is_finished: bool = False


def _choice(call: Call, candidate: dict[str, Any]) -> dict[str, Any]:
    index = _index(candidate)
    texts, thoughts = [], []
    calls: list[dict[str, Any]] = []
    for part in _parts(candidate):
        if part.get("thought"):
            thoughts.append(_text(part))
        elif "functionCall" in part:
            if not (calls and _is_single(call)):
                calls.append(_called(call, part, index, len(calls)))
        else:
            texts.append(_text(part) or _inline(part))
    text, thought = "".join(texts), "".join(thoughts)
    message: dict[str, Any] = {"content": None if calls and not text else text}
    if calls:
        message["tool_calls"] = calls
    if thought:
        message["reasoning_content"] = thought
    reason = _finish(_reason(candidate), has_calls=bool(calls))
    return answers.choice((call.first_choice or 0) + index, message, reason, _logprobs(candidate))


def _is_usable(choice: dict[str, Any]) -> bool:
    return bool(choice["message"]["content"] or choice["message"].get("tool_calls"))


def _finish(reason: str, *, has_calls: bool) -> str:
    """OpenAI's word for a finishReason; one that is in no table ends an answer as usual."""
    if reason in LENGTH:
        return "length"
    if reason in FILTERED:
        return "content_filter"
    return "tool_calls" if has_calls else "stop"


def _malformed(candidate: dict[str, Any]) -> ProviderError:
    reason, message = _reason(candidate), candidate.get("finishMessage")
    if not isinstance(message, str) or not message:
        message = "The provider's model gave an answer that cannot be used."
    failure = ProviderError(errors.FAILED, message[:MAX_MESSAGE_CHARS], code=reason.lower(), retryable=True)
    if reason == UNSIGNED:
        failure.amend = without_signatures
    return failure


def _blocked(answer: dict[str, Any]) -> str:
    """Why the prompt itself was refused, empty if it was not."""
    feedback = answer.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return reason if isinstance(reason, str) else ""


def _refusal(reason: str) -> str:
    return f"Blocked by provider: {reason}"


def _is_single(call: Call) -> bool:
    """Does the client want one call at a time? The vendor cannot be told: its first one is kept."""
    return call.payload.get("parallel_tool_calls") is False


def _index(candidate: dict[str, Any]) -> int:
    index = candidate.get("index")
    return index if type(index) is int and index >= 0 else 0


def _reason(candidate: dict[str, Any]) -> str:
    """Why it ended, empty while it goes on."""
    reason = candidate.get("finishReason")
    return reason if isinstance(reason, str) else ""


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    content = candidate.get("content")
    return dicts(content.get("parts")) if isinstance(content, dict) else []


def _text(part: dict[str, Any]) -> str:
    text = part.get("text")
    return text if type(text) is str else ""


def _inline(part: dict[str, Any]) -> str:
    """A picture or a recording as Markdown with a data URL, "" where the part holds none."""
    blob = part.get("inlineData")
    if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
        return ""
    media_type = str(blob.get("mimeType") or "image/png")
    sort = media_type.partition("/")[0]
    return f"{'!' if sort == 'image' else ''}[{sort}](data:{media_type};base64,{blob['data']})"


def _called(call: Call, part: dict[str, Any], index: int, at: int) -> dict[str, Any]:
    """The candidate's call number `at`; without an id it gets one that is its own in any conversation."""
    function = part["functionCall"] if isinstance(part["functionCall"], dict) else {}
    choice = (call.first_choice or 0) + index
    call_id = function.get("id") or f"call_{call.request_id[2:]}{choice:02x}{at:02x}"
    arguments = function["args"] if isinstance(function.get("args"), dict) else {}
    name = str(function.get("name") or "")
    made = answers.tool_call(str(call_id), name, answers.dump(arguments).decode())
    if signature := part.get("thoughtSignature"):
        made["extra_content"] = {"google": {"thought_signature": signature}}
    return made


def _logprobs(candidate: dict[str, Any]) -> dict[str, Any] | None:
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    tops = dicts(result.get("topCandidates"))
    content = []
    for at, chosen in enumerate(dicts(result.get("chosenCandidates"))):
        others = dicts(tops[at].get("candidates")) if at < len(tops) else []
        content.append({**_likely(chosen), "top_logprobs": [_likely(other) for other in others]})
    return {"content": content, "refusal": None} if content else None


def _likely(token: dict[str, Any]) -> dict[str, Any]:
    text = _text({"text": token.get("token")})
    return {
        "token": text,
        "logprob": token.get("logProbability", 0.0),
        "bytes": list(text.encode("utf-8", "replace")),
    }
