"""Policy written once and driven twice: a generator yields what is to be done and gets what came of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_kimi._steps import Operation as Effect
from langchain_kimi._steps import arun_steps as adrive
from langchain_kimi._steps import run_steps as drive
from langchain_kimi.agent.interruption import interruption_of

__all__ = ["Ask", "Effect", "Node", "adrive", "drive"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a model."""

    model: Runnable[Any, Any]
    messages: Sequence[BaseMessage]
    settings: Mapping[str, Any] = field(default_factory=dict)
    heard_by: Sequence[BaseCallbackHandler] = ()
    """Handlers that hear of this request, besides the run's."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What is told of this request to the run's handlers and streams."""

    def run(self, config: RunnableConfig) -> Any:
        """The model's answer."""
        return self.model.invoke(self.messages, self._config(config), **self.settings)

    async def arun(self, config: RunnableConfig) -> Any:
        """The model's answer."""
        return await self.model.ainvoke(self.messages, self._config(config), **self.settings)

    def _config(self, config: RunnableConfig) -> RunnableConfig:
        if not (self.heard_by or self.metadata):
            return config
        return merge_configs(config, {"callbacks": list(self.heard_by), "metadata": dict(self.metadata)})


class Node(Runnable[Any, Any]):
    """A function and its asynchronous twin as a node of a graph. LangGraph traces nodes itself."""

    def __init__(
        self,
        function: Callable[[Any, RunnableConfig], Any],
        afunction: Callable[[Any, RunnableConfig], Awaitable[Any]],
        name: str,
    ) -> None:
        self.name = name
        self._function = function
        self._afunction = afunction

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The node's update."""
        if interruption := interruption_of(config):
            interruption.check()
        return self._function(input, config or {})

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The node's update."""
        return await self._afunction(input, config or {})
