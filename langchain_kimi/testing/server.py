"""`KimiServer`: the fake API over real HTTP."""

import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Unpack

from langchain_kimi.testing.api.fake_api import FakeApiSettings, FakeKimiAPI
from langchain_kimi.testing.api.http_response import ConnectionCut, ConnectionStalled, HttpResponse, error_response
from langchain_kimi.testing.api.request_body import RequestStream, UnreadableBody, read_body
from langchain_kimi.testing.api.script_runner import ScriptError, error_body
from langchain_kimi.testing.script.reply import Script

_CLOSE_SECONDS = 1.0
"""Seconds that `close` waits for all threads together."""


class KimiServer(FakeKimiAPI):
    """The fake API on 127.0.0.1, in its own threads: `with KimiServer([said("Hello")]) as server:`, then `server.url`.

    If the block ends without an exception, `verify` is called, unless `strict` is False: a reply that is left over, or
    a request without a reply, fails the test. `port` 0 selects a free port. `close` interrupts responses that are in
    progress; a thread in which the script's own code is still waiting ends when that code continues.
    `request_timeout` is the number of seconds in which a client has to send a whole request.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        port: int = 0,
        strict: bool = True,
        request_timeout: float = 60.0,
        **settings: Unpack[FakeApiSettings],
    ) -> None:
        super().__init__(script, **settings)
        self.request_timeout = request_timeout
        self._strict = strict
        self._port = port
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for a client. Raises `RuntimeError` before the server is started."""
        if not self._port:
            raise RuntimeError("The server has no URL before it is started. Use it in a `with` block, or call start().")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> "KimiServer":
        """Starts the server and returns it."""
        if self._listener is None:
            self._listener = _Listener(self, self._port)
            self._port = self._listener.server_address[1]
            self._thread = threading.Thread(target=self._listener.serve, daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Interrupts responses in progress and ends the threads. A second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is not None and self._thread is not None:
            listener.stop()
            self._thread.join()
            listener.server_close()
            listener.close_connections()

    def __enter__(self) -> "KimiServer":
        return self.start()

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        self.close()
        if self._strict and failure is None:
            self.verify()
        elif failure is not None:
            for error in self.script_errors:
                failure.add_note(f"KimiServer: {error}")

    def __repr__(self) -> str:
        return f"<KimiServer {self.url if self._port else 'not started'}, {len(self.requests)} requests>"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, api: KimiServer, port: int) -> None:
        self.api = api
        self._open: dict[threading.Thread, socket.socket] = {}
        self._stopped = False
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own method asks DNS for the name of the host

    def serve(self) -> None:
        """Accepts connections until `stop`. It does not poll, so stopping is immediate."""
        while not self._stopped:
            self.handle_request()

    def stop(self) -> None:
        """Ends `serve`, which a connection wakes."""
        self._stopped = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_address[1])).close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self._stopped

    def process_request(self, request: Any, client_address: Any) -> None:
        # `close` needs a list of the threads; ThreadingMixIn has none of daemon threads.
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that closed its connection is not an error
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """Closes the connections and waits for their threads."""
        connections = list(self._open.items())
        for _, connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + _CLOSE_SECONDS
        for thread, _ in connections:
            thread.join(max(0.0, end - time.monotonic()))


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener
    rfile: io.BufferedIOBase

    def setup(self) -> None:
        super().setup()
        self._stream = RequestStream(self.connection)
        self.rfile = io.BufferedReader(self._stream)

    def handle_one_request(self) -> None:
        self._stream.set_deadline(self.server.api.request_timeout)
        super().handle_one_request()

    def do_POST(self) -> None:
        try:
            body = read_body(self.rfile, self.headers, self.path)
        except UnreadableBody as error:
            self.close_connection = True
            self._send(error_response(error.status, "invalid_request_error", str(error)))
            self._stream.discard()
            return
        except EOFError:
            self.close_connection = True
            return
        self._send(self.server.api.respond(self.command, self.path, dict(self.headers.items()), body))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _send(self, response: HttpResponse) -> None:
        self.connection.settimeout(None)
        try:
            self._write(response)
        except ConnectionCut:
            self.close_connection = True
        except ConnectionStalled:
            self.close_connection = True
            self._wait_for_close()
        finally:
            response.close()

    def _write(self, response: HttpResponse) -> None:
        streamed = "content-length" not in response.headers
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if streamed:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in _pieces(response):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if streamed else piece)
        if streamed:
            self.wfile.write(b"0\r\n\r\n")

    def _wait_for_close(self) -> None:
        with suppress(OSError):
            while self.connection.recv(4096):
                pass

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pieces(response: HttpResponse) -> Iterator[bytes]:
    """The body, with an error event at its end if the script's own pieces failed."""
    try:
        yield from response.body
    except ScriptError as error:
        yield b"data: %b\n\n" % error_body(error)
