"""An agent with the tools of an MCP server, run by `invoke`. A question of the server becomes an interrupt.

pip install langchain-mcp-adapters
"""

import asyncio
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from mcp.types import ElicitResult

from langchain_kimi import create_kimi_agent
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said

SERVER = {"transport": "stdio", "command": sys.executable, "args": [str(Path(__file__).with_name("mcp_server.py"))]}
THREAD: Any = {"configurable": {"thread_id": "dinner"}}
ATTEMPT: ContextVar[dict[str, Any]] = ContextVar("attempt")


async def on_elicitation(_context: Any, params: Any, _callback: Any) -> ElicitResult:
    """Answers a question of the server. A new question is cancelled and left to `ask_people`."""
    attempt = ATTEMPT.get()
    if attempt["answers"]:
        return ElicitResult(**attempt["answers"].pop(0))
    attempt.setdefault("question", params.model_dump(mode="json", exclude_none=True))
    return ElicitResult(action="cancel")


async def ask_people(request: Any, call: Any) -> Any:
    """Calls the tool again with the answer of a person, until the server has no further question."""
    answers: list[dict[str, Any]] = []
    while True:
        ATTEMPT.set(attempt := {"answers": list(answers)})
        result = await call(request)
        if "question" not in attempt:
            return result
        answers.append(interrupt(attempt["question"]))


def script(request: Request) -> Reply:
    """Plays the model."""
    if results := request.tool_results():
        return said(f"{results[-1]['content']} The soup of the day costs 7.50 €.")
    return called("menu", day="Friday").calling("guests_by_day").calling("book", people=4)


if __name__ == "__main__":
    callbacks = Callbacks(on_elicitation=on_elicitation)
    client = MultiServerMCPClient({"restaurant": SERVER}, callbacks=callbacks, tool_interceptors=[ask_people])
    agent = create_kimi_agent(FakeKimi(script), asyncio.run(client.get_tools()), checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("user", "A table for four on Friday, please.")]}, THREAD)
    print("the server asks:", state["__interrupt__"][0].value["message"])
    answer = {"action": "accept", "content": {"outside": True}}
    print(agent.invoke(Command(resume=answer), THREAD)["messages"][-1].text)
