"""Calls that cannot run, and the error results for them."""

from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from langchain_kimi._finish_reasons import calls_may_run
from langchain_kimi._raw_calls import CALLS, quote_arguments
from langchain_kimi.agent.events import emit
from langchain_kimi.agent.loop_guard import FINGERPRINT
from langchain_kimi.agent.thread_messages import error_result

_NOT_JSON = "The arguments are no JSON object{}. Call the tool again with one."
_CUT = (
    "The answer reached its length cap within these arguments, so they were not run. Call the tool again with less in "
    "one call."
)
_NOT_COMPLETE = (
    "Not run: the answer with this call ended with the finish reason {reason!r}, so it may not be whole. Make the call "
    "again if it is still needed."
)
_NO_SUCH_TOOL = "{name} is not a tool you have. Your tools are: {known}."


def unreadable_reason(answer: AIMessage, call: Mapping[str, Any]) -> str | None:
    """The reason for which an invalid call of the answer cannot run, as text for the model; None for a valid one."""
    if "error" not in call:
        return None
    finish_reason, error = answer.response_metadata.get("finish_reason"), call["error"]
    if finish_reason == "length":
        reason = _CUT
    elif CALLS in answer.additional_kwargs and not calls_may_run(finish_reason):
        reason = _NOT_COMPLETE.format(reason=finish_reason)
    else:
        reason = _NOT_JSON.format(f": {error}" if error else "")
    return f"{reason} {quote_arguments(call['args'])}"


def no_such_tool(name: str, known: Collection[str]) -> str:
    """The reason for which a call of a tool that the model does not have cannot run."""
    return _NO_SUCH_TOOL.format(name=name, known=", ".join(known) or "none")


def unusable_result(call: Mapping[str, Any], reason: str, fingerprint: str | None = None) -> ToolMessage:
    """The error result of a call that cannot run. `fingerprint`: of the result that the loop guard saw too often."""
    if not fingerprint:
        return error_result(call, reason)
    emit({"event": "guard", "stage": "block", "name": call["name"], "tool_call_id": call["id"]})
    return error_result(call, reason, **{FINGERPRINT: fingerprint})
