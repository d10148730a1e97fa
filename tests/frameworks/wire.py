"""What all frameworks are judged by: what Kimi said comes back to it byte for byte, and nothing is refused."""

import asyncio
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from langchain_kimi import KimiWarning
from langchain_kimi.testing import ErrorReply, KimiServer, Reply, Request, said
from tests.conftest import add

Plan = Callable[[Request], Reply]

MODELS = pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k3"])
WAYS_AND_MODELS = pytest.mark.parametrize(
    ("way", "model"),
    [
        ("sync", "kimi-k2.6"),
        ("async", "kimi-k3"),
        pytest.param("sync", "kimi-k3", marks=pytest.mark.slow),
        pytest.param("async", "kimi-k2.6", marks=pytest.mark.slow),
    ],
)
THREAD: Any = {"configurable": {"thread_id": "1"}}


def results_of(answer: AIMessage) -> list[BaseMessage]:
    """The sums that an answer asks for."""
    return [ToolMessage(str(add.invoke(call["args"])), tool_call_id=str(call["id"])) for call in answer.tool_calls]


class Told:
    """A script that follows a plan and keeps account of what it said.

    Each reply gets a number in its text, by which it is known again on the wire, and thinking of its own. A reply that
    thinks by itself is given as it is: what asks for JSON gets nothing else.
    """

    def __init__(self, plan: Plan, *, mark: str = "Step", thinks: bool = True) -> None:
        self._plan = plan
        self._mark, self._thinks = mark, thinks
        self._lock = threading.Lock()
        self.said: list[Reply] = []
        self.asked: list[Request] = []
        """The request that each of `said` answers."""
        self.refused = 0

    def __call__(self, request: Request) -> Reply:
        reply = self._plan(request)
        with self._lock:
            if isinstance(reply, ErrorReply):
                self.refused += 1
                return reply
            if reply.reasoning is not None:
                return reply
            number = len(self.said)
            text = f"{self._mark} {number}. {reply.text}".rstrip()
            thought = f" \n{number}: ünï\u2028\t“thought”  \n" if self._thinks else None
            self.said.append(replace(reply, text=text, reasoning=thought))
            self.asked.append(request)
            return self.said[-1]

    def reply_in(self, message: Mapping[str, Any]) -> int | None:
        """The number of the reply that a message on the wire is; None for what was not said here."""
        said_so = message["role"] == "assistant" and re.search(rf"{self._mark} (\d+)\.", str(message["content"]))
        return int(said_so[1]) if said_so else None

    def by(self, agent: Callable[[Request], bool]) -> list[int]:
        """The numbers of what was said to the requests of an agent."""
        return [number for number, request in enumerate(self.asked) if agent(request)]


def adds(request: Request) -> Reply:
    """Two sums side by side in odd JSON, then words, in every turn of the user."""
    if request.tool_results():
        return said("That is it.")
    return Reply().calling_raw("add", '{"a": 2,  "b":3}').calling_raw("add", ' {"b" : 1,"a":1e0 }')


def sent_back(
    server: KimiServer, told: Told, *, lost: Collection[int] = (), same_calls: bool = True
) -> list[list[int]]:
    """The numbers of the replies that came back in each request.

    Asserts that nothing was refused but what the plan refused, and that each came back as it was said, thinking and
    argument strings (empty ones as an object); of those `lost`, which a framework built anew, a space stands for the
    thinking.
    """
    assert server.script_errors == []
    assert sum(status != 200 for status in server.statuses) == told.refused, _refusals(server)
    return [
        [number for message in request.messages if (number := _checked(message, told, lost, same_calls)) is not None]
        for request in server.requests
    ]


def _checked(message: dict[str, Any], told: Told, lost: Collection[int], same_calls: bool) -> int | None:
    number = told.reply_in(message)
    if number is None:
        return None
    reply = told.said[number]
    assert message["reasoning_content"] == (" " if number in lost else reply.reasoning)
    if same_calls and number not in lost:
        calls = [call["function"] for call in message.get("tool_calls", ())]
        assert [(call["name"], call["arguments"]) for call in calls] == [
            (c.name, c.arguments or "{}") for c in reply.calls
        ]
    return number


def _refusals(server: KimiServer) -> str:
    pairs = zip(server.requests, server.statuses, strict=True)
    return "\n".join(f"{status}: {request.body!r}" for request, status in pairs if status != 200)


async def ran(agent: Any, way: str, run_input: Any, config: Any = THREAD, **settings: Any) -> Any:
    """What the agent gives, on the sync or the async path."""
    if way == "sync":
        return await asyncio.to_thread(agent.invoke, run_input, config, **settings)
    return await agent.ainvoke(run_input, config, **settings)


async def three_turns(agent: Any, way: str, words: str = "Add.") -> Any:
    """The state after three turns of the user on one thread."""
    for turn in range(3):
        state = await ran(agent, way, {"messages": [("user", f"{words} ({turn})")]})
    return state


def warnings_of(recorded: pytest.WarningsRecorder) -> list[str]:
    """What this package warned of."""
    return [str(warning.message) for warning in recorded if warning.category is KimiWarning]
