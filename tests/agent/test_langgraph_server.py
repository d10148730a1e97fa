"""The agent behind LangGraph's server: `langgraph dev`, as in examples/server, talked to by `RemoteGraph`."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("langgraph_api") is None, reason="langgraph-cli[inmem] is not installed"),
]
READY = "Queue stats"
"""Said by a worker of the server, after it began to take requests."""
EXAMPLE = Path(__file__).parents[2] / "examples" / "server"
ASK: Any = {"messages": [{"role": "user", "content": "How cold is it in Oslo?"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server; it keeps its files in a folder of its own."""
    folder = tmp_path_factory.mktemp("server")
    for file in (EXAMPLE / "agent.py", EXAMPLE / "langgraph.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser", "--no-reload"]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder,
        env={**os.environ, "LANGSMITH_TRACING": "false", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    told: list[str] = []
    while READY not in "".join(told[-1:]) and (line := process.stdout.readline()):
        told.append(line)
    threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop the server
    yield f"http://127.0.0.1:{port}" if READY in told[-1] else pytest.fail("".join(told))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@pytest.mark.timeout(240)
async def test_remote_graph_gives_the_reasoning_back(url: str) -> None:
    state: Any = await RemoteGraph("agent", url=url).ainvoke(ASK)
    thoughts = [message["additional_kwargs"].get("reasoning_content") for message in state["messages"]]
    assert thoughts == [None, "I need to look that up.", None, "Now I know."]
    assert state["messages"][-1]["content"] == "It is -3.5 °C in Oslo."
    assert state["stop_reason"] == "stop"
    streamed = [part async for part in RemoteGraph("agent", url=url).astream(ASK, stream_mode="custom")]
    assert [part["event"] for part in streamed if "tool" in part["event"]] == ["tool_started", "tool_finished"]


CLOSE: Any = {"messages": [{"role": "user", "content": "Close the windows."}]}
APPROVE = {"decisions": [{"type": "approve"}]}


def thinking_and_text(stream: Any) -> tuple[str, str]:
    """What a stream of messages adds up to."""
    messages = [part.data[0] for part in stream if part.event == "messages"]
    pieces = [message for message in messages if message["type"] == "AIMessageChunk"]
    thinking = "".join(piece["additional_kwargs"].get("reasoning_content", "") for piece in pieces)
    return thinking, "".join(piece["content"] for piece in pieces)


@pytest.mark.timeout(240)
def test_a_remote_thread_streams_asks_and_goes_on(url: str) -> None:
    graph = RemoteGraph("agent", url=url)
    config: Any = {"configurable": {"thread_id": str(uuid4())}}
    modes: Any = ["messages", "custom"]
    assert thinking_and_text(graph.stream(CLOSE, config, stream_mode=modes)) == ("It is cold, so I close them.", "")
    [interrupt] = graph.get_state(config).interrupts
    [request] = interrupt.value["action_requests"]
    assert (request["name"], request["args"]) == ("close_windows", {"city": "Oslo"})
    answer: Any = Command(resume={interrupt.id: APPROVE})
    said = thinking_and_text(graph.stream(answer, config, stream_mode=modes))
    assert said == ("They approved it.", "Done. The windows in Oslo are closed.")
    state = graph.get_state(config)
    assert state.values["stop_reason"] == "stop"
    assert not state.interrupts
    next_said = thinking_and_text(graph.stream(ASK, config, stream_mode=modes))
    assert next_said == ("I need to look that up.Now I know.", "It is -3.5 °C in Oslo.")
    thoughts = [m["additional_kwargs"].get("reasoning_content") for m in graph.get_state(config).values["messages"]]
    assert [thought for thought in thoughts if thought] == [
        "It is cold, so I close them.",
        "They approved it.",
        "I need to look that up.",
        "Now I know.",
    ], "the reasoning of earlier turns stays on the thread"
