"""Removes from a recorded run what a report must not show: its secrets, or all of its content."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_kimi._cache_breaks import CacheBreak
from langchain_kimi._recorded_runs import (
    ApprovalRecord,
    MessagePart,
    ModelCallRecord,
    RecordedRun,
    RunMessage,
    ToolCallRecord,
)
from langchain_kimi.testing.cassettes.secret_values import Secrets

_PICTURE = "data:image/"


def scrub_run(run: RecordedRun, secrets: Iterable[str] = ()) -> RecordedRun:
    """The run without secrets, which are found as in cassettes; `secrets` are further values.

    The records lose their `original`. Raises CassetteError if the detector of secrets is not installed.
    """
    known = Secrets(secrets)
    known.learn_texts(set(_texts(run)))
    return _mapped(run, known.mask)


def remove_content(run: RecordedRun) -> RecordedRun:
    """The run without what people, models and tools wrote: its structure, its names, its times and its numbers."""
    messages = tuple(
        replace(one, parts=tuple(map(_size, one.parts)), reasoning=_size_of(one.reasoning)) for one in run.messages
    )
    return replace(
        run,
        messages=messages,
        model_calls=tuple(
            replace(one, error=one.error and "failed", settings={}, original=None) for one in run.model_calls
        ),
        tool_calls=tuple(replace(one, arguments=_size_of(one.arguments) or "") for one in run.tool_calls),
        approvals=tuple(replace(one, question=None, answer=None) for one in run.approvals),
        events=tuple(replace(one, text="") if one.kind in ("error", "unknown") else one for one in run.events),
        cache_breaks=tuple(replace(one, reasons=tuple(map(_without_setting, one.reasons))) for one in run.cache_breaks),
    )


def _without_setting(reason: str) -> str:
    """The reason of a cache break without the values of a setting, such as a key of the cache that a person chose."""
    return reason.partition(":")[0] if reason.startswith("other ") else reason


def _size(part: MessagePart) -> MessagePart:
    return MessagePart("other", f"{part.kind} of {len(part.value):,} characters" if part.kind == "text" else part.kind)


def _size_of(text: str | None) -> str | None:
    return None if text is None else f"{len(text):,} characters"


def _mapped(run: RecordedRun, mask: Callable[[str], str]) -> RecordedRun:
    """The run with each text and each name changed by a function."""
    return replace(
        run,
        name=mask(run.name),
        messages=tuple(_mapped_message(one, mask) for one in run.messages),
        model_calls=tuple(_mapped_call(one, mask) for one in run.model_calls),
        tool_calls=tuple(_mapped_tool_call(one, mask) for one in run.tool_calls),
        approvals=tuple(_mapped_approval(one, mask) for one in run.approvals),
        events=tuple(replace(one, agent=mask(one.agent), text=mask(one.text)) for one in run.events),
        recorded_usage={mask(agent): usage for agent, usage in run.recorded_usage.items()},
        cache_breaks=tuple(_mapped_cache_break(one, mask) for one in run.cache_breaks),
    )


def _mapped_message(message: RunMessage, mask: Callable[[str], str]) -> RunMessage:
    parts = tuple(part if _is_picture(part) else replace(part, value=mask(part.value)) for part in message.parts)
    reasoning = None if message.reasoning is None else mask(message.reasoning)
    return replace(message, agent=mask(message.agent or ""), parts=parts, reasoning=reasoning, original=None)


def _mapped_call(call: ModelCallRecord, mask: Callable[[str], str]) -> ModelCallRecord:
    return replace(
        call,
        agent=mask(call.agent),
        model=mask(call.model),
        tools=call.tools and tuple(map(mask, call.tools)),
        error=None if call.error is None else mask(call.error),
        settings=_mapped_json(call.settings, mask),
        original=None,
    )


def _mapped_tool_call(call: ToolCallRecord, mask: Callable[[str], str]) -> ToolCallRecord:
    return replace(
        call,
        agent=mask(call.agent),
        name=mask(call.name),
        call_id=mask(call.call_id),
        sub_agent=call.sub_agent and mask(call.sub_agent),
        arguments=mask(call.arguments),
    )


def _mapped_approval(approval: ApprovalRecord, mask: Callable[[str], str]) -> ApprovalRecord:
    question, answer = _mapped_json(approval.question, mask), _mapped_json(approval.answer, mask)
    return replace(approval, agent=mask(approval.agent), question=question, answer=answer)


def _mapped_cache_break(lost: CacheBreak, mask: Callable[[str], str]) -> CacheBreak:
    reasons = tuple(map(mask, lost.reasons))
    return replace(lost, agent=lost.agent and mask(lost.agent), model=mask(lost.model), reasons=reasons)


def _mapped_json(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list | tuple):
        return [_mapped_json(item, mask) for item in value]
    if isinstance(value, Mapping):
        return {mask(str(key)): _mapped_json(item, mask) for key, item in value.items()}
    return value if isinstance(value, int | float | None) else mask(str(value))


def _is_picture(part: MessagePart) -> bool:
    return part.kind == "picture" and part.value.startswith(_PICTURE)


def _texts(run: RecordedRun) -> Iterator[str]:
    """Every text in which a secret may stand. A detector reads JSON best as it was written."""
    for message in run.messages:
        yield from (part.value for part in message.parts if not _is_picture(part))
        yield message.reasoning or ""
    yield from (call.arguments for call in run.tool_calls)
    for approval in run.approvals:
        yield json.dumps([approval.question, approval.answer], default=str)
    yield from (event.text for event in run.events)
    yield from (reason for lost in run.cache_breaks for reason in lost.reasons)
    for call in run.model_calls:
        yield json.dumps([call.error, dict(call.settings)], default=str)
