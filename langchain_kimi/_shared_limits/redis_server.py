"""The Redis server that counts for many processes: calls of the script, and the channel on which it wakes a process."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import orjson

from langchain_kimi._redaction import escape_controls, secret_values
from langchain_kimi.errors import RateLimitsUnavailableError

_TIMEOUT = 2.0
"""Seconds to connect, and to wait for a reply. The URL may set others: `?socket_timeout=5`."""
_KEYS = ("state", "processes", "queue", "leases", "window", "tokens")
_MISSING = "Shared rate limits need redis-py. Install it with `pip install 'langchain-kimi-agent[redis]'`."


class ScriptReply(NamedTuple):
    """What the script returns."""

    epoch: str
    """Another one than before means that Redis lost its data."""
    wait: float | None
    """Seconds until a waiting request of this process can start; None if that depends on other requests."""
    processes: int
    """The number of processes that count as alive."""
    is_unknown: bool
    """Whether Redis no longer knows this process, and nothing was done."""
    started: list[str]
    """The requests that start."""


class RedisServer:
    """Calls the script on the server of a URL, or of a redis-py client, for the keys of one account."""

    def __init__(self, shared: Any, account: str) -> None:
        redis = _redis()
        self.failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._shared = shared
        self._account = account
        self._clients_of_parents: list[Any] = []
        self._connect()

    def _connect(self) -> None:
        self._client = _client_of(self._shared)
        self.shown = _address(self._client)
        self._script = self._client.register_script(_source())
        keys = f"langchain-kimi:limits:1:{{{self._account}}}"
        self._keys = [f"{keys}:{key}" for key in _KEYS]
        self.channel = f"{keys}:wake:"

    def connect_after_fork(self) -> None:
        """Leave the connections to the parent process, and use others."""
        if isinstance(self._shared, str):  # redis-py's own clients notice the fork
            self._clients_of_parents.append((self._client, self._script))
            self._connect()

    def exchange(self, message: Mapping[str, Any]) -> ScriptReply:
        """Report what the process did, and start its requests. Raises one of `failures`."""
        epoch, wait, processes, is_unknown, started = self._script(self._keys, [orjson.dumps(message)])
        return ScriptReply(
            _text(epoch),
            None if wait < 0 else wait / 1000,
            processes,
            bool(is_unknown),
            [_text(one) for one in started],
        )

    def listen(self, process: str, wake: Callable[[], None], goes_on: Callable[[], bool]) -> None:
        """Call `wake` whenever the script wakes this process, as long as `goes_on()`. Raises one of `failures`."""
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self.channel + process)
            while goes_on():
                if subscription.get_message(timeout=_TIMEOUT):
                    wake()

    def cause(self, failure: Exception) -> str:
        """A clause about a failure."""
        text = escape_controls(str(failure)[:300]).rstrip(".") or type(failure).__name__
        return f"Redis at {self.shown} failed: {text}"

    def unavailable(self, failure: Exception) -> RateLimitsUnavailableError:
        """The error for a failure."""
        return RateLimitsUnavailableError(
            f"The shared rate limits are not available, so nothing was sent. {self.cause(failure)}. Check `shared` and "
            'the server, or use on_unavailable="local".'
        )


def _redis() -> Any:
    try:
        import redis
    except ImportError:
        raise ImportError(_MISSING) from None
    return redis


@cache
def _source() -> str:
    return Path(__file__).with_name("exchange.lua").read_text(encoding="utf-8")


def _client_of(shared: Any) -> Any:
    if not isinstance(shared, str):
        if not hasattr(shared, "register_script") or inspect.iscoroutinefunction(shared.execute_command):
            raise TypeError(f"shared={type(shared).__name__} is neither a URL nor a synchronous client of redis-py.")
        return shared
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        password = urlsplit(shared).password
        client = Redis.from_url(
            shared, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
    except ValueError:  # its text may hold a part of the password
        raise ValueError(
            "shared= is no URL of a Redis server. It has the form redis://user:password@host:6379/0, or rediss:// for "
            "TLS; special characters of the password are percent-encoded."
        ) from None
    if password:
        secret_values([("redis-password", password), ("redis-password", unquote(password))])
    return client


def _address(client: Any) -> str:
    """Host and port of a client's server, without its password."""
    settings = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    if "path" in settings:
        return str(settings["path"])
    return f"{settings['host']}:{settings.get('port', 6379)}" if "host" in settings else type(client).__name__


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
