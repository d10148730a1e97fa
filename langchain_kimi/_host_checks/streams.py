"""The shape of streams: events, chunks, roles, finish and tool calls."""

import json
from collections.abc import Iterator
from typing import Any

from langchain_kimi._host_checks.checks import STREAM_SPECIFICATION, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, function, is_done, user
from langchain_kimi._hosts import REASONING_DETAILS_KEY

LINE = "🙂 東京 naïve, ready"
CITIES = ("Oslo", "Bergen")
WEATHER = function("get_weather", "The weather in one city.", {"city": {"type": "string"}})
_WHOLE = "responses in one piece"

EVENTS = Check(
    "stream_events", "must", "a stream is events of one line `data: {…}`, each a JSON object", STREAM_SPECIFICATION
)
DONE = Check("stream_done", "should", "`data: [DONE]` is the last event", STREAM_SPECIFICATION)
FIELDS = Check(
    "stream_fields", "should", "every chunk has the same `id`, `object`, `created` and `model`", STREAM_SPECIFICATION
)
CHOICES = Check(
    "stream_choices",
    "should",
    "a chunk of the answer has one choice with `index`, `delta` and `finish_reason`",
    STREAM_SPECIFICATION,
)
ROLE = Check("stream_role", "should", 'the first chunk, and only it, has `role: "assistant"`', STREAM_SPECIFICATION)
FINISH = Check("stream_finish", "must", "one chunk has the finish reason, and nothing follows it", STREAM_SPECIFICATION)
CALLS = Check(
    "stream_calls",
    "should",
    "a call begins with `index`, `id`, `type` and the name; later chunks have `index` and arguments only",
    STREAM_SPECIFICATION,
)
CHARACTERS = Check("stream_characters", "should", "no chunk cuts a character in half", STREAM_SPECIFICATION)


def _requests(profile: HostProfile) -> list[ChatRequest]:
    greeting = [user(f"Reply with exactly this line and nothing else: {LINE}")]
    question = [user(f"What is the weather in {' and in '.join(CITIES)}? Call get_weather for both cities at once.")]
    times = 1 if profile.quick else 3
    return [
        ChatRequest("greeting", greeting, 200 if profile.quick else 1024, {}),
        *[ChatRequest("parallel", question, 256 if profile.quick else 1024, {"tools": [WEATHER]})] * times,
    ]


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    streams = [response for response in (*record["greeting"], *record["parallel"]) if response.is_answer]
    keys = [key for response in streams for key in response.reasoning_keys]
    if keys:
        profile.reasoning_key = REASONING_DETAILS_KEY if REASONING_DETAILS_KEY in keys else keys[0]
    if not all(response.is_stream for response in streams):
        observed = "the answer to a streaming request is no event stream"
        return [EVENTS.differs(observed, f"streaming=False: {_WHOLE}", streaming=False)]
    return [
        _result(EVENTS, map(_odd_event, streams), "ChatKimi skips what is no JSON object"),
        _result(DONE, map(_odd_end, streams), "none needed: ChatKimi also ends at the finish reason"),
        _result(FIELDS, map(_odd_fields, streams), "none needed"),
        _result(CHOICES, map(_odd_choices, streams), "none needed: ChatKimi reads the first choice"),
        _result(ROLE, map(_odd_role, streams), "none needed: ChatKimi takes it as the assistant's"),
        _finish(streams),
        _result(CALLS, map(_odd_calls, streams), "none needed: ChatKimi joins calls by index, place and id"),
        _result(CHARACTERS, map(_cut_character, streams), "none needed: ChatKimi joins halves of characters"),
    ]


def _result(check: Check, problems: Iterator[str | None], setting: str) -> CheckResult:
    """`differs` with the first problem, since `ChatKimi` copes with each of these."""
    problem = next(filter(None, problems), None)
    return check.differs(problem, setting) if problem else check.passed()


def _finish(streams: list[HostResponse]) -> CheckResult:
    if problem := next(filter(None, map(_odd_finish, streams)), None):
        return FINISH.differs(problem, f"streaming=False: {_WHOLE}", streaming=False)
    return FINISH.passed()


def _odd_event(stream: HostResponse) -> str | None:
    lines = [line for line in stream.body.splitlines() if line.strip() and not line.startswith((b"data:", b":"))]
    if lines:
        return f"a line that is no data: {lines[0][:60]!r}"
    events = sum(not is_done(document) for document in stream.documents)
    return None if events == len(stream.chunks) else "an event that is no JSON object"


def _odd_end(stream: HostResponse) -> str | None:
    return None if stream.documents and is_done(stream.documents[-1]) else "the stream ends without it"


def _odd_fields(stream: HostResponse) -> str | None:
    for name in ("id", "object", "created", "model"):
        values = [chunk.get(name) for chunk in stream.chunks]
        if None in values:
            return f"{values.count(None)} of {len(values)} chunks have no `{name}`"
        if len(set(map(json.dumps, values))) > 1:
            return f"`{name}` changes within the stream"
    return None


def _odd_choices(stream: HostResponse) -> str | None:
    for chunk in stream.chunks:
        choices = chunk.get("choices")
        if choices == [] and chunk.get("usage"):
            continue
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            return f"a chunk has {len(choices) if isinstance(choices, list) else 'no'} choices"
        if missing := [name for name in ("index", "delta", "finish_reason") if name not in choices[0]]:
            return f"a choice has no `{missing[0]}`"
    return None


def _odd_role(stream: HostResponse) -> str | None:
    roles = [delta.get("role") for delta in stream.deltas]
    if roles[:1] != ["assistant"]:
        return "the first chunk has no role"
    return f"{len(roles) - roles.count(None)} chunks have a role" if any(roles[1:]) else None


def _odd_finish(stream: HostResponse) -> str | None:
    positions = [number for number, choice in enumerate(stream.choices) if choice.get("finish_reason")]
    if not positions:
        return "no chunk has a finish reason"
    after = [delta for choice in stream.choices[positions[0] + 1 :] if (delta := choice.get("delta"))]
    return "text or calls follow the finish reason" if any(map(_has_output, after)) else None


def _has_output(delta: dict[str, Any]) -> bool:
    return bool(delta.get("content") or delta.get("tool_calls"))


def _odd_calls(stream: HostResponse) -> str | None:
    indexes: list[Any] = []
    for part in (part for delta in stream.deltas for part in delta.get("tool_calls") or ()):
        function_part = part.get("function") or {}
        index = part.get("index")
        if index is None:
            return "a call has no `index`"
        if index not in indexes:
            if index != len(indexes):
                return f"call number {len(indexes)} has the index {index}"
            indexes.append(index)
            if not (part.get("id") and part.get("type") and function_part.get("name")):
                return "a call does not begin with `id`, `type` and its name"
        elif index != indexes[-1]:
            return "a call continues after the next one began"
        elif part.get("id") or function_part.get("name"):
            return "a later chunk of a call repeats its id or name"
    return None


def _cut_character(stream: HostResponse) -> str | None:
    texts = [value for delta in stream.deltas for value in delta.values() if isinstance(value, str)]
    halves = any("\ud800" <= character <= "\udfff" or character == "\ufffd" for text in texts for character in text)
    return "a character is cut between two chunks" if halves else None


STREAMS = Group("streams", (EVENTS, DONE, FIELDS, CHOICES, ROLE, FINISH, CALLS, CHARACTERS), _requests, _judge)
