"""The limits on the size of a response."""

from dataclasses import dataclass, fields

from langchain_kimi._parameter_names import checks_field_names
from langchain_kimi.errors import ResponseTooLargeError

_MIB = 1024 * 1024
BYTES_PER_EVENT = 256
"""What an event counts in addition to its data: a part of what LangChain stores per chunk until a stream ends."""
_BYTES_PER_TOKEN = 1024
"""The size of an event with one token."""

_UNITS = {"characters": "characters", "json_values": "JSON values", "tool_calls": "tool calls"}


@checks_field_names
@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """The largest response that is read, in bytes after decompression unless stated otherwise.

    The defaults are several times larger than any response of Kimi's. Reading stops at a limit with a
    ResponseTooLargeError that names it. The body of an error is read up to its limit and the rest is ignored.
    """

    response: int = 64 * _MIB
    """A streamed response. Each event counts 256 bytes in addition to its data. For a request with many tokens the
    limit is 1,024 bytes for each token of its prompt and its output cap, if that is more."""
    document: int = 16 * _MIB
    """One JSON document: an event of a stream, or a response that is not streamed."""
    json_values: int = 1_000_000
    """Values in one JSON document, counted by its commas, braces and brackets."""
    characters: int = 16_000_000
    """Text, reasoning and arguments of one chat response together, in characters."""
    tool_calls: int = 1_000
    """Tool calls of one chat response."""
    error: int = _MIB
    """The body of an error."""
    file: int = 256 * _MIB
    """The content of a file, including the output of a batch."""

    def __post_init__(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) < 1:
                raise ValueError(f"ResponseLimits({one.name}={getattr(self, one.name)}) must be at least 1.")

    def streamed(self, tokens: int) -> int:
        """The limit of a streamed response to a request with this many tokens, prompt and output cap together."""
        return max(self.response, tokens * _BYTES_PER_TOKEN)

    def check_document(self, data: bytes, host: str) -> None:
        """Raise ResponseTooLargeError for a JSON document beyond the limits."""
        if len(data) > self.document:
            raise self.exceeded("document", host)
        if len(data) > self.json_values and sum(map(data.count, (b",", b"[", b"{"))) > self.json_values:
            raise self.exceeded("json_values", host)

    def exceeded(self, limit: str, host: str, maximum: int | None = None) -> ResponseTooLargeError:
        """The error for a response that exceeds the limit of this name."""
        value = getattr(self, limit) if maximum is None else maximum
        return ResponseTooLargeError.of(limit, value, _UNITS.get(limit, "bytes"), host)
