"""What the middleware prepares once for each model with its tools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from langchain_kimi.agent import parameters
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import RECALL
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import KIMI
from langchain_kimi.agent.model_request import CompleteAnswers, model_name
from langchain_kimi.agent.side_effects.once import Once
from langchain_kimi.agent.tool_node.tool_errors import ToolErrors
from langchain_kimi.agent.usage_limits.limits import AgentLimits

UNNAMED = "agent"
"""The name of an agent without a name in `spent_by_agent`."""

_MOST = 32
"""How many contexts, and how many settings of one model, are kept."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The settings of a middleware."""

    limits: AgentLimits
    guard: LoopGuard | None
    compaction: Compaction | None
    tool_errors: ToolErrors
    once: Once


class ModelContext:
    """One model with its tools: its requests and its compaction."""

    def __init__(self, model: BaseChatModel, tools: Sequence[Any], policies: Policies) -> None:
        """Raises ValueError for limits and a compaction that the model cannot have."""
        parameters.check_prices(policies.limits, [model_name(model)])
        self.model, self.tools = model, list(tools)
        self.answers = CompleteAnswers(model, self.tools)
        self.compactor = Compactor(policies.compaction, model, self.tools) if policies.compaction else None
        self.is_kimi = model._llm_type == KIMI
        self._changed: dict[tuple[tuple[str, Any], ...], BaseChatModel] = {}

    def model_with(self, settings: Mapping[str, Any]) -> BaseChatModel:
        """The model with these settings.

        They are fields of a copy and not keyword arguments of the call, so that a middleware which chooses another
        model does not pass them on to it.
        """
        if not settings:
            return self.model
        key = tuple(sorted(settings.items()))
        if key not in self._changed:
            if len(self._changed) >= _MOST:
                self._changed.clear()
            self._changed[key] = self.model.model_copy(update=dict(settings))
        return self._changed[key]


class ModelContexts:
    """The contexts of the models that one middleware has seen."""

    def __init__(self, policies: Policies, recall: BaseTool | None) -> None:
        self._policies, self._recall = policies, recall
        self._known: dict[tuple[int, ...], ModelContext] = {}

    def of(self, model: BaseChatModel, tools: Sequence[Any]) -> ModelContext:
        """The context of a model with these tools."""
        key = (id(model), *map(id, tools))  # a context keeps its model and tools, so no other has their ids
        known = self._known.get(key)
        if known is None:
            self._check_recall(tools)
            self._check_once(tools)
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[key] = ModelContext(model, tools, self._policies)
        return known

    def _check_recall(self, tools: Sequence[Any]) -> None:
        named = [tool for tool in tools if isinstance(tool, BaseTool) and tool.name == RECALL]
        if self._recall is not None and any(tool is not self._recall for tool in named):
            raise ValueError(
                f"KimiMiddleware: the tool {RECALL!r} has the name of the tool that Compaction(archive=True) adds. "
                "Rename it."
            )

    def _check_once(self, tools: Sequence[Any]) -> None:
        """Raise ValueError for a name in `once` that protects nothing, or a tool that would end the turn unasked."""
        once = self._policies.once
        once.check_tools([_name_of(tool) for tool in tools] if once.tools else [])
        direct = [tool.name for tool in tools if isinstance(tool, BaseTool) and tool.return_direct]
        if once.asks and (direct := sorted(once.tools & {*direct})):
            raise ValueError(
                f"once names {', '.join(direct)} with return_direct=True: LangChain ends the turn before people are "
                "asked about such a call. Give on_unknown='tell_model', or leave return_direct out."
            )


def _name_of(tool: Any) -> str:
    """The name of a tool, or of a tool that the provider runs."""
    return tool.name if isinstance(tool, BaseTool) else str(tool.get("name") or tool.get("type"))
