"""Asks people to approve calls of chosen tools, in the formats of LangChain's human-in-the-loop middleware.

With `interrupt_mode="batched"`, one interrupt shows all calls of a turn. Its value is `{"action_requests": [{"name",
"args", "description"}], "review_configs": [{"action_name", "allowed_decisions"}]}`, and the response `{"decisions":
[{"type": "approve"}, …]}` in the order of the requests. With `"per_call"`, each call has an interrupt of its own: its
value is a `ToolApprovalRequest`, its `response_schema` has the decisions that the tool takes, and the response is one
decision. User interfaces for that middleware work unchanged.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict, get_args

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.config import get_config
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import interrupt
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from langchain_kimi.agent.state import AgentState, is_editing_state
from langchain_kimi.agent.thread_messages import AnyCall, call_text, error_result, last_answer
from langchain_kimi.agent.tool_node.argument_checks import ArgumentChecks

DecisionType: TypeAlias = Literal["approve", "edit", "reject", "respond"]
"""What a person may do with a tool call: run it, run it changed, refuse it, or answer it in place of the tool."""
ALL_DECISIONS: tuple[DecisionType, ...] = ("approve", "edit", "reject", "respond")

_SOURCE = "hitl_interrupt_decision"
"""LangChain's `lc_source` of a tool result that a person gave; its `lc_data` names the decision."""
_REJECTED = "A person rejected this call; it was not run. Do not make it again unless the user asks for it."
_REJECTED_BECAUSE = "A person rejected this call; it was not run. Reason: {reason}"


class InterruptOn(TypedDict):
    """How people approve calls of one tool; the same keys as in LangChain's middleware."""

    allowed_decisions: Sequence[DecisionType]
    description: NotRequired[str | Callable[[ToolCall, Any, Runtime[Any]], str]]
    """The text that people see, or a function of the call, the state and the Runtime that returns it."""
    when: NotRequired[Callable[[ToolCallRequest], bool]]
    """Which calls need a decision; all without it."""


InterruptMode: TypeAlias = Literal["batched", "per_call"]
"""Whether one interrupt asks for decisions on all calls of a turn, or one for each call."""


class ToolApprovalRequest(TypedDict):
    """The value of an interrupt for one call."""

    type: Literal["tool_approval"]
    tool_call_id: str
    name: str
    args: dict[str, Any]
    description: str


class CallReview(TypedDict):
    """One call for the node that asks a person about it."""

    call: ToolCall
    message: str | None
    """The id of the message with the call."""
    description: str


ReviewResponse: TypeAlias = dict[Literal["decisions"], list[dict[str, Any]]]
"""A person's response: one decision for each request, in order."""


class Approval:
    """Asks for decisions on calls of the tools in `interrupt_on`, and applies them."""

    def __init__(
        self, interrupt_on: Mapping[str, bool | InterruptOn], tools: Mapping[str, Any], mode: InterruptMode = "batched"
    ) -> None:
        if mode not in (modes := get_args(InterruptMode)):
            raise ValueError(f"interrupt_mode={mode!r} is none of {', '.join(map(repr, modes))}.")
        self._mode = mode
        self._tools = tools
        self._arguments = ArgumentChecks(tools)
        self._interrupt_on: dict[str, InterruptOn] = {}
        if not isinstance(interrupt_on, Mapping):
            raise TypeError(f"interrupt_on={interrupt_on!r} is no dict; give tools by name, as in {{'delete': True}}.")
        for name, setting in interrupt_on.items():
            if name not in tools:
                known = ", ".join(tools) or "none"
                raise ValueError(f"interrupt_on names {name!r}, which is none of the tools: {known}.")
            if setting is not False:
                self._interrupt_on[name] = _checked_setting(name, setting)

    def __bool__(self) -> bool:
        return bool(self._interrupt_on)

    def undecided(self, state: AgentState, pending: Sequence[AnyCall]) -> list[ToolCall]:
        """The pending calls that need a decision and have none yet."""
        if not self._interrupt_on:
            return []
        calls: list[Any] = [call for call in pending if "error" not in call]
        return [
            call
            for call in calls
            if call["name"] in self._interrupt_on
            and approved(state, call) is None
            and self._needs_decision(call, state)
        ]

    def _needs_decision(self, call: ToolCall, state: AgentState) -> bool:
        when = self._interrupt_on[call["name"]].get("when")
        if when is None or is_editing_state():  # an edit has no runtime; the node `review` decides later
            return True
        runtime = get_runtime()
        tool_runtime: Any = ToolRuntime(
            state=state,
            context=runtime.context,
            config=get_config(),
            stream_writer=runtime.stream_writer,
            tool_call_id=call["id"],
            store=runtime.store,
        )
        return when(ToolCallRequest(tool_call=call, tool=self._tools[call["name"]], state=state, runtime=tool_runtime))

    def review(
        self, state: AgentState, calls: Sequence[ToolCall], rejection: Callable[[ToolCall], str | None]
    ) -> dict[str, Any]:
        """Interrupt the run for decisions on the calls, and return the update that applies them.

        `rejection` returns the reason for which a call cannot run. The calls are recorded one superstep before the
        interrupt, so that a response counts only for calls that the person saw: if the state was edited meanwhile, the
        changed calls are recorded and shown again.
        """
        shown = [[call["id"], call_text(call)] for call in calls]
        reviewed = _review_of(state)
        review: dict[str, Any] = {"message": _message_id(state), "approved": dict(reviewed.get("approved", {}))}
        if reviewed.get("shown") != shown:
            return {"kimi_review": {**review, "shown": shown}}
        if self._mode == "per_call":
            return {}
        request = {
            "action_requests": [self._request(call, state) for call in calls],
            "review_configs": [
                {
                    "action_name": call["name"],
                    "allowed_decisions": list(self._interrupt_on[call["name"]]["allowed_decisions"]),
                }
                for call in calls
            ],
        }

        # The check runs before LangGraph stores the response, so that an invalid response can be corrected.
        def decisions(response: ReviewResponse) -> ReviewResponse:  # the name stands in pydantic's error
            return self._checked(response, calls, state, rejection)

        schema: Any = Annotated[ReviewResponse, AfterValidator(decisions), BeforeValidator(_check_format)]
        response = interrupt(request, response_schema=schema)
        messages: list[ToolMessage] = []
        for call, decision in zip(calls, response["decisions"], strict=True):
            if decision["type"] in ("approve", "edit"):
                action = decision["edited_action"] if decision["type"] == "edit" else call
                review["approved"][call["id"] or ""] = {"call": call_text(call), "runs": _action(action)}
            else:
                messages.append(_result_of(call, decision))
        return {"messages": messages, "kimi_review": review}

    def call_reviews(self, state: AgentState, calls: Sequence[ToolCall]) -> list[CallReview]:
        """What to ask people about each of the calls, once the calls are recorded; empty before, and where one
        interrupt asks about all of them.
        """
        shown = [[call["id"], call_text(call)] for call in calls]
        if self._mode != "per_call" or is_editing_state() or _review_of(state).get("shown") != shown:
            return []
        return [
            CallReview(call=call, message=_message_id(state), description=self._request(call, state)["description"])
            for call in calls
        ]

    def review_call(self, review: CallReview) -> dict[str, Any]:
        """Interrupt the run for a decision on one call, and return the update that applies it."""
        call = review["call"]
        request = ToolApprovalRequest(
            type="tool_approval",
            tool_call_id=call["id"] or "",
            name=call["name"],
            args=call["args"],
            description=review["description"],
        )

        def invalid_edit(edited: ToolCall) -> str | None:
            if edited["name"] != call["name"]:
                return f"The decision is on a call of {call['name']}."
            return self._arguments.invalid_edit(edited)

        def decision(response: dict[str, Any]) -> dict[str, Any]:  # the name stands in pydantic's error
            self._check_decision(response, call, invalid_edit)
            return response

        published = WithJsonSchema(self._decision_schema(call["name"]))
        schema: Any = Annotated[dict[str, Any], AfterValidator(decision), published]
        response = interrupt(request, response_schema=schema)
        if response["type"] not in ("approve", "edit"):
            return {"messages": [_result_of(call, response)]}
        action = response["edited_action"] if response["type"] == "edit" else call
        approved = {call["id"] or "": {"call": call_text(call), "runs": _action(action)}}
        return {"kimi_review": {"message": review["message"], "approved": approved}}

    def _check_decision(
        self, decision: Mapping[str, Any], call: ToolCall, invalid_edit: Callable[[ToolCall], str | None]
    ) -> None:
        """Raise ValueError for a decision that the call does not take. `invalid_edit` returns what is wrong about the
        call that a person put in its place.
        """
        allowed = self._allowed(call["name"])
        if decision.get("type") not in allowed:
            problem = f"{decision.get('type')!r} is not allowed for {call['name']}"
            raise ValueError(f"{problem}; it takes {', '.join(allowed)}.")
        if decision["type"] == "respond" and not isinstance(decision.get("message"), str):
            raise ValueError("`respond` needs a `message`.")
        if decision["type"] == "edit":
            edited = _edited_call(call, decision.get("edited_action"))
            if edited is None:
                raise ValueError("`edit` needs an `edited_action` with `name` and `args`.")
            if reason := invalid_edit(edited):
                raise ValueError(f"the edited call cannot run. {reason}")

    def _decision_schema(self, name: str) -> dict[str, Any]:
        """The JSON Schema of a decision on a call of a tool."""
        arguments = convert_to_openai_tool(self._tools[name])["function"].get("parameters", {"type": "object"})
        action = _object_schema(name={"const": name}, args=arguments)
        text = {"type": "string"}
        schemas: dict[DecisionType, dict[str, Any]] = {
            "approve": _object_schema(type={"const": "approve"}),
            "edit": _object_schema(type={"const": "edit"}, edited_action=action),
            "reject": _object_schema({"message": text}, type={"const": "reject"}),
            "respond": _object_schema(type={"const": "respond"}, message=text),
        }
        allowed = [schemas[decision] for decision in dict.fromkeys(self._allowed(name))]
        return allowed[0] if len(allowed) == 1 else {"anyOf": allowed}

    def _allowed(self, name: str) -> Sequence[DecisionType]:
        return self._interrupt_on[name]["allowed_decisions"]

    def _request(self, call: ToolCall, state: AgentState) -> dict[str, Any]:
        description = self._interrupt_on[call["name"]].get("description")
        if callable(description):
            description = description(call, state, get_runtime())
        text = description or f"Tool execution requires approval\n\nTool: {call['name']}\nArgs: {call['args']}"
        return {"name": call["name"], "args": call["args"], "description": text}

    def _checked(
        self,
        response: ReviewResponse,
        calls: Sequence[ToolCall],
        state: AgentState,
        rejection: Callable[[ToolCall], str | None],
    ) -> ReviewResponse:
        decisions = response.get("decisions", [])
        if len(decisions) != len(calls):
            raise ValueError(f"{len(decisions)} decisions for {len(calls)} calls: give one for each, in order.")
        for at, (call, decision) in enumerate(zip(calls, decisions, strict=True)):
            invalid_edit = partial(self._invalid_edit, call=call, state=state, rejection=rejection)
            try:
                self._check_decision(decision, call, invalid_edit)
            except ValueError as error:
                raise ValueError(f"decisions[{at}]: {error}") from None
        return response

    def _invalid_edit(
        self,
        edited: ToolCall,
        call: ToolCall,
        state: AgentState,
        rejection: Callable[[ToolCall], str | None],
    ) -> str | None:
        """The reason for which a person cannot change a call into this one, by the checks of the model's calls."""
        if edited["name"] not in self._tools:
            return f"There is no tool {edited['name']!r}, only {', '.join(self._tools)}."
        if reason := rejection(edited):
            return reason
        if reason := self._arguments.invalid_edit(edited):
            return reason
        if (
            edited["name"] == call["name"]
            or edited["name"] not in self._interrupt_on
            or not self._needs_decision(edited, state)
        ):
            return None
        allowed = self._interrupt_on[edited["name"]]["allowed_decisions"]
        if {"approve", "edit"} & {*allowed}:
            return None
        return f"Calls of {edited['name']} take only these decisions: {', '.join(allowed)}."


def _object_schema(optional: Mapping[str, Any] | None = None, /, **required: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _checked_setting(name: str, setting: bool | InterruptOn) -> InterruptOn:
    """One tool's setting as a dict. Raises TypeError or ValueError for a wrong one."""
    if isinstance(setting, bool):
        return {"allowed_decisions": ALL_DECISIONS}
    if not isinstance(setting, Mapping):
        raise TypeError(
            f"interrupt_on[{name!r}]={setting!r}: give True, False or a dict such as "
            "{'allowed_decisions': ['approve', 'reject']}."
        )
    allowed = setting.get("allowed_decisions")
    if not allowed or not set(allowed) <= set(ALL_DECISIONS):
        raise ValueError(
            f"interrupt_on[{name!r}]: `allowed_decisions` must be some of {', '.join(ALL_DECISIONS)}, not {allowed!r}."
        )
    return setting


def _check_format(response: Any) -> Any:
    """Raise ValueError, which says the format, for a response of another one."""
    decisions = response.get("decisions") if isinstance(response, Mapping) else None
    if not isinstance(decisions, (list, tuple)) or not all(isinstance(decision, Mapping) for decision in decisions):
        raise ValueError('give {"decisions": [{"type": "approve"}, …]}, with one decision for each call, in order.')
    return response


def approved(state: AgentState, call: Any) -> ToolCall | None:
    """The call as a person approved it, changed or not; None if nobody approved exactly this call."""
    approval = _review_of(state).get("approved", {}).get(call["id"] or "")
    if approval is None or "error" in call or approval["call"] != call_text(call):
        return None
    runs = approval["runs"]
    return ToolCall(name=runs["name"], args=dict(runs["args"]), id=call["id"], type="tool_call")


def _review_of(state: AgentState) -> Mapping[str, Any]:
    """The decisions on the last answer's calls, and the calls as the person saw them."""
    review = state.get("kimi_review") or {}
    return review if review.get("message") == _message_id(state) else {}


def _message_id(state: AgentState) -> str | None:
    answer = last_answer(state["messages"])
    return answer.id if answer else None


def _action(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "args": dict(call["args"])}


def _edited_call(call: ToolCall, action: Any) -> ToolCall | None:
    if not isinstance(action, Mapping) or not isinstance(action.get("args"), Mapping):
        return None
    if not isinstance(action.get("name"), str):
        return None
    return ToolCall(name=action["name"], args=dict(action["args"]), id=call["id"], type="tool_call")


def _result_of(call: ToolCall, decision: Mapping[str, Any]) -> ToolMessage:
    marks: dict[str, Any] = {"lc_source": _SOURCE, "lc_data": {"decision": decision["type"]}}
    if decision["type"] == "respond":
        return ToolMessage(
            decision["message"], tool_call_id=call["id"] or "", name=call["name"], additional_kwargs=marks
        )
    reason = decision.get("message")
    return error_result(call, _REJECTED_BECAUSE.format(reason=reason) if reason else _REJECTED, **marks)
