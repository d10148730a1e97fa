"""A host that repeats the key it was sent, in each way in which hosts, proxies and gateways do."""

import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERRORS = (
    "error body",
    "error string",
    "html page",
    "plain page",
    "first event",
    "later event",
    "text for json",
    "broken head",
)
ANSWERS = ("answer", "header")
PLACES = (*ERRORS, *ANSWERS)


@contextmanager
def echoing_host() -> Iterator[str]:
    """The URL of a running host; `/<place>/v1` as base URL says where it repeats the key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def base_url(host: str, place: str) -> str:
    """The base URL at which the host repeats the key in a place."""
    return f"{host}/{place.replace(' ', '-')}/v1"


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        sent = json.loads(self.rfile.read(length) or b"{}")
        names = ("authorization", "x-api-key", "cookie")
        secret = " ".join(str(self.headers[name]) for name in names if self.headers[name])
        place = self.path.split("/")[1].replace("-", " ")
        if place in ANSWERS and not self.path.endswith("/chat/completions"):
            place = "error body"
        self._answer(place, f"You sent {secret}.", secret, bool(sent.get("stream")))

    do_GET = do_POST

    def _answer(self, place: str, text: str, secret: str, stream: bool) -> None:
        error = {"error": {"message": text, "type": f"invalid {secret}", "request_id": f"r {secret}"}}
        if place == "error body":
            self._send(400, "application/json", json.dumps(error))
        elif place == "error string":
            self._send(400, "application/json", json.dumps({"error": text, "code": secret}))
        elif place == "html page":
            self._send(502, "text/html", f"<html><body>Bad\n<b>gateway</b> {html.escape(text)}</body></html>")
        elif place == "plain page":
            self._send(403, "text/plain", text)
        elif place == "text for json":
            self._send(200, "application/json", f'"{text}')
        elif place == "broken head":
            self.close_connection = True
            self.wfile.write(f"HTTP/1.1 200 OK\r\nno header but {secret}\r\n\r\n".encode())
        elif place == "first event":
            self._send(
                200,
                "text/event-stream" if stream else "application/json",
                _event(error) if stream else json.dumps(error),
            )
        elif place == "later event" and stream:
            self._send(200, "text/event-stream", _event(_piece({"content": "Well, "})) + _event(error))
        elif place == "later event":
            self._send(500, "application/json", json.dumps(error))
        else:
            said = text if place == "answer" else "ok"
            body = _event(_piece({"content": said})) + _event(_piece({}, "stop")) + "data: [DONE]\n\n"
            whole = {"choices": [{"index": 0, "message": {"content": said}, "finish_reason": "stop"}]}
            headers = {"x-request-id": f"r-{secret}", "x-debug-authorization": secret} if place == "header" else {}
            self._send(
                200,
                "text/event-stream" if stream else "application/json",
                body if stream else json.dumps(whole),
                headers,
            )

    def _send(self, status: int, kind: str, body: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode()
        self.send_response_only(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _piece(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _event(value: object) -> str:
    return f"data: {json.dumps(value)}\n\n"
