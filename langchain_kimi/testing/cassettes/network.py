"""No way out of this machine while a cassette replays: sockets connect to loopback and local files only."""

import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_kimi._api_keys import is_loopback
from langchain_kimi.testing.cassettes.errors import NetworkBlocked


@contextmanager
def blocked(allowed: Collection[str] = ()) -> Iterator[None]:
    """While open, connecting to any other host raises NetworkBlocked, and so does asking for its address."""
    names = {host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host for host in allowed}
    addresses: set[str] = set()

    def allows(host: Any) -> bool:
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        return is_loopback(name) or name in names or name in addresses or name in ("0.0.0.0", "::")

    def connecting(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not allows(address[0]):
                raise _error(address[0])
            return original(self, address)

        return connect

    def looking_up(original: Callable[..., Any]) -> Callable[..., Any]:
        def getaddrinfo(host: Any, *about: Any, **more: Any) -> Any:
            if not allows(host):
                raise _error(host)
            found = original(host, *about, **more)
            addresses.update(str(entry[4][0]) for entry in found)
            return found

        return getaddrinfo

    with (
        _replaced(socket.socket, "connect", connecting),
        _replaced(socket.socket, "connect_ex", connecting),
        _replaced(socket, "getaddrinfo", looking_up),
    ):
        yield


def _error(host: Any) -> NetworkBlocked:
    name = host.decode() if isinstance(host, bytes) else host
    return NetworkBlocked(
        f"a connection to {name} was blocked: while a cassette replays, nothing leaves this machine. Requests of "
        f'httpx2 and httpx are recorded; for another client, declare the host: allowed_hosts=["{name}"].',
        host=str(name),
    )


@contextmanager
def _replaced(owner: Any, name: str, made: Callable[[Any], Any]) -> Iterator[None]:
    inherited = name not in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, made(original))
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
