"""The state machine: model → tools → model … until the model stops.

model ──no calls──────────────→ END
  │ └──a limit is reached─────→ wrap_up → END
  ├──one Send per call────────→ tools ──────→ model
  └──one Send per unusable call→ unusable ──→ model
"""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer, RetryPolicy, Send

from langchain_kimi.agent.limits import Limits
from langchain_kimi.agent.state import KimiState, calls_of, turns_of
from langchain_kimi.errors import AnswerCutShort, BrokenStreamError

NOT_RUN = "Not run: {why} is reached. Answer now with what you have; no further tool can be called."
_LAST_STEP = 1
"""What LangGraph's `remaining_steps` shows in the last superstep that a graph may end in."""
_ONE_ROUND = _LAST_STEP + 2
"""What it must show after the model for the tools and the model that reads their results."""


def create_kimi_agent(
    model: BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    system_prompt: str | SystemMessage | None = None,
    limits: Limits | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    name: str = "kimi_agent",
) -> CompiledStateGraph[KimiState, Any, Any, Any]:
    """A compiled graph that runs `model` with `tools` until the model stops.

    All tool calls of a turn run in parallel, sync tools in threads. A tool that raises, a tool that does not exist and
    arguments that are no JSON object become an error result for that call alone, and the model goes on. At a limit of
    `limits`, or shortly before LangGraph's `recursion_limit`, the pending calls are answered as not run and the model
    gives one last answer without tools; `state["stop_reason"]` says why the turn ended.
    """
    loop = _Loop(model, tools, system_prompt, limits or Limits())
    graph = StateGraph(KimiState)
    # Once a token was handed out, the model does not ask again by itself; nothing of the broken answer is in the state.
    again = RetryPolicy(max_attempts=2, retry_on=BrokenStreamError)
    graph.add_node("model", RunnableLambda(loop.ask, afunc=loop.aask, name="model"), retry_policy=again)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=_told))
    graph.add_node("unusable", RunnableLambda(loop.answer_unusable, name="unusable"))
    graph.add_node("wrap_up", RunnableLambda(loop.wrap_up, afunc=loop.awrap_up, name="wrap_up"), retry_policy=again)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", loop.route, ["tools", "unusable", "wrap_up", END])
    graph.add_edge("tools", "model")
    graph.add_edge("unusable", "model")
    graph.add_edge("wrap_up", END)
    compiled = graph.compile(checkpointer=checkpointer, store=store, name=name)
    return compiled.with_config({"metadata": {"lc_agent_name": name}})


class _Loop:
    def __init__(
        self,
        model: BaseChatModel,
        tools: Sequence[BaseTool | Callable[..., Any]],
        system_prompt: str | SystemMessage | None,
        limits: Limits,
    ) -> None:
        # The tools stay in the last request: taking them out would move the prefix that Kimi's cache holds.
        self._model: Runnable[LanguageModelInput, AIMessage] = model.bind_tools(tools) if tools else model
        self._without_calls = model.bind_tools(tools, tool_choice="none") if tools else model
        self._prompt = [SystemMessage(system_prompt)] if isinstance(system_prompt, str) else [system_prompt]
        self._limits = limits

    def ask(self, state: KimiState, config: RunnableConfig) -> dict[str, Any]:
        if state["remaining_steps"] <= _LAST_STEP:
            return self.wrap_up(state, config)
        return _answered(_say(self._model, self._request(state["messages"]), config))

    async def aask(self, state: KimiState, config: RunnableConfig) -> dict[str, Any]:
        if state["remaining_steps"] <= _LAST_STEP:
            return await self.awrap_up(state, config)
        return _answered(await _asay(self._model, self._request(state["messages"]), config))

    def wrap_up(self, state: KimiState, config: RunnableConfig) -> dict[str, Any]:
        reason, not_run = self._close(state)
        answer = _say(self._without_calls, self._request([*state["messages"], *not_run]), config)
        return _ended(reason, not_run, answer)

    async def awrap_up(self, state: KimiState, config: RunnableConfig) -> dict[str, Any]:
        reason, not_run = self._close(state)
        answer = await _asay(self._without_calls, self._request([*state["messages"], *not_run]), config)
        return _ended(reason, not_run, answer)

    def route(self, state: KimiState) -> str | list[Send]:
        """Where the turn goes after the model spoke."""
        calls = calls_of(state["messages"][-1])
        if not calls:
            return END
        if self._limit(state):
            return "wrap_up"
        return [Send("unusable" if "error" in call else "tools", [call]) for call in calls]

    def answer_unusable(self, calls: Any) -> dict[str, Any]:
        """Error results for calls whose arguments could not be read."""
        told = "The arguments are no JSON object{}. Call the tool again with one."
        errors = [f": {call['error']}" if call["error"] else "" for call in calls]
        return {"messages": [_refused(call, told.format(why)) for call, why in zip(calls, errors, strict=True)]}

    def _request(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        return [*(prompt for prompt in self._prompt if prompt), *messages]

    def _limit(self, state: KimiState) -> str | None:
        """The limit that leaves no room for another round."""
        if turns_of(state["messages"]) >= self._limits.turns:
            return "turns"
        return "recursion_limit" if state["remaining_steps"] < _ONE_ROUND else None

    def _close(self, state: KimiState) -> tuple[str, list[ToolMessage]]:
        """The limit that was reached, and the answers to the calls that it leaves undone."""
        reason = self._limit(state) or "recursion_limit"
        why = f"the limit of {self._limits.turns} model turns" if reason == "turns" else "LangGraph's recursion limit"
        calls = calls_of(state["messages"][-1])
        return reason, [_refused(call, NOT_RUN.format(why=why)) for call in calls]


def _say(
    model: Runnable[LanguageModelInput, AIMessage], request: list[BaseMessage], config: RunnableConfig
) -> AIMessage:
    """The model's answer. One that spent its cap on thinking is asked for once more with twice the cap."""
    try:
        return model.invoke(request, config)
    except AnswerCutShort as cut:
        more = _twice_the_cap(cut)
    try:
        return model.invoke(request, config, **more)
    except AnswerCutShort as cut:
        return cut.message


async def _asay(
    model: Runnable[LanguageModelInput, AIMessage], request: list[BaseMessage], config: RunnableConfig
) -> AIMessage:
    try:
        return await model.ainvoke(request, config)
    except AnswerCutShort as cut:
        more = _twice_the_cap(cut)
    try:
        return await model.ainvoke(request, config, **more)
    except AnswerCutShort as cut:
        return cut.message


def _twice_the_cap(cut: AnswerCutShort) -> dict[str, int]:
    usage = cut.message.usage_metadata
    return {"max_tokens": 2 * usage["output_tokens"]} if usage else {}


def _answered(answer: AIMessage) -> dict[str, Any]:
    finish = answer.response_metadata.get("finish_reason") or "stop"
    return {"messages": [answer], "stop_reason": None if calls_of(answer) else finish}


def _ended(reason: str, not_run: list[ToolMessage], answer: AIMessage) -> dict[str, Any]:
    # A model may call tools although told not to; unanswered, such a call would spoil the thread.
    stray = [_refused(call, "Not run: the turn has ended.") for call in calls_of(answer)]
    messages: list[AnyMessage] = [*not_run, answer, *stray]
    return {"messages": messages, "stop_reason": reason}


def _refused(call: Any, why: str) -> ToolMessage:
    return ToolMessage(why, tool_call_id=call["id"] or "", name=call["name"], status="error")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
