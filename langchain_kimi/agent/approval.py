"""Asks people before chosen tools run, in the formats of LangChain's human-in-the-loop middleware.

The request is `{"action_requests": [{"name", "args", "description"}], "review_configs": [{"action_name",
"allowed_decisions"}]}`, the answer `{"decisions": [{"type": "approve"}, …]}` in the order of the requests, so that
interfaces made for that middleware work. All calls of a turn are shown in one interrupt.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

from langchain_core.messages import ToolCall, ToolMessage
from langgraph.config import get_config
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import interrupt
from pydantic import AfterValidator

from langchain_kimi.agent.argument_checks import ArgumentChecks
from langchain_kimi.agent.editing import edits_state
from langchain_kimi.agent.state import AgentState, AnyCall, last_answer, refused

Decision = Literal["approve", "edit", "reject", "respond"]
ALL_DECISIONS: tuple[Decision, ...] = ("approve", "edit", "reject", "respond")

_REJECTED = "A person rejected this call; it was not run. Do not make it again unless the user asks for it."
_REJECTED_BECAUSE = "A person rejected this call; it was not run. Reason: {reason}"


class InterruptOn(TypedDict):
    """How calls of one tool are approved; a `when` that is given says for which calls."""

    allowed_decisions: Sequence[Decision]
    description: NotRequired[str | Callable[[ToolCall, Any, Runtime[Any]], str]]
    when: NotRequired[Callable[[ToolCallRequest], bool]]


Response: TypeAlias = dict[Literal["decisions"], list[dict[str, Any]]]
"""What a person answers: one decision for each request, in order."""


class Approval:
    """The tools that need a decision, and what decisions do."""

    def __init__(self, interrupt_on: Mapping[str, bool | InterruptOn], tools: Mapping[str, Any]) -> None:
        self._tools = tools
        self._arguments = ArgumentChecks(tools)
        self._gates: dict[str, InterruptOn] = {}
        for name, gate in interrupt_on.items():
            if name not in tools:
                known = ", ".join(tools) or "none"
                raise ValueError(f"interrupt_on names {name!r}, which is none of the tools: {known}.")
            if gate is True:
                self._gates[name] = {"allowed_decisions": ALL_DECISIONS}
            elif gate is not False:
                allowed = gate.get("allowed_decisions")
                if not allowed or not set(allowed) <= set(ALL_DECISIONS):
                    raise ValueError(
                        f"interrupt_on[{name!r}]: `allowed_decisions` must be some of {', '.join(ALL_DECISIONS)}, not "
                        f"{allowed!r}."
                    )
                self._gates[name] = gate

    def __bool__(self) -> bool:
        return bool(self._gates)

    def gated(self, state: AgentState, pending: Sequence[AnyCall]) -> list[ToolCall]:
        """The pending calls that need a decision and have none yet."""
        if not self._gates:
            return []
        calls: list[Any] = [call for call in pending if "error" not in call]
        return [
            call
            for call in calls
            if call["name"] in self._gates and approved(state, call) is None and self._needed(call, state)
        ]

    def _needed(self, call: ToolCall, state: AgentState) -> bool:
        when = self._gates[call["name"]].get("when")
        if when is None or edits_state():  # outside of a run there is no runtime; the node that reviews looks again
            return True
        runtime = get_runtime()
        about: Any = ToolRuntime(
            state=state,
            context=runtime.context,
            config=get_config(),
            stream_writer=runtime.stream_writer,
            tool_call_id=call["id"],
            store=runtime.store,
        )
        return when(ToolCallRequest(tool_call=call, tool=self._tools[call["name"]], state=state, runtime=about))

    def review(
        self, state: AgentState, calls: Sequence[ToolCall], unusable: Callable[[ToolCall], str | None]
    ) -> dict[str, Any]:
        """Ask for decisions on the calls, and the update that they make. `unusable` says why a call cannot run.

        What a person is to see is recorded one superstep before they are asked. So an answer counts only for calls that
        were shown: if the state was edited meanwhile, the calls as they are now are recorded, and asked for again.
        """
        shown = [[call["id"], _as_text(call)] for call in calls]
        reviewed = _reviewed(state)
        review: dict[str, Any] = {"message": _message_id(state), "approved": dict(reviewed.get("approved", {}))}
        if reviewed.get("shown") != shown:
            return {"kimi_review": {**review, "shown": shown}}
        request = {
            "action_requests": [self._request(call, state) for call in calls],
            "review_configs": [
                {"action_name": call["name"], "allowed_decisions": list(self._gates[call["name"]]["allowed_decisions"])}
                for call in calls
            ],
        }
        # Checked before LangGraph keeps the answer: one that is wrong can be given again.
        schema: Any = Annotated[Response, AfterValidator(lambda answer: self._checked(answer, calls, state, unusable))]
        decisions = interrupt(request, response_schema=schema)["decisions"]
        messages: list[ToolMessage] = []
        for call, decision in zip(calls, decisions, strict=True):
            if decision["type"] in ("approve", "edit"):
                action = decision["edited_action"] if decision["type"] == "edit" else call
                review["approved"][call["id"] or ""] = {"call": _as_text(call), "runs": _action(action)}
            else:
                messages.append(_answered(call, decision))
        return {"messages": messages, "kimi_review": review}

    def _request(self, call: ToolCall, state: AgentState) -> dict[str, Any]:
        described = self._gates[call["name"]].get("description")
        if callable(described):
            described = described(call, state, get_runtime())
        text = described or f"Tool execution requires approval\n\nTool: {call['name']}\nArgs: {call['args']}"
        return {"name": call["name"], "args": call["args"], "description": text}

    def _checked(
        self,
        answer: Response,
        calls: Sequence[ToolCall],
        state: AgentState,
        unusable: Callable[[ToolCall], str | None],
    ) -> Response:
        decisions = answer.get("decisions", [])
        if len(decisions) != len(calls):
            raise ValueError(f"{len(decisions)} decisions for {len(calls)} calls: give one for each, in order.")
        for at, (call, decision) in enumerate(zip(calls, decisions, strict=True)):
            allowed = self._gates[call["name"]]["allowed_decisions"]
            if decision.get("type") not in allowed:
                raise ValueError(
                    f"decisions[{at}]: {decision.get('type')!r} is not allowed for {call['name']}; it takes "
                    f"{', '.join(allowed)}."
                )
            if decision["type"] == "respond" and not isinstance(decision.get("message"), str):
                raise ValueError(f"decisions[{at}]: `respond` needs a `message`.")
            if decision["type"] == "edit":
                edited = _edited_call(call, decision.get("edited_action"))
                if edited is None:
                    raise ValueError(f"decisions[{at}]: `edit` needs an `edited_action` with `name` and `args`.")
                if why := self._forbidden(edited, call, state, unusable):
                    raise ValueError(f"decisions[{at}]: the edited call cannot run. {why}")
        return answer

    def _forbidden(
        self,
        edited: ToolCall,
        call: ToolCall,
        state: AgentState,
        unusable: Callable[[ToolCall], str | None],
    ) -> str | None:
        """Why a person may not edit a call into this one: it passes the checks and gates of the model's own calls."""
        if edited["name"] not in self._tools:
            return f"There is no tool {edited['name']!r}, only {', '.join(self._tools)}."
        if why := unusable(edited):
            return why
        if why := self._arguments.wrong_edit(edited):
            return why
        if edited["name"] == call["name"] or edited["name"] not in self._gates or not self._needed(edited, state):
            return None
        allowed = self._gates[edited["name"]]["allowed_decisions"]
        if {"approve", "edit"} & {*allowed}:
            return None
        return f"Calls of {edited['name']} take only these decisions: {', '.join(allowed)}."


def approved(state: AgentState, call: Any) -> ToolCall | None:
    """The call as a person approved it, changed or not; None where nobody approved exactly this call."""
    approval = _reviewed(state).get("approved", {}).get(call["id"] or "")
    if approval is None or "error" in call or approval["call"] != _as_text(call):
        return None
    runs = approval["runs"]
    return ToolCall(name=runs["name"], args=dict(runs["args"]), id=call["id"], type="tool_call")


def _reviewed(state: AgentState) -> Mapping[str, Any]:
    """What people decided of the last answer's calls, and what they were shown of them."""
    review = state.get("kimi_review") or {}
    return review if review.get("message") == _message_id(state) else {}


def _message_id(state: AgentState) -> str | None:
    answer = last_answer(state["messages"])
    return answer.id if answer else None


def _as_text(call: Mapping[str, Any]) -> str:
    """Equal for equal calls only: in Python `1 == True`, and NaN is not equal to itself."""
    return json.dumps(_action(call), default=repr)


def _action(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "args": dict(call["args"])}


def _edited_call(call: ToolCall, action: Any) -> ToolCall | None:
    if not isinstance(action, Mapping) or not isinstance(action.get("args"), Mapping):
        return None
    if not isinstance(action.get("name"), str):
        return None
    return ToolCall(name=action["name"], args=dict(action["args"]), id=call["id"], type="tool_call")


def _answered(call: ToolCall, decision: Mapping[str, Any]) -> ToolMessage:
    if decision["type"] == "respond":
        return ToolMessage(decision["message"], tool_call_id=call["id"] or "", name=call["name"])
    reason = decision.get("message")
    return refused(call, _REJECTED_BECAUSE.format(reason=reason) if reason else _REJECTED)
