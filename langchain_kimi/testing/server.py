"""`KimiServer`: the double of Kimi's API over real HTTP."""

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

from langchain_kimi.testing.api.api import FakeKimiAPI, Settings
from langchain_kimi.testing.api.request_body import Incoming, UnreadableBody, read_body
from langchain_kimi.testing.api.response import Answer, CutOff, Stalled, refusal
from langchain_kimi.testing.api.script_runner import ScriptError, error_body
from langchain_kimi.testing.script.reply import Script

_LAST_WAIT = 1.0
"""Seconds that `close` waits for threads, all together."""


class KimiServer(FakeKimiAPI):
    """The double on 127.0.0.1, in threads of its own: `with KimiServer([said("Hello")]) as server:`, then `server.url`.

    Where the block ends without an exception, `verify` is called, unless `strict` is False: a reply that is left over,
    or a request that the script had no reply for, fails the test. `port` 0 takes a free one. Answers that are under way
    when it closes break off. A thread in which a script's own code still waits by then is left to end by itself, when
    that code goes on. `request_timeout` is the seconds in which a client must have sent a whole request.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        port: int = 0,
        strict: bool = True,
        request_timeout: float = 60.0,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(script, **settings)
        self.request_timeout = request_timeout
        self._strict = strict
        self._port = port
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for a client; `RuntimeError` before the server was started."""
        if not self._port:
            raise RuntimeError("the server has no URL yet: use it in `with`, or call start()")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> "KimiServer":
        """Listens, and returns the server itself."""
        if self._listener is None:
            self._listener = _Listener(self, self._port)
            self._port = self._listener.server_address[1]
            self._thread = threading.Thread(target=self._listener.serve, daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Breaks off what is under way and ends the threads; a second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is not None and self._thread is not None:
            listener.stop()
            self._thread.join()
            listener.server_close()
            listener.break_off()

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

    def __init__(self, double: KimiServer, port: int) -> None:
        self.double = double
        self._open: dict[threading.Thread, socket.socket] = {}
        self._stopped = False
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would ask DNS for the host's name

    def serve(self) -> None:
        """Takes connections until `stop`; it does not poll, so that stopping takes no time."""
        while not self._stopped:
            self.handle_request()

    def stop(self) -> None:
        """Ends `serve`, which a connection has to wake."""
        self._stopped = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_address[1])).close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self._stopped

    def process_request(self, request: Any, client_address: Any) -> None:
        # ThreadingMixIn keeps no list of daemon threads, and `close` needs one.
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no error
            super().handle_error(request, client_address)

    def break_off(self) -> None:
        """Closes the connections and waits for their threads."""
        connections = list(self._open.items())
        for _, connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + _LAST_WAIT
        for thread, _ in connections:
            thread.join(max(0.0, end - time.monotonic()))


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener
    rfile: io.BufferedIOBase

    def setup(self) -> None:
        super().setup()
        self._incoming = Incoming(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        self._incoming.expect_within(self.server.double.request_timeout)
        super().handle_one_request()

    def do_POST(self) -> None:
        try:
            body = read_body(self.rfile, self.headers, self.path)
        except UnreadableBody as problem:
            self.close_connection = True
            self._send(refusal(problem.status, "invalid_request_error", str(problem)))
            self._incoming.discard()
            return
        except EOFError:
            self.close_connection = True
            return
        self._send(self.server.double.answer(self.command, self.path, dict(self.headers.items()), body))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(None)
        try:
            self._write(answer)
        except CutOff:
            self.close_connection = True
        except Stalled:
            self.close_connection = True
            self._until_the_client_leaves()
        finally:
            answer.close()

    def _write(self, answer: Answer) -> None:
        streamed = "content-length" not in answer.headers
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if streamed:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in _pieces(answer):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if streamed else piece)
        if streamed:
            self.wfile.write(b"0\r\n\r\n")

    def _until_the_client_leaves(self) -> None:
        with suppress(OSError):
            while self.connection.recv(4096):
                pass

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pieces(answer: Answer) -> Iterator[bytes]:
    """The body, with an error event at its end where the script's own pieces failed."""
    try:
        yield from answer.body
    except ScriptError as error:
        yield b"data: %b\n\n" % error_body(error)
