"""One call of the model: its encoded request, the transport that sends it, and the decoder of its response."""

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_kimi._api_keys import HOSTS
from langchain_kimi._http import ResponseLimits, Transport
from langchain_kimi._request import EncodedRequest
from langchain_kimi._response import REPORT, ResponseDecoder, check_complete, check_output_cap, generation_info
from langchain_kimi.chat_model.reports import Reports
from langchain_kimi.chat_model.retry_events import retry_reporter
from langchain_kimi.errors import IllegalRequestError, KimiError

_PATH = "/chat/completions"
_BYTES_PER_TOKEN = 4
"""An estimate, for the rate limits."""

OnCutShort = Literal["raise", "return"]
RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun


@dataclass(slots=True)
class ChatCall:
    """A request on its way. `events()` and `aevents()` send it; what they yield is for the `decoder`."""

    encoded: EncodedRequest
    transport: Transport
    decoder: ResponseDecoder
    reports: Reports
    on_cut_short: OnCutShort
    transport_arguments: dict[str, Any]

    @classmethod
    def of(
        cls,
        encoded: EncodedRequest,
        transport: Transport,
        reports: Reports,
        run_manager: RunManager | None,
        *,
        v1: bool,
        limits: ResponseLimits,
        on_cut_short: str,
    ) -> "ChatCall":
        """A call with an encoded request."""
        fields, body = encoded.fields, encoded.json
        response_headers: dict[str, str] = {}
        retried_headers: list[dict[str, str]] = []
        waits: list[dict[str, Any]] = []
        decoder = ResponseDecoder(
            host=transport.host,
            names=encoded.names,
            schemas=encoded.schemas,
            headers=response_headers,
            repeated=retried_headers,
            waits=waits,
            first_call=encoded.calls_made,
            v1=v1,
            max_tool_calls=limits.tool_calls,
            max_characters=limits.characters,
        )
        if on_cut_short not in ("raise", "return"):
            raise IllegalRequestError(f"on_cut_short={on_cut_short!r} is neither 'raise' nor 'return'.")
        arguments = {
            "path": _PATH,
            "body": body,
            "model": fields["model"],
            "tokens": len(body) // _BYTES_PER_TOKEN + fields["max_completion_tokens"],
            "on_wait": retry_reporter(run_manager, waits),
            "response_headers": response_headers,
            "retried_headers": retried_headers,
        }
        call = cls(encoded, transport, decoder, reports, on_cut_short, arguments)  # type: ignore[arg-type]
        arguments |= {"shrink": call._lower_output_cap, "charged_tokens": call._charged_tokens}
        return call

    def events(self) -> Generator[bytes, None, None]:
        """Send the request and yield the events of its response."""
        return self.transport.stream(**self.transport_arguments)

    def aevents(self) -> AsyncGenerator[bytes, None]:
        """Send the request and yield the events of its response."""
        return self.transport.astream(**self.transport_arguments)

    def result(self) -> ChatResult:
        """The response as LangChain wants it from `_generate`. Raises where it is not whole."""
        message = self.message()
        self.check_output_cap(message)
        generation = ChatGeneration(message=message, generation_info=generation_info(message))
        return ChatResult(generations=[generation], llm_output=_llm_output(message))

    def message(self) -> AIMessage:
        """The message of the response. Raises IncompleteAnswerError where the host gave up on it."""
        message, host = self.decoder.message(), self.transport.host
        if "finish_unknown" in message.response_metadata.get(REPORT, ()):
            self.reports.warn_of_finish_reason(host, str(message.response_metadata["finish_reason"]))
        check_complete(message, host)
        return message

    def check_output_cap(self, message: AIMessage) -> None:
        """Raise AnswerCutShort where the output cap was spent on thinking, unless `on_cut_short` is `"return"`."""
        if self.on_cut_short == "raise":
            check_output_cap(message, self.encoded.fields.get("max_completion_tokens"))

    @contextmanager
    def attach_partial_message(self) -> Iterator[None]:
        """Attach the part of the response that arrived, with its usage, to errors that end the response."""
        try:
            yield
        except KimiError as error:
            if error.message is None:
                error.message = self.decoder.partial_message()
            raise

    def _charged_tokens(self) -> int | None:
        """The tokens that count against the rate limits, by the usage of the response; None before it has arrived.

        Kimi counts the prompt and the output cap, whatever the output is; other hosts are taken to count what was used.
        """
        if (usage := self.decoder.usage()) is None:
            return None
        if self.transport.base_url in HOSTS.values():
            return usage["input_tokens"] + int(self.encoded.fields["max_completion_tokens"])
        return usage["total_tokens"]

    def _lower_output_cap(self, error: KimiError) -> bytes | None:
        """The body of the request with the output cap that fits by the host's refusal; None where none fits."""
        refitted = self.encoded.refitted(error)
        if refitted is None:
            return None
        self.encoded = refitted
        self.reports.warn_of_changes(refitted)
        return refitted.json


def _llm_output(message: AIMessage) -> dict[str, Any]:
    """The model and the id of a response where the callbacks of some tracers read them."""
    return {key: message.response_metadata[key] for key in ("model_name", "id") if key in message.response_metadata}
