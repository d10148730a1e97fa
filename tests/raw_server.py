"""An HTTP server that sends bytes as it is told, right or wrong."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Body = bytes | Callable[[], Iterable[bytes]]


@dataclass
class Sent:
    """One response: its status, headers and body, which ends with the connection."""

    body: Body = b""
    content_type: str | None = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class RawServer:
    """Answers each request with the next response, and with the last one from then on; with `tls` by HTTPS."""

    def __init__(self, *responses: Sent, tls: ssl.SSLContext | None = None) -> None:
        self._responses = list(responses)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self._closed = False
        self.requests: list[bytes] = []
        """Each request, head and body."""
        self.bytes_sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        host = "https://localhost" if self._tls else "http://127.0.0.1"
        return f"{host}:{self.port}/v1"

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        self._closed = True
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(60)
            try:
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.requests.append(self._read(connection))
                place = min(len(self.requests), len(self._responses)) - 1
                self._send(connection, self._responses[place])
            except OSError:
                return

    def _read(self, connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        missing = length - len(body)
        while missing > 0:
            body += connection.recv(65536)
            missing = length - len(body)
        return head + b"\r\n\r\n" + body

    def _send(self, connection: socket.socket, sent: Sent) -> None:
        headers = {"connection": "close", **sent.headers}
        if sent.content_type is not None:
            headers["content-type"] = sent.content_type
        lines = [f"HTTP/1.1 {sent.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for piece in [sent.body] if isinstance(sent.body, bytes) else sent.body():
            connection.sendall(piece)
            self.bytes_sent += len(piece)
        if isinstance(connection, ssl.SSLSocket):
            connection = connection.unwrap()
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


@contextmanager
def raw_server(*responses: Sent, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """A running RawServer."""
    server = RawServer(*responses, tls=tls)
    try:
        yield server
    finally:
        server.close()
