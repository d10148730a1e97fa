"""Stores for the tests of the archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from tests.services import fresh_schema, no_postgres


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    if request.param == "memory":
        yield InMemoryStore()
        return
    if request.param == "postgres":
        if reason := no_postgres():
            pytest.skip(reason)
        with fresh_schema() as conninfo, PostgresStore.from_conn_string(conninfo) as opened:
            opened.setup()
            yield opened
        return
    with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as opened:
        opened.setup()
        yield opened
