"""Real servers and browsers for tests: PostgreSQL and Redis where they answer, Chromium where it is installed.

A test that needs one is skipped where there is none. `.ci/run` takes a skip with one of the reasons given here for a
failure when the server answers on its standard port, or when there is a Chromium on the path.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

POSTGRES = os.environ.get("KIMI_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")
"""The database in which tests make schemas of their own."""


@cache
def no_postgres() -> str | None:
    """Why tests with PostgreSQL cannot run; None where they can."""
    try:
        psycopg.connect(POSTGRES, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL answers at {POSTGRES}: {str(error).splitlines()[0]}"
    return None


@cache
def no_redis(port: int = 6379) -> str | None:
    """Why tests with Redis cannot run; None where they can."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            connection.recv(64)
    except OSError as error:
        return f"no Redis answers at 127.0.0.1:{port}: {error}"
    return None


class OwnRedis:
    """A Redis server of one test, which can be stopped, killed and started again; it stores nothing on disk."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(folder), *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(1000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64):
                    return
            time.sleep(0.01)
        pytest.fail(f"redis-server does not answer at port {self.port}")

    def kill(self) -> None:
        """Kill the server with all its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A running Redis server that only this test uses; skips where there is no program `redis-server`."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no program redis-server")
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()


@cache
def no_chromium() -> str | None:
    """Why tests with a browser cannot run; None where they can."""
    if find_spec("playwright") is None:
        return "no Chromium can be driven: playwright is not installed"
    return None if chromium_path() else "no Chromium is installed"


def chromium_path() -> str | None:
    """The path of a Chromium or Chrome; None where none is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def fresh_schema() -> Iterator[str]:
    """The conninfo of a new, empty schema, which is dropped in the end."""
    schema = f"kimi_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    try:
        yield f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}options={quote(f'-csearch_path={schema}')}"
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of a new, empty database, which is dropped in the end, with its connections."""
    name = f"kimi_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(POSTGRES)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres() -> Iterator[str]:
    """The conninfo of an empty schema; skips where no PostgreSQL answers."""
    if reason := no_postgres():
        pytest.skip(reason)
    with fresh_schema() as conninfo:
        yield conninfo
