"""Which histories the host takes: foreign and repeated call ids, broken arguments, missing reasoning."""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_kimi._host_checks.checks import RECORDED, VERIFIER, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, call_and_result, user
from langchain_kimi._host_checks.streams import WEATHER
from langchain_kimi._raw_calls import NO_REASONING, wire_arguments

OSLO = '{"city":"Oslo"}'
BROKEN = '{"city":"Os'
_CAP = 4
"""Only whether the request is taken matters."""

IDS = Check("call_ids", "should", "every call of an answer has an id of its own", VERIFIER)
FOREIGN = Check("foreign_ids", "must", "the call ids of other hosts and models are taken in the history", RECORDED)
REPEATED = Check(
    "repeated_ids",
    "must",
    "an id that is used twice is taken, or refused with 400; with a suffix it is taken",
    RECORDED,
)
BROKEN_ARGUMENTS = Check(
    "broken_arguments",
    "must",
    "arguments that are no JSON are taken, or refused with 400; an object with their text is taken",
    RECORDED,
)
PADDED = Check("padded_reasoning", "must", "a call's message with a space as reasoning is taken", RECORDED)


def _requests(profile: HostProfile) -> list[ChatRequest]:
    thought = profile.reasoning("I look at the weather.")
    first = call_and_result("get_weather:0", "get_weather", OSLO, "rain", thought)
    return [
        _request(profile, "foreign_id", call_and_result("call_x7Yb2", "get_weather", OSLO, "rain", thought)),
        _request(profile, "kimi_id", call_and_result("functions.get_weather:0", "get_weather", OSLO, "rain", thought)),
        _request(profile, "repeated_id", [*first, *first]),
        _request(profile, "suffixed_id", [*first, *_with_id(first, "get_weather:0~2")]),
        _request(profile, "broken", call_and_result("get_weather:0", "get_weather", BROKEN, "failed", thought)),
        _request(
            profile,
            "repaired",
            call_and_result("get_weather:0", "get_weather", wire_arguments(BROKEN), "failed", thought),
        ),
        *_without_reasoning(profile),
    ]


def _without_reasoning(profile: HostProfile) -> list[ChatRequest]:
    if not profile.thinks:
        return []
    texts: dict[str, Mapping[str, Any]] = {
        "no_reasoning": {},
        "empty_reasoning": profile.reasoning(""),
        "padded": profile.reasoning(NO_REASONING),
    }
    return [
        _request(profile, name, call_and_result("get_weather:0", "get_weather", OSLO, "rain", reasoning))
        for name, reasoning in texts.items()
    ]


def _request(profile: HostProfile, name: str, call: list[dict[str, Any]]) -> ChatRequest:
    fields = {"tools": [WEATHER], **profile.least_effort()}
    return ChatRequest(name, [user("How is the weather in Oslo?"), *call], _CAP, fields, stream=False)


def _with_id(messages: list[dict[str, Any]], call_id: str) -> list[dict[str, Any]]:
    assistant, result = messages
    calls = [{**call, "id": call_id} for call in assistant["tool_calls"]]
    return [{**assistant, "tool_calls": calls}, {**result, "tool_call_id": call_id}]


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    results = [
        _ids([*record["parallel"], *record.get("arguments", ())]),
        _foreign(profile, record),
        _raw_and_repaired(REPEATED, record["repeated_id"], record["suffixed_id"]),
        _raw_and_repaired(BROKEN_ARGUMENTS, record["broken"], record["repaired"]),
    ]
    return [*results, _padded(profile, record["padded"][0])] if profile.thinks else results


def _ids(responses: Iterable[HostResponse]) -> CheckResult:
    setting = "none needed: ChatKimi gives such calls ids of their own"
    for response in responses:
        ids = response.call_ids
        if None in ids or "" in ids:
            return IDS.differs("a call has no id", setting)
        if len(set(ids)) < len(ids):
            return IDS.differs(f"one answer has two calls with the id {ids[0]}", setting)
    return IDS.passed()


def _foreign(profile: HostProfile, record: Record) -> CheckResult:
    foreign, kimi = record["foreign_id"][0], record["kimi_id"][0]
    if foreign.is_answer:
        return FOREIGN.passed() if kimi.is_answer else FOREIGN.failed(f"Kimi's own form is refused: {kimi.outcome}")
    if kimi.is_answer and profile.row and profile.row.family == "k2":
        return FOREIGN.differs(
            f"only ids of Kimi's form are taken: {foreign.outcome}",
            "none needed: ChatKimi gives K2's foreign calls ids of that form",
        )
    return FOREIGN.failed(foreign.outcome, "begin a new thread on this host")


def _raw_and_repaired(check: Check, raw: list[HostResponse], repaired: list[HostResponse]) -> CheckResult:
    """The history as it may come about, and in the form in which `ChatKimi` sends it."""
    if not repaired[0].is_answer:
        return check.failed(f"what ChatKimi sends instead is refused: {repaired[0].outcome}")
    if raw[0].is_answer:
        return check.passed("taken")
    if raw[0].failure is None and raw[0].status < 500:
        return check.passed(f"refused with {raw[0].status}")
    return check.differs(raw[0].outcome, "none needed: ChatKimi never sends it")


def _padded(profile: HostProfile, padded: HostResponse) -> CheckResult:
    if padded.is_answer:
        return PADDED.passed()
    if profile.switch is not None:
        setting = 'missing_reasoning="thinking_off"'
        return PADDED.differs(padded.outcome, setting, missing_reasoning="thinking_off")
    return PADDED.failed(padded.outcome, 'missing_reasoning="raise", and no histories of other models')


HISTORY = Group("history", (IDS, FOREIGN, REPEATED, BROKEN_ARGUMENTS, PADDED), _requests, _judge)
