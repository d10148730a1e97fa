"""Warnings point at the user's line, in all ways of calling, also where the work is done in tasks and threads."""

import asyncio
import inspect
import threading
import warnings
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr, model_validator

from langchain_kimi import ChatKimi, KimiWarning, create_kimi_agent
from langchain_kimi.errors import warn
from langchain_kimi.testing import Reply, Request, said, thought
from tests.conftest import KEY, Serve, kimi

UNKNOWN = "some-new-model"
"""A model that the catalogue lacks: its first request warns."""


@tool
def look(at: str) -> str:
    """Look around."""
    return "nothing"


class Watch:
    """Records warnings, and the line on which the user's call stands."""

    def __enter__(self) -> "Watch":
        self._catch = warnings.catch_warnings(record=True)
        self._caught = self._catch.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *error: Any) -> None:
        self._catch.__exit__(*error)

    def line(self) -> int:
        frame = inspect.currentframe()
        assert frame
        assert frame.f_back
        return frame.f_back.f_lineno

    def check(self, line: int) -> None:
        places = {(one.filename, one.lineno) for one in self._caught if issubclass(one.category, KimiWarning)}
        assert places == {(__file__, line)}


def test_of_a_constructor() -> None:
    namespace: dict[str, Any] = {
        "__name__": "langchain_kimi.x",
        "Base": BaseModel,
        "after": model_validator(mode="after"),
    }
    namespace["warn"] = warn
    exec("class Made(Base):\n @after\n def _warned(self):\n  warn('mind')\n  return self", namespace)
    with Watch() as watch:
        line = watch.line() + 1
        namespace["Made"]()
    watch.check(line)
    with Watch() as watch:
        other = ChatOpenAI(model="kimi-k2.6", api_key=SecretStr(KEY), seed=3)
        line = watch.line() + 1
        ChatKimi.from_chat_openai(other)
    watch.check(line)


def test_of_invoke_and_stream(serve: Serve) -> None:
    server = serve(lambda request: said("Hello."), models=[UNKNOWN])
    with Watch() as watch:
        line = watch.line() + 1
        kimi(server, UNKNOWN).invoke("Hi")
    watch.check(line)
    with Watch() as watch:
        line = watch.line() + 1
        list(kimi(server, UNKNOWN).stream("Hi"))
    watch.check(line)


async def test_of_ainvoke_and_astream(serve: Serve) -> None:
    server = serve(lambda request: said("Hello."), models=[UNKNOWN])
    with Watch() as watch:
        line = watch.line() + 1
        await kimi(server, UNKNOWN).ainvoke("Hi")
    watch.check(line)
    with Watch() as watch:
        line = watch.line() + 1
        [chunk async for chunk in kimi(server, UNKNOWN).astream("Hi")]
    watch.check(line)


def test_of_bind_tools(serve: Serve) -> None:
    model = kimi(serve(lambda request: said("Hello.")))
    with Watch() as watch:
        line = watch.line() + 1
        model.bind_tools([look], tool_choice="any").invoke("Hi")
    watch.check(line)


@pytest.mark.parametrize("calls", [1, 3])
async def test_of_an_agent_whose_work_is_done_in_tasks_and_threads(serve: Serve, calls: int) -> None:
    """Also of a tool's own line, where the tool calls a model itself."""

    def script(request: Request) -> Reply:
        reply = thought("Look.")
        for at in range(calls):
            reply = reply.calling("look", at=str(at))
        return said("Done.") if request.tool_results() else reply

    ask: Any = {"messages": [("user", "go")]}
    server = serve(script, models=[UNKNOWN])
    with Watch() as watch:
        line = watch.line() + 1
        create_kimi_agent(kimi(server, UNKNOWN), [look]).invoke(ask)
    watch.check(line)
    with Watch() as watch:
        line = watch.line() + 1
        await create_kimi_agent(kimi(server, UNKNOWN), [look]).ainvoke(ask)
    watch.check(line)
    with Watch() as watch:
        agent = create_kimi_agent(kimi(server, UNKNOWN), [look])
        line = watch.line() + 1
        [part async for part in agent.astream(ask)]
    watch.check(line)


async def test_of_a_tool_that_calls_a_model(serve: Serve) -> None:
    inner, lines = kimi(serve(lambda request: said("Hm."), models=[UNKNOWN]), UNKNOWN), []

    @tool
    def ask() -> str:
        """Ask another model."""
        lines.append(watch.line() + 1)
        return inner.invoke("Hi").text

    server = serve([thought("I ask.").calling("ask"), said("Done.")])
    agent = create_kimi_agent(kimi(server), [ask])
    with Watch() as watch:
        await agent.ainvoke({"messages": [("user", "go")]})
    watch.check(lines[0])


async def test_of_a_task_that_nobody_called() -> None:
    """In a task or thread of one's own, it is the nearest line of that."""

    async def task() -> int:
        line = watch.line() + 1
        warn("mind")
        return line

    with Watch() as watch:
        line = await asyncio.create_task(task())
    watch.check(line)
    lines: list[int] = []

    def work() -> None:
        lines.append(watch.line() + 1)
        warn("mind")

    with Watch() as watch:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    watch.check(lines[0])


def test_a_line_is_warned_of_once(serve: Serve) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("the same")
    assert len(caught) == 1
