"""Reasoning: whether it is returned, under which key, whether it is read back, and how it is switched off."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._host_checks.checks import DOCUMENTATION, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile, off_fields
from langchain_kimi._host_checks.responses import (
    ChatRequest,
    HostResponse,
    call_and_result,
    first_refusal,
    function,
    rate,
    user,
)
from langchain_kimi._hosts import KIMI_REASONING_KEY, ThinkingSwitch

NUMBERS = ("4817", "2953", "7364", "8126", "5079")
CLOCK = function("clock", "The time.", {}, required=[])
_SWITCHES: tuple[ThinkingSwitch, ...] = ("thinking", "chat_template_kwargs", "reasoning")
"""The forms that hosts take, Kimi's first; Kimi's own hosts ignore the others."""
_FLOOR = 0.7

SWITCH = Check("thinking_off", "should", '`thinking: {"type": "disabled"}` answers without reasoning', DOCUMENTATION)
RETURNED = Check(
    "reasoning_returned", "must", "a thinking model's answers have reasoning, streamed or whole", DOCUMENTATION
)
KEY = Check("reasoning_key", "must", "reasoning is under `reasoning_content`", DOCUMENTATION)
READ = Check(
    "reasoning_read",
    "must",
    "the model reads the reasoning of the messages before: a number that stands only there",
    DOCUMENTATION,
)


def _switch_requests(profile: HostProfile) -> list[ChatRequest]:
    if not profile.may_be_instant:
        return []
    return [
        ChatRequest(f"off_by_{switch}", [user("Reply with OK.")], 24, off_fields(switch), stream=False)
        for switch in (_SWITCHES[:1] if profile.is_kimi else _SWITCHES)
    ]


def _judge_switch(profile: HostProfile, record: Record) -> list[CheckResult]:
    if not profile.may_be_instant:
        return []
    if not any(response.reasoning_keys for response in (*record["greeting"], *record["parallel"])):
        return [SWITCH.unclear("no answer had reasoning, with or without it")]
    working = [switch for switch in _SWITCHES if all(map(_is_instant, record.get(f"off_by_{switch}", (None,))))]
    if not working:
        if profile.row and profile.row.thinking == "always":
            return [SWITCH.passed(f"{profile.row.id} always thinks here, as on Kimi")]
        return [SWITCH.failed("the model thinks in every form of the request", "leave `thinking` unset")]
    profile.switch = working[0]
    if profile.switch == "thinking":
        return [SWITCH.passed()]
    if "reasoning" in working and profile.reasoning_key == "reasoning_details":
        profile.switch = "reasoning"
    return [SWITCH.differs(f"only `{profile.switch}` does", _dialect(profile))]


def _is_instant(response: HostResponse | None) -> bool:
    return response is not None and response.is_answer and not response.reasoning_keys and bool(response.text.strip())


def _dialect(profile: HostProfile) -> str:
    return f'dialect="{profile.dialect}"' if profile.dialect else "none needed"


def _planted_requests(profile: HostProfile) -> list[ChatRequest]:
    if not profile.thinks:
        return []
    cap = 200 if profile.quick else 2048
    return [
        ChatRequest(
            f"planted_{number}",
            _planted(profile.reasoning(f"The number that I have chosen is {number}. First I call clock."), turn),
            cap,
            {"tools": [CLOCK], **profile.least_effort()},
            stream=turn % 2 == 1,
        )
        for turn, number in enumerate(NUMBERS[: profile.repeats])
    ]


def _planted(reasoning: Mapping[str, Any], turn: int) -> list[dict[str, Any]]:
    question = "Choose a four-digit number silently, call clock, and then answer with the number alone."
    return [user(question), *call_and_result(f"clock:{turn}", "clock", "{}", "12:00", reasoning)]


def _judge_reasoning(profile: HostProfile, record: Record) -> list[CheckResult]:
    if not profile.thinks:
        return []
    planted = {number: response for number in NUMBERS for response in record.get(f"planted_{number}", ())}
    responses = [*record["greeting"], *record["parallel"], *planted.values()]
    return [_returned(profile, responses), *_key(profile), _read(planted)]


def _returned(profile: HostProfile, responses: list[HostResponse]) -> CheckResult:
    streamed = any(response.reasoning_keys for response in responses if response.is_stream)
    whole = any(response.reasoning_keys for response in responses if not response.is_stream)
    if (streamed and whole) or (whole and not any(response.is_stream for response in responses)):
        return RETURNED.passed()
    if streamed:
        return RETURNED.differs("only in streams", "leave `streaming` unset: ChatKimi streams on the wire")
    if whole:
        return RETURNED.differs("only in whole responses", "streaming=False", streaming=False)
    if profile.row is None:
        return RETURNED.unclear("no answer has reasoning, and the catalogue does not know the model")
    return RETURNED.failed("no answer has reasoning", "another host: agents lose the thread of their own work")


def _key(profile: HostProfile) -> list[CheckResult]:
    if profile.reasoning_key is None:
        return [KEY.unclear("no answer has reasoning")]
    if profile.reasoning_key == KIMI_REASONING_KEY:
        return [KEY.passed()]
    return [KEY.differs(f"under `{profile.reasoning_key}`", _dialect(profile))]


def _read(planted: Mapping[str, HostResponse]) -> CheckResult:
    responses = list(planted.values())
    if (refusal := first_refusal(responses)) is not None:
        return READ.failed(f"the history was refused: {refusal}", "another host")
    numbers = {id(response): number for number, response in planted.items()}
    good, total = rate(responses, lambda response: numbers[id(response)] in response.text)
    return READ.by_rate(good, total, _FLOOR, "answers know the number", "another host: reasoning is not read")


THINKING_OFF = Group("thinking off", (SWITCH,), _switch_requests, _judge_switch)
REASONING = Group("reasoning", (RETURNED, KEY, READ), _planted_requests, _judge_reasoning)
