"""Any transcript that LangChain holds, made one that Kimi accepts: calls answered once and in order, nothing empty.

A transcript is read in groups: an assistant message with calls, and all that follows until the next such message. A
result answers a call of its own group only, because ids come back in later turns. Nothing behind a group changes what
was decided for it, so a longer transcript begins as the shorter one did and Kimi's prefix cache holds.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    InvalidToolCall,
    RemoveMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from langchain_kimi._raw_calls import CALLS, HOST, RawCall, is_call_block, parse_calls, quote_arguments
from langchain_kimi._request.content import (
    Result,
    clean_assistant,
    clean_input,
    clean_result,
    with_known_role,
)

MISSING_RESULT = "No result of this call was recorded. It may or may not have run: find out before calling it again."

UNUSABLE_CALL = "This call was not run: its arguments cannot be used. Call the tool again with a JSON object. {quote}"

_AnyCall: TypeAlias = ToolCall | InvalidToolCall

_RESULTS = (ToolMessage, FunctionMessage)


_OWN_FORM = re.compile(r"(?:functions\.)?[\w.-]+:\d+")


@dataclass(frozen=True, slots=True)
class Repair:
    """One change to a transcript."""

    index: int
    """Position of the message in the given transcript."""
    rule: str
    """What was wrong, as a stable name."""
    detail: str
    """What was done and where, as a sentence."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The beginning of a transcript for which nothing behind it can change what was decided.

    It holds none of the given messages, so that they can be forgotten.
    """

    given: int = 0
    """How many of the given messages it is."""
    origins: Sequence[int | BaseMessage] = ()
    """What became of them: the index of each message that stayed as it was, or the message in its place."""
    repairs: tuple[Repair, ...] = ()
    used: Mapping[str, int] = field(default_factory=dict)
    """Every call id, with the number of its last copy."""
    answered: Sequence[str] = ()
    """The ids of the last group's calls."""

    def messages(self, given: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The settled messages of a transcript that begins like this."""
        return [given[origin] if isinstance(origin, int) else origin for origin in self.origins]


START = Settled()


@dataclass(frozen=True, slots=True)
class Repaired:
    """A transcript that Kimi accepts, and what was changed to make it so."""

    messages: list[BaseMessage]
    repairs: tuple[Repair, ...]
    settled: Settled = field(default=START, compare=False, repr=False)
    """From where a longer transcript may go on; its messages are the first of `messages`."""


def repair(
    messages: Sequence[BaseMessage], *, k2_ids: bool = False, host: str = "", after: Settled = START
) -> Repaired:
    """The transcript as Kimi accepts it. Nothing given is mutated; a valid transcript keeps its very messages.

    With `k2_ids`, call ids that are not of Kimi's own form (`functions.add:0`, `add:0`) become so: a self-hosted K2
    model reads the name of the tool from the id and nowhere else. Ids that `host` itself gave stay, whatever form they
    have. `after`, made with the same `k2_ids` and `host` of a transcript that began with the same messages, spares
    looking at these again; the outcome is the same without it.
    """
    settled = _settle(messages, k2_ids, host, after)
    ledger = _Ledger(k2_ids, host, settled)
    for index in range(settled.given, len(messages)):
        ledger.add(index, messages[index])
    ledger.close()
    return Repaired([*settled.messages(messages), *ledger.messages], settled.repairs + ledger.in_order(), settled)


def _settle(messages: Sequence[BaseMessage], k2_ids: bool, host: str, after: Settled) -> Settled:
    """How far the transcript is settled, at most to its last answer or result.

    A group is settled when all its calls are answered: a later result answers none of them, and whatever else follows
    stays behind them. What follows the last answer is left open, since callers often append a reminder for one request.
    """
    spoken = (index for index in reversed(range(len(messages))) if isinstance(messages[index], (AIMessage, *_RESULTS)))
    end = next(spoken, -1) + 1
    if end <= after.given:
        return after
    new = messages[after.given : end]
    seen: set[str | None] = {None, "", *after.used}
    if not k2_ids and _needs_nothing(new, seen):
        made = (_ids(message.tool_calls) for message in reversed(new) if isinstance(message, AIMessage))
        answered = next(filter(None, made), after.answered)
        used = {key: after.used.get(key, 1) for key in seen if key}
        return Settled(end, [*after.origins, *range(after.given, end)], after.repairs, used, answered)
    ledger = _Ledger(k2_ids, host, after)
    for index in range(after.given, end):
        ledger.add(index, messages[index])
    return ledger.settled(messages, end)


def _needs_nothing(messages: Sequence[BaseMessage], seen: set[str | None] | None = None) -> bool:
    """Whether all is plain text, calls with new ids, and their results in order, as in nearly every turn of an agent.

    False says nothing: it leaves the judgement to the ledger, which takes several times as long. Call ids are added to
    those `seen` before.
    """
    seen = {None, ""} if seen is None else seen
    waiting: list[str | None] = []
    message: Any
    for message in messages:
        content, kind = message.content, type(message)
        if type(content) is not str or content.isspace():
            return False
        if kind is ToolMessage:
            if not content or not waiting or waiting.pop() != message.tool_call_id:
                return False
        elif waiting:
            return False
        elif kind is AIMessage:
            waiting = _new_ids(message, seen)
            if not (waiting or content):
                return False
        elif not content or (kind is not HumanMessage and kind is not SystemMessage):
            return False
    return not waiting


def _new_ids(message: AIMessage, seen: set[str | None]) -> list[str | None]:
    """The ids of the message's calls, last first, added to those seen; `[None]` where something is wrong with them."""
    if message.invalid_tool_calls:
        return [None]
    ids = [call["id"] for call in message.tool_calls]
    for key in ids:
        if key in seen:
            return [None]
        seen.add(key)
    if len(ids) > 1:
        if [call.get("id") for call in message.additional_kwargs.get(CALLS, message.tool_calls)] != ids:
            return [None]
        ids.reverse()
    return ids


class _Ledger:
    """The transcript as it is rebuilt: the messages that are settled, and the group that is still open."""

    def __init__(self, k2_ids: bool, host: str = "", after: Settled = START) -> None:
        self._k2_ids = k2_ids
        self._host = host
        self._after = after
        self.messages: list[BaseMessage] = []
        self.repairs: list[Repair] = []
        self._used = dict(after.used)
        self._answered = after.answered
        self._opener: tuple[int, AIMessage] | None = None
        self._rest: list[tuple[int, BaseMessage]] = []
        self._results = 0

    def note(self, index: int, rule: str, what: str) -> None:
        """Record one repair."""
        self.repairs.append(Repair(index, rule, f"messages[{index}]: {what}"))

    def add(self, index: int, message: BaseMessage) -> None:
        """Take the next message of the transcript, without what is empty or foreign in it."""
        if isinstance(message, AIMessage):
            said = clean_assistant(index, message, self.note)
            if said is not None and (said.tool_calls or said.invalid_tool_calls):
                self.close()
                self._opener = (index, said)
            elif said is not None:
                self._rest.append((index, said))
        elif isinstance(message, _RESULTS):
            self._rest.append((index, clean_result(index, message, self.note)))
            self._results += 1
        elif isinstance(message, RemoveMessage):
            self.note(index, "remove_message", "a RemoveMessage is an order to a graph and was left out.")
        elif isinstance(message, ChatMessage) and message.role not in ("user", "system", "assistant"):
            self.add(index, with_known_role(index, message, self.note))
        elif (heard := clean_input(index, message, self.note)) is not None:
            self._rest.append((index, heard))

    def in_order(self) -> tuple[Repair, ...]:
        """The repairs by the place of their messages."""
        return tuple(sorted(self.repairs, key=lambda made: made.index))

    def settled(self, given: Sequence[BaseMessage], end: int) -> Settled:
        """Close the open group; what is settled of the given messages before `end`, all of which were added."""
        before = self._state(given, self._opener[0] if self._opener else end)
        return self._state(given, end) if self.close() else before

    def _state(self, given: Sequence[BaseMessage], end: int) -> Settled:
        places = {id(given[index]): index for index in range(self._after.given, end)}
        origins = [*self._after.origins, *(places.get(id(message), message) for message in self.messages)]
        repairs = tuple(made for made in self.in_order() if made.index < end)
        return Settled(end, origins, self._after.repairs + repairs, dict(self._used), self._answered)

    def close(self) -> bool:
        """Take in the open group: its calls, their results, and what else was said. False where a result is missing."""
        whole = True
        calls: list[_AnyCall] = []
        ids: list[str] = []
        if self._opener is not None:
            index, message = self._opener
            made = _calls(message)
            order = _wire_order(message, made)
            calls = [made[place] for place in order]
            hosts = self._ids_of_host(message)
            ids = [self._own_id(index, call, hosts) for call in calls]
            self.messages.append(message if _ids(calls) == ids else _rekeyed(message, order, ids))
            self._answered = _ids(calls)
        first = self._rest[: len(ids)]
        if self._results == len(ids) and [getattr(result, "tool_call_id", None) for _, result in first] == ids:
            self.messages += [message for _, message in self._rest]
        else:
            whole = self._pair(calls, ids)
        self._opener, self._rest, self._results = None, [], 0
        return whole

    def _ids_of_host(self, message: AIMessage) -> frozenset[object]:
        """The ids that the host itself gave the message's calls; none where they matter to nobody."""
        kept = message.additional_kwargs
        if not self._k2_ids or kept.get(HOST) != self._host:
            return frozenset()
        return frozenset(entry["id"] for entry in filter(_is_recorded, kept.get(CALLS) or ()) if entry["id"])

    def _own_id(self, index: int, call: _AnyCall, hosts: frozenset[object]) -> str:
        """The call's id where nothing before it has the same, else a new one that hangs on nothing behind it."""
        base = own = call["id"] or call["name"] or "call"
        if self._k2_ids and (own in self._used or not (call["id"] in hosts or _OWN_FORM.fullmatch(base))):
            return self._k2_id(index, call)
        while own in self._used:
            self._used[base] += 1
            own = f"{base}~{self._used[base]}"
        self._used[own] = 1
        if not call["id"]:
            self.note(index, "missing_id", f"the call of {call['name']} had no id; it and its result got {own!r}.")
        elif own != base:
            self.note(index, "duplicate_id", f"the call id {base!r} was used before; here it became {own!r}.")
        return own

    def _k2_id(self, index: int, call: _AnyCall) -> str:
        """An id of the form that K2's template reads, numbered over the conversation."""
        number = len(self._used)
        while (own := f"functions.{re.sub(r'[^A-Za-z0-9_-]', '_', call['name'] or 'call')}:{number}") in self._used:
            number += 1
        self._used[own] = 1
        self.note(index, "k2_id", f"the call id {call['id']!r} became {own!r}, from which K2 reads the tool's name.")
        return own

    def _pair(self, calls: Sequence[_AnyCall], ids: Sequence[str]) -> bool:
        """Put one result for each call first, in the order of the calls, and everything else behind them.

        False where a result had to be made up.
        """
        answers: dict[int, tuple[int, BaseMessage]] = {}
        others: list[tuple[int, BaseMessage]] = []
        for at, message in self._rest:
            if not isinstance(message, _RESULTS):
                others.append((at, message))
            elif (slot := _slot(message, calls, answers)) is not None:
                answers[slot] = (at, self._as_answer(at, message, ids[slot]))
            else:
                self._note_unmatched(at, message)
        last = max((at for at, _ in answers.values()), default=-1)
        for at, _ in others:
            if at < last:
                self.note(at, "moved_after_results", "what stood between a call and its result moved behind it.")
        places = [answers[slot][0] for slot in range(len(ids)) if slot in answers]
        if places != sorted(places):
            self.note(places[0], "reordered_results", "the results were put in the order of their calls.")
        for slot, (call, own) in enumerate(zip(calls, ids, strict=True)):
            self.messages.append(answers[slot][1] if slot in answers else self._missing(call, own))
        self.messages += [message for _, message in others]
        return len(answers) == len(ids)

    def _missing(self, call: _AnyCall, own: str) -> ToolMessage:
        """An answer for a call that has none; nothing runs a call whose arguments are no JSON object."""
        index = self._opener[0] if self._opener else 0
        text, what = MISSING_RESULT, "unknown"
        if "error" in call:
            text, what = UNUSABLE_CALL.format(quote=quote_arguments(str(call["args"] or ""))), "not run"
        self.note(index, "missing_result", f"the call {own!r} had no result; it was answered as {what}.")
        return ToolMessage(text, tool_call_id=own, name=call["name"], status="error")

    def _as_answer(self, at: int, message: Result, own: str) -> BaseMessage:
        """The result under the id of its call: the very message where it has it already."""
        if isinstance(message, FunctionMessage):
            self.note(at, "function_message", f"a FunctionMessage became the result of the call {own!r}.")
            return ToolMessage(message.content, tool_call_id=own, name=message.name, id=message.id)
        return message if message.tool_call_id == own else message.model_copy(update={"tool_call_id": own})

    def _note_unmatched(self, at: int, message: Result) -> None:
        if isinstance(message, FunctionMessage):
            self.note(at, "function_message", f"a FunctionMessage of {message.name!r} answers no open call; dropped.")
        elif message.tool_call_id in self._answered:
            self.note(at, "doubled_result", f"a second result for the call {message.tool_call_id!r} was dropped.")
        else:
            self.note(at, "stray_result", f"a result for {message.tool_call_id!r}, which is no open call, was dropped.")


def _calls(message: AIMessage) -> list[_AnyCall]:
    return [*message.tool_calls, *message.invalid_tool_calls]


def _ids(calls: Iterable[_AnyCall]) -> list[str]:
    return [call["id"] or "" for call in calls]


def _slot(message: Result, calls: Sequence[_AnyCall], taken: Mapping[int, object]) -> int | None:
    """Which open call the result answers: the first with its id, or with its name where the result has no id."""
    if isinstance(message, ToolMessage):
        answered = [call_id == message.tool_call_id for call_id in _ids(calls)]
    else:
        answered = [call["name"] == message.name for call in calls]
    return next((slot for slot, right in enumerate(answered) if right and slot not in taken), None)


def _wire_order(message: AIMessage, calls: Sequence[_AnyCall]) -> Sequence[int]:
    """The places of the calls in the order in which they were said: as recorded, then the others.

    Calls that share an id are told apart by whether their arguments parse.
    """
    said = message.additional_kwargs.get(CALLS) if len(calls) > 1 else None
    if not said:
        return range(len(calls))
    left, order = list(range(len(calls))), []
    for entry in filter(_is_recorded, said):
        same = [place for place in left if calls[place]["id"] == entry["id"]]
        if len(same) > 1:
            parses = bool(parse_calls([entry])[0])
            same.sort(key=lambda place: isinstance(calls[place]["args"], dict) is not parses)
        if same:
            left.remove(same[0])
            order.append(same[0])
    return order + left


def _is_recorded(entry: object) -> TypeGuard[RawCall]:
    return isinstance(entry, dict) and {"id", "name", "arguments"} <= entry.keys()


def _rekeyed(message: AIMessage, order: Sequence[int], ids: Sequence[str]) -> AIMessage:
    """The message with the new ids wherever an id is written: the k-th call of an id is the k-th record of it."""
    own = dict(zip(order, ids, strict=True))
    calls = _calls(message)
    old = _ids(calls[place] for place in order)
    renamed: list[dict[str, Any]] = [{**call, "id": own[place]} for place, call in enumerate(calls)]
    valid = len(message.tool_calls)
    update: dict[str, Any] = {"tool_calls": renamed[:valid], "invalid_tool_calls": renamed[valid:]}
    if said := message.additional_kwargs.get(CALLS):
        update["additional_kwargs"] = {**message.additional_kwargs, CALLS: _renamed(said, old, ids, _is_recorded)}
    if isinstance(message.content, list):
        update["content"] = _renamed(message.content, old, ids, is_call_block)
    return message.model_copy(update=update)


def _renamed(
    entries: Iterable[Any], old: Sequence[str], new: Sequence[str], is_call: Callable[[Any], bool]
) -> list[Any]:
    """The entries with new ids; those of calls that the message no longer makes are left out."""
    waiting = list(zip(old, new, strict=True))
    renamed = []
    for entry in entries:
        if not is_call(entry):
            renamed.append(entry)
        elif pair := next((pair for pair in waiting if pair[0] == (entry.get("id") or "")), None):
            waiting.remove(pair)
            renamed.append({**entry, "id": pair[1]})
    return renamed
