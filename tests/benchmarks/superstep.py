"""CPU time of one superstep of an agent: ours beside `create_agent` and LangGraph's floor, with an instant model.

    python tests/benchmarks/superstep.py [turns] [rounds]

The model calls one tool in each of its turns, so that a turn is two supersteps, the model and the tool. Two floors:

- "empty nodes": a StateGraph with the agent's own channels, its nodes and its edges. The nodes do nothing but write
  messages that were made beforehand.
- "and LangChain": the same graph, whose nodes call `model.invoke` and `tool.invoke`, as every agent must.

The rounds of all runners alternate; a figure is the median of the rounds, and a ratio the median of the ratios to the
floor of the same round. Synchronous rows have a synchronous tool, asynchronous rows an asynchronous one.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from langchain_kimi import AgentLimits, create_kimi_agent
from langchain_kimi.agent.state import AgentState

LOOP = asyncio.new_event_loop()
ASKED: Any = {"messages": [("user", "Look it all up.")]}
CONFIG: Any = {"recursion_limit": 1_000_000}


def answer(turn: int, turns: int) -> AIMessage:
    """The model's answer in a turn, counted from 0."""
    if turn == turns:
        return AIMessage("Done.")
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"n": turn}, "id": f"look_up:{turn}"}])


class InstantModel(BaseChatModel):
    """Calls a tool in each turn but the last."""

    turns: int

    @property
    def _llm_type(self) -> str:
        return "instant"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer(len(messages) // 2, self.turns))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer(len(messages) // 2, self.turns))])


@tool
def look_up(n: int) -> str:
    """Look something up."""
    return "found"


@tool("look_up")
async def look_up_async(n: int) -> str:
    """Look something up."""
    return "found"


def floor(turns: int, model: BaseChatModel | None, own: BaseTool, *, asynchronous: bool) -> Any:
    """The agent's channels, nodes and edges, without the agent."""
    answers = [answer(turn, turns) for turn in range(turns + 1)]
    results = [ToolMessage("found", tool_call_id=f"look_up:{turn}", name="look_up") for turn in range(turns)]

    def begin(state: AgentState) -> Any:
        return {}

    def call(state: AgentState) -> Any:
        messages = state["messages"]
        return {"messages": [model.invoke(messages) if model else answers[len(messages) // 2]]}

    def run(call: Any) -> Any:
        return {"messages": [own.invoke(call) if model else results[call["args"]["n"]]]}

    async def abegin(state: AgentState) -> Any:
        return {}

    async def acall(state: AgentState) -> Any:
        messages = state["messages"]
        return {"messages": [await model.ainvoke(messages) if model else answers[len(messages) // 2]]}

    async def arun(call: Any) -> Any:
        return {"messages": [await own.ainvoke(call) if model else results[call["args"]["n"]]]}

    def route(state: AgentState) -> Any:
        calls = state["messages"][-1].tool_calls
        return [Send("tools", one) for one in calls] or END

    graph: Any = StateGraph(AgentState)
    graph.add_node("begin", abegin if asynchronous else begin)
    graph.add_node("model", acall if asynchronous else call)
    graph.add_node("tools", arun if asynchronous else run)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "model")
    graph.add_conditional_edges("model", route, ["tools", END])
    graph.add_edge("tools", "model")
    return graph.compile()


def runners(turns: int) -> dict[str, tuple[Any, Any]]:
    """The graphs by name, each for synchronous and for asynchronous runs."""
    model = InstantModel(turns=turns)
    limits = AgentLimits(turns=100_000)
    return {
        "floor: empty nodes": (
            floor(turns, None, look_up, asynchronous=False),
            floor(turns, None, look_up_async, asynchronous=True),
        ),
        "floor: and LangChain": (
            floor(turns, model, look_up, asynchronous=False),
            floor(turns, model, look_up_async, asynchronous=True),
        ),
        "create_kimi_agent": (
            create_kimi_agent(model, [look_up], limits=limits),
            create_kimi_agent(model, [look_up_async], limits=limits),
        ),
        "create_agent": (create_agent(model, [look_up]), create_agent(model, [look_up_async])),
    }


def measured(run: Callable[[], Any], turns: int) -> float:
    """CPU microseconds of one superstep."""
    gc.collect()
    start = time.process_time()
    state = run()
    seconds = time.process_time() - start
    assert len(state["messages"]) == 2 * turns + 2
    return seconds / (2 * turns + 1) * 1e6


def main(turns: int, rounds: int) -> None:
    """Measure, print a table."""
    runs: dict[str, Callable[[], Any]] = {}
    for name, (graph, agraph) in runners(turns).items():
        runs[f"{name}, invoke"] = lambda graph=graph: graph.invoke(ASKED, CONFIG)
        runs[f"{name}, ainvoke"] = lambda graph=agraph: LOOP.run_until_complete(graph.ainvoke(ASKED, CONFIG))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for at in range(rounds + 1):
        for name, run in runs.items():
            cost = measured(run, turns)
            if at:  # the first round warms up
                taken[name].append(cost)
    print(f"{turns} turns, median of {rounds} rounds, CPU")
    print(f"{'':34} {'µs/superstep':>12} {'× empty nodes':>14} {'× and LangChain':>16}")
    for name, costs in taken.items():
        way = name.rsplit(", ", 1)[1]
        ratios = [
            statistics.median(cost / base for cost, base in zip(costs, taken[f"floor: {kind}, {way}"], strict=True))
            for kind in ("empty nodes", "and LangChain")
        ]
        print(f"{name:34} {statistics.median(costs):12.0f} {ratios[0]:14.2f} {ratios[1]:16.2f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["100", "7"][len(sys.argv) - 1 :])))
