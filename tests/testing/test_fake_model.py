"""What FakeKimi has beyond what it shares with KimiServer: no socket, no waiting, and a loop that is left free."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import httpx2
import pytest
from langchain_core.messages import AIMessageChunk

from langchain_kimi import ChatKimi
from langchain_kimi.errors import APITimeoutError
from langchain_kimi.testing import (
    FakeKimi,
    FakeKimiAPI,
    FakeKimiTransport,
    Reply,
    overloaded,
    rate_limited,
    said,
    slowly,
    stall,
)


def test_it_is_a_chatkimi_that_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    model = FakeKimi([said("Hello")] * 2)
    assert isinstance(model, ChatKimi)
    assert (model.model, model.invoke("hi").text) == ("kimi-k3", "Hello")
    assert [chunk.text for chunk in model.stream("hi") if chunk.text] == ["Hello"]


def test_settings_are_chatkimis() -> None:
    model = FakeKimi([said("x")], model="kimi-k3", thinking="low", max_tokens=20_000)
    model.invoke("hi")
    sent = model.requests[0].json
    assert (sent["model"], sent["reasoning_effort"], sent["max_completion_tokens"]) == ("kimi-k3", "low", 20_000)
    assert FakeKimi([said("x")], model_name="kimi-k3").invoke("hi").text == "x"
    assert "sk-fake" not in repr(model)


def test_waits_and_deadlines_pass_at_once() -> None:
    started = time.monotonic()
    model = FakeKimi([overloaded(times=2), said("x"), rate_limited(30), said("y")])
    assert [model.invoke("hi").text for _ in range(2)] == ["x", "y"]
    with pytest.raises(APITimeoutError, match="timeout `silence` of 300"):
        FakeKimi([stall(said("a b"), after_events=2)], max_retries=0).invoke("hi")
    assert time.monotonic() - started < 30
    model.verify()


def test_copies_and_bound_models_are_played_by_the_same_script() -> None:
    model = FakeKimi([said("a"), said("b"), said("c")])
    assert model.model_copy(update={"max_tokens": 20_000}).invoke("hi").text == "a"
    assert model.bind(thinking=False).invoke("hi").text == "b"
    assert model.with_retry().invoke("hi").text == "c"
    assert [request.json["max_completion_tokens"] for request in model.requests] == [20_000, 131_072, 131_072]


@pytest.mark.parametrize("reply", [said([f"{n} " for n in range(50)]), slowly(said("a b c " * 20), bytes=100)])
async def test_other_tasks_run_between_two_pieces(reply: Reply) -> None:
    model = FakeKimi([reply] * 2)
    order: list[str] = []

    async def listen(name: str) -> None:
        async for chunk in model.astream("hi"):
            assert isinstance(chunk, AIMessageChunk)
            order.append(name)

    await asyncio.gather(listen("one"), listen("two"))
    turns = sum(one != other for one, other in itertools.pairwise(order))
    assert turns > 20


async def test_the_loop_goes_on_while_the_scripts_own_code_waits() -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def pieces() -> Any:
        yield "a "
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(20)
        yield "b"

    heard = []
    async for chunk in FakeKimi([said(pieces())]).astream("hi"):
        if chunk.text:
            heard.append(chunk.text)
            released.set()
    assert heard == ["a ", "b"]


async def test_a_stream_that_is_left_frees_its_place() -> None:
    long = said("a b c d " * 5_000)
    model = FakeKimi(FakeKimiAPI([long, said("x"), long, said("y")], concurrency=1), max_retries=0)
    for chunk in model.stream("hi"):
        if chunk.text:
            break
    assert model.invoke("hi").text == "x"
    stream = model.astream("hi")
    async for chunk in stream:
        if chunk.text:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await model.ainvoke("hi")).text == "y"


async def test_a_cancelled_call_frees_its_place() -> None:
    api = FakeKimiAPI([said(iter(["a "] * 100_000)), said("x")], concurrency=1)
    model = FakeKimi(api, max_retries=0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.ainvoke("hi"), 0.2)
    assert (await model.ainvoke("hi")).text == "x"


async def test_any_client_of_httpx2_can_be_played_in_the_process() -> None:
    api = FakeKimiAPI(balance=3.5)
    headers = {"authorization": "Bearer sk-test"}
    with httpx2.Client(transport=FakeKimiTransport(api), base_url="http://kimi/v1", headers=headers) as http:
        assert http.get("/users/me/balance").json()["data"]["cash_balance"] == 3.5
        file = http.post("/files", files={"file": ("a.txt", b"text")}, data={"purpose": "file-extract"}).json()
        assert http.get(f"/files/{file['id']}/content?x=1").text == "text"
    transport = FakeKimiTransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kimi/v1", headers=headers) as ahttp:
        assert (await ahttp.get("/models")).status_code == 200
    assert [call.route for call in api.calls] == [
        *("/users/me/balance", "/files", f"/files/{file['id']}/content", "/models")
    ]


async def test_formulas_functions_may_wait_for_each_other() -> None:
    together = threading.Barrier(2)

    def slow(name: str, arguments: dict[str, Any]) -> str:
        together.wait(20)
        return "met"

    api = FakeKimiAPI(formulas={"moonshot/fetch:latest": slow})
    headers = {"authorization": "Bearer sk-test"}
    async with httpx2.AsyncClient(transport=FakeKimiTransport(api), base_url="http://kimi/v1", headers=headers) as http:
        asked = {"name": "fetch", "arguments": "{}"}
        runs = [http.post("/formulas/moonshot/fetch:latest/fibers", json=asked) for _ in range(2)]
        assert [run.json()["context"]["output"] for run in await asyncio.gather(*runs)] == ["met"] * 2


@pytest.mark.slow
def test_the_test_kit_loads_langchain_only_for_fakekimi() -> None:
    code = """
import sys
import langchain_kimi.testing as kit
heavy = {"langgraph", "vcr", "pytest", "langchain_kimi.chat_model", "yaml"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
kit.FakeKimi
assert "langchain_kimi.chat_model" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ})
