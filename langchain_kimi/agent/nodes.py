"""The state machine: model → tools → model … until the model stops.

begin → model ──no calls───────────────→ END (or respond → END)
          │ ├──a limit is reached──────→ wrap_up → END (or respond → END)
          │ └──a person must decide────→ review ─→ as below, or back to model
          ├──one Send per call─────────→ tools ──────→ model
          └──one Send per unusable call→ unusable ──→ model
"""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import END
from langgraph.runtime import get_runtime
from langgraph.types import Send

from langchain_kimi._finish_reasons import CONTENT_FILTER, LENGTH, calls_may_run
from langchain_kimi._raw_calls import CALLS, quote_arguments
from langchain_kimi.agent.approval import Approval, approved
from langchain_kimi.agent.budget import agent_name, budget_of
from langchain_kimi.agent.compaction.archive import message_text, thread_id_of
from langchain_kimi.agent.compaction.compactor import CompactionResult, Compactor
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.editing import edits_state
from langchain_kimi.agent.handoff import idle_handoffs, superseded
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.loop_guard import MARK, LoopGuard
from langchain_kimi.agent.model_call import SHOWN, Said, Speaker, asked_again
from langchain_kimi.agent.spending import account, spent_by, spent_on
from langchain_kimi.agent.state import (
    CLOSING,
    EMPTY,
    AgentState,
    AnyCall,
    SpentSoFar,
    add_kimi_messages,
    add_spent,
    as_new,
    calls_of,
    has_unique_ids,
    is_empty,
    is_regular,
    last_answer,
    pending_calls,
    refused,
    spent_since,
    with_unique_ids,
)
from langchain_kimi.agent.steps import Ask, Effect
from langchain_kimi.agent.tool_call import SECONDS, Job
from langchain_kimi.errors import warn
from langchain_kimi.usage import UsageMeter

_NOT_RUN = "Not run: {why}. Answer now with what you have; no further tool can be called."
_ENDED = "Not run: the turn has ended."
_NOT_JSON = "The arguments are no JSON object{}. Call the tool again with one."
_CUT = (
    "The answer reached its length cap within these arguments, so they were not run. Call the tool again with less in "
    "one call."
)
_NOT_WHOLE = (
    "Not run: the answer with this call ended with the finish reason {reason!r}, so it may not be whole. Make the call "
    "again if it is still needed."
)
_WITHHELD = "Not run: the host's moderation stopped the answer with this call (finish reason 'content_filter')."
_NO_SUCH_TOOL = "{name} is not a tool you have. Your tools are: {known}."
_BLOCKED = (
    "Not run: this call was made {count} times with the same result. It is blocked; do something else, or answer with "
    "what you have."
)
_FROM_INPUT = (
    "This call was part of the input and was not run here. No result of it is recorded: it may or may not have run "
    "before."
)
_ANSWER_AS_OBJECT = "Give your last answer again, as the object that is asked for and nothing else."
_CLOSING = "I have to stop here without an answer: {why}."
_MODERATED = "the host's moderation stopped it"
_ONLY_THOUGHT = "the model used up its output cap by thinking, twice"
_NOTHING = "the model answered with neither text nor tool calls (finish reason {!r})"
_REASONS = {
    "recursion_limit": "LangGraph's recursion limit is reached",
    "loop": "the same calls were made over and over",
    "errors": "every call of the last turns failed",
    "caller": "a limit of the calling agent is reached",
}

Steps = Generator[Effect, Any, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Role:
    """Who speaks: a model with its prompt and tools, what keeps its requests short, and what asks for its object."""

    speaker: Speaker
    compactor: Compactor | None
    respond: Runnable[Any, Any] | None


class Loop:
    """What the nodes do, and which way the turn goes on. Nodes that ask the model are policies for `effects.drive`."""

    def __init__(
        self,
        role: Callable[[AgentState], Role],
        *,
        tools: Collection[str],
        limits: AgentLimits,
        guard: LoopGuard | None,
        approval: Approval,
        sequential: Collection[str],
        responds: bool,
        handoffs: Collection[str] = frozenset(),
        runs_input_calls: bool = False,
        hooks: tuple[bool, bool] = (False, False),
    ) -> None:
        before, after = hooks
        self._role = role
        self._tools = tools
        self._limits = limits
        self._guard = guard
        self._approval = approval
        self._sequential = sequential
        self._handoffs = handoffs
        self._runs_input_calls = runs_input_calls
        self._asks = "pre_model_hook" if before else "model"
        self.responds = responds
        """Whether an object is asked for in the end."""
        self._last_step = 1 + after + responds
        """What `remaining_steps` shows in the last superstep in which the model may end the turn by itself."""
        self._one_round = self._last_step + 2 + before
        """What it must show after the model for tools and the model that reads their results."""

    @property
    def reviews(self) -> bool:
        """Whether any tool needs a person's decision."""
        return bool(self._approval)

    # Nodes.

    def begin(self, state: AgentState) -> dict[str, Any]:
        """A new user turn: what was spent before is not counted against its limits."""
        if compactor := self._role(state).compactor:
            compactor.check_store(get_runtime().store)
        update: dict[str, Any] = {"kimi_turn": state.get("spent") or {}, "stop_reason": None}
        if agent := self._role(state).speaker.agent:
            update["active_agent"] = agent
        if not self._runs_input_calls and (refusals := _input_calls_refused(state["messages"])):
            update["messages"] = refusals
        if state.get("kimi_review"):
            update["kimi_review"] = {}
        return update | ({"structured_response": None} if self.responds else {})

    def model(self, state: AgentState) -> Steps:
        """The model's next answer, or its last one where a limit was reached meanwhile."""
        if pending_calls(state["messages"]):
            # A sequential tool's turn comes, or the thread was left here: the route goes on with the calls.
            answer = last_answer(state["messages"])
            return {} if answer is None or has_unique_ids(answer) else {"messages": [with_unique_ids(answer)]}
        budget_of(get_config()).check_writes()
        begun = time.perf_counter()
        spent = add_spent(self._spent(state), {"seconds": self._tool_seconds(state["messages"])})
        reason = self._limits.reached(spent) or self._callers_limit(state)
        if state["remaining_steps"] <= self._last_step:
            reason = reason or "recursion_limit"
        if reason:
            return (yield from self._last_answer(state, reason, begun))
        said = yield from self._said(state)
        finish = said.answer.response_metadata.get("finish_reason") or "stop"
        calls = calls_of(said.answer)
        if finish == "tool_calls" and not calls:
            finish = "stop"  # `tool_calls` as `stop_reason` is the limit of this name
        withheld: list[Any] = [refused(call, _WITHHELD) for call in calls] if finish == CONTENT_FILTER else []
        ended = {} if calls and not withheld else {"stop_reason": finish}
        if withheld or (finish == CONTENT_FILTER and not said.answer.text.strip()):
            withheld.append(self._closing(state, _MODERATED))
        elif is_empty(said.answer) and not self.responds:
            ended = {"stop_reason": EMPTY if is_regular(said.answer) else finish}
            withheld.append(self._closing(state, _why_empty(said.answer)))
        messages = [*said.before, said.answer, *withheld]
        return {"messages": messages, **said.update, **ended, **self._answered(state, said.paid, begun)}

    def wrap_up(self, state: AgentState) -> Steps:
        """One last answer without tools; calls that are still open are answered as not run."""
        calls = pending_calls(state["messages"])
        reason = self._verdict(state, calls) or "recursion_limit"
        return (yield from self._last_answer(state, reason, time.perf_counter()))

    def respond(self, state: AgentState) -> Steps:
        """The last answer as a validated object."""
        begun = time.perf_counter()
        speaker, respond = self._role(state).speaker, self._role(state).respond
        assert respond is not None
        seen = with_excerpts(state["messages"], state.get("kimi_excerpts") or {})
        request = [*speaker.prompt(state), *speaker.view(seen), HumanMessage(_ANSWER_AS_OBJECT)]
        meter = UsageMeter()  # the model may be asked more than once
        outcome = yield from asked_again(Ask(respond, request, heard_by=[meter], metadata=speaker.metadata), [])
        if outcome["parsing_error"] is not None:
            raise outcome["parsing_error"]
        self._count_turns(state, 1)
        return {"structured_response": outcome["parsed"], **self._account(state, meter, begun)}

    def unusable(self, refusal: Mapping[str, Any]) -> dict[str, Any]:
        """An error result for a call that cannot be run."""
        call, blocked = refusal["call"], refusal.get("blocked")
        if blocked:
            _tell("guard", stage="block", name=call["name"], tool_call_id=call["id"])
        kept = {MARK: blocked} if blocked else {}
        return {"messages": [refused(call, refusal["why"], **kept)]}

    def review(self, state: AgentState) -> dict[str, Any]:
        """What people decide of the calls that need it."""
        gated = self._approval.gated(state, pending_calls(state["messages"]))
        answer = last_answer(state["messages"])
        if not gated or answer is None:
            return {}
        if not has_unique_ids(answer):  # an edit of the state brought it
            return {"messages": [with_unique_ids(answer)]}
        return self._approval.review(state, gated, lambda call: self._unusable(state, call))

    # Routes.

    def route(self, state: AgentState) -> str | list[Send]:
        """Where the turn goes after the model spoke."""
        calls = pending_calls(state["messages"])
        if not calls and edits_state() and _awaits_answer(state):
            return self._asks
        if not calls:
            return "respond" if self.responds and state.get("stop_reason") != CONTENT_FILTER else END
        answer = last_answer(state["messages"])
        if answer is not None and not has_unique_ids(answer):
            return self._asks  # a hook or an edit of the state brought it
        brought = edits_state() and answer is not None and SHOWN not in answer.additional_kwargs
        if brought and self._role(state).speaker.selects_in_run:
            return self._asks  # which tools the message may call is known in the run only
        if self._verdict(state, calls):
            return "wrap_up"
        if self._approval.gated(state, calls):
            return "review"
        return self._dispatched(state, calls)

    def route_reviewed(self, state: AgentState) -> str | list[Send]:
        """Where the turn goes after people decided."""
        calls = pending_calls(state["messages"])
        if self._approval.gated(state, calls):
            return "review"
        answer = last_answer(state["messages"])
        if not calls or (answer is not None and not has_unique_ids(answer)):
            return self._asks
        return self._dispatched(state, calls)

    def _dispatched(self, state: AgentState, calls: Sequence[AnyCall]) -> list[Send]:
        """The calls that may run side by side now: all up to the second one of the sequential tools."""
        sends: list[Send] = []
        waits = False
        for call in calls:
            if call["name"] in self._sequential:
                if waits:
                    break
                waits = True
            sends.append(self._sent(state, call))
        return sends

    def _sent(self, state: AgentState, call: AnyCall) -> Send:
        runs: Any = approved(state, call) or call
        if why := self._unusable(state, runs):
            if "error" in runs:
                why = f"{why} {quote_arguments(runs['args'])}"
            return Send("unusable", {"call": call, "why": why})
        job: dict[str, Any] = {"call": runs}
        job["left"] = self._limits.left(self._spent(state), len(pending_calls(state["messages"])))
        if agent := self._role(state).speaker.agent:
            job["agent"] = agent
        if self._guard:
            repeats = self._guard.repeats(state["messages"], call)
            if repeats.count >= self._guard.block:
                why = _BLOCKED.format(count=repeats.count)
                return Send("unusable", {"call": call, "why": why, "blocked": repeats.fingerprint})
            if repeats.count + 1 >= self._guard.hint:
                job["repeats"] = (repeats.count, repeats.fingerprint)
        if runs is not call and (runs["name"], runs["args"]) != (call["name"], call["args"]):
            job["edited"] = True
        return Send("tools", Job(**job))  # type: ignore[typeddict-item]

    def _unusable(self, state: AgentState, call: Any) -> str | None:
        """Why a call cannot be run at all."""
        said = last_answer(state["messages"])
        assert said is not None
        if "error" in call:
            reason = said.response_metadata.get("finish_reason")
            if reason == "length":
                return _CUT
            if CALLS in said.additional_kwargs and not calls_may_run(reason):
                return _NOT_WHOLE.format(reason=reason)
            return _NOT_JSON.format(f": {call['error']}" if call["error"] else "")
        shown = said.additional_kwargs.get(SHOWN)
        if shown is None:  # the message was not written by this agent's model
            shown = self._role(state).speaker.shown(state)
        if call["name"] not in shown:
            return _NO_SUCH_TOOL.format(name=call["name"], known=", ".join(shown) or "none")
        return superseded(said, call, self._handoffs)

    # What decides.

    def _verdict(self, state: AgentState, calls: Sequence[AnyCall]) -> str | None:
        """Why these calls must not be run any more."""
        if limit := self._limits.reached(self._spent(state), len(calls)):
            return limit
        if (caller := budget_of(get_config()).caller) and caller.reached(len(calls)):
            return "caller"
        if state["remaining_steps"] < self._one_round and not edits_state():
            return "recursion_limit"
        if self._guard is None:
            return None
        tries = [self._guard.repeats(state["messages"], call).count + 1 for call in calls]
        if max(*tries, idle_handoffs(state["messages"], self._handoffs)) >= self._guard.stop:
            return "loop"
        return "errors" if self._guard.only_errors(state["messages"]) else None

    def _last_answer(self, state: AgentState, reason: str, begun: float) -> Steps:
        why = _REASONS.get(reason) or f"{self._limits.words(reason)} is reached"
        _tell("limit", reason=reason)
        not_run = [refused(call, _NOT_RUN.format(why=why)) for call in pending_calls(state["messages"])]
        if reason == "caller" and isinstance(state["messages"][-1], HumanMessage):
            return {"messages": [self._closing(state, why)], "stop_reason": reason}  # nothing was begun yet
        said = yield from self._said(state, not_run, silent=True)
        messages, paid, turns, update = [*said.before, said.answer], list(said.paid), 1, said.update
        if stray := calls_of(said.answer):
            # A model may call tools although told not to. Unanswered, such calls would spoil the thread; and without
            # another answer the turn would end in their results.
            so_far: Any = {**state, **update, "messages": add_kimi_messages(state["messages"], [messages])}
            not_run = [refused(call, _NOT_RUN.format(why=why)) for call in stray]
            said = yield from self._said(so_far, not_run, silent=True)
            messages += [*said.before, said.answer, *(refused(call, _ENDED) for call in calls_of(said.answer))]
            paid, turns, update = [*paid, *said.paid], 2, {**update, **said.update}
        if calls_of(said.answer) or not said.answer.text.strip():
            messages.append(self._closing(state, why))
        self._count_turns(state, turns)
        ended = {"messages": messages, **update, "stop_reason": reason}
        return ended | self._answered(state, paid, begun, turns)

    def _closing(self, state: AgentState, why: str) -> AIMessage:
        """The end of a turn in which the model gave no answer."""
        name = self._role(state).speaker.agent
        return AIMessage(_CLOSING.format(why=why), name=name, additional_kwargs={CLOSING: True})

    def _said(
        self, state: AgentState, added: Sequence[ToolMessage] = (), *, silent: bool = False
    ) -> Generator[Effect, Any, Said]:
        """The model's answer to the thread and what is added to it, the thread made shorter first where it is due."""
        said = yield from self._asked(state, added, silent=silent)
        return replace(said, answer=as_new(said.answer, state["messages"]))

    def _asked(self, state: AgentState, added: Sequence[ToolMessage], *, silent: bool) -> Generator[Effect, Any, Said]:
        excerpts: Excerpts = state.get("kimi_excerpts") or {}
        messages = with_excerpts(state["messages"], excerpts) if excerpts else state["messages"]
        hooked = with_excerpts(state.get("llm_input_messages") or [], excerpts)
        role = self._role(state)
        speaker, compactor = role.speaker, role.compactor
        if compactor is None or hooked:
            said = yield from speaker.say(state, [*(hooked or messages), *added], silent=silent)
            return replace(said, before=[*added, *said.before])
        shorter: CompactionResult | None = None
        if compactor.is_due(speaker.view(messages), speaker.prompt(state)):
            shorter = yield from _compacted(role, compactor, state)
        try:
            kept = with_excerpts(shorter.messages, shorter.excerpts) if shorter else messages
            said = yield from speaker.say(state, [*kept, *added], silent=silent, roomy=shorter is None)
        except ContextOverflowError as error:
            if shorter:
                raise
            shorter = yield from _compacted(role, compactor, state, error)
            if not (shorter.update or shorter.excerpts != excerpts or speaker.may_squeeze):
                raise
            kept = with_excerpts(shorter.messages, shorter.excerpts)
            said = yield from speaker.say(state, [*kept, *added], silent=silent)
        rewritten, paid = (shorter.update, shorter.answers) if shorter else ([], [])
        changed = {"kimi_excerpts": shorter.excerpts} if shorter and shorter.excerpts != excerpts else {}
        before = [*rewritten, *added, *said.before]
        return replace(said, paid=[*paid, *said.paid], before=before, update={**said.update, **changed})

    # Accounts.

    def _spent(self, state: AgentState) -> SpentSoFar:
        return spent_since(state.get("spent"), state.get("kimi_turn"))

    def _answered(self, state: AgentState, paid: Sequence[AIMessage], begun: float, turns: int = 1) -> dict[str, Any]:
        """What every answer of the model changes: the accounts, and that nobody has approved its calls yet."""
        approvals: dict[str, Any] = {"kimi_review": {}} if state.get("kimi_review") else {}
        return {**approvals, **self._account(state, paid, begun, turns)}

    def _callers_limit(self, state: AgentState) -> str | None:
        """Whether a limit of an agent that has this one as a tool forbids another model turn, which counts else."""
        caller = budget_of(get_config()).caller
        if caller is None:
            return None
        return "caller" if caller.used_up() or not caller.take("turns", self._name(state)) else None

    def _count_turns(self, state: AgentState, number: int) -> None:
        """Tell callers of model turns that no limit of theirs forbids: those that end the user turn."""
        if caller := budget_of(get_config()).caller:
            caller.count("turns", self._name(state), number)

    def _name(self, state: AgentState) -> str:
        """What the agent that answers is called in accounts."""
        return self._role(state).speaker.agent or agent_name(get_config())

    def _account(
        self, state: AgentState, paid: Sequence[AIMessage] | UsageMeter, begun: float, turns: int = 1
    ) -> dict[str, Any]:
        """What the model's turn used, and how long it and the tools before it took."""
        speaker = self._role(state).speaker
        used = spent_by(paid) if isinstance(paid, UsageMeter) else spent_on(paid, speaker.name)
        seconds = time.perf_counter() - begun + self._tool_seconds(state["messages"])
        spent = {"turns": turns, "seconds": round(seconds, 3), **used}
        _tell("usage", spent=add_spent(self._spent(state), spent))
        return account(spent, self._name(state))

    def _tool_seconds(self, messages: Sequence[AnyMessage]) -> float:
        """How long the tools took since the model last spoke: sequential ones added up, the others side by side."""
        side_by_side, in_a_row = 0.0, 0.0
        for message in reversed(messages):
            if not isinstance(message, ToolMessage):
                break
            seconds = message.additional_kwargs.get(SECONDS, 0.0)
            if message.name in self._sequential:
                in_a_row += seconds
            else:
                side_by_side = max(side_by_side, seconds)
        return side_by_side + in_a_row


def _compacted(
    role: Role, compactor: Compactor, state: AgentState, overflow: Exception | None = None
) -> Generator[Effect, Any, CompactionResult]:
    shorter = yield from compactor.compact(
        state["messages"],
        thread_id=thread_id_of(get_config()),
        store=get_runtime().store,
        prompt=role.speaker.prompt(state),
        overflow=overflow,
        excerpts=state.get("kimi_excerpts") or {},
    )
    _tell_excerpts(state, shorter)
    steps = [step._asdict() for step in shorter.steps]
    _tell(
        "compaction", before=shorter.tokens_before, after=shorter.tokens_after, steps=steps, archived=shorter.archived
    )
    return shorter


def _input_calls_refused(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Error results for the open calls that end the input, after their message if that needs unique ids."""
    answer = last_answer(messages)
    if answer is None or not pending_calls(messages):
        return []
    unique = with_unique_ids(answer)
    open_calls = pending_calls([unique if message is answer else message for message in messages])
    return [*([] if unique is answer else [unique]), *(refused(call, _FROM_INPUT) for call in open_calls)]


def _why_empty(answer: AIMessage) -> str:
    """Why an answer has neither text nor calls."""
    reason = answer.response_metadata.get("finish_reason")
    return _ONLY_THOUGHT if reason in LENGTH else _NOTHING.format(reason)


def _tell_excerpts(state: AgentState, shorter: CompactionResult) -> None:
    """Warn of results that the model is not shown whole any more, and tell on the stream how much is shown."""
    known = state.get("kimi_excerpts") or {}
    by_id = {message.id: message for message in shorter.messages}
    for message_id, about in shorter.excerpts.items():
        result = by_id.get(message_id)
        if not isinstance(result, ToolMessage) or known.get(message_id) == about:
            continue
        name, all_of_it, shown = result.name or "a tool", len(message_text(result)), about["characters"]
        _tell("result_excerpt", name=name, tool_call_id=result.tool_call_id, characters=all_of_it, shown=shown)
        if message_id not in known:
            warn(
                f"A result of {name!r} with {all_of_it:,} characters does not fit into the model's window: the model "
                f"is shown {shown:,} of them, and the state keeps all."
            )


def _awaits_answer(state: AgentState) -> bool:
    """Whether a turn runs and its last message is none of the model's."""
    messages = state["messages"]
    return state.get("stop_reason") is None and bool(messages) and not isinstance(messages[-1], AIMessage)


def _tell(event: str, **about: Any) -> None:
    """Tell on the `custom` stream."""
    get_stream_writer()({"event": event, **about})
