"""Whatever models, people and developers do: no call runs that was not approved exactly as it runs.

`KIMI_APPROVAL_EXAMPLES=20000 python -m pytest tests/agent/approvals/test_approval_property.py` looks longer.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, InvalidToolCall
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import ValidationError

from langchain_kimi import LoopGuard, TeamMember, create_kimi_agent, create_kimi_team
from tests.agent.helpers import Foreign
from tests.conftest import SYNC_AND_ASYNC

THREAD: Any = {"configurable": {"thread_id": "1"}}
EXAMPLES = int(os.environ.get("KIMI_APPROVAL_EXAMPLES", "4"))
TOOLS = ["delete", "erase", "wipe", "read", "hidden", "nothing"]
"""`delete` and `erase` need a person, calls of `wipe` can only be rejected, `read` is free, `hidden` is not shown to
the model, and `nothing` does not exist."""
NAMES = st.sampled_from([*["delete"] * 6, *TOOLS])
IDS = st.sampled_from(["x", "x", "x", "y", "x-2", None])
PATHS = st.sampled_from(["a", "b"])
CALL = st.tuples(NAMES, PATHS, IDS, st.sampled_from([True, True, True, False]))
ANSWER = st.tuples(st.lists(CALL, min_size=1, max_size=3), st.sampled_from(["m1", "m2", None]))
DECISION = st.tuples(
    st.sampled_from(["approve", "approve", "approve", "edit", "edit", "reject", "respond"]),
    st.sampled_from(["delete", "delete", *TOOLS]),
    PATHS,
)
EDIT = st.tuples(
    st.sampled_from([None, "model", "review", "tools"]),
    st.one_of(
        st.tuples(st.just("delete"), PATHS, st.just("x"), st.just(True)).map(lambda call: [call]),
        st.lists(CALL, min_size=1, max_size=2),
    ),
    st.sampled_from(["same", "same", "m3"]),
)
GOTO = st.sampled_from([(), "model", "tools", ["model", "tools"]])
ACTION = st.one_of(
    st.tuples(st.just("say"), st.lists(CALL, max_size=2)),
    st.tuples(st.just("decide"), st.lists(DECISION, min_size=4, max_size=4)),
    st.tuples(st.just("decide"), st.lists(DECISION, min_size=4, max_size=4)),
    st.tuples(st.just("edit"), EDIT),
    st.tuples(st.just("retouch"), st.tuples(st.sampled_from([None, "model", "review"]), PATHS)),
    st.tuples(st.just("command"), st.tuples(EDIT, GOTO)),
    st.tuples(st.just("edit and decide"), st.tuples(EDIT, st.lists(DECISION, min_size=4, max_size=4))),
    st.tuples(st.just("go on"), st.none()),
    st.tuples(st.just("pause"), st.booleans()),
)

ONE: Any = ([("delete", "a", "x", True)], "m1")
APPROVED: Any = ("decide", [("approve", "", "")])


def answer(calls: Any, message_id: str | None, path: str | None = None) -> AIMessage:
    """A message that makes the calls, those with broken arguments among them."""
    valid = [{"name": name, "args": {"path": path or own}, "id": key} for name, own, key, whole in calls if whole]
    broken = [
        InvalidToolCall(type="invalid_tool_call", name=name, args="{", id=key, error="no JSON")
        for name, _, key, whole in calls
        if not whole
    ]
    return AIMessage("" if calls else "done", tool_calls=valid, invalid_tool_calls=broken, id=message_id)


class World:
    """An agent or team with a scripted model, a person who saw what was shown, and what that person approved."""

    def __init__(self, kind: str, way: str, answers: Any) -> None:
        self.way = way
        self.ran: list[tuple[str, str]] = []
        self.refused = False
        self.shown: list[Any] = []
        self.approved: Counter[str] = Counter()

        def script() -> Iterator[AIMessage]:
            yield from (answer(*made) for made in answers)
            while True:
                yield AIMessage("done")

        def named(name: str) -> Any:
            def run(path: str) -> str:
                self.ran.append((name, path))
                return f"{name} {path}"

            return tool(name, description=name)(run)

        tools = {name: named(name) for name in TOOLS[:-1]}
        own: Any = {
            "interrupt_on": {"delete": True, "erase": True, "wipe": {"allowed_decisions": ["reject"]}},
            "checkpointer": InMemorySaver(),
            "guard": LoopGuard(hint=98, block=99, stop=100, errors=100),
        }
        model = Foreign(messages=script(), disable_streaming=True)
        shown = [one for name, one in tools.items() if name != "hidden"]
        if kind == "team":
            members = [
                TeamMember(name="ann", model=model, tools=shown, transfers_to=[]),
                TeamMember(name="bob", model=model, tools=[tools["hidden"]]),
            ]
            self.agent: Any = create_kimi_team(members, **own)
        else:
            names = [one.name for one in shown]
            self.agent = create_kimi_agent(model, list(tools.values()), select_tools=lambda state: names, **own)

    async def _do(self, method: str, *given: Any) -> Any:
        if self.way == "sync":
            return getattr(self.agent, method)(*given)
        return await getattr(self.agent, f"a{method}")(*given)

    async def run(self, given: Any) -> None:
        """Run, and check what ran."""
        before = len(self.ran)
        state = await self._do("invoke", given, THREAD)
        for name, path in self.ran[before:]:
            assert name not in ("hidden", "wipe"), f"{name} ran"
            assert path != "from input", "a call of the input ran"
            if name != "read":
                key = json.dumps([name, path])
                assert self.approved[key], f"{name}({path}) ran without an approval; approved: {self.approved}"
                self.approved[key] -= 1
        if interrupts := state.get("__interrupt__"):
            (one,) = interrupts
            self.shown = one.value["action_requests"]
            for action in self.shown:  # asked for again: what was approved before counts no more
                self.approved[json.dumps([action["name"], action["args"].get("path")])] = 0

    async def decide(self, drawn: Any, update: Any = None) -> None:
        """Answer what was shown last, whatever the state has become."""
        decisions, approves = [], []
        for action, (kind, name, path) in zip(self.shown, drawn, strict=False):
            kind = "reject" if action["name"] == "wipe" else kind
            decision: Any = {"type": kind, "message": "no"}
            if kind == "edit":
                decision = {"type": kind, "edited_action": {"name": name, "args": {"path": path}}}
                approves.append([name, path])
            elif kind == "approve":
                approves.append([action["name"], action["args"].get("path")])
            decisions.append(decision)
        before = Counter(self.approved)
        self.approved.update(json.dumps(one) for one in approves)
        self.refused = False
        try:
            await self.run(Command(resume={"decisions": decisions}, update=update))
        except ValidationError:
            self.approved, self.refused = before, True  # as a whole, and nothing of it ran

    async def run_again(self, given: Any) -> None:
        """Run without a decision."""
        try:
            await self.run(given)
        except ValidationError:
            assert self.refused  # LangGraph keeps what was resumed with until another decision comes

    async def last_answer(self) -> AIMessage | None:
        messages = (await self._do("get_state", THREAD)).values.get("messages", [])
        return next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)

    async def edited(self, as_node: str | None, calls: Any, message_id: str) -> AIMessage | None:
        last = await self.last_answer()
        return None if last is None else answer(calls, last.id if message_id == "same" else message_id)

    async def act(self, what: str, how: Any) -> None:
        if what == "say":
            calls = [answer(how, "given", "from input")] if how else []
            self.shown = []
            self.approved.clear()  # a new turn: nothing that was approved before counts
            await self.run({"messages": [HumanMessage("go"), *calls]})
        elif what == "decide" and self.shown:
            await self.decide(how)
        elif what == "edit" and (message := await self.edited(*how)):
            await self._do("update_state", THREAD, {"messages": [message]}, how[0])
        elif what == "retouch" and (last := await self.last_answer()):
            as_node, path = how  # the same calls, with another argument
            calls = [{**call, "args": {"path": path}} for call in last.tool_calls]
            message = last.model_copy(update={"tool_calls": calls})
            await self._do("update_state", THREAD, {"messages": [message]}, as_node)
        elif what == "command" and (message := await self.edited(*how[0])):
            await self.run_again(Command(update={"messages": [message]}, goto=how[1]))
        elif what == "edit and decide" and self.shown and (message := await self.edited(*how[0])):
            await self.decide(how[1], {"messages": [message]})
        elif what == "go on" and (await self._do("get_state", THREAD)).next:
            await self.run_again(None)
        elif what == "pause":
            self.agent.interrupt_before_nodes = ["tools"] if how else []

    async def end(self) -> None:
        """The thread takes a new message, and with everything rejected the turn ends."""
        self.agent.interrupt_before_nodes = []
        await self.act("say", [])
        for _ in range(30):
            if not (await self._do("get_state", THREAD)).next:
                break
            await self.decide([("reject", "", "")] * 9)
        state = await self._do("get_state", THREAD)
        assert state.next == ()
        assert state.values["messages"][-1].text == "done"


@pytest.mark.timeout(600)
@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["agent", "team"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@example(answers=[ONE], actions=[("retouch", (None, "b")), APPROVED])
@example(
    answers=[ONE], actions=[("pause", True), APPROVED, ("retouch", (None, "b")), ("pause", False), ("go on", None)]
)
@example(answers=[ONE], actions=[("decide", [("edit", "hidden", "a")])])
@example(answers=[ONE], actions=[("decide", [("edit", "wipe", "a")])])
@example(answers=[ONE, ONE], actions=[APPROVED, ("go on", None)])
@example(answers=[ONE], actions=[("command", ((None, [("delete", "b", "x", True)], "same"), "tools"))])
@given(answers=st.lists(ANSWER, min_size=1, max_size=4), actions=st.lists(ACTION, min_size=2, max_size=6))
def test_no_call_runs_that_was_not_approved_as_it_runs(kind: str, way: str, answers: Any, actions: Any) -> None:
    async def play() -> None:
        world = World(kind, way, answers)
        await world.act("say", [])
        for action in actions:
            await world.act(*action)
        await world.end()

    asyncio.run(play())
