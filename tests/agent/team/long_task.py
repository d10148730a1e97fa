"""A task of sixty turns for a team of four, and a process that works on it until it is done, stopped or killed:
`python -m tests.agent.team.long_task DATABASE KIMI_URL OTHER_URL WAY DIRECTORY`.

Ten rounds: the lead sends three researchers out in parallel, then hands over to the coder beside an ordinary call; the
coder runs something and hands over to the reviewer, who has another vendor's client; the reviewer checks and
hands back.
"""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from pydantic import SecretStr

from langchain_kimi import AgentLimits, ChatKimi, TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import Reply, Request, thought

ROUNDS = 10
THREAD: Any = {"configurable": {"thread_id": "1"}}
MODELS = {
    "lead": "kimi-k2.6",
    "coder": "kimi-k3",
    "reviewer": "kimi-k2-0905-preview",
    "researcher": "kimi-k2.6",
}


def who(request: Request) -> str:
    """Whose request this is: each agent's prompt is its name."""
    return str(request.messages[0]["content"])


def thoughts(agent: str, turn: int) -> str:
    """What an agent thinks in its turn."""
    return f"{agent}\u2028 thinks {turn}, ünï  "


def play(request: Request) -> Reply:
    """The reply to an agent, by how often it spoke before."""
    agent, turn = who(request), sum(message["role"] == "assistant" for message in request.messages)
    reply = thought(thoughts(agent, turn))
    return _MOVES[agent](reply, turn // 2, turn % 2, request)


def _lead(reply: Reply, round: int, step: int, request: Request) -> Reply:
    if round == ROUNDS:
        return reply.saying("All done.")
    if step == 0:
        for number in range(3):
            reply = reply.calling_raw("research", f'{{"task":  "topic {round}.{number}"}}')
        return reply
    return reply.calling("note", text=f"round {round}").calling_raw("transfer_to_coder", "{ }")


def _coder(reply: Reply, round: int, step: int, request: Request) -> Reply:
    if step == 0:
        return reply.calling_raw("deploy" if round == 4 else "run", f'{{"what" : "part {round}"}}')
    return reply.saying(f"Part {round} is coded.").calling("transfer_to_reviewer")


def _reviewer(reply: Reply, round: int, step: int, request: Request) -> Reply:
    if step == 0:
        return reply.calling("check", what=f"part {round}")
    return reply.saying(f"Part {round} is fine.").calling("transfer_to_lead")


def _researcher(reply: Reply, round: int, step: int, request: Request) -> Reply:
    topic = request.text_of("user")
    return reply.saying(f"All about {topic}.") if step else reply.calling_raw("search", f'{{"for": "{topic}" }}')


_MOVES = {"lead": _lead, "coder": _coder, "reviewer": _reviewer, "researcher": _researcher}


class World:
    """The tools, what they did, and the places at which the process is killed once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Condition()
        self._recorded: set[str] = set()

    def watch(self, saver: Any) -> Any:
        """The checkpointer, which from now on tells the world which results it has recorded."""
        put_writes, aput_writes = saver.put_writes, saver.aput_writes

        def watched(config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            put_writes(config, writes, task_id, task_path)
            self._saw(writes)

        async def awatched(config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            await aput_writes(config, writes, task_id, task_path)
            self._saw(writes)

        saver.put_writes, saver.aput_writes = watched, awatched
        return saver

    def _saw(self, writes: Any) -> None:
        with self._lock:
            for _, value in writes:
                for message in value if isinstance(value, list) else [value]:
                    if isinstance(message, ToolMessage):
                        self._recorded.add(str(message.content))
            self._lock.notify_all()

    def did(self, what: str) -> None:
        """Write down that a tool ran."""
        with open(self._directory / "done", "a") as file:
            file.write(what + "\n")
            file.flush()
            os.fsync(file.fileno())

    def die_once(self, place: str, *results: str) -> None:
        """Kill this process when the results of the siblings were recorded, unless it was killed here before."""
        marker = self._directory / place
        if marker.exists():
            return
        with self._lock:
            if not self._lock.wait_for(lambda: self._recorded.issuperset(results), 30):
                return
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def tools(self) -> dict[str, Any]:
        """The tools by their names."""

        @tool
        def note(text: str) -> str:
            """Note something."""
            self.did(f"note {text}")
            if text == "round 3":
                self.die_once("killed in a hand-off", "The conversation was handed over to coder.")
            return f"noted {text}"

        @tool
        def run(what: str) -> str:
            """Run something."""
            self.did(f"run {what}")
            return f"ran {what}"

        @tool
        def deploy(what: str) -> str:
            """Deploy something."""
            self.did(f"deploy {what}")
            return f"deployed {what}"

        @tool
        def check(what: str) -> str:
            """Check something."""
            self.did(f"check {what}")
            return f"checked {what}"

        def searched(topic: str) -> str:
            self.did(f"search {topic}")
            if topic == "topic 6.1":
                self.die_once("killed in a sub-agent", "All about topic 6.0.", "All about topic 6.2.")
            return f"pages on {topic}"

        @tool("search", args_schema={"type": "object", "properties": {"for": {"type": "string"}}, "required": ["for"]})
        def search(**about: str) -> str:
            """Search for something."""
            return searched(about["for"])

        return {made.name: made for made in (note, run, deploy, check, search)}


def team(kimi_url: str, other_url: str, world: World, saver: Any) -> Any:
    """Two agents on Kimi, one on another vendor's client, and one that is a tool of the first."""

    def kimi(agent: str) -> ChatKimi:
        return ChatKimi(model=MODELS[agent], base_url=kimi_url, api_key=SecretStr("sk-test"), max_retries=0)

    tools = world.tools()
    researcher = create_kimi_agent(kimi("researcher"), [tools["search"]], system_prompt="researcher", name="researcher")
    research = agent_as_tool(researcher, name="research", description="Research a topic.")
    other = ChatOpenAI(model=MODELS["reviewer"], base_url=other_url, api_key=SecretStr("sk-test"), max_retries=0)
    members = [
        TeamMember(name="lead", model=kimi("lead"), tools=[research, tools["note"]], system_prompt="lead"),
        TeamMember(name="coder", model=kimi("coder"), tools=[tools["run"], tools["deploy"]], system_prompt="coder"),
        TeamMember(name="reviewer", model=other, tools=[tools["check"]], system_prompt="reviewer"),
    ]
    return create_kimi_team(
        members, interrupt_on={"deploy": True}, limits=AgentLimits(cost_usd=100), checkpointer=world.watch(saver)
    )


def given(left: Any) -> Any:
    """What the next run is given: the task, a person's approval, or nothing but to go on."""
    if not left.values.get("messages"):
        return {"messages": [("user", "Do it.")]}
    waits = any(task.interrupts for task in left.tasks)
    return Command(resume={"decisions": [{"type": "approve"}]}) if waits else None


def go_on(database: str, kimi_url: str, other_url: str, way: str, directory: str) -> None:
    """One run."""
    asyncio.run(_go_on(database, kimi_url, other_url, way, directory))


async def _go_on(database: str, kimi_url: str, other_url: str, way: str, directory: str) -> None:
    world, local = World(Path(directory)), database.startswith("/")
    if way == "sync":
        with (SqliteSaver if local else PostgresSaver).from_conn_string(database) as saver:
            agent = team(kimi_url, other_url, world, saver)
            agent.invoke(given(agent.get_state(THREAD)), THREAD, durability="sync")
    else:
        async with (AsyncSqliteSaver if local else AsyncPostgresSaver).from_conn_string(database) as saver:
            agent = team(kimi_url, other_url, world, saver)
            await agent.ainvoke(given(await agent.aget_state(THREAD)), THREAD, durability="sync")
