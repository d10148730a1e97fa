"""Tools whose calls never run twice by themselves: what is asked about calls without a known result, and what follows.

A call of such a tool that may have started and has no result is unknown. A person decides about it, or the model is
told. The request and the response have the form of those of `approval`, with decisions of their own, so that nobody
who approves by habit runs a call again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict, get_args

from langchain_core.messages import ToolCall, ToolMessage
from langgraph.types import interrupt
from pydantic import AfterValidator, BeforeValidator

from langchain_kimi.agent.state import UnknownCall
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT, call_text, error_result

OnUnknown: TypeAlias = Literal["ask", "tell_model"]
"""What happens with a call of a tool in `once` that may have run and has no result: people decide, or the model is told
that its result is unknown."""

OnceDecisionType: TypeAlias = Literal["happened", "run", "unknown"]
"""What a person may decide about a call whose result is unknown: it took effect, it did not and is to run, or nobody
knows."""
ONCE_DECISIONS: tuple[OnceDecisionType, ...] = get_args(OnceDecisionType)


class OnceDecision(TypedDict):
    """A person's decision about one call whose result is unknown."""

    type: OnceDecisionType
    message: NotRequired[str]
    """With `happened`, the result of the call; with `unknown`, what the model reads beside that, or nothing."""


class OnceAction(TypedDict):
    """A call whose result is unknown, as people see it."""

    name: str
    args: dict[str, Any]
    description: str
    idempotency_key: str
    """The key that the tool had, to look for its effect elsewhere."""


class OnceReview(TypedDict):
    """The decisions that a call takes."""

    action_name: str
    allowed_decisions: list[OnceDecisionType]


class OnceRequest(TypedDict):
    """The value of the interrupt that asks for decisions: one request and one review for each call, in order."""

    action_requests: list[OnceAction]
    review_configs: list[OnceReview]


_INTERRUPTED = "The run was interrupted while it may have been at work, and no result was recorded."
_GIVEN_UP = "It gave no result within {seconds:g} seconds and was given up; it may still be at work."
_DESCRIPTION = "It is not known whether this call took effect. {reason}\n\nTool: {name}\nArgs: {args}"
_FORMAT = 'give {"decisions": [{"type": "unknown"}, …]}, with one decision for each call, in order.'

_Response: TypeAlias = dict[Literal["decisions"], list[dict[str, Any]]]


class Once:
    """The tools in `once`, and what happens with their unknown calls."""

    def __init__(self, once: Collection[str], on_unknown: OnUnknown) -> None:
        if isinstance(once, str) or not isinstance(once, Collection) or not all(isinstance(name, str) for name in once):
            raise TypeError(f"once={once!r}: give the names of tools, as in {{'send_mail'}}.")
        if on_unknown not in get_args(OnUnknown):
            raise ValueError(f"on_unknown={on_unknown!r}: give 'ask' or 'tell_model'.")
        self.tools = frozenset(once)
        self.asks = bool(once) and on_unknown == "ask"

    def check_tools(self, tools: Collection[str]) -> None:
        """Raise ValueError for a name in `once` that is none of these tools."""
        if unknown := sorted(self.tools - set(tools)):
            raise ValueError(f"once names {', '.join(unknown)}; the tools are: {', '.join(tools) or 'none'}.")


def is_once_request(value: Any) -> bool:
    """Whether the value of an interrupt asks about calls whose result is unknown."""
    actions = value.get("action_requests") if isinstance(value, Mapping) else None
    return bool(actions) and all("idempotency_key" in action for action in actions or ())


def interrupted(shown: str, message: str) -> UnknownCall:
    """The record of a call, given as text, that a run left behind."""
    return {"message": message, "shown": shown, "reason": _INTERRUPTED}


def given_up(call: ToolCall, message: str, seconds: float) -> UnknownCall:
    """The record of a call that exceeded its timeout."""
    return {"message": message, "shown": call_text(call), "reason": _GIVEN_UP.format(seconds=seconds)}


def clarify(records: Mapping[str, UnknownCall], calls: Sequence[ToolCall], keys: Sequence[str]) -> dict[str, Any]:
    """Interrupt the run for decisions on unknown calls, and return the update that applies them."""
    if edited := _shown_again(records, calls):
        return {"kimi_unknown": edited}
    results = [_result_of(call, decision) for call, decision in zip(calls, _ask(records, calls, keys), strict=True)]
    return {
        "messages": [result for result in results if result],
        "kimi_unknown": dict.fromkeys(call["id"] or "" for call in calls),
    }


def unknown_result(call: Mapping[str, Any], message: str | None = None) -> ToolMessage:
    """The error result that tells the model that the result of a call is unknown."""
    return error_result(call, f"{UNKNOWN_RESULT} {message}" if message else UNKNOWN_RESULT)


def _shown_again(records: Mapping[str, UnknownCall], calls: Sequence[ToolCall]) -> dict[str, UnknownCall]:
    """The records of the calls that were edited since they started or were shown, with the calls as they are now.

    They are stored one superstep before the interrupt, so that a decision counts only for calls that people saw.
    """
    return {
        call["id"] or "": {**records[call["id"] or ""], "shown": call_text(call)}
        for call in calls
        if records[call["id"] or ""]["shown"] != call_text(call)
    }


def _ask(records: Mapping[str, UnknownCall], calls: Sequence[ToolCall], keys: Sequence[str]) -> list[OnceDecision]:
    """Interrupt the run for decisions on the calls, and return the decisions.

    A response that does not fit is refused before LangGraph stores it, so that another one can be given.
    """
    request: OnceRequest = {
        "action_requests": [
            {
                "name": call["name"],
                "args": call["args"],
                "description": _DESCRIPTION.format(
                    reason=records[call["id"] or ""]["reason"], name=call["name"], args=call["args"]
                ),
                "idempotency_key": key,
            }
            for call, key in zip(calls, keys, strict=True)
        ],
        "review_configs": [{"action_name": call["name"], "allowed_decisions": list(ONCE_DECISIONS)} for call in calls],
    }

    def decisions(response: _Response) -> _Response:  # the name stands in pydantic's error
        return _checked(response, calls)

    schema: Any = Annotated[_Response, AfterValidator(decisions), BeforeValidator(_check_format)]
    made: list[OnceDecision] = interrupt(request, response_schema=schema)["decisions"]
    return made


def _result_of(call: ToolCall, decision: OnceDecision) -> ToolMessage | None:
    """The result of a call by a person's decision; None for a call that is to run."""
    if decision["type"] == "run":
        return None
    if decision["type"] == "happened":
        return ToolMessage(decision["message"], tool_call_id=call["id"] or "", name=call["name"])
    return unknown_result(call, decision.get("message"))


def _check_format(response: Any) -> Any:
    """Raise ValueError, which says the format, for a response of another one."""
    decisions = response.get("decisions") if isinstance(response, Mapping) else None
    if not isinstance(decisions, (list, tuple)) or not all(isinstance(decision, Mapping) for decision in decisions):
        raise ValueError(_FORMAT)
    return response


def _checked(response: _Response, calls: Sequence[ToolCall]) -> _Response:
    decisions = response.get("decisions", [])
    if len(decisions) != len(calls):
        raise ValueError(f"{len(decisions)} decisions for {len(calls)} calls: give one for each, in order.")
    for at, (call, decision) in enumerate(zip(calls, decisions, strict=True)):
        kind, message = decision.get("type"), decision.get("message")
        if kind not in ONCE_DECISIONS:
            raise ValueError(
                f"decisions[{at}]: {kind!r} is not allowed for a call of {call['name']} whose result is unknown; it "
                f"takes {', '.join(ONCE_DECISIONS)}."
            )
        if kind == "happened" and not isinstance(message, str):
            raise ValueError(f"decisions[{at}]: `happened` needs a `message`, which is the result of the call.")
        if not isinstance(message, str | None):
            raise ValueError(f"decisions[{at}]: `message` must be a text.")
    return response
