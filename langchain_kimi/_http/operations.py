"""The operations of `langchain_kimi._steps` that need a `Transport`: an HTTP request and a pause."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from langchain_kimi._http.call import CallOptions
from langchain_kimi._http.multipart import UploadForm
from langchain_kimi._http.transport import Transport
from langchain_kimi.errors import KimiError, ServerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiRequest(Generic[T]):
    """An HTTP request as a value, and how its response is read.

    A generator for `run_steps` gets the result by `yield from`; `run` and `arun` send the request by itself.
    """

    method: str
    path: str
    """The path after the base URL."""
    read: Callable[[Any], T]
    """Makes the result from the parsed response, or from its bytes if `raw` is set."""
    body: bytes | UploadForm = b""
    raw: bool = False
    model: str = ""
    """The requested model, for error messages."""
    once: bool = False
    """Whether the request must not take effect twice."""

    def __iter__(self) -> Generator["ApiRequest[T]", Any, T]:
        result: T = yield self
        return result

    def run(self, transport: Transport) -> T:
        """Send the request and return its result. Raises a KimiError."""
        response = transport.request(self.method, self.path, self.body, **self._options())
        return self._result(response, transport.host)

    async def arun(self, transport: Transport) -> T:
        """`run` for asynchronous use."""
        response = await transport.arequest(self.method, self.path, self.body, **self._options())
        return self._result(response, transport.host)

    def _options(self) -> CallOptions:
        return {"raw": self.raw, "model": self.model, "once": self.once}

    def _result(self, response: Any, host: str) -> T:
        try:
            return self.read(response)
        except KimiError as error:
            error.host = error.host or host
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"{host} answered {self.method} {self.path} in an unknown form: {str(response)[:200]}"
            raise ServerError(text, host=host) from error


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of some seconds, by the transport's clock."""

    seconds: float

    def run(self, transport: Transport) -> None:
        """Wait in this thread."""
        transport.clock.sleep(self.seconds)

    async def arun(self, transport: Transport) -> None:
        """Wait in this task."""
        await transport.clock.asleep(self.seconds)


@runtime_checkable
class TransportProvider(Protocol):
    """A ChatKimi or a KimiPlatform: an object that has a transport to its host."""

    def _transport(self) -> Transport: ...


def transport_of(source: TransportProvider | Runnable[Any, Any]) -> Transport:
    """The transport of a ChatKimi, bound to anything or not, or of a KimiPlatform. Raises TypeError for others.

    It has no `rate_limits`, which count chat requests: a tool that waited for them could wait for its own model.
    """
    while isinstance(source, RunnableBindingBase):
        source = source.bound
    if not isinstance(source, TransportProvider):
        raise TypeError(f"{type(source).__name__} has no connection to Kimi: pass a ChatKimi or a KimiPlatform.")
    return replace(source._transport(), rate_limits=None)
