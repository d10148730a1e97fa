"""`langchain-kimi serve`: KimiServer as a process, so that an app in any language is tested against it."""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from langchain_kimi.cli.terminal import cause, write_failure, write_line
from langchain_kimi.reasoning_log import open_private
from langchain_kimi.redaction import redact
from langchain_kimi.testing.answer import Answer
from langchain_kimi.testing.conversations import conversation
from langchain_kimi.testing.play import ScriptError
from langchain_kimi.testing.received import HttpRequest
from langchain_kimi.testing.script import Script
from langchain_kimi.testing.server import KimiServer


def run(source: str, *, port: int, log: str | None) -> int:
    """Serve a script until SIGTERM or SIGINT; the exit status. 2 where it cannot begin."""
    try:
        script = _script_at(source)
        with open_private(log) if log else nullcontext() as file:
            return _serve(LoggedServer(script, port=port, log=file))
    except Exception as error:  # whatever the script's module does when it is imported
        write_failure(f"langchain-kimi serve: {cause(error)}")
        return 2


def _serve(server: "LoggedServer") -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger("langchain_kimi.testing").addHandler(_Failures())
    server.start()
    write_line(f"KimiServer ready at {server.url}")
    sys.stdout.flush()
    stop.wait()
    server.close()
    try:
        server.verify()
    except ScriptError as error:
        for line in str(error).splitlines():
            write_failure(redact(line))
    return 0


def _script_at(source: str) -> Script:
    """The script in a YAML file or at `module:object`."""
    if Path(source).is_file() or source.endswith((".yaml", ".yml")):
        return conversation(source)
    module, colon, name = source.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{source} is no file; give a YAML file, or a script as module:object")
    sys.path.insert(0, "")
    script: Script = getattr(import_module(module), name)
    return script


class _Failures(logging.Handler):
    """Writes each failure of the script when it happens."""

    def emit(self, record: logging.LogRecord) -> None:
        write_failure(redact(f"langchain-kimi serve: {record.getMessage()}"))


class LoggedServer(KimiServer):
    """A KimiServer that writes each request with its answer's status to a file, as a line of JSON without secrets."""

    def __init__(self, script: Script, *, port: int = 0, log: TextIO | None = None) -> None:
        super().__init__(script, port=port)
        self._log = log
        self._writing = threading.Lock()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = super().answer(method, path, headers, body)
        if self._log is not None:
            sent = {name.lower(): value for name, value in headers.items()}
            request = HttpRequest.read(method, path, sent, body)
            line = {
                "time": round(time.time(), 3),
                "method": method,
                "path": redact(path),
                "status": answer.status,
                "headers": request.headers,
                "body": _shown(request),
            }
            with self._writing:
                self._log.write(redact(json.dumps(line, ensure_ascii=False)) + "\n")
                self._log.flush()
        return answer


def _shown(request: HttpRequest) -> Any:
    """A body as JSON; a form by its fields, and a file by its name and size."""
    try:
        return request.json if request.body else None
    except (ValueError, RecursionError):
        pass
    try:
        fields = request.form.items()
    except ValueError:
        return request.body.decode("utf-8", "replace")
    return {
        name: field if isinstance(field, str) else {"name": field.name, "bytes": len(field.data)}
        for name, field in fields
    }
