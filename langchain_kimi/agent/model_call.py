"""Calls an agent's model with its prompt and tools."""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.runtime import get_runtime

from langchain_kimi._steps import Steps
from langchain_kimi.agent.model_request import CompleteAnswers, ModelRequest
from langchain_kimi.agent.state import AgentState
from langchain_kimi.agent.team.visible_messages import (
    MediaInputs,
    is_tool_declaration,
    visible_messages,
    with_readable_calls,
)
from langchain_kimi.catalogue import find
from langchain_kimi.errors import check_unique_tools

SystemPrompt: TypeAlias = str | SystemMessage | Callable[..., str | SystemMessage | Sequence[BaseMessage]] | None
"""A system prompt: a text, a SystemMessage, or a function from the state, and as second argument LangGraph's Runtime,
to one of these or to the messages that precede the conversation."""
ToolSelection: TypeAlias = Callable[..., Sequence[BaseTool | str]] | None
"""A function from the state, and as second argument LangGraph's Runtime, to the tools of a request or their names."""

KIMI = "kimi-chat"
"""The `_llm_type` of ChatKimi, which sends calls with unreadable arguments in a form that hosts accept."""
VISIBLE_TOOLS = "kimi_tools_shown"
"""The key in `additional_kwargs` of an answer: the names of the tools in its request, if they were chosen for that
request or for that member of a team."""


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """An answer of the model, and what belongs to it."""

    answer: AIMessage
    billed_answers: list[AIMessage]
    """The answer and those of failed attempts, for the usage."""
    preceding: list[Any]
    """Updates of `messages` that come before the answer."""
    following: list[Any] = field(default_factory=list)
    """Results of the answer's calls that came with it."""
    update: dict[str, Any] = field(default_factory=dict)
    """Updates of other keys of the state."""


class ModelCaller:
    """A model with a prompt and tools, both fixed or chosen for each request.

    `always`: names of tools that each request has, whatever `select_tools` chooses. In a team the model belongs to the
    member `agent`: it gets that member's view of the conversation and signs its answers.
    """

    def __init__(
        self,
        model: BaseChatModel,
        tools: Sequence[BaseTool],
        prompt: SystemPrompt,
        select_tools: ToolSelection = None,
        agent: str | None = None,
        always: Collection[str] = (),
    ) -> None:
        self._model = model
        check_unique_tools([tool.name for tool in tools])
        self._tools = {tool.name: tool for tool in tools}
        self._prompt = SystemMessage(prompt) if isinstance(prompt, str) else prompt
        self._select_tools = select_tools
        self._always = frozenset(always)
        self._bound: dict[tuple[tuple[str, ...], bool], Runnable[LanguageModelInput, AIMessage]] = {}
        if select_tools is None:
            self._bind(tuple(self._tools))  # raises for tools that no request can contain
        self._answers = CompleteAnswers(model, list(self._tools.values()))
        self.name = self._answers.name
        self.agent = agent
        self.metadata = {"lc_agent_name": agent} if agent else {}
        self._is_kimi = model._llm_type == KIMI
        self._inputs = MediaInputs.of(model, is_kimi=self._is_kimi)
        row = find(self.name)
        self._has_dynamic_tools = select_tools is not None and row is not None and row.dynamic_tools

    @property
    def selects_in_run(self) -> bool:
        """Whether the tools of a request can be chosen only while the agent runs."""
        return self._select_tools is not None and takes_runtime(self._select_tools)

    @property
    def can_reduce_cap(self) -> bool:
        """Whether a request that was refused as too long may fit with a smaller output cap."""
        return self._answers.can_reduce_cap

    def prompt(self, state: AgentState) -> list[BaseMessage]:
        """The messages before the conversation."""
        prompt = call_with_state(self._prompt, state) if callable(self._prompt) else self._prompt
        if prompt is None:
            return []
        if isinstance(prompt, (str, SystemMessage)):
            return [SystemMessage(prompt) if isinstance(prompt, str) else prompt]
        return list(prompt)

    def visible(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """The conversation as this model reads it."""
        return messages if self.agent is None else visible_messages(messages, self.agent, self._inputs)

    def visible_tools(self, state: AgentState) -> tuple[str, ...]:
        """The names of the tools for this request, in the order of the agent's tools, so that equal selections are
        equal bytes."""
        if self._select_tools is None:
            return tuple(self._tools)
        selection = call_with_state(self._select_tools, state)
        names = {tool if isinstance(tool, str) else tool.name for tool in selection}
        if unknown := names - self._tools.keys():
            known = ", ".join(self._tools) or "none"
            raise ValueError(f"select_tools returned {', '.join(sorted(unknown))}; the agent's tools are: {known}.")
        return tuple(name for name in self._tools if name in names | self._always)

    def call(
        self, state: AgentState, messages: Sequence[BaseMessage], *, allow_tools: bool = True, full_cap: bool = False
    ) -> Steps[ModelTurn]:
        """The model's answer, from as many requests as `CompleteAnswers.steps` says.

        An empty answer is requested once more with `allow_tools` only.
        """
        names = self.visible_tools(state)
        declared, added = names, list[BaseMessage]()
        if allow_tools and self._has_dynamic_tools:
            declared, added = self._dynamic_tools(messages, names)
        model = self._bind(declared, allow_tools=allow_tools)
        request_messages: list[BaseMessage] = [*self.prompt(state), *self.visible(messages), *added]
        if not self._is_kimi:
            request_messages = with_readable_calls(request_messages)
        request = ModelRequest(model, request_messages, metadata=self.metadata)
        billed: list[AIMessage] = []
        answer = yield from self._answers.steps(request, billed, full_cap=full_cap, retry_empty=allow_tools)
        if self._select_tools is not None or self.agent:
            answer.additional_kwargs[VISIBLE_TOOLS] = list(names)
        if self.agent:
            answer.name = self.agent
        return ModelTurn(answer, [*billed, answer], added)

    def _bind(self, names: tuple[str, ...], *, allow_tools: bool = True) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with these tools.

        Without `allow_tools` the tools stay in the request, with `tool_choice="none"`: without them, the prefix in
        Kimi's cache would change.
        """
        if not names:
            return self._model
        key = (names, allow_tools)
        if key not in self._bound:
            choice = {} if allow_tools else {"tool_choice": "none"}
            self._bound[key] = self._model.bind_tools([self._tools[name] for name in names], **choice)
        return self._bound[key]

    def _dynamic_tools(
        self, messages: Sequence[BaseMessage], names: tuple[str, ...]
    ) -> tuple[tuple[str, ...], list[BaseMessage]]:
        """The tools to declare at the top of the request, and a message that declares new ones.

        The tools at the top stay those of the thread's first request, so that the cached prefix stays.
        """
        first: tuple[str, ...] | None = None
        declared: set[str] = set()
        for message in messages:
            if self.agent and message.name not in (None, self.agent):
                continue
            if first is None and VISIBLE_TOOLS in message.additional_kwargs:
                first = tuple(message.additional_kwargs[VISIBLE_TOOLS])
            if is_tool_declaration(message):
                declared |= {tool["function"]["name"] for tool in message.additional_kwargs["tools"]}
        if first is None:
            return names, []
        new = [self._tools[name] for name in names if name not in declared and name not in first]
        tools = [convert_to_openai_tool(tool) for tool in new]
        return first, [SystemMessage("", name=self.agent, additional_kwargs={"tools": tools})] if tools else []


def call_with_state(function: Callable[..., Any], state: AgentState) -> Any:
    """The function's value for the state, and for LangGraph's Runtime if it has a second parameter."""
    return function(state, get_runtime()) if takes_runtime(function) else function(state)


def takes_runtime(function: Callable[..., Any]) -> bool:
    """Whether a function of the state has a second required parameter, for LangGraph's Runtime."""
    return sum(p.default is p.empty for p in inspect.signature(function).parameters.values()) > 1
