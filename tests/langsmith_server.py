"""A local server for the part of LangSmith's HTTP API to which the `langsmith` client sends runs."""

import json
import sys
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import zstandard


class LangSmithServer:
    """Collects the runs that clients send in multipart batches, compressed by zstd or not."""

    def __init__(self, *, compressed: bool = True) -> None:
        self.info = {
            "version": "0.15.0",
            "batch_ingest_config": {
                "use_multipart_endpoint": True,
                "size_limit": 100,
                "size_limit_bytes": 20_000_000,
                "scale_up_nthreads_limit": 4,
                "scale_up_qsize_trigger": 1_000,
                "scale_down_nempty_trigger": 4,
            },
            "instance_flags": {"zstd_compression_enabled": compressed},
        }
        self.runs: dict[str, dict[str, Any]] = {}
        """What was sent of each run, by its id: what was posted, updated by what was patched."""
        self.posted: list[str] = []
        """The id of each run that was posted, in the order of arrival."""
        self.encodings: set[str | None] = set()
        """The content encodings of the batches."""
        self._text: list[bytes] = []
        self._lock = threading.Lock()
        self._http = _QuietServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def text(self) -> str:
        """Everything that was sent."""
        return b"\n".join(self._text).decode(errors="replace")

    def of_type(self, run_type: str) -> list[dict[str, Any]]:
        """The runs of a type (`llm`, `tool` or `chain`), in the order of their start."""
        runs = [run for run in self.runs.values() if run["run_type"] == run_type]
        return sorted(runs, key=lambda run: str(run["dotted_order"]))

    def roots(self) -> list[dict[str, Any]]:
        """The runs without a parent."""
        return [run for run in self.runs.values() if not run.get("parent_run_id")]

    def tree(self, run: dict[str, Any]) -> tuple[Any, ...]:
        """The names of a run and of the runs below it, in the order of their start."""
        below = [one for one in self.runs.values() if one.get("parent_run_id") == run["id"]]
        return (run["name"], *[self.tree(one) for one in sorted(below, key=lambda one: str(one["dotted_order"]))])

    def receive(self, content_type: str, encoding: str | None, body: bytes) -> None:
        """Collect a batch: parts named `post.ID`, `patch.ID`, `post.ID.inputs`, `patch.ID.outputs` and so on."""
        data = zstandard.ZstdDecompressor().decompressobj().decompress(body) if encoding == "zstd" else body
        message = BytesParser().parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + data)
        with self._lock:
            self.encodings.add(encoding)
            self._text.append(data)
            for name, value in _parts(message):
                operation, id, *field = name.split(".")
                run = self.runs.setdefault(id, {})
                if field:
                    run[field[0]] = value
                else:
                    run.update(value)
                    self.posted += [id] if operation == "post" else []


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about clients that end."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _parts(message: Any) -> Iterator[tuple[str, Any]]:
    for part in message.get_payload():
        yield part.get_param("name", header="content-disposition"), json.loads(part.get_payload(decode=True))


def _handler(server: LangSmithServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond(200 if self.path == "/info" else 404, server.info)

        def do_POST(self) -> None:
            body = self._body()
            if self.path != "/runs/multipart":
                self._respond(404, {})
                return
            server.receive(str(self.headers["content-type"]), self.headers["content-encoding"], body)
            self._respond(202, {})

        def _body(self) -> bytes:
            if self.headers["transfer-encoding"] != "chunked":
                return self.rfile.read(int(self.headers["content-length"]))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _respond(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    return Handler
