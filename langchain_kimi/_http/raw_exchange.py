"""One request and all that the host sent for it, unread and not retried: for checks of hosts."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from langchain_kimi._http.call import ApiCall
from langchain_kimi._http.decompression import Decompressor
from langchain_kimi._http.transport import Transport
from langchain_kimi._redaction import mask_bytes, secret_values
from langchain_kimi.errors import KimiError

_MOST_BYTES = 8 * 1024 * 1024
"""How much of a body is read, after decompression; the rest is left."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response as it came, without the secrets of its request. `status` is 0 where none arrived."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers, with lower-case names."""
    body: bytes = b""
    """The body, decompressed, as far as it was read."""
    failure: KimiError | None = None
    """Why the response did not arrive, or not to its end."""


def raw_exchange(transport: Transport, path: str, body: bytes, leave: Callable[[bytes], bool] | None) -> RawResponse:
    """Post a body and read the response. When `leave` is true of what arrived, the connection is closed at once."""
    call = ApiCall(transport, path, body, {})
    content = bytearray()
    status, headers, secrets, failure = 0, dict[str, str](), tuple[str, ...](), None
    try:
        with (
            transport.connections.client(transport.host, call.pool_timeout) as client,
            closing(client.send(call.new_request(client, call.trace), stream=True)) as response,
        ):
            status, secrets = response.status_code, secret_values(response.request.headers.items())
            headers = {name.lower(): value for name, value in response.headers.items()}
            was_read = bool(response.is_stream_consumed)
            decompressor = Decompressor("" if was_read else headers.get("content-encoding", ""), transport.host)
            for piece in call.begin_response(response, response.iter_raw, response.iter_bytes):
                for part in [piece] if decompressor.is_identity else decompressor.feed(piece):
                    content += part
                    if len(content) > _MOST_BYTES:
                        break
                if len(content) > _MOST_BYTES or (leave and leave(bytes(content))):
                    break
    except Exception as exception:
        failure = call.as_kimi_error(exception)
    masked = {name: mask_bytes(value.encode(), secrets).decode() for name, value in headers.items()}
    return RawResponse(status, masked, mask_bytes(bytes(content), secrets), failure)
