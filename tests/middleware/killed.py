"""A turn of an agent with the middleware whose process kills itself when the result of the first tool is recorded."""

import asyncio
from typing import Any

from langchain.agents import create_agent

from langchain_kimi import ChatKimi
from langchain_kimi.middleware import KimiMiddleware
from tests.agent import killed
from tests.databases import Database


def begin_a_turn(place: str, url: str, way: str) -> None:
    asyncio.run(_begin(Database(way, place), url))


async def _begin(database: Database, url: str) -> None:
    model = ChatKimi(model="kimi-k2.6", base_url=url, api_key="sk-test-0123456789", max_retries=0)
    async with database.saver() as saver:
        watched, tools = killed.watched(saver, "inside a tool"), [killed.note, killed.crash]
        agent: Any = create_agent(model, tools, middleware=[KimiMiddleware()], checkpointer=watched)
        await database.run(agent, {"messages": [("user", "go")]}, durability="sync")
