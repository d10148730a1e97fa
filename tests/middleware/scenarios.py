"""The table of scenarios: what happens in a turn, told once for all runners."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool, ToolException, tool
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import ValidationError

from langchain_kimi import AgentLimits, Compaction, InjectedIdempotencyKey, LoopGuard, idempotency_key
from langchain_kimi.testing import Reply, Request, called, cut_after, refused, said, thought
from tests.conftest import add
from tests.middleware.runners import Bench, Sub


@dataclass
class Outcome:
    """What a scenario ended with."""

    states: list[dict[str, Any]]
    """The state after each run; the last one is compared message by message."""
    facts: list[Any] = field(default_factory=list)
    """What else has to be equal."""


@dataclass(frozen=True)
class Scenario:
    run: Callable[[Bench], Awaitable[Outcome]]
    quick: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Callable[[Bench], Awaitable[Outcome]]) -> Callable[[Bench], Awaitable[Outcome]]:
    SCENARIOS[function.__name__] = Scenario(function, quick=False)
    return function


def quick(function: Callable[[Bench], Awaitable[Outcome]]) -> Callable[[Bench], Awaitable[Outcome]]:
    SCENARIOS[function.__name__] = Scenario(function, quick=True)
    return function


def is_last(request: Request) -> bool:
    return bool(request.json.get("tool_choice") == "none")


def rounds(request: Request) -> int:
    return sum(message["role"] == "assistant" for message in request.messages)


def for_ever(request: Request) -> Reply:
    """Two calls a turn, always with other numbers; an answer where it must."""
    if is_last(request):
        return said("That is what I have.", thinking="I must stop.")
    turn = rounds(request)
    return thought(f"turn {turn}").calling("add", a=turn, b=1).calling("add", a=turn, b=2)


def once(reply: Reply, answer: str = "Done.") -> Callable[[Request], Reply]:
    """The reply to the user, and words to everything else."""
    return lambda request: reply if request.last["role"] == "user" else said(answer, thinking="Enough.")


async def limited(bench: Bench, **limits: Any) -> Outcome:
    return Outcome([await bench.run(bench.agent(bench.model(for_ever), [add], limits=AgentLimits(**limits)))])


@quick
async def limit_of_turns(bench: Bench) -> Outcome:
    return await limited(bench, turns=3)


@quick
async def limit_of_tool_calls(bench: Bench) -> Outcome:
    return await limited(bench, tool_calls=5)


@scenario
async def limit_of_tokens(bench: Bench) -> Outcome:
    return await limited(bench, tokens=1)


@scenario
async def limit_of_money(bench: Bench) -> Outcome:
    return await limited(bench, cost_usd=0.00001)


@scenario
async def limit_of_seconds(bench: Bench) -> Outcome:
    return await limited(bench, seconds=0.000001)


@scenario
async def whole_budget_in_every_turn(bench: Bench) -> Outcome:
    async with bench.saver() as saver:
        model = bench.model(once(called("add", a=1, b=1)))
        agent = bench.agent(model, [add], limits=AgentLimits(turns=2), checkpointer=saver)
        return Outcome([await bench.run(agent) for _ in range(3)])


@quick
async def last_answer_with_calls(bench: Bench) -> Outcome:
    def script(request: Request) -> Reply:
        if sum(str(message["content"]).startswith("Not run") for message in request.messages) == 2:
            return said("I stop.")
        return called("add", a=rounds(request), b=1)

    return Outcome([await bench.run(bench.agent(bench.model(script), [add], limits=AgentLimits(turns=2)))])


@scenario
async def no_last_answer(bench: Bench) -> Outcome:
    model = bench.model(lambda request: called("add", a=rounds(request), b=1))
    return Outcome([await bench.run(bench.agent(model, [add], limits=AgentLimits(turns=2)))])


async def repeating(bench: Bench, guard: LoopGuard, turns: int = 20) -> Outcome:
    def script(request: Request) -> Reply:
        if is_last(request) or rounds(request) >= turns:
            return said("I give up.")
        return called("look", place="here")

    ran = []

    @tool
    def look(place: str) -> str:
        """Look somewhere."""
        ran.append(place)
        return "nothing"

    state = await bench.run(bench.agent(bench.model(script), [look], guard=guard))
    return Outcome([state], [len(ran)])


@scenario
async def guard_hint(bench: Bench) -> Outcome:
    return await repeating(bench, LoopGuard(hint=2, block=9, stop=10), turns=4)


@scenario
async def guard_block(bench: Bench) -> Outcome:
    return await repeating(bench, LoopGuard(hint=2, block=3, stop=10), turns=5)


@quick
async def guard_stop(bench: Bench) -> Outcome:
    return await repeating(bench, LoopGuard(hint=2, block=3, stop=4))


@scenario
async def guard_exempt(bench: Bench) -> Outcome:
    return await repeating(bench, LoopGuard(hint=2, block=3, stop=4, exempt={"look"}), turns=6)


@scenario
async def guard_errors(bench: Bench) -> Outcome:
    @tool
    def fail(at: int) -> str:
        """Fail."""
        raise ValueError(f"no {at}")

    model = bench.model(
        lambda request: said("Nothing works.") if is_last(request) else called("fail", at=rounds(request))
    )
    return Outcome([await bench.run(bench.agent(model, [fail], guard=LoopGuard(errors=3)))])


@tool
def page(number: int) -> str:
    """A page of the book."""
    return f"PAGE {number}: " + f"word{number} " * 400


def reader(last_page: int) -> Callable[[Request], Reply]:
    """Reads page after page, as far as its own thoughts tell; writes a summary on request."""

    def script(request: Request) -> Reply:
        if "tools" not in request.json:
            return said("SUMMARY: so far only words.")
        calls = [call for message in request.messages for call in message.get("tool_calls", ())]
        numbers = [int(call["function"]["arguments"].partition(":")[2].strip(" }")) for call in calls]
        following = max(numbers, default=0) + 1
        if following > last_page:
            return said("The end.", thinking="That was all.")
        return thought(f"Now page {following}.").calling("page", number=following)

    return script


@quick
async def compaction_planned(bench: Bench) -> Outcome:
    async with bench.saver() as saver:
        agent = bench.agent(
            bench.model(reader(14)),
            [page],
            compaction=Compaction(window=12_000, reserve=1_000, keep_results=2),
            checkpointer=saver,
        )
        state = await bench.run(agent)
        return Outcome([state, await bench.run(agent, "and now?")])


@scenario
async def compaction_without_summary(bench: Bench) -> Outcome:
    settings = Compaction(window=12_000, reserve=1_000, keep_results=2, summarise=False)
    return Outcome([await bench.run(bench.agent(bench.model(reader(14)), [page], compaction=settings))])


@quick
async def compaction_at_overflow(bench: Bench) -> Outcome:
    inner, full = reader(6), "Invalid request: Your request exceeded model token limit: 9000 (requested: 9600)"

    def script(request: Request) -> Any:
        too_long = sum(len(str(message["content"])) > 2_000 for message in request.messages) > 4
        return refused(400, "invalid_request_error", full) if too_long and "tools" in request.json else inner(request)

    settings = Compaction(window=200_000, keep_results=1)
    return Outcome([await bench.run(bench.agent(bench.model(script), [page], compaction=settings))])


@scenario
async def compaction_with_recall(bench: Bench) -> Outcome:
    inner = reader(16)

    def script(request: Request) -> Reply:
        if request.last.get("content") == "what was page 4?":
            return called("recall", query="PAGE 4:", limit=1)
        return said("Words.") if "what was page 4?" in request.text_of("user") else inner(request)

    settings = Compaction(window=12_000, reserve=1_000, keep_results=2, archive=True)
    async with bench.saver() as saver:
        agent = bench.agent(bench.model(script), [page], compaction=settings, checkpointer=saver, store=InMemoryStore())
        await bench.run(agent)
        state = await bench.run(agent, "what was page 4?")
    recalled = [message.text for message in state["messages"] if message.type == "tool" and message.name == "recall"]
    return Outcome([state], ["PAGE 4: word4" in recalled[0]])


@scenario
async def excerpt_of_a_large_result(bench: Bench) -> Outcome:
    @tool
    def book() -> str:
        """A whole book."""
        return "word " * 30_000

    model = bench.model(once(called("book"), "Read."))
    settings = Compaction(window=20_000, reserve=1_000)
    state = await bench.run(bench.agent(model, [book], compaction=settings))
    read = bench.servers[0].requests[-1].tool_results()[0]["content"]
    return Outcome([state], ["are not shown here" in str(read)])


class Crash(Exception):
    """Ends the run."""


class Survivor:
    """A tool that ends the run once, as soon as the result of its sibling is recorded."""

    def __init__(self, saver: Any) -> None:
        self.ran: list[str] = []
        self._recorded = threading.Event()
        put, aput = saver.put_writes, saver.aput_writes

        def put_writes(config: Any, writes: Any, *args: Any) -> Any:
            put(config, writes, *args)
            self._see(writes)

        async def aput_writes(config: Any, writes: Any, *args: Any) -> Any:
            await aput(config, writes, *args)
            self._see(writes)

        saver.put_writes, saver.aput_writes = put_writes, aput_writes

        @tool
        def note(text: str) -> str:
            """Note something."""
            self.ran.append(text)
            return f"noted {text}"

        @tool
        def crash(text: str) -> str:
            """Crash once."""
            self.ran.append(text)
            if self.ran.count(text) > 1:
                return f"survived {text}"
            assert self._recorded.wait(20)
            raise Crash

        self.tools = [note, crash]

    def _see(self, writes: Any) -> None:
        if "noted" in str(writes):
            self._recorded.set()


TWO_NOTES = thought("Both.").calling("note", text="a").calling("crash", text="b")


async def crashed(bench: Bench, run_input: Any) -> Outcome:
    async with bench.saver() as saver:
        survivor = Survivor(saver)
        model = bench.model(lambda request: TWO_NOTES if request.last.get("content") == "go" else said("I see."))
        agent = bench.agent(model, survivor.tools, checkpointer=saver, tool_errors=(ValueError,))
        try:
            await bench.run(agent, durability="sync")
        except Crash:
            pass
        else:
            raise AssertionError("It must have crashed.")
        state = await bench.run(agent, run_input)
        return Outcome([state, await bench.run(agent, "and then?")], [sorted(survivor.ran)])


@quick
async def crash_and_resume(bench: Bench) -> Outcome:
    return await crashed(bench, None)


@quick
async def crash_and_new_message(bench: Bench) -> Outcome:
    return await crashed(bench, "hello?")


@scenario
async def open_calls_in_the_input(bench: Bench) -> Outcome:
    call: Any = {"name": "add", "args": {"a": 1, "b": 2}, "id": "add:0", "type": "tool_call"}
    run_input = {"messages": [HumanMessage("go"), AIMessage("", tool_calls=[call])]}
    return Outcome([await bench.run(bench.agent(bench.model([said("I see.")]), [add]), run_input)])


@tool
def divide(a: int, b: int) -> float:
    """Divide."""
    return a / b


@quick
async def parallel_failures(bench: Bench) -> Outcome:
    reply = called("divide", a=1, b=0).calling("add", a=1, b=2).calling("divide", a=4, b=2).calling("divide", a=5, b=0)
    return Outcome([await bench.run(bench.agent(bench.model(once(reply)), [add, divide]))])


@scenario
async def errors_that_are_raised(bench: Bench) -> Outcome:
    agent = bench.agent(bench.model(once(called("divide", a=1, b=0))), [divide], tool_errors=False)
    try:
        return Outcome([await bench.run(agent)])
    except ZeroDivisionError as error:
        return Outcome([], [repr(error)])


@scenario
async def errors_that_a_tool_handles_itself(bench: Bench) -> Outcome:
    def check(what: str) -> str:
        """Check something."""
        raise ToolException(f"{what} is wrong")

    own = StructuredTool.from_function(check, handle_tool_error=True)
    return Outcome([await bench.run(bench.agent(bench.model(once(called("check", what="it"))), [own]))])


@scenario
async def arguments_of_wrong_types(bench: Bench) -> Outcome:
    return Outcome([await bench.run(bench.agent(bench.model(once(called("add", a="x", b=2))), [add]))])


@scenario
async def arguments_against_a_json_schema(bench: Bench) -> Outcome:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    ran = []

    def count(n: int) -> str:
        ran.append(n)
        return "counted"

    async def acount(n: int) -> str:
        ran.append(n)
        return "counted"

    mcp = StructuredTool(name="count", description="Count.", args_schema=schema, func=count, coroutine=acount)
    reply = called("count", n=0).calling("count", n=2)
    return Outcome([await bench.run(bench.agent(bench.model(once(reply)), [mcp]))], [ran])


BROKEN = '{"a": 1, "b"'


@quick
async def only_unreadable_calls(bench: Bench) -> Outcome:
    def script(request: Request) -> Reply:
        reply = thought("Hm.").calling_raw("add", BROKEN).calling_raw("add", "[1]")
        return [reply, called("add", a=1, b=2), said("3.")][rounds(request)]

    return Outcome([await bench.run(bench.agent(bench.model(script), [add]))])


@scenario
async def some_unreadable_calls(bench: Bench) -> Outcome:
    reply = thought("Hm.").calling_raw("add", BROKEN).calling("add", a=1, b=2)
    return Outcome([await bench.run(bench.agent(bench.model(once(reply)), [add]))])


@scenario
async def call_of_an_unknown_tool(bench: Bench) -> Outcome:
    return Outcome([await bench.run(bench.agent(bench.model(once(called("multiply", a=1, b=2))), [add]))])


@scenario
async def call_cut_at_the_length_cap(bench: Bench) -> Outcome:
    reply = thought("Hm.").calling_raw("add", BROKEN).finish("length")
    return Outcome([await bench.run(bench.agent(bench.model(once(reply)), [add]))])


@scenario
async def calls_with_one_id(bench: Bench) -> Outcome:
    reply = (
        thought("Hm.").calling_raw("add", '{"a": 1, "b": 2}', "add:0").calling_raw("add", '{"a": 3, "b": 4}', "add:0")
    )
    return Outcome([await bench.run(bench.agent(bench.model(once(reply)), [add]))])


@scenario
async def empty_answers(bench: Bench) -> Outcome:
    return Outcome([await bench.run(bench.agent(bench.model([said(""), said("")]), [add]))])


@scenario
async def answer_that_broke_off(bench: Bench) -> Outcome:
    replies = [cut_after(said("hello there"), events=3), said("hello there")]
    return Outcome([await bench.run(bench.agent(bench.model(replies), [add]))])


@scenario
async def answer_withheld_by_moderation(bench: Bench) -> Outcome:
    reply = called("add", a=1, b=2).saying("I may").finish("content_filter")
    return Outcome([await bench.run(bench.agent(bench.model([reply]), [add]))])


@scenario
async def answer_cut_in_its_thinking(bench: Bench) -> Outcome:
    replies = [thought("word " * 30).finish("length"), said("Short.")]
    state = await bench.run(bench.agent(bench.model(replies, max_tokens=64), [add]))
    return Outcome([state], [[request.json.get("max_tokens") for request in bench.servers[0].requests]])


@quick
async def approvals(bench: Bench) -> Outcome:
    ran = []

    @tool
    def refund(order: str) -> str:
        """Refund an order."""
        ran.append(order)
        return f"{order} is refunded"

    reply = thought("Both.").calling("refund", order="A1").calling("refund", order="A2").calling("add", a=1, b=2)
    async with bench.saver() as saver:
        agent = bench.agent(bench.model(once(reply)), [refund, add], interrupt_on={"refund": True}, checkpointer=saver)
        state = await bench.run(agent)
        asked = [request["args"] for request in state["__interrupt__"][0].value["action_requests"]]
        decisions = [{"type": "approve"}, {"type": "respond", "message": "A2 was refunded before."}]
        return Outcome([await bench.run(agent, Command(resume={"decisions": decisions}))], [asked, ran])


@scenario
async def message_instead_of_a_decision(bench: Bench) -> Outcome:
    async with bench.saver() as saver:
        model = bench.model(lambda request: called("add", a=1, b=2) if request.last["content"] == "go" else said("No."))
        agent = bench.agent(model, [add], interrupt_on={"add": True}, checkpointer=saver)
        await bench.run(agent)
        return Outcome([await bench.run(agent, "never mind")])


def researcher(request: Request) -> Reply:
    """Looks twice, then answers; or says what it has."""
    if is_last(request):
        return said("Half of it.", thinking="I must stop.")
    return said("Found.") if rounds(request) > 1 else called("add", a=rounds(request), b=len(request.text_of("user")))


async def delegated(bench: Bench, own: dict[str, Any], *tasks: str, **policies: Any) -> Outcome:
    sub = Sub(bench.model(researcher), [add], own)

    def lead(request: Request) -> Reply:
        return bench.delegate(*tasks) if request.last["role"] == "user" else said("Done.", thinking="Enough.")

    state = await bench.run(bench.agent(bench.model(lead), [], sub=sub, **policies))
    return Outcome([state], [len(server.requests) for server in bench.servers])


@quick
async def sub_agents(bench: Bench) -> Outcome:
    return await delegated(bench, {}, "a", "bb")


@scenario
async def sub_agents_with_limits_of_their_own(bench: Bench) -> Outcome:
    return await delegated(bench, {"limits": AgentLimits(turns=1)}, "a")


@scenario
async def sub_agents_within_the_callers_limits(bench: Bench) -> Outcome:
    return await delegated(bench, {}, "a", limits=AgentLimits(tool_calls=2))


class Lost(BaseException):
    """Ends the run as the end of the process would."""


class Mail:
    """A tool that sends a mail; the first runs end before there is a result."""

    def __init__(self, crashes: int) -> None:
        self.sent: list[tuple[str, str]] = []

        def deliver(to: str, key: str) -> str:
            self.sent.append((to, key))
            assert idempotency_key() == key
            if len(self.sent) <= crashes:
                raise Lost
            return f"sent to {to}"

        def send(to: str, key: Annotated[str, InjectedIdempotencyKey]) -> str:
            """Send a mail."""
            return deliver(to, key)

        async def asend(to: str, key: Annotated[str, InjectedIdempotencyKey]) -> str:
            """Send a mail."""
            return deliver(to, key)

        self.tool = StructuredTool.from_function(send, asend, name="send")

    @property
    def receivers(self) -> list[str]:
        return [to for to, _ in self.sent]

    @property
    def keys(self) -> int:
        return len({key for _, key in self.sent})


async def lost(bench: Bench, agent: Any, run_input: Any = "go") -> None:
    """A run that ends in the middle of a tool."""
    try:
        await bench.run(agent, run_input)
    except (Lost, asyncio.CancelledError):
        return
    raise AssertionError("It must have crashed.")


def questions(state: dict[str, Any]) -> list[Any]:
    """What people are asked, without what differs in every run."""
    return [
        [{**action, "idempotency_key": ""} for action in asked.value["action_requests"]] + asked.value["review_configs"]
        for asked in state.get("__interrupt__", ())
    ]


def decided(*decisions: dict[str, Any]) -> Command[Any]:
    return Command(resume={"decisions": list(decisions)})


TWO_MAILS = thought("Both.").calling("send", to="bo").calling("add", a=1, b=2)


async def mailed(bench: Bench, mail: Mail, *decisions: dict[str, Any], **policies: Any) -> Outcome:
    """A crash in the middle of a mail, and the decisions about it, one after the other."""
    async with bench.saver() as saver:
        model = bench.model(once(TWO_MAILS))
        agent = bench.agent(model, [mail.tool, add], once={"send"}, checkpointer=saver, **policies)
        await lost(bench, agent)
        state = await bench.run(agent, None)
        shown = [questions(state)]
        for decision in decisions:
            asked = state["__interrupt__"][0].value["action_requests"]
            assert asked[0]["idempotency_key"] == mail.sent[0][1]
            state = await bench.run(agent, decided(decision))
            shown.append(questions(state))
        return Outcome([state, await bench.run(agent, "and then?")], [mail.receivers, mail.keys, shown])


@quick
async def once_and_it_happened(bench: Bench) -> Outcome:
    return await mailed(bench, Mail(1), {"type": "happened", "message": "Sent at 9:00."})


@quick
async def once_and_it_runs(bench: Bench) -> Outcome:
    return await mailed(bench, Mail(1), {"type": "run"})


@scenario
async def once_and_nobody_knows(bench: Bench) -> Outcome:
    return await mailed(bench, Mail(1), {"type": "unknown", "message": "Ask Bo."})


@scenario
async def once_and_the_model_is_told(bench: Bench) -> Outcome:
    return await mailed(bench, Mail(1), on_unknown="tell_model")


@scenario
async def once_and_a_second_crash(bench: Bench) -> Outcome:
    mail = Mail(2)
    async with bench.saver() as saver:
        agent = bench.agent(bench.model(once(TWO_MAILS)), [mail.tool, add], once={"send"}, checkpointer=saver)
        await lost(bench, agent)
        await bench.run(agent, None)
        await lost(bench, agent, decided({"type": "run"}))
        again = [questions(await bench.run(agent, None)) for _ in range(2)]
        state = await bench.run(agent, decided({"type": "run"}))
        return Outcome([state], [mail.receivers, mail.keys, again])


@scenario
async def once_and_a_new_message(bench: Bench) -> Outcome:
    mail = Mail(1)
    async with bench.saver() as saver:
        model = bench.model(lambda request: TWO_MAILS if request.last.get("content") == "go" else said("I see."))
        agent = bench.agent(model, [mail.tool, add], once={"send"}, checkpointer=saver)
        await lost(bench, agent)
        await bench.run(agent, None)
        return Outcome([await bench.run(agent, "never mind")], [mail.receivers])


@scenario
async def once_and_an_invalid_decision(bench: Bench) -> Outcome:
    mail = Mail(1)
    async with bench.saver() as saver:
        agent = bench.agent(bench.model(once(TWO_MAILS)), [mail.tool, add], once={"send"}, checkpointer=saver)
        await lost(bench, agent)
        await bench.run(agent, None)
        try:
            await bench.run(agent, decided({"type": "approve"}))
        except ValidationError as error:
            reason = str(error.errors()[0]["ctx"]["error"])
        state = await bench.run(agent, decided({"type": "happened", "message": "Sent."}))
        return Outcome([state], [reason, mail.receivers])


@scenario
async def once_in_a_sub_agent(bench: Bench) -> Outcome:
    mail = Mail(1)
    async with bench.saver() as saver:
        sub = Sub(bench.model(once(TWO_MAILS)), [mail.tool, add], {"once": {"send"}})

        def lead(request: Request) -> Reply:
            return bench.delegate("mail Bo") if request.last["role"] == "user" else said("Done.", thinking="Enough.")

        agent = bench.agent(bench.model(lead), [], sub=sub, checkpointer=saver)
        await lost(bench, agent)
        shown = questions(await bench.run(agent, None))
        state = await bench.run(agent, decided({"type": "run"}))
        return Outcome([state], [mail.receivers, mail.keys, shown])


@scenario
async def keys_without_once(bench: Bench) -> Outcome:
    mail = Mail(1)
    async with bench.saver() as saver:
        agent = bench.agent(bench.model(once(TWO_MAILS)), [mail.tool, add], checkpointer=saver)
        await lost(bench, agent)
        return Outcome([await bench.run(agent, None)], [mail.receivers, mail.keys])
