"""A deep agent that is killed right after it sent a mail: it is not sent again, and a person says what happened."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from deepagents import create_deep_agent
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from langchain_kimi import idempotency_key
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import FakeKimi, Reply, Request, said, thought

FIRST = os.getpid()
THREAD: Any = {"configurable": {"thread_id": "1"}}


def send_mail(to: str) -> str:
    """Send a mail."""
    print(f"sending to {to}, key {len(idempotency_key())} characters", flush=True)
    if os.getpid() != FIRST:
        os.kill(os.getpid(), signal.SIGKILL)  # after the mail, before its result is recorded
    return f"sent to {to}"


def script(request: Request) -> Reply:
    """Plays the model."""
    if request.tool_results():
        return said("Bo knows.")
    return thought("I write.").calling("send_mail", to="bo@example.com")


def run(folder: str, run_input: Any) -> dict[str, Any]:
    """Ask on the thread, resume it, or answer its question."""
    with SqliteSaver.from_conn_string(str(Path(folder) / "threads.sqlite")) as saver:
        policies = KimiMiddleware(once={"send_mail"})
        agent: Any = create_deep_agent(FakeKimi(script), [send_mail], middleware=[policies], checkpointer=saver)
        state: dict[str, Any] = agent.invoke(run_input, THREAD)
        return state


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if (child := os.fork()) == 0:
            run(folder, {"messages": [("user", "Tell Bo.")]})
        os.waitpid(child, 0)
        [request] = run(folder, None)["__interrupt__"][0].value["action_requests"]
        print(f"Did {request['name']} to {request['args']['to']} happen?")
        decision = {"type": "happened", "message": "It went out at 9:00."}
        print(run(folder, Command(resume={"decisions": [decision]}))["messages"][-1].text)
