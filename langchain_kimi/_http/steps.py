"""What takes several requests, written once: a policy yields what is to be done, and gets what came of it.

    file = yield from endpoints.get_file(file_id)
    yield Pause(30)

`run` and `arun` do what a policy yields, and differ only in how they wait.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from langchain_kimi._http.multipart import Form
from langchain_kimi._http.transport import About, Transport
from langchain_kimi.errors import KimiError, ServerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """One request as a value, and how its answer is read. `yield from` it inside a policy; alone it is one, too."""

    method: str
    path: str
    """After the base URL."""
    read: Callable[[Any], T]
    """Makes the result of the parsed answer, or of its bytes where `raw` is set."""
    body: bytes | Form = b""
    raw: bool = False
    model: str = ""
    """The model asked for, for messages."""
    once: bool = False
    """Whether the request must not take effect twice."""

    def __iter__(self) -> Generator["Ask[T]", Any, T]:
        answer: T = yield self
        return answer

    def run(self, transport: Transport) -> T:
        """The result. Raises a KimiError."""
        answer = transport.request(self.method, self.path, self.body, **self._about())
        return self._result(answer, transport.host)

    async def arun(self, transport: Transport) -> T:
        """`run` for asynchronous use."""
        answer = await transport.arequest(self.method, self.path, self.body, **self._about())
        return self._result(answer, transport.host)

    def _about(self) -> About:
        return {"raw": self.raw, "model": self.model, "once": self.once}

    def _result(self, answer: Any, host: str) -> T:
        try:
            return self.read(answer)
        except KimiError as error:
            error.host = error.host or host
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"{host} answered {self.method} {self.path} in an unknown form: {str(answer)[:200]}"
            raise ServerError(text, host=host) from error


@dataclass(frozen=True, slots=True)
class Pause:
    """Some seconds to wait, by the transport's clock."""

    seconds: float

    def run(self, transport: Transport) -> None:
        """Wait in this thread."""
        transport.clock.sleep(self.seconds)

    async def arun(self, transport: Transport) -> None:
        """Wait in this task."""
        await transport.clock.asleep(self.seconds)


Steps: TypeAlias = Generator[Ask[Any] | Pause, Any, T]


def run(steps: Steps[T] | Ask[T], transport: Transport) -> T:
    """What the policy comes to; what goes wrong with a step is raised inside the policy."""
    policy: Any = iter(steps)
    try:
        step = next(policy)
        while True:
            try:
                outcome = step.run(transport)
            except KimiError as error:
                step = policy.throw(error)
            else:
                step = policy.send(outcome)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        policy.close()


async def arun(steps: Steps[T] | Ask[T], transport: Transport) -> T:
    """`run` for asynchronous use."""
    policy: Any = iter(steps)
    try:
        step = next(policy)
        while True:
            try:
                outcome = await step.arun(transport)
            except KimiError as error:
                step = policy.throw(error)
            else:
                step = policy.send(outcome)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        policy.close()


def transport_of(source: Any) -> Transport:
    """How `source` (a ChatKimi, bound to anything or not, or a KimiPlatform) talks to its host.

    Its `rate_limits`, which count chat requests, are left out: a tool that waited for them could wait for its own
    model.
    """
    while not hasattr(source, "_transport") and hasattr(source, "bound"):
        source = source.bound
    if not hasattr(source, "_transport"):
        raise TypeError(f"{type(source).__name__} does not talk to Kimi: give a ChatKimi or a KimiPlatform.")
    transport: Transport = source._transport()
    return replace(transport, limits=None)
