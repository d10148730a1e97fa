"""Waits before retries are told to callbacks."""

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from langchain_kimi import create_kimi_agent
from langchain_kimi.testing import rate_limited, said
from tests.clock import VirtualClock
from tests.conftest import Serve, kimi

ASK: Any = {"messages": [("user", "go")]}


class Waits(BaseCallbackHandler):
    """Notes the waits that are told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        assert name == "kimi_wait"
        self.told.append(data)


async def test_waits_are_told_to_callbacks(serve: Serve) -> None:
    waits, clock = Waits(), VirtualClock()
    server = serve([rate_limited(7), said("a"), rate_limited(7), said("b"), rate_limited(7), said("c")])
    model = kimi(server, max_retries=1, clock=clock)
    model.invoke("go", {"callbacks": [waits]})
    await model.ainvoke("go", {"callbacks": [waits]})
    async for _ in create_kimi_agent(model).astream(ASK, {"callbacks": [waits]}, stream_mode="messages"):
        pass
    assert [data["attempt"] for data in waits.told] == [1, 1, 1]
    assert all(7 <= data["seconds"] < 8 and "max RPM" in data["error"] for data in waits.told)
