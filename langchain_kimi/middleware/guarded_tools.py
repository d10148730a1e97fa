"""The tools of LangChain's agents, with the intents of `once` and the keys of calls.

Other middleware may change a call, run another tool in its place or run it again. So the intent of a call is recorded
by the tool itself, as the last thing before it runs, and the key is that of the call as it runs.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from langgraph.errors import GraphBubbleUp

from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.agent.side_effects.idempotency import CallIdentity, identity_of, running, with_injected_key
from langchain_kimi.agent.side_effects.intents import Attempt, record_intent
from langchain_kimi.agent.side_effects.once import Once
from langchain_kimi.agent.tool_node.event_loop_thread import with_sync_invoke
from langchain_kimi.agent.tool_node.tool_call import waits_for_a_person
from langchain_kimi.agent.tool_node.tool_errors import with_recorded_errors
from langchain_kimi.agent.usage_limits.budget import RunBudget


class UnknownCallError(GraphBubbleUp):
    """A `call` of a tool in `once` may have run before. Other middleware passes it on, as it does interrupts."""

    def __init__(self, call: ToolCall) -> None:
        super().__init__(f"It is unknown whether a call of {call['name']} has run.")
        self.call = call


@dataclass(frozen=True, slots=True)
class GuardedCall:
    """A tool call that LangChain's agent is about to run."""

    once: Once
    call: ToolCall
    """The call as the model made it."""
    message: str
    """The id of the message with the call."""
    config: RunnableConfig
    """The config of the node that runs the call."""
    run: RunBudget

    def identity(self, tool: BaseTool, arguments: frozenset[str], tool_input: Any) -> CallIdentity:
        """The identity of the call as it runs: of this tool, which has these `arguments`, with its input."""
        args = tool_input.get("args", tool_input) if isinstance(tool_input, Mapping) else {}
        known = arguments | self.call["args"].keys()  # the rest was injected by LangGraph
        own = {name: value for name, value in args.items() if name in known}
        call = ToolCall(name=tool.name, args=own, id=self.call["id"], type="tool_call")
        return identity_of(call, self.message, self.config, self.run.run_id)

    def attempt(self, identity: CallIdentity) -> Steps[Attempt | None]:
        """Record that a call of a tool in `once` starts. Raises UnknownCallError if it may have started before."""
        if identity.call["name"] not in self.once.tools:
            return None
        attempt = yield from record_intent(identity, self.config, self.run.check_writes)
        if attempt is None:
            raise UnknownCallError(identity.call)
        return attempt


_guarded: ContextVar[GuardedCall | None] = ContextVar("kimi_guarded_call", default=None)


@contextmanager
def guarding(call: GuardedCall | None) -> Iterator[None]:
    """A block in which guarded tools run for this call; with None they run as if they were not guarded."""
    token = _guarded.set(call)
    try:
        yield
    finally:
        _guarded.reset(token)


class GuardedTools:
    """Guards tools. Each is prepared once; another tool of its name takes its place."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[BaseTool, BaseTool]] = {}

    def of(self, tool: BaseTool) -> BaseTool:
        """A copy of the tool that records what `once` needs, and gives the call's key to parameters that want it."""
        known = self._known.get(tool.name)
        if known is None or known[0] is not tool:
            known = self._known[tool.name] = (tool, _guarded_copy(tool))
        return known[1]


def _guarded_copy(tool: BaseTool) -> BaseTool:
    prepared = with_injected_key(with_sync_invoke(with_recorded_errors(tool)))
    kind: Any = type(prepared)
    arguments = _arguments_of(tool)

    class Guarded(kind):  # type: ignore[misc]
        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return _run(self, arguments, input, lambda: super(Guarded, self).invoke(input, config, **kwargs))

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return await _arun(self, arguments, input, lambda: super(Guarded, self).ainvoke(input, config, **kwargs))

    copy = prepared.model_copy() if prepared is tool else prepared
    copy.__class__ = Guarded
    return copy


def _arguments_of(tool: BaseTool) -> frozenset[str]:
    """The names of the arguments that a model gives to the tool."""
    schema: Any = tool.tool_call_schema
    return frozenset(schema.get("properties", {}) if isinstance(schema, dict) else get_fields(schema))


def _run(tool: BaseTool, arguments: frozenset[str], tool_input: Any, invoke: Callable[[], Any]) -> Any:
    guard = _guarded.get()
    if guard is None:
        return invoke()
    identity = guard.identity(tool, arguments, tool_input)
    with guarding(None), running(identity):
        attempt = run_steps(guard.attempt(identity), None)
        try:
            return invoke()
        except Exception as error:
            if attempt and waits_for_a_person(error):
                run_steps(attempt.release(), None)
            raise


async def _arun(
    tool: BaseTool, arguments: frozenset[str], tool_input: Any, invoke: Callable[[], Awaitable[Any]]
) -> Any:
    guard = _guarded.get()
    if guard is None:
        return await invoke()
    identity = guard.identity(tool, arguments, tool_input)
    with guarding(None), running(identity):
        attempt = await arun_steps(guard.attempt(identity), None)
        try:
            return await invoke()
        except Exception as error:
            if attempt and waits_for_a_person(error):
                await arun_steps(attempt.release(), None)
            raise
