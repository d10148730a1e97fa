"""Opens what a run is read from, by its name: a database with threads, a recording or a log."""

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from langchain_kimi._recorded_runs.interactions import read_recording_run
from langchain_kimi._recorded_runs.log import is_log_file, read_log_run
from langchain_kimi._recorded_runs.recorded_run import RecordedRun
from langchain_kimi._recorded_runs.thread import UnknownThreadError, read_thread
from langchain_kimi._redaction import redact
from langchain_kimi.testing.cassettes import CassetteError

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = b"SQLite format 3\x00"
_MOST_NAMES = 10
_THREADS = "SELECT thread_id FROM checkpoints GROUP BY thread_id ORDER BY max(checkpoint_id) DESC"


class RunSourceError(Exception):
    """A run cannot be read from its source; the message is a sentence or two for the user."""


def read_recorded_run(source: str, thread_id: str | None = None) -> RecordedRun:
    """The run in a source: a thread of a PostgreSQL or SQLite database, a recording, or a reasoning log.

    A database with one thread needs no `thread_id`; of a log, it selects the lines of a thread. Nothing is written.
    Raises RunSourceError.
    """
    try:
        if is_database(source):
            with open_threads(source) as (saver, threads):
                return read_thread(saver, _chosen(threads, thread_id, source))
        path = Path(source)
        if is_log_file(path):
            return read_log_run(path, thread_id)
        if thread_id is not None:
            raise RunSourceError(f"{shown_source(source)} is a recording, which has no threads. Leave --thread out.")
        return read_recording_run(path)
    except CassetteError as error:
        raise RunSourceError(str(error)) from error
    except UnknownThreadError as error:
        raise RunSourceError(f"{shown_source(source)}: {error.args[0]}") from error


def is_database(source: str) -> bool:
    """Whether a source is the URL of a PostgreSQL database or an SQLite file. Raises OSError for a missing file."""
    if source.startswith(_POSTGRES):
        return True
    with open(source, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


@contextmanager
def open_threads(source: str) -> Iterator[tuple[BaseCheckpointSaver[Any], list[str]]]:
    """A checkpointer on a database that is only read, and the ids of its threads, the latest first.

    Raises RunSourceError.
    """
    open_database = _open_postgres if source.startswith(_POSTGRES) else _open_sqlite
    with open_database(source) as database, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that this process does not know; they are shown as text
        yield database


@contextmanager
def _open_sqlite(source: str) -> Iterator[tuple[BaseCheckpointSaver[Any], list[str]]]:
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError as error:
        raise RunSourceError(_not_installed("sqlite")) from error
    # Without a log of writes beside it, nobody is writing, and SQLite need not make the files of one.
    mode = "mode=ro" if os.path.exists(f"{source}-wal") else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{Path(source).absolute().as_uri()}?{mode}", uri=True)) as connection:
            saver = SqliteSaver(connection)
            saver.is_setup = True  # its setup would write
            yield saver, [str(row[0]) for row in connection.execute(_THREADS)]
    except sqlite3.Error as error:
        raise RunSourceError(f"{source} holds no threads that can be read: {error}.") from error


@contextmanager
def _open_postgres(source: str) -> Iterator[tuple[BaseCheckpointSaver[Any], list[str]]]:
    try:
        import psycopg
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
    except ImportError as error:
        raise RunSourceError(_not_installed("postgres")) from error
    try:
        with psycopg.connect(source, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
            connection.read_only = True
            threads = [str(row["thread_id"]) for row in connection.execute(_THREADS)]
            yield PostgresSaver(connection), threads
    except psycopg.Error as error:
        reason = redact(" ".join(str(error).split()))
        raise RunSourceError(f"{shown_source(source)} holds no threads that can be read: {reason}") from error


def _not_installed(kind: str) -> str:
    package = f"langgraph-checkpoint-{kind}"
    return f"Reading this database needs {package}. Install it with `pip install 'langchain-kimi-agent[report]'`."


def _chosen(threads: list[str], thread_id: str | None, source: str) -> str:
    if thread_id is not None:
        return thread_id
    if len(threads) == 1:
        return threads[0]
    if not threads:
        raise RunSourceError(f"{shown_source(source)} holds no threads.")
    names = ", ".join(threads[:_MOST_NAMES]) + (", …" if len(threads) > _MOST_NAMES else "")
    raise RunSourceError(f"{shown_source(source)} holds {len(threads)} threads. Choose one with --thread: {names}.")


def shown_source(source: str) -> str:
    """A source as messages show it: a database's URL without its user, its password and its parameters."""
    if not source.startswith(_POSTGRES):
        return source
    scheme, _, rest = source.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
