"""Tools of real MCP servers over stdio, through langchain-mcp-adapters and through `langchain.mcp`.

The two cannot be installed together: langchain-mcp-adapters needs mcp 1, `langchain[mcp]` needs mcp 2.
"""

import asyncio
import base64
import importlib.util
import os
import runpy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from langchain_kimi import create_kimi_agent
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import Reply, called, said
from tests.agent.helpers import ASK, THREAD, ran
from tests.conftest import KEY, SYNC_AND_ASYNC, Serve, kimi

pytestmark = pytest.mark.slow

SERVER = Path(__file__).with_name("mcp_server.py")
EXAMPLES = SERVER.parents[2] / "examples"


def is_missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


@pytest.fixture(
    params=[
        pytest.param(
            "langchain-mcp-adapters",
            marks=pytest.mark.skipif(is_missing("langchain_mcp_adapters"), reason="langchain-mcp-adapters is missing."),
        ),
        pytest.param(
            "langchain.mcp",
            marks=pytest.mark.skipif(
                is_missing("fastmcp"),
                reason="langchain.mcp needs fastmcp with mcp 2, which excludes langchain-mcp-adapters.",
            ),
        ),
    ]
)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def load(library: str, folder: Path, *names: str, prefix: bool = True) -> list[Any]:
    """The tools of servers with these names."""
    commands = {name: {"command": sys.executable, "args": [str(SERVER), name, str(folder)]} for name in names}
    if library == "langchain.mcp":
        return await load_by_langchain(commands, prefix)
    from langchain_mcp_adapters.callbacks import Callbacks
    from langchain_mcp_adapters.client import MultiServerMCPClient

    example = runpy.run_path(str(EXAMPLES / "mcp_tools.py"))
    client = MultiServerMCPClient(
        {name: {"transport": "stdio", **command} for name, command in commands.items()},  # type: ignore[dict-item]
        callbacks=Callbacks(on_elicitation=example["on_elicitation"]),
        tool_interceptors=[example["ask_people"]],
        tool_name_prefix=prefix and len(names) > 1,
    )
    return list(await client.get_tools())


async def load_by_langchain(commands: dict[str, Any], prefix: bool) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        from langchain.mcp import MCPAdapter
    if prefix and len(commands) > 1:
        return list(await MCPAdapter({"mcpServers": commands}).list_tools())
    adapters = [MCPAdapter({"mcpServers": {name: command}}) for name, command in commands.items()]
    return [tool for adapter in adapters for tool in await adapter.list_tools()]


FOLDERS: dict[str, Path] = {}
"""The folder of the server of each library's `tools`."""


@cache
def tools_of(library: str) -> list[Any]:
    FOLDERS[library] = Path(tempfile.mkdtemp())
    return asyncio.run(load(library, FOLDERS[library], "one"))


@pytest.fixture
def tools(library: str) -> list[Any]:
    return tools_of(library)


def script(reply: Reply) -> Callable[[Any], Reply]:
    return lambda request: said("done") if request.tool_results() else reply


def messages(state: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


@SYNC_AND_ASYNC
async def test_results_have_structured_content_pictures_and_errors(tools: list[Any], serve: Serve, way: str) -> None:
    server = serve(script(called("weather", city="Oslo").calling("picture").calling("fail", x=1)))
    weather, picture, failed = messages(await ran(create_kimi_agent(kimi(server), tools, tool_timeout=60), way))
    assert weather.artifact == {"structured_content": {"server": "one", "city": "Oslo", "celsius": 3.5}}
    assert '"celsius": 3.5' in weather.text
    assert (picture.status, failed.status) == ("success", "error")
    assert "Error executing tool fail" in failed.text
    sent = {one["tool_call_id"]: one["content"] for one in server.requests[-1].tool_results()}
    [part] = sent["picture:1"]
    head, _, data = part["image_url"]["url"].partition(",")
    assert (part["type"], head) == ("image_url", "data:image/png;base64")
    assert base64.b64decode(data) == (EXAMPLES / "chart.png").read_bytes()
    assert '"city": "Oslo"' in str(sent["weather:0"])


def test_a_server_that_dies_is_an_error_result_and_the_next_call_works(tools: list[Any], serve: Serve) -> None:
    server = serve([called("die"), called("weather", city="Oslo"), said("done")])
    died, weather = messages(create_kimi_agent(kimi(server), tools, tool_timeout=60).invoke(ASK))
    assert (died.status, weather.status) == ("error", "success")
    assert "Connection closed" in died.text


def test_a_long_call_ends_at_its_timeout(library: str, tools: list[Any], serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(script(called("hang")))), tools, tool_timeout=6)
    [late] = messages(agent.invoke(ASK))
    assert "hang gave no result within 6 seconds" in late.text
    if library == "langchain-mcp-adapters":  # a process for each call
        [process] = {int(line) for line in (FOLDERS[library] / "hang").read_text().split()}
        wait_for_end(process)


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"The process {process} still runs.")


@pytest.mark.parametrize(("way", "action"), [("sync", "accept"), ("async", "decline")])
async def test_a_question_of_the_server_is_an_interrupt_that_outlives_the_process(
    library: str, tmp_path: Path, serve: Serve, way: str, action: str
) -> None:
    """Everything is made anew for the answer, the server too: only the database stays."""
    server = serve(script(called("ask", what="pay")))
    state = await run_once(library, tmp_path, server, way, ASK)
    [question] = state["__interrupt__"]
    told = question.value["requests"][0] if library == "langchain.mcp" else question.value
    assert told["message"] == "pay?"
    assert "sure" in (told.get("requested_schema") or told["requestedSchema"])["properties"]
    answer: dict[str, Any] = {"action": action} | ({"content": {"sure": True}} if action == "accept" else {})
    resume = {"responses": {told["key"]: answer}} if library == "langchain.mcp" else answer
    [result] = messages(await run_once(library, tmp_path, server, way, Command(resume=resume)))
    assert result.text == ("pay: accept True" if action == "accept" else "pay: decline")
    starts = len((tmp_path / "ask").read_text().split())
    # mcp 2 asks before the tool starts. With mcp 1, each attempt starts it: one until the interrupt, one more until the
    # question after it, and the one with the answer.
    assert starts == (1 if library == "langchain.mcp" else 3)


async def run_once(library: str, folder: Path, server: Any, way: str, run_input: Any) -> dict[str, Any]:
    """One run of an agent in a state of its own, as in a process of its own."""
    tools, path = await load(library, folder, "one"), str(folder / "threads.sqlite")
    if way == "sync":
        with SqliteSaver.from_conn_string(path) as saver:
            agent = create_kimi_agent(kimi(server), tools, checkpointer=saver, tool_timeout=60)
            return await asyncio.to_thread(agent.invoke, run_input, THREAD)
    async with AsyncSqliteSaver.from_conn_string(path) as asaver:
        agent = create_kimi_agent(kimi(server), tools, checkpointer=asaver, tool_timeout=60)
        return await agent.ainvoke(run_input, THREAD)


def test_a_schema_that_kimi_refuses_is_normalised_and_arguments_are_checked_against_the_original(
    tools: list[Any], serve: Serve
) -> None:
    right = {"point": [1, 2], "unit": 3, "scale": 2.5, "limit": 4}
    server = serve([called("measure", **{**right, "point": [1, 2, 3]}), called("measure", **right), said("done")])
    [measure] = [tool for tool in tools if tool.name == "measure"]
    declared = {"type": "function", "function": {"name": "measure", "parameters": measure.args_schema}}
    body = {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "go"}], "tools": [declared]}
    refused = httpx2.post(f"{server.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert refused.status_code == 400
    assert "schema" in refused.text
    wrong, result = messages(create_kimi_agent(kimi(server), tools, tool_timeout=60).invoke(ASK))
    assert wrong.status == "error"
    assert "$.point" in wrong.text
    assert result.text == "(1, 2) 3 2.5 4"


def test_equal_names_of_two_servers_raise_and_prefixes_tell_them_apart(
    library: str, tmp_path: Path, serve: Serve
) -> None:
    server = serve(script(called("one_weather", city="Oslo").calling("two_weather", city="Rome")))
    equal = asyncio.run(load(library, tmp_path, "one", "two", prefix=False))
    with pytest.raises(IllegalRequestError, match="function name weather is duplicated"):
        create_kimi_agent(kimi(server), equal)
    assert server.requests == []
    prefixed = asyncio.run(load(library, tmp_path, "one", "two"))
    results = messages(create_kimi_agent(kimi(server), prefixed, tool_timeout=60).invoke(ASK))
    told = [result.artifact["structured_content"] for result in results]
    assert [(one["server"], one["city"]) for one in told] == [("one", "Oslo"), ("two", "Rome")]
