"""`langchain-kimi serve`: KimiServer as a process, so that an app in any language is tested against it."""

import argparse
import itertools
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

from langchain_kimi._redaction import redact
from langchain_kimi.cli.command_errors import CommandError
from langchain_kimi.cli.module_object import load_object
from langchain_kimi.cli.output import write_error, write_line
from langchain_kimi.reasoning_log import open_private
from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.http_response import HttpResponse
from langchain_kimi.testing.api.script_runner import ScriptError
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Reply, Script
from langchain_kimi.testing.script.yaml_script import conversation
from langchain_kimi.testing.server import KimiServer


def run_serve_command(options: argparse.Namespace) -> int:
    """Serve a script until SIGTERM or Ctrl-C; the exit status."""
    try:
        script = _load_script(options.script)
        if options.loop:
            script = looped(script)
        with open_private(options.log) if options.log else nullcontext() as log:
            return _serve(LoggedServer(script, port=options.port, log=log, console=not options.quiet))
    except (TypeError, ValueError) as error:
        raise CommandError(f"{options.script} is not a script: {error}") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise CommandError(f"cannot listen on port {options.port}: {error.strerror}. Choose another --port.") from error


def looped(script: Script) -> Callable[[Request], Reply]:
    """The replies of a list, from the beginning again after the last."""
    if callable(script) or not isinstance(script, Iterable):
        raise CommandError("--loop needs a list of replies. Leave it out: a function as script does not end.")
    replies = list(script)
    if not all(isinstance(reply, Reply) for reply in replies) or not replies:
        raise CommandError("--loop needs a list of one reply or more, such as said('Hello').")
    endless = itertools.cycle([single for reply in replies for single in reply.repeated()])
    lock = threading.Lock()

    def next_reply(request: Request) -> Reply:
        with lock:
            return next(endless)

    return next_reply


def _serve(server: "LoggedServer") -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logger, handler = logging.getLogger("langchain_kimi.testing"), _ScriptFailures()
    logger.addHandler(handler)
    server.start()
    write_line(f"KimiServer ready at {server.url}")
    sys.stdout.flush()
    stop.wait()
    server.close()
    logger.removeHandler(handler)
    try:
        server.verify()
    except ScriptError as error:
        for line in str(error).splitlines():
            write_error(line)
    return 0


def _load_script(source: str) -> Script:
    """The script in a YAML file or at MODULE:OBJECT."""
    if Path(source).exists() or source.endswith((".yaml", ".yml")):
        try:
            return conversation(source)
        except UnicodeDecodeError as error:
            raise CommandError(f"{source} is not text in UTF-8 (byte {error.start}). Give a YAML file.") from error
    if ":" not in source:
        raise CommandError(f"there is no file {source}. Give a YAML file, or a script as MODULE:OBJECT.")
    script: Script = load_object(source, "my_app.script:REPLIES")
    return script


class _ScriptFailures(logging.Handler):
    """Writes each failure of the script when it happens."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            write_error(f"langchain-kimi serve: {record.getMessage()}")


class LoggedServer(KimiServer):
    """A KimiServer that reports each request with its answer's status, without secrets.

    `log` takes a line of JSON for each, `console` prints a short line to stderr.
    """

    def __init__(self, script: Script, *, port: int = 0, log: TextIO | None = None, console: bool = False) -> None:
        super().__init__(script, port=port)
        self._log = log
        self._console = console
        self._writing = threading.Lock()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        answer = super().respond(method, path, headers, body)
        with self._writing:
            if self._console:
                with suppress(OSError):  # a reader of stderr that has gone is no failure of the request
                    write_error(f"{time.strftime('%H:%M:%S')} {method} {path} {answer.status}")
            if self._log is not None:
                self._log.write(_json_line(method, path, headers, body, answer.status))
                self._log.flush()
        return answer


def _json_line(method: str, path: str, headers: Mapping[str, str], body: bytes, status: int) -> str:
    lower = {name.lower(): value for name, value in headers.items()}
    request = HttpRequest.parse(method, path, lower, body)
    line = {
        "time": round(time.time(), 3),
        "method": method,
        "path": redact(path),
        "status": status,
        "headers": request.headers,
        "body": _readable_body(request),
    }
    return redact(json.dumps(line, ensure_ascii=False)) + "\n"


def _readable_body(request: HttpRequest) -> Any:
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
