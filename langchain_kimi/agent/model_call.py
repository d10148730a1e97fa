"""Asks the model: with which prompt and tools, and what to do when an answer does not come out whole."""

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.runtime import get_runtime

from langchain_kimi import tokens
from langchain_kimi._finish_reasons import ABNORMAL
from langchain_kimi.agent.state import AgentState, is_empty, is_regular
from langchain_kimi.agent.steps import Ask, Effect
from langchain_kimi.agent.visible_messages import view, with_readable_calls
from langchain_kimi.catalogue import find
from langchain_kimi.errors import AnswerCutShort, IncompleteAnswerError, KimiError, check_unique_tools

Prompt: TypeAlias = "str | SystemMessage | Callable[..., str | SystemMessage | Sequence[BaseMessage]] | None"
ToolSelection: TypeAlias = "Callable[..., Sequence[BaseTool | str]] | None"

KIMI = "kimi-chat"
"""The `_llm_type` of ChatKimi, which sends unreadable calls in a form that hosts take."""
SHOWN = "kimi_tools_shown"
"""Where an answer keeps the names of the tools that the model was shown, if they
were chosen for that request or that agent."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, every answer that was paid for on the way to it, and what the thread's messages get before it."""

    answer: AIMessage
    paid: list[AIMessage]
    before: list[Any]
    update: dict[str, Any] = field(default_factory=dict)
    """What else of the state changes."""


class Speaker:
    """A model with a prompt and tools, both fixed or chosen for each request. In a team it is the one called `agent`:
    it gets its own view of the conversation and signs what it says."""

    def __init__(
        self,
        model: BaseChatModel,
        tools: Sequence[BaseTool],
        prompt: Prompt,
        select_tools: ToolSelection = None,
        agent: str | None = None,
    ) -> None:
        self._model = model
        check_unique_tools([tool.name for tool in tools])
        self._tools = {tool.name: tool for tool in tools}
        self._prompt = SystemMessage(prompt) if isinstance(prompt, str) else prompt
        self._select = select_tools
        self._bound: dict[tuple[tuple[str, ...], bool], Runnable[LanguageModelInput, AIMessage]] = {}
        if select_tools is None:
            self.bound(tuple(self._tools))  # refuses tools that no request can hold
        self.name = model_name(model)
        self.agent = agent
        self.metadata = {"lc_agent_name": agent} if agent else {}
        # The second request after an answer that was cut in its thinking needs to know the cap of the first.
        returns_cut = getattr(model, "on_cut_short", None) == "return"
        self._settings: dict[str, Any] = {"on_cut_short": "raise"} if returns_cut else {}
        # A request that fits only with less than an answer needs is refused while the thread can be made shorter.
        default_cap = hasattr(model, "max_tokens_over_window") and getattr(model, "max_tokens", None) is None
        self._roomy: dict[str, Any] = {"max_tokens_over_window": "raise"} if default_cap else {}
        self._is_kimi = model._llm_type == KIMI
        row = find(self.name)
        self._joins = select_tools is not None and row is not None and row.dynamic_tools

    def bound(self, names: tuple[str, ...], *, silent: bool = False) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with these tools; `silent`, it may call none. They stay in the request all the same: taking them
        out would move the prefix that Kimi's cache holds."""
        if not names:
            return self._model
        key = (names, silent)
        if key not in self._bound:
            choice = {"tool_choice": "none"} if silent else {}
            self._bound[key] = self._model.bind_tools([self._tools[name] for name in names], **choice)
        return self._bound[key]

    @property
    def selects_in_run(self) -> bool:
        """Whether the tools for a request can be chosen only while the agent runs."""
        return self._select is not None and takes_runtime(self._select)

    @property
    def may_squeeze(self) -> bool:
        """Whether a request that was refused as too long may fit with less room for its answer."""
        return bool(self._roomy)

    def prompt(self, state: AgentState) -> list[BaseMessage]:
        """What stands before the conversation."""
        prompt = with_state(self._prompt, state) if callable(self._prompt) else self._prompt
        if prompt is None:
            return []
        if isinstance(prompt, (str, SystemMessage)):
            return [SystemMessage(prompt) if isinstance(prompt, str) else prompt]
        return list(prompt)

    def view(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """What the model sees of the conversation."""
        return messages if self.agent is None else view(messages, self.agent)

    def say(
        self, state: AgentState, messages: Sequence[BaseMessage], *, silent: bool = False, roomy: bool = False
    ) -> Generator[Effect, Any, Said]:
        """The model's answer. One that broke off is asked for once more, since nothing of it is in the state; so is one
        that spent its cap on thinking, with twice the cap, and, unless it is `silent`, one with neither text nor calls.
        With `roomy`, a request that leaves it less room than it needs is refused. Raises IncompleteAnswerError where
        the host gave up on it.
        """
        names = self.shown(state)
        declared, joined = (names, []) if silent or not self._joins else self._joining(messages, names)
        model, request = self.bound(declared, silent=silent), [*self.prompt(state), *self.view(messages), *joined]
        if not self._is_kimi:
            request = with_readable_calls(request)
        paid: list[AIMessage] = []
        ask = Ask(model, request, {**self._settings, **(self._roomy if roomy else {})}, metadata=self.metadata)
        try:
            answer = yield from self._answer(ask, paid)
            if is_empty(answer) and is_regular(answer) and not silent:
                paid.append(answer)
                answer = yield from self._answer(ask, paid)
        except IncompleteAnswerError as error:
            if error.finish_reason in ABNORMAL:
                raise
            answer = error.message  # its calls do not run
        if self._select is not None or self.agent:
            answer.additional_kwargs[SHOWN] = list(names)
        if self.agent:
            answer.name = self.agent
        return Said(answer, [*paid, answer], joined)

    def _answer(self, ask: Ask, paid: list[AIMessage]) -> Generator[Effect, Any, AIMessage]:
        answer: AIMessage
        try:
            answer = yield from asked_again(ask, paid)
            return answer
        except AnswerCutShort as cut:
            paid.append(cut.message)
            settings = {**self._settings, **self._larger_cap(cut, ask.messages)}
        try:
            answer = yield from asked_again(replace(ask, settings=settings), paid)
        except AnswerCutShort as cut:
            answer = cut.message
        return answer

    def _larger_cap(self, cut: AnswerCutShort, request: Sequence[BaseMessage]) -> dict[str, int]:
        """Twice the cap of the answer that was cut in its thinking, as far as the window has room; never less than it
        was. Nothing where the cap is not known.
        """
        usage, row = cut.message.usage_metadata, find(self.name)
        cap = max(cut.max_tokens or 0, usage["output_tokens"] if usage else 0)
        if not cap:
            return {}
        larger = 2 * cap
        if row is not None:
            prompt = usage["input_tokens"] if usage else tokens.count(request, list(self._tools.values())) * 11 // 10
            larger = min(larger, row.output_limit, row.context - prompt)
        return {"max_tokens": max(larger, cap)}

    def _joining(
        self, messages: Sequence[BaseMessage], names: tuple[str, ...]
    ) -> tuple[tuple[str, ...], list[BaseMessage]]:
        """The tools to declare at the top, which stay those of the first request so that the prefix stays, and the
        message that brings along those that no request has declared yet."""
        first: tuple[str, ...] | None = None
        brought: set[str] = set()
        for message in messages:
            if first is None and SHOWN in message.additional_kwargs:
                first = tuple(message.additional_kwargs[SHOWN])
            if isinstance(message, SystemMessage):
                brought |= {tool["function"]["name"] for tool in message.additional_kwargs.get("tools", ())}
        if first is None:
            return names, []
        new = [self._tools[name] for name in names if name not in brought and name not in first]
        tools = [convert_to_openai_tool(tool) for tool in new]
        return first, [SystemMessage("", additional_kwargs={"tools": tools})] if tools else []

    def shown(self, state: AgentState) -> tuple[str, ...]:
        """The names of the tools for this request, in their given order, so that the same tools are the same bytes."""
        if self._select is None:
            return tuple(self._tools)
        chosen = {tool if isinstance(tool, str) else tool.name for tool in with_state(self._select, state)}
        if unknown := chosen - self._tools.keys():
            known = ", ".join(self._tools) or "none"
            raise ValueError(f"select_tools gave {', '.join(sorted(unknown))}; the agent's tools are: {known}.")
        return tuple(name for name in self._tools if name in chosen)


def model_name(model: BaseChatModel) -> str:
    """The model's id, as far as it tells."""
    return str(getattr(model, "model", None) or getattr(model, "model_name", None) or "unknown")


def with_state(function: Callable[..., Any], state: AgentState) -> Any:
    """The function's value for the state, and for LangGraph's Runtime where it takes a second argument."""
    return function(state, get_runtime()) if takes_runtime(function) else function(state)


def takes_runtime(function: Callable[..., Any]) -> bool:
    """Whether a function of the state takes LangGraph's Runtime too."""
    return sum(p.default is p.empty for p in inspect.signature(function).parameters.values()) > 1


def asked_again(ask: Ask, paid: list[AIMessage]) -> Generator[Effect, Any, Any]:
    """The answer to a request, which is sent once more where the first answer broke off; that one is added to `paid`.

    Raises IncompleteAnswerError for an answer that is not whole, whichever model gave it.
    """
    try:
        return _whole((yield ask))
    except KimiError as error:
        if not error.broke_off:
            raise
        paid.append(error.message or AIMessage(""))
    return _whole((yield ask))


def _whole(answer: Any) -> Any:
    reason = answer.response_metadata.get("finish_reason") if isinstance(answer, AIMessage) else None
    if reason in ABNORMAL:
        name = str(answer.response_metadata.get("model_name") or "The model")
        raise IncompleteAnswerError.of(str(reason), answer, name)
    return answer
