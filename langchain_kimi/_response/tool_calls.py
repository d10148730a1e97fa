"""Collects the tool calls of a response from their deltas, however a host cuts and labels them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import orjson
from langchain_core.messages import ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_kimi._raw_calls import SPOILER, RawCall, parse_arguments, parse_json
from langchain_kimi._response.stringified_arguments import stringified_arguments
from langchain_kimi.errors import ResponseTooLargeError

_NAME_IN_ID = re.compile(r"(?:.*\.)?([\w-]+):\d+")


class _PartialCall:
    """One tool call while its deltas arrive."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.host_id: str | None = None
        self.id: str | None = None
        """The host's id where no earlier call has it; otherwise None until the response ends."""
        self.name = ""
        self.arguments: list[str] = []
        self.has_arguments = False
        """Whether the host sent arguments, be they empty."""


class ToolCallAccumulator:
    """Collects the tool calls of one response.

    `names` maps a tool's name on the wire to the user's name where they differ; `schemas` has the JSON schema of a
    tool's arguments by the user's name. Made-up ids are numbered from `first_number`. Raises ResponseTooLargeError for
    more than `max_calls` calls.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        schemas: Mapping[str, Mapping[str, Any]],
        first_number: int,
        *,
        max_calls: int = 1_000,
        host: str = "",
    ) -> None:
        self._max_calls = max_calls
        self._host = host
        self._names = names
        self._schemas = schemas
        self._first_number = first_number
        self._calls: list[_PartialCall] = []
        self._by_key: dict[object, _PartialCall] = {}
        self._by_id: dict[tuple[object, str], _PartialCall] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, deltas: object, *, whole: bool = False) -> list[ToolCallChunk]:
        """Collect the tool call deltas of one event, and return what they add as chunks.

        `whole`: the calls of a whole message, none of which continues another.
        """
        if not isinstance(deltas, list):
            return []
        positioned = [(position, delta) for position, delta in enumerate(deltas) if isinstance(delta, dict)]
        return [
            self._add_delta(position, position if whole else delta.get("index"), delta)
            for position, delta in positioned
        ]

    def raw_calls(self, *, cut: bool, not_run: str | None = None) -> list[RawCall]:
        """The calls so far, with made-up ids where the host sent none.

        Where the response was `cut`, or the host sent no arguments at all to a tool with parameters, missing arguments
        do not mean empty ones. `not_run` says why none of the calls may run.
        """
        raw: list[RawCall] = []
        ids = set(self._ids)
        numbers: dict[str, Iterator[int]] = {}
        for partial in self._calls:
            name = partial.name or self._name_in_id(partial.host_id)
            call_id = partial.id or self._new_id(name, ids, numbers)
            ids.add(call_id)
            call = self._raw_call(call_id, name, "".join(partial.arguments))
            complete = partial.has_arguments or self._has_no_parameters(name)
            if (cut or not complete) and not call["arguments"].strip():
                call["cut"] = True
            if not_run:
                call["not_run"] = not_run
            raw.append(call)
        return raw

    def closing_chunks(self, calls: Sequence[RawCall]) -> list[ToolCallChunk]:
        """What the chunks lack of `calls` at the end of a stream: ids and names that never came, and an ending that
        makes cut arguments unreadable.
        """
        chunks = []
        for partial, call in zip(self._calls, calls, strict=True):
            new_id = call["id"] if partial.id is None else None
            new_name = call["name"] if not partial.name and call["name"] else None
            runs = _is_json(call["arguments"]) and not call.get("cut") and not call.get("not_run")
            spoiler = "" if runs else SPOILER
            if new_id or new_name or spoiler:
                chunks.append(tool_call_chunk(name=new_name, args=spoiler, id=new_id, index=partial.index))
        return chunks

    def _add_delta(self, position: int, index: object, delta: Mapping[str, Any]) -> ToolCallChunk:
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        host_id, wire_name = _text(delta.get("id")), _text(function.get("name"))
        partial = self._continued_call(position, index, host_id, wire_name)
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        else:
            partial.has_arguments = True
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        new_id = new_name = None
        if host_id and partial.host_id is None:
            partial.host_id = host_id
            if host_id not in self._ids:
                self._ids.add(host_id)
                partial.id = new_id = host_id
        if wire_name and not partial.name:
            partial.name = new_name = self._names.get(wire_name, wire_name)
        partial.arguments.append(arguments)
        return tool_call_chunk(name=new_name, args=arguments, id=new_id, index=partial.index)

    def _continued_call(self, position: int, index: object, host_id: str, wire_name: str) -> _PartialCall:
        """The call that a delta continues: by its index and id; without index by its id, else by its position.

        Another id is another call, and so is another name where the deltas have neither index nor id.
        """
        indexed = isinstance(index, (int, str))
        key = ("index", index) if indexed else ("position", position)
        id_key = (key if indexed else None, host_id)
        partial = self._by_id.get(id_key) if host_id else self._by_key.get(key)
        if partial is None and host_id:
            partial = self._by_key.get(key)
            partial = None if partial is not None and partial.host_id else partial
        if partial is not None and not indexed and not host_id and wire_name and partial.name:
            partial = None if self._names.get(wire_name, wire_name) != partial.name else partial
        if partial is None:
            if len(self._calls) >= self._max_calls:
                raise ResponseTooLargeError.of("tool_calls", self._max_calls, "tool calls", self._host)
            partial = _PartialCall(len(self._calls))
            self._calls.append(partial)
        self._by_key[key] = partial
        if host_id:
            self._by_id[id_key] = partial
        return partial

    def _raw_call(self, call_id: str, name: str, arguments: str) -> RawCall:
        try:
            arguments = _unquote_object(arguments)
            args = parse_arguments(arguments)
        except ValueError:
            return RawCall(id=call_id, name=name, arguments=arguments)
        call = RawCall(id=call_id, name=name, arguments=arguments)
        if unwrapped := stringified_arguments(args, self._schemas.get(name)):
            call["unwrapped"] = unwrapped
        return call

    def _has_no_parameters(self, name: str) -> bool:
        """Whether the tool is known to have no parameters, so that no arguments can be missing."""
        schema = self._schemas.get(name)
        return schema is not None and not schema.get("properties")

    def _name_in_id(self, host_id: str | None) -> str:
        """The tool's name in an id of Kimi's form, for hosts that lose the name itself."""
        match = _NAME_IN_ID.fullmatch(host_id or "")
        return self._names.get(match.group(1), match.group(1)) if match else ""

    def _new_id(self, name: str, taken: set[str], numbers: dict[str, Iterator[int]]) -> str:
        """An id that no call has; `numbers` has the next numbers of each name, so that none is tried twice."""
        name = name or "call"
        numbers.setdefault(name, count(self._first_number))
        return next(new_id for number in numbers[name] if (new_id := f"{name}:{number}") not in taken)


def _unquote_object(arguments: str) -> str:
    """The JSON object in a JSON string, else the text as it is."""
    if not arguments.lstrip().startswith('"'):
        return arguments
    inner = parse_json(arguments)
    try:
        return inner if inner.strip() and isinstance(parse_json(inner), dict) else arguments
    except ValueError:
        return arguments


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except ValueError:
        return not text.strip()
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
