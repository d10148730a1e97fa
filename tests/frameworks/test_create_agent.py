"""LangChain's create_agent with every middleware that it ships: three turns with tools, and each thought kept."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents import middleware as shipped
from langchain.agents.middleware import AgentMiddleware
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_kimi.testing import KimiServer, Reply, Request, overloaded, said
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, add, kimi
from tests.frameworks.wire import MODELS, THREAD, WAYS_AND_MODELS, Plan, Told, adds, ran, sent_back, three_turns

KINDS = {
    name
    for name in shipped.__all__
    if isinstance(kind := getattr(shipped, name), type) and issubclass(kind, AgentMiddleware)
} - {"AgentMiddleware"}


class Flaky:
    """A tool that fails every other time."""

    def __init__(self) -> None:
        self.calls = 0

    def tool(self) -> BaseTool:
        @tool("add")
        def unsteady(a: int, b: int) -> int:
            """Add two numbers."""
            self.calls += 1
            if self.calls % 2:
                raise RuntimeError("a slip")
            return a + b

        return unsteady


@dataclass
class Place:
    """What a middleware may need: models on the server, and a folder."""

    server: KimiServer
    model: str
    folder: Path

    def other(self) -> Any:
        """A model for the middleware's own questions."""
        return kimi(self.server, self.model)


@dataclass(frozen=True)
class Case:
    """A middleware at work: how it is made, what the model then does, and what is to be seen of it on the wire."""

    make: Callable[[Place], Any]
    seen: str = ""
    """Must stand in the last request."""
    plan: Plan = adds
    tools: Callable[[], list[BaseTool]] = field(default=lambda: [add])
    same_calls: bool = True
    keeps_all: bool = True
    """Whether every answer of the agent's model stays in the thread."""


def calling(name: str, arguments: str) -> Plan:
    """One call in every turn, then words."""
    return lambda request: said("That is it.") if request.tool_results() else Reply().calling_raw(name, arguments)


def with_object(**values: Any) -> Plan:
    """Sums, and an object with these values for whoever asks for JSON."""

    def plan(request: Request) -> Reply:
        return said(json.dumps(values), thinking="An object. ") if "response_format" in request.json else adds(request)

    return plan


def emulated(request: Request) -> Reply:
    """Sums; what is asked to play a tool says so."""
    return adds(request) if request.tools else said("as if it were 5", thinking="Play. ")


def summarised(request: Request) -> Reply:
    """Sums; what is asked for a summary gives one."""
    return adds(request) if request.tools else said("Numbers were added.", thinking="Short. ")


def unsteady(refuse: Callable[[], Reply]) -> Plan:
    """Sums, but the first request of every turn is refused once."""
    refused: set[int] = set()

    def plan(request: Request) -> Reply:
        turn = sum(message["role"] == "user" for message in request.messages)
        if turn not in refused:
            refused.add(turn)
            return refuse()
        return adds(request)

    return plan


def write_mail(request: Request) -> Reply:
    """Words with an address in them, before and after a call."""
    reply = said("I wrote to ann@example.com.")
    return reply if request.tool_results() else reply.calling_raw("add", '{"a": 2,  "b":3}')


CASES: dict[str, Case] = {
    "ContextEditingMiddleware": Case(
        lambda at: shipped.ContextEditingMiddleware(edits=[shipped.ClearToolUsesEdit(trigger=1, keep=1)]),
        seen="[cleared]",
    ),
    "ContextEditingMiddleware, inputs too": Case(
        lambda at: shipped.ContextEditingMiddleware(
            edits=[shipped.ClearToolUsesEdit(trigger=1, keep=1, clear_tool_inputs=True)]
        ),
        seen='"arguments":"{}"',
        same_calls=False,
    ),
    "FilesystemFileSearchMiddleware": Case(
        lambda at: shipped.FilesystemFileSearchMiddleware(root_path=str(at.folder), use_ripgrep=False),
        seen="notes.txt",
        plan=calling("glob_search", '{"pattern" : "*.txt"}'),
    ),
    "HumanInTheLoopMiddleware": Case(
        lambda at: shipped.HumanInTheLoopMiddleware(interrupt_on={"add": True}), seen='"content":"5"'
    ),
    "LLMToolEmulator": Case(lambda at: shipped.LLMToolEmulator(model=at.other()), seen="as if", plan=emulated),
    "LLMToolSelectorMiddleware": Case(
        lambda at: shipped.LLMToolSelectorMiddleware(max_tools=1), seen='"content":"5"', plan=with_object(tools=["add"])
    ),
    "ModelCallLimitMiddleware": Case(
        lambda at: shipped.ModelCallLimitMiddleware(run_limit=1), seen="Model call limits exceeded"
    ),
    "ModelFallbackMiddleware": Case(
        lambda at: shipped.ModelFallbackMiddleware(kimi(at.server, "kimi-k2.6"), kimi(at.server, "kimi-k3")),
        plan=unsteady(overloaded),
    ),
    "ModelRetryMiddleware": Case(
        lambda at: shipped.ModelRetryMiddleware(initial_delay=0, backoff_factor=0, jitter=False),
        plan=unsteady(overloaded),
    ),
    "PIIMiddleware": Case(
        lambda at: shipped.PIIMiddleware("email", apply_to_output=True, apply_to_tool_results=True),
        seen="I wrote to [REDACTED_EMAIL]",
        plan=write_mail,
    ),
    "ProviderToolSearchMiddleware": Case(lambda at: shipped.ProviderToolSearchMiddleware()),
    "ShellToolMiddleware": Case(
        lambda at: shipped.ShellToolMiddleware(at.folder, execution_policy=shipped.HostExecutionPolicy()),
        seen="notes.txt",
        plan=calling("shell", '{"command" : "ls"}'),
    ),
    "SummarizationMiddleware": Case(
        lambda at: shipped.SummarizationMiddleware(at.other(), trigger=("messages", 6), keep=("messages", 3)),
        seen="Numbers were added.",
        plan=summarised,
        keeps_all=False,
    ),
    "TodoListMiddleware": Case(
        lambda at: shipped.TodoListMiddleware(),
        seen="Updated todo list",
        plan=calling("write_todos", '{"todos" : [{"content":"add", "status":"pending"}]}'),
    ),
    "ToolCallLimitMiddleware": Case(
        lambda at: shipped.ToolCallLimitMiddleware(run_limit=1), seen="Tool call limit exceeded"
    ),
    "ToolErrorMiddleware": Case(
        lambda at: shipped.ToolErrorMiddleware(on_error=lambda error, request: f"it failed: {error}"),
        seen="it failed: a slip",
        tools=lambda: [Flaky().tool()],
    ),
    "ToolRetryMiddleware": Case(
        lambda at: shipped.ToolRetryMiddleware(initial_delay=0, backoff_factor=0, jitter=False),
        seen='"content":"5"',
        tools=lambda: [Flaky().tool()],
    ),
}


def decides(**answer: Any) -> Any:
    """A classifier, as LangChain knows them since its core 1.8, that always gives the same answer."""
    from langchain_core.decisions import BaseDecisionModel, ClassifierResponse

    class Fixed(BaseDecisionModel):
        _provider = "fixed"

        def _classify(self, state: Any, questions: Any, **settings: Any) -> Any:
            return ClassifierResponse(model=self.model, answers=dict.fromkeys(questions, answer))

        async def _aclassify(self, state: Any, questions: Any, **settings: Any) -> Any:
            return self._classify(state, questions)

    return Fixed(model="fixed")


def choices(at: Place) -> dict[str, Any]:
    """Two models to route to, of which the second is always taken."""
    made = {"small": at.other(), "large": kimi(at.server, "kimi-k3")}
    return {name: shipped.ModelChoice(model, criteria=name) for name, model in made.items()}


NEWER: dict[str, Case] = {
    "AutoModeMiddleware": Case(
        lambda at: shipped.AutoModeMiddleware(tools=["add"], classifier=decides(type="noul", noul=1.0)),
        seen="classified as risky",
    ),
    "ModelRefusalMiddleware": Case(lambda at: shipped.ModelRefusalMiddleware()),
    "ModelRouterMiddleware": Case(
        lambda at: shipped.ModelRouterMiddleware(
            choices=choices(at),
            instructions="Which model?",
            classifier=decides(type="choice", choice="large", probabilities={"large": 1.0}, confidence=1.0),
        ),
        seen='"kimi-k3"',
    ),
}
"""Those that came with langchain 1.5."""
CASES |= {name: case for name, case in NEWER.items() if name in KINDS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("2 + 3")
    return tmp_path


async def approved_turns(agent: Any, way: str) -> Any:
    """Three turns of the user, in which a person approves whatever is asked."""
    for turn in range(3):
        state = await ran(agent, way, {"messages": [("user", f"Add, ann@example.com. ({turn})")]})
        while asked := state.get("__interrupt__"):
            decisions = [{"type": "approve"}] * len(asked[0].value["action_requests"])
            state = await ran(agent, way, Command(resume={"decisions": decisions}), THREAD)
    return state


def test_each_middleware_that_langchain_ships_has_a_case() -> None:
    assert {name.partition(",")[0] for name in CASES} >= KINDS


@PAIRED
@SYNC_AND_ASYNC
@MODELS
@pytest.mark.parametrize("name", CASES)
async def test_three_turns_with_a_middleware(serve: Serve, folder: Path, name: str, model: str, way: str) -> None:
    case = CASES[name]
    told = Told(case.plan)
    server = serve(told)
    made = case.make(Place(server, model, folder))
    agent: Any = create_agent(kimi(server, model), case.tools(), middleware=[made], checkpointer=InMemorySaver())
    await approved_turns(agent, way)
    back = sent_back(server, told, same_calls=case.same_calls)
    assert case.seen in server.requests[-1].body.decode()
    if case.keeps_all:
        assert back[-1] == list(range(len(told.said) - 1))
    assert len(told.said) >= 3


@WAYS_AND_MODELS
async def test_three_turns_with_many_middlewares_at_once(serve: Serve, folder: Path, model: str, way: str) -> None:
    told = Told(with_object(tools=["add"]))
    server = serve(told)
    place = Place(server, model, folder)
    alone = {"LLMToolEmulator", "SummarizationMiddleware", "ModelCallLimitMiddleware", "AutoModeMiddleware"}
    made = [case.make(place) for name, case in CASES.items() if "," not in name and name not in alone]
    agent: Any = create_agent(
        kimi(server, model), [add], middleware=made, system_prompt="You add.", checkpointer=InMemorySaver()
    )
    await approved_turns(agent, way)
    assert sent_back(server, told)[-1] == list(range(len(told.said) - 1))


@SYNC_AND_ASYNC
async def test_three_turns_with_hooks_of_ones_own(serve: Serve, way: str) -> None:
    seen: list[str] = []
    hooks: list[Any] = []
    for name in ("before_agent", "before_model", "after_model", "after_agent"):

        async def alooks(state: Any, runtime: Any, name: str = name) -> None:
            seen.append(name)

        def looks(state: Any, runtime: Any, name: str = name) -> None:
            seen.append(name)

        hooks.append(getattr(shipped, name)(name=f"my_{name}")(alooks if way == "async" else looks))

    @shipped.dynamic_prompt
    def prompt(request: Any) -> str:
        return "You add."

    told = Told(adds)
    server = serve(told)
    agent: Any = create_agent(kimi(server), [add], middleware=[*hooks, prompt], checkpointer=InMemorySaver())
    await three_turns(agent, way)
    assert sent_back(server, told)[-1] == list(range(5))
    assert set(seen) == {"before_agent", "before_model", "after_model", "after_agent"}
    assert server.requests[-1].messages[0] == {"role": "system", "content": "You add."}


@MODELS
def test_tool_search_on_the_providers_side_says_that_kimi_has_none(serve: Serve, model: str) -> None:
    server = serve([])
    search = shipped.ProviderToolSearchMiddleware(searchable_tools=["add"])
    agent: Any = create_agent(kimi(server, model), [add], middleware=[search])
    with pytest.raises(ValueError, match="server-side tool search"):
        agent.invoke({"messages": [("user", "Add.")]})
    assert server.requests == []
