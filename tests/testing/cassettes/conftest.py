"""A host that answers anything, and where a test keeps its cassette."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Host = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test.kimi.yaml"


@pytest.fixture
def host() -> Iterator[Host]:
    """Starts a host that answers every request with these bytes; its URL. `cut` promises more than it sends."""
    started: list[ThreadingHTTPServer] = []

    def start(body: bytes, *headers: tuple[str, str], status: int = 200, cut: bool = False) -> str:
        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response_only(status)
                for name, value in (*headers, ("content-length", str(len(body) + 10 * cut))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
