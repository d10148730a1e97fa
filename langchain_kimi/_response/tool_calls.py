"""The tool calls of an answer while their pieces arrive, however a host cuts and labels them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import orjson
from langchain_core.messages import ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_kimi._raw_calls import SPOILER, RawCall, parse_arguments, parse_json
from langchain_kimi._response.stringified_arguments import stringified
from langchain_kimi.errors import ResponseTooLargeError

_NAME_IN_ID = re.compile(r"(?:.*\.)?([\w-]+):\d+")


class _Slot:
    """One call: `said_id` is the host's id for it, `id` the one it goes by, None until it is known to be unique."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.said_id: str | None = None
        self.id: str | None = None
        self.name = ""
        self.arguments: list[str] = []
        self.has_arguments = False
        """Whether the host sent any, be they empty."""


class Calls:
    """The calls of one answer.

    `names` has the user's name of each tool that is called otherwise on the wire, `schemas` the JSON schema of a tool's
    arguments by the user's name, `first` the number at which made-up ids begin. More than `most` calls raise
    ResponseTooLargeError.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        schemas: Mapping[str, Mapping[str, Any]],
        first: int,
        *,
        most: int = 1_000,
        host: str = "",
    ) -> None:
        self._most = most
        self._host = host
        self._names = names
        self._schemas = schemas
        self._first = first
        self._slots: list[_Slot] = []
        self._by_key: dict[object, _Slot] = {}
        self._by_id: dict[tuple[object, str], _Slot] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, deltas: object, *, whole: bool = False) -> list[ToolCallChunk]:
        """Collect the pieces of one event, or the calls of a `whole` message, each one by itself; what they add."""
        if not isinstance(deltas, list):
            return []
        pieces = [(place, delta) for place, delta in enumerate(deltas) if isinstance(delta, dict)]
        return [self._take(place, place if whole else delta.get("index"), delta) for place, delta in pieces]

    def record(self, *, cut: bool, not_run: str | None = None) -> list[RawCall]:
        """The calls as they were said, with made-up ids where the host sent none.

        In an answer that was cut, and where the host sent no arguments at all to a tool with parameters, no arguments
        does not mean empty ones. `not_run` says why none of them may run.
        """
        calls: list[RawCall] = []
        ids = set(self._ids)
        numbers: dict[str, Iterator[int]] = {}
        for slot in self._slots:
            name = slot.name or self._name_in(slot.said_id)
            own_id = slot.id or self._new_id(name, ids, numbers)
            ids.add(own_id)
            call = self._recorded(own_id, name, "".join(slot.arguments))
            came = slot.has_arguments or self._takes_nothing(name)
            if (cut or not came) and not call["arguments"].strip():
                call["cut"] = True
            if not_run:
                call["not_run"] = not_run
            calls.append(call)
        return calls

    def amendments(self, record: Sequence[RawCall]) -> list[ToolCallChunk]:
        """What the pieces lack at the end: ids and names that never came, and what makes cut arguments unreadable."""
        amended = []
        for slot, call in zip(self._slots, record, strict=True):
            new_id = call["id"] if slot.id is None else None
            new_name = call["name"] if not slot.name and call["name"] else None
            runs = _is_json(call["arguments"]) and not call.get("cut") and not call.get("not_run")
            spoiler = "" if runs else SPOILER
            if new_id or new_name or spoiler:
                amended.append(tool_call_chunk(name=new_name, args=spoiler, id=new_id, index=slot.index))
        return amended

    def _take(self, place: int, index: object, delta: Mapping[str, Any]) -> ToolCallChunk:
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        said_id, said_name = _text(delta.get("id")), _text(function.get("name"))
        slot = self._slot(place, index, said_id, said_name)
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        else:
            slot.has_arguments = True
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        new_id = new_name = None
        if said_id and slot.said_id is None:
            slot.said_id = said_id
            if said_id not in self._ids:
                self._ids.add(said_id)
                slot.id = new_id = said_id
        if said_name and not slot.name:
            slot.name = new_name = self._names.get(said_name, said_name)
        slot.arguments.append(arguments)
        return tool_call_chunk(name=new_name, args=arguments, id=new_id, index=slot.index)

    def _slot(self, place: int, index: object, said_id: str, said_name: str) -> _Slot:
        """The call that a piece continues: by its index and id, without index by its id, else its place in the event.

        Another id is another call, and so is another name where the pieces have neither index nor id.
        """
        indexed = isinstance(index, (int, str))
        key = ("index", index) if indexed else ("place", place)
        family = key if indexed else None
        slot = self._by_id.get((family, said_id)) if said_id else self._by_key.get(key)
        if slot is None and said_id:
            slot = self._by_key.get(key)
            slot = None if slot is not None and slot.said_id else slot
        if slot is not None and not indexed and not said_id and said_name and slot.name:
            slot = None if self._names.get(said_name, said_name) != slot.name else slot
        if slot is None:
            if len(self._slots) >= self._most:
                raise ResponseTooLargeError.of("tool_calls", self._most, "tool calls", self._host)
            slot = _Slot(len(self._slots))
            self._slots.append(slot)
        self._by_key[key] = slot
        if said_id:
            self._by_id[family, said_id] = slot
        return slot

    def _recorded(self, own_id: str, name: str, arguments: str) -> RawCall:
        try:
            arguments = _decoded_once(arguments)
            args = parse_arguments(arguments)
        except ValueError:
            return RawCall(id=own_id, name=name, arguments=arguments)
        call = RawCall(id=own_id, name=name, arguments=arguments)
        if unwrapped := stringified(args, self._schemas.get(name)):
            call["unwrapped"] = unwrapped
        return call

    def _takes_nothing(self, name: str) -> bool:
        """Whether the tool is known to have no parameters, so that no arguments can be missing."""
        schema = self._schemas.get(name)
        return schema is not None and not schema.get("properties")

    def _name_in(self, said_id: str | None) -> str:
        """The tool's name in an id of Kimi's form, for hosts that lose the name itself."""
        found = _NAME_IN_ID.fullmatch(said_id or "")
        return self._names.get(found.group(1), found.group(1)) if found else ""

    def _new_id(self, name: str, taken: set[str], numbers: dict[str, Iterator[int]]) -> str:
        """An id that no call has; `numbers` has the next numbers of each name, so that none is tried twice."""
        name = name or "call"
        numbers.setdefault(name, count(self._first))
        return next(own for number in numbers[name] if (own := f"{name}:{number}") not in taken)


def _decoded_once(arguments: str) -> str:
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
