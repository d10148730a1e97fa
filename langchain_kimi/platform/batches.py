"""Batches: many chat requests answered within hours, at a lower price."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, Protocol, TypeAlias, runtime_checkable

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from langchain_kimi import _endpoints as endpoints
from langchain_kimi import _surrogates as surrogates
from langchain_kimi._endpoints import Batch
from langchain_kimi._http import OnProgress, Pause, ResponseLimits, Transport
from langchain_kimi._request import EncodedRequest
from langchain_kimi._response import ResponseDecoder, check_complete, check_output_cap
from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.catalogue import BATCH_MODELS, find
from langchain_kimi.errors import APITimeoutError, BadRequestError, IllegalRequestError, KimiError, ServerError
from langchain_kimi.platform.files import upload
from langchain_kimi.platform.inputs import messages_of

Outcome: TypeAlias = AIMessage | KimiError
"""The result of one request, as LangChain's `batch(return_exceptions=True)` returns it."""

Outcomes: TypeAlias = list[Outcome]
ManyBatches: TypeAlias = list[Batch]

OnPoll = Callable[[Batch], object]


@runtime_checkable
class RequestEncoder(Protocol):
    """A ChatKimi, which encodes the requests of a batch as it encodes its own."""

    def _encode(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> EncodedRequest: ...


class KimiBatches:
    """The account's batches. Every method has a twin for asynchronous use, whose name begins with `a`.

    A batch is stored at Kimi: another process can wait for it and read its results by its id.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        model: Runnable[Any, Any],
        inputs: Iterable[LanguageModelInput],
        *,
        window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        progress: OnProgress | None = None,
    ) -> Batch:
        """Create a batch that answers every input within `window` (`12h` to `7d`), by the request of `model.invoke`.

        `model` is a ChatKimi, bound to tools or settings or not. `progress` is called with the bytes uploaded. Raises
        IllegalRequestError, before anything is sent, for a model that Kimi does not answer in batches (it answers
        kimi-k2.6 and kimi-k2.7-code), for no inputs, and for a request that Kimi would refuse.
        """
        return run_steps(_create(model, inputs, window, metadata, progress), self._transport)

    async def acreate(
        self,
        model: Runnable[Any, Any],
        inputs: Iterable[LanguageModelInput],
        *,
        window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        progress: OnProgress | None = None,
    ) -> Batch:
        """`create` for asynchronous use."""
        return await arun_steps(_create(model, inputs, window, metadata, progress), self._transport)

    def wait_done(
        self, batch: Batch | str, *, every: float = 30.0, timeout: float | None = None, progress: OnPoll | None = None
    ) -> Batch:
        """Wait until the batch has ended, by a poll every `every` seconds; `progress` is called with the batch at each.

        Raises APITimeoutError after `timeout` seconds; the batch continues.
        """
        return run_steps(_wait(_id(batch), every, timeout, progress), self._transport)

    async def await_done(
        self, batch: Batch | str, *, every: float = 30.0, timeout: float | None = None, progress: OnPoll | None = None
    ) -> Batch:
        """`wait_done` for asynchronous use."""
        return await arun_steps(_wait(_id(batch), every, timeout, progress), self._transport)

    def results(self, batch: Batch | str, *, model: Runnable[Any, Any] | None = None) -> Outcomes:
        """The result of each request in the order of the inputs: an AIMessage or a KimiError.

        Pass the `model` of `create` if it has tools, so that their names and arguments are read as `invoke` reads them.
        `usage_metadata` is as usual, but batches cost less than `cost_of` returns. Raises IllegalRequestError while
        the batch has not ended, and BadRequestError where it failed as a whole.
        """
        return run_steps(_results(_id(batch), model, self._transport), self._transport)

    async def aresults(self, batch: Batch | str, *, model: Runnable[Any, Any] | None = None) -> Outcomes:
        """`results` for asynchronous use."""
        return await arun_steps(_results(_id(batch), model, self._transport), self._transport)

    def get(self, batch: Batch | str) -> Batch:
        """The state of a batch."""
        return endpoints.get_batch(_id(batch)).run(self._transport)

    async def aget(self, batch: Batch | str) -> Batch:
        """`get` for asynchronous use."""
        return await endpoints.get_batch(_id(batch)).arun(self._transport)

    def cancel(self, batch: Batch | str) -> Batch:
        """Stop a batch; the results that it has by then can be read when it has ended."""
        return endpoints.cancel_batch(_id(batch)).run(self._transport)

    async def acancel(self, batch: Batch | str) -> Batch:
        """`cancel` for asynchronous use."""
        return await endpoints.cancel_batch(_id(batch)).arun(self._transport)

    def list(self) -> ManyBatches:
        """All batches, newest first."""
        return run_steps(_list(), self._transport)

    async def alist(self) -> ManyBatches:
        """`list` for asynchronous use."""
        return await arun_steps(_list(), self._transport)


def _id(batch: Batch | str) -> str:
    return batch.id if isinstance(batch, Batch) else batch


def _create(
    model: Runnable[Any, Any],
    inputs: Iterable[LanguageModelInput],
    window: str,
    metadata: Mapping[str, str] | None,
    progress: OnProgress | None,
) -> Steps[Batch]:
    bodies = [_encode(model, each).body for each in inputs]
    if not bodies:
        raise IllegalRequestError("A batch needs at least one input.")
    _check_model(bodies[0]["model"])
    file = yield from upload(endpoints.batch_lines(bodies), "batch", "batch.jsonl", progress)
    try:
        return (yield from endpoints.create_batch(file.id, window=window, metadata=metadata))
    except KimiError:
        yield from endpoints.delete_file(file.id)
        raise


def _wait(batch_id: str, every: float, timeout: float | None, progress: OnPoll | None) -> Steps[Batch]:
    if not every > 0:
        raise IllegalRequestError(f"every={every!r}: seconds above 0.")
    waited = 0.0
    while True:
        batch = yield from endpoints.get_batch(batch_id)
        if progress:
            progress(batch)
        if batch.ended:
            return batch
        if timeout is not None and waited + every > timeout:
            text = f"The batch {batch_id} is still {batch.status} after {waited:g} s."
            raise APITimeoutError(f"{text} It continues: wait again, or cancel it.")
        yield Pause(every)
        waited += every


def _list() -> Steps[list[Batch]]:
    batches: list[Batch] = []
    more = True
    while more:
        page, more = yield from endpoints.list_batches(batches[-1].id if batches else None)
        batches += page
        more = more and bool(page)
    return batches


def _results(batch_id: str, model: Runnable[Any, Any] | None, transport: Transport) -> Steps[list[Outcome]]:
    host, limits = transport.host, transport.response_limits
    batch = yield from endpoints.get_batch(batch_id)
    if not batch.ended:
        raise IllegalRequestError(f"The batch {batch_id} is still {batch.status}; call wait_done({batch_id!r}) first.")
    if batch.status == "failed":
        raise BadRequestError(f"The batch {batch_id} failed: {'; '.join(batch.problems) or 'without a reason'}.")
    read = _Reader(model, host, limits)
    outcomes: dict[str, Outcome] = {}
    for file_id in (batch.output_file, batch.error_file):
        if file_id:
            content = yield from endpoints.get_content(file_id)
            outcomes |= {line["custom_id"]: read.outcome(line) for line in _lines(content, host, limits)}
    names = [endpoints.custom_id(index) for index in range(batch.total)]
    if not names or outcomes.keys() - set(names):  # made by somebody else, or ended before its requests were counted
        inputs = yield from endpoints.get_content(batch.input_file)
        names = [line["custom_id"] for line in _lines(inputs, host, limits)]
    return [outcomes.get(name) or _unanswered(name, batch) for name in names]


def _encode(model: Runnable[Any, Any], prompt: LanguageModelInput) -> EncodedRequest:
    """The request that the model would send, not streamed. Raises IllegalRequestError if Kimi would refuse it."""
    settings: dict[str, Any] = {}
    while isinstance(model, RunnableBindingBase):
        settings = {**model.kwargs, **settings}
        model = model.bound
    if not isinstance(model, RequestEncoder):
        raise TypeError(f"A batch needs a ChatKimi, bound to tools or settings or not; not a {type(model).__name__}.")
    return model._encode(messages_of(prompt), None, settings, stream=False)


def _check_model(model: str) -> None:
    row = find(model)
    if row and not row.batch:
        raise IllegalRequestError(
            f"Kimi answers no batches with {model}; it does with {' and '.join(BATCH_MODELS)}. Nothing was sent."
        )


def _lines(content: bytes, host: str, limits: ResponseLimits) -> Iterator[Mapping[str, Any]]:
    """The lines of a batch's file. Raises ServerError for an invalid line, and ResponseTooLargeError."""
    for line in BytesIO(content):
        if line.isspace():
            continue
        limits.check_document(line, host)
        try:
            parsed = surrogates.loads(line)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("custom_id"), str):
            shown = line[:200].decode(errors="replace").strip()
            raise ServerError(f"{host} sent a file with a line that does not belong to a batch: {shown}", host=host)
        yield parsed


def _unanswered(name: str, batch: Batch) -> KimiError:
    return KimiError(f"{name} has no answer: the batch {batch.id} is {batch.status}.", type=batch.status)


class _Reader:
    """Reads the lines of a batch's results."""

    def __init__(self, model: Runnable[Any, Any] | None, host: str, limits: ResponseLimits) -> None:
        self._host = host
        self._limits = limits
        self._encoded = _encode(model, [HumanMessage("?")]) if model is not None else None

    def outcome(self, line: Mapping[str, Any]) -> Outcome:
        """The answer of one request, or its error."""
        body = endpoints.outcome_of(line, host=self._host)
        if isinstance(body, KimiError):
            return body
        names, schemas = (self._encoded.names, self._encoded.schemas) if self._encoded else ({}, {})
        try:
            message = ResponseDecoder(
                host=self._host,
                names=names,
                schemas=schemas,
                max_tool_calls=self._limits.tool_calls,
                max_characters=self._limits.characters,
            ).decode_body(body)
            check_complete(message, self._host)
            check_output_cap(message)
        except KimiError as error:
            return error
        return message
