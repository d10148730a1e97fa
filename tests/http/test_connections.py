"""Clients of one connection each: reused, limited in number, and closed when nobody uses them."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from langchain_kimi._http import Connections, Timeouts, Transport, connections
from langchain_kimi.errors import APITimeoutError
from langchain_kimi.testing import KimiServer, said
from tests.conftest import SYNC_AND_ASYNC, Serve

CHAT = "/chat/completions"
BODY = b'{"model": "kimi-k3", "messages": [{"role": "user", "content": "hi"}]}'


class Counted:
    """The connections that a server accepts, and the most requests that it had at the same time."""

    def __init__(self, server: KimiServer, together: int) -> None:
        self.accepted = self.most = self._now = 0
        self._lock = threading.Lock()
        self._gate = threading.Barrier(together)
        assert server._listener is not None
        accept = server._listener.process_request

        def counted(*request: Any) -> None:
            self.accepted += 1
            accept(*request)

        server._listener.process_request = counted  # type: ignore[method-assign]

    def reply(self, request: Any) -> Any:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._gate.wait(20)
        with self._lock:
            self._now -= 1
        return said("x")


async def requests(transport: Transport, way: str, number: int) -> None:
    """So many requests at the same time."""
    if way == "async":
        await asyncio.gather(*(transport.apost(CHAT, BODY) for _ in range(number)))
        return
    with ThreadPoolExecutor(number) as pool:
        list(await asyncio.to_thread(lambda: list(pool.map(lambda _: transport.post(CHAT, BODY), range(number)))))


def started(serve: Serve, together: int) -> tuple[Counted, Transport]:
    replies: list[Any] = []
    server = serve(lambda request: replies[0](request))
    counted = Counted(server, together)
    replies.append(counted.reply)
    headers = {"authorization": "Bearer sk-test-0123456789"}
    return counted, Transport(server.url, Connections(), headers)


async def closed(transport: Transport) -> None:
    transport.connections.close()
    await transport.connections.aclose()


@SYNC_AND_ASYNC
async def test_requests_reuse_the_connections_of_finished_ones(serve: Serve, way: str) -> None:
    counted, transport = started(serve, 8)
    for _ in range(3):
        await requests(transport, way, 8)
    assert (counted.most, counted.accepted) == (8, 8)
    await closed(transport)


@SYNC_AND_ASYNC
async def test_requests_beyond_the_limit_wait_for_others(
    serve: Serve, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_IN_USE", 3)
    counted, transport = started(serve, 3)
    await requests(transport, way, 12)
    assert (counted.most, counted.accepted) == (3, 3)
    await closed(transport)


@SYNC_AND_ASYNC
async def test_requests_to_two_hosts_in_turn_keep_both_connections(serve: Serve, way: str) -> None:
    (one, first), (two, second) = started(serve, 1), started(serve, 1)
    connections = first.connections
    second = replace(second, connections=connections)
    for _ in range(3):
        await requests(first, way, 1)
        await requests(second, way, 1)
    assert (one.accepted, two.accepted) == (1, 1)
    await closed(first)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("timeout", ["pool", "total"])
async def test_a_request_waits_no_longer_for_a_connection_than_its_timeout(
    serve: Serve, way: str, timeout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_IN_USE", 1)
    _, transport = started(serve, 1)
    hurried = replace(transport, timeout=Timeouts(**{timeout: 0.01}), max_retries=0)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        if way == "sync":
            stack.enter_context(transport.connections.client(transport.host))
        else:
            await stack.enter_async_context(transport.connections.async_client(transport.host))
        with pytest.raises(APITimeoutError, match=f"`{timeout}` of 0.01 s") as raised:
            await requests(hurried, way, 1)
    assert raised.value.timeout == timeout
    await requests(hurried if timeout == "pool" else transport, way, 1)
    await closed(transport)


@SYNC_AND_ASYNC
@pytest.mark.parametrize(("name", "value", "left"), [("_MOST_IDLE", 2, 2), ("_LONGEST_IDLE", 0.0, 1)])
async def test_idle_connections_are_few_and_young(
    serve: Serve, way: str, name: str, value: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, name, value)
    counted, transport = started(serve, 6)
    await requests(transport, way, 6)
    await requests(transport, way, 6)
    assert counted.accepted == 12 - left
    await closed(transport)


@SYNC_AND_ASYNC
async def test_a_client_that_is_in_use_while_all_are_closed_is_closed_after_it(serve: Serve, way: str) -> None:
    counted, transport = started(serve, 1)
    if way == "sync":
        with transport.connections.client(transport.host) as client:
            transport.connections.close()
            assert not client.is_closed
    else:
        async with transport.connections.async_client(transport.host) as client:
            await transport.connections.aclose()
            assert not client.is_closed
    assert client.is_closed
    await requests(transport, way, 1)
    assert counted.accepted == 1
    await closed(transport)
