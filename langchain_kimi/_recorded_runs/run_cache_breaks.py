"""Which requests of a recorded run lost their place in the prefix cache, and why."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from langchain_kimi._cache_breaks import HOST_DROPPED, AnsweredRequest, CacheBreak, CacheBreaks, PromptFingerprint
from langchain_kimi._recorded_runs.recorded_run import ModelCallRecord, RecordedRun

_NOT_IN_THREAD = "not known: a thread holds neither the system prompt nor the tools"

_MESSAGES: Mapping[str, Callable[[str], BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "tool": partial(ToolMessage, tool_call_id=""),
}


def cache_breaks_of(run: RecordedRun) -> list[CacheBreak]:
    """The requests that read less from the cache than the one before them had put there, numbered as the model calls.

    A thread holds neither system prompts nor tools, and a recording no times, so these are not among their reasons. The
    indexes of messages are those of the messages that the source holds. A log, which holds no messages, has no breaks.
    """
    return list(_breaks(run))


def _breaks(run: RecordedRun) -> Iterator[CacheBreak]:
    answered = 0.0
    conversations = CacheBreaks(lambda: answered)
    for call in run.model_calls:
        usage = call.usage
        if usage is None or call.inputs is None or call.answer is None:
            continue
        answered = call.time.end or 0.0
        prompt = PromptFingerprint.of([_message(run, number) for number in call.inputs], _settings(call))
        identity = (run.name, call.agent) if run.kind == "thread" else (run.name,)
        sent = call.time.start or 0.0
        request = AnsweredRequest(call.number, call.agent, call.model, prompt, identity, usage, sent)
        if (lost := conversations.answered(request)) is not None:
            yield replace(lost, reasons=tuple(map(_thread_reason, lost.reasons))) if run.kind == "thread" else lost


def _thread_reason(reason: str) -> str:
    """The reason as far as a thread can tell it."""
    return _NOT_IN_THREAD if reason == HOST_DROPPED else reason


def _message(run: RecordedRun, number: int) -> BaseMessage:
    """The message, or one with the same text, reasoning and calls."""
    message = run.message(number)
    if isinstance(message.original, BaseMessage):
        return message.original
    text = message.text if len(message.parts) == 1 else repr(message.parts)
    if message.role != "assistant":
        return _MESSAGES[message.role](text)
    calls = [run.tool_calls[number - 1] for number in message.tool_calls]
    tool_calls = [ToolCall(name=call.name, args={"": call.arguments}, id=call.call_id) for call in calls]
    return AIMessage(text, tool_calls=tool_calls, additional_kwargs={"reasoning_content": message.reasoning})


def _settings(call: ModelCallRecord) -> dict[str, Any]:
    """The settings of a request as callbacks name them."""
    settings = dict(call.settings)
    body = getattr(call.original, "chat", None)
    if isinstance(body, Mapping):
        settings["tools"] = body.get("tools")
    thinking = settings.get("thinking")
    if isinstance(thinking, Mapping):
        settings["thinking"] = thinking.get("type") != "disabled"
        settings["reasoning_effort"] = thinking.get("effort", settings.get("reasoning_effort"))
    return settings
