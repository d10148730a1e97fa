"""A wire request as the rules see it: the body, the catalogue's row, and the parts that several rules read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_kimi._rules.exchanges import NOTHING_CHECKED, CheckedPrefix, WireTranscript, read_transcript
from langchain_kimi.catalogue import Model, find

Breaches = Iterator[tuple[str, str]]
"""What a rule yields for each breach: JSON path, and the server's words."""

FUNCTION_KINDS = ("function", "builtin_function")


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason for which Kimi would refuse a request."""

    rule: str
    path: str
    """Where in the wire request, like `messages[3].tool_calls[0].id`."""
    message: str
    """The server's own words."""
    way_out: str
    status: int = 400
    type: str = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: how to find a breach, what to do about it, and where the refusal was seen."""

    name: str
    find: "Callable[[WireRequest], Breaches]"
    way_out: str
    evidence: str
    status: int = 400
    type: str = "invalid_request_error"


class WireRequest:
    """A body of POST /v1/chat/completions with what several rules need, each computed once.

    `body` holds, of the messages, only those behind the checked prefix `after`. `size` is the length of the whole body
    in bytes, None where it is not known; `elsewhere` says that another host than Kimi's own serves
    the request.
    """

    def __init__(
        self,
        body: Mapping[str, Any],
        *,
        size: int | None = None,
        elsewhere: bool = False,
        after: CheckedPrefix = NOTHING_CHECKED,
    ) -> None:
        self.body: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
        self.size = size
        self.elsewhere = elsewhere
        self.after = after
        self.row = row_of(self.body)
        self.thinks = thinking_of(self.row, self.body)

    @property
    def pinned(self) -> Mapping[str, float]:
        """The sampling fields that this model takes with one value only; empty for an unknown model."""
        return self.row.pinned(self.thinks is True, elsewhere=self.elsewhere) if self.row else {}

    @property
    def takes_untyped_schemas(self) -> bool:
        """Whether the model takes schemas in which a part lacks its type."""
        return self.row is not None and self.row.untyped_schemas

    @property
    def conditions(self) -> tuple[Any, ...]:
        """All that rules on single messages and exchanges read besides the messages."""
        response_format = self.body.get("response_format")
        is_json = isinstance(response_format, dict) and response_format.get("type") == "json_object"
        return self.body.get("model"), self.thinks, is_json

    @cached_property
    def transcript(self) -> WireTranscript:
        """The messages, sorted by what the rules ask of them."""
        return read_transcript(self.body.get("messages"), self.after)

    @cached_property
    def tools(self) -> list[tuple[str, Any]]:
        """Every declared tool with its path: the request's own, then dynamic tools in system messages."""
        lists = [("tools", self.body.get("tools"))]
        lists += [(f"messages[{at}].tools", message["tools"]) for at, message in self.transcript.dynamic_tools]
        return [
            (f"{path}[{index}]", tool)
            for path, tools in lists
            if isinstance(tools, list)
            for index, tool in enumerate(tools)
        ]

    @cached_property
    def functions(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Path, tool type and function object of every tool that is a function; empty where it is no object."""
        return [
            (f"{path}.function", tool["type"], _object(tool.get("function")))
            for path, tool in self.tools
            if isinstance(tool, dict) and tool.get("type") in FUNCTION_KINDS
        ]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def row_of(body: Mapping[str, Any]) -> Model | None:
    """The catalogue's row for a request's model."""
    model = body.get("model")
    return find(model) if isinstance(model, str) else None


def thinking_of(row: Model | None, body: Mapping[str, Any]) -> bool | None:
    """Whether the model thinks on this request; None for a model that is not in the catalogue."""
    if row is None:
        return None
    if row.thinking == "never" or (row.thinking == "always" and not row.instant_elsewhere):
        return row.thinking == "always"
    thinking = body.get("thinking")
    return not (isinstance(thinking, dict) and thinking.get("type") == "disabled")
