"""An editor with two researchers and a person who approves, on a scripted server: a thread to make a report of."""

import base64
import sys
import time
from pathlib import Path
from typing import Any

from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from langchain_kimi import ChatKimi, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought


@tool
def archive(subject: str) -> dict[str, Any]:
    """Articles on a subject."""
    time.sleep(0.3)
    return {"articles": [{"title": f"{subject}, part {part}", "words": 400 * part} for part in (1, 2, 3)]}


@tool
def chart() -> list[dict[str, Any]]:
    """A chart of prices."""
    data = base64.b64encode((Path(__file__).parents[1] / "chart.png").read_bytes()).decode()
    return [{"type": "image", "base64": data, "mime_type": "image/png"}]


@tool
def publish(title: str) -> str:
    """Publish an article."""
    return f"Published: {title}"


def script(request: Request) -> Reply:
    time.sleep(0.1)
    results, subject = len(request.tool_results()), request.text_of("user")
    if request.text_of("system") == "You research.":
        return said(f"{subject}: three.") if results else thought("The archive.").calling("archive", subject=subject)
    if results:
        return thought("Enough.").calling("publish", title="Old metals") if results == 3 else said("It is published.")
    return thought("All at once.").calling("research", task="Copper").calling("research", task="Tin").calling("chart")


def main(model: ChatKimi, path: str) -> None:
    researcher = create_kimi_agent(model, [archive], system_prompt="You research.")
    tools = [agent_as_tool(researcher, name="research", description="Researches a subject."), chart, publish]
    thread: Any = {"configurable": {"thread_id": "metals"}}
    with SqliteSaver.from_conn_string(path) as saver:
        editor = create_kimi_agent(model, tools, name="editor", interrupt_on={"publish": True}, checkpointer=saver)
        editor.invoke({"messages": [("user", "Write about old metals.")]}, thread)
        state = editor.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    print(state["messages"][-1].text, f"Now: langchain-kimi report {path} -o run.html")


if __name__ == "__main__":
    with KimiServer(script) as server:
        main(ChatKimi(model="kimi-k3", base_url=server.url), *(sys.argv[1:] or ["threads.sqlite"]))
