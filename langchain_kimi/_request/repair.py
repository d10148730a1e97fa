"""Repairs any transcript that LangChain holds: every call answered once and in order, no message empty.

A transcript is read in groups: an assistant message with calls, and all that follows until the next such message. A
result answers a call of its own group only, because ids come back in later turns. Later groups never change an earlier
one, so a longer transcript begins as the shorter one did and Kimi's prefix cache holds.
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
    ToolResult,
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
    """Position of the message in the original transcript."""
    rule: str
    """What was wrong, as a stable name."""
    detail: str
    """What was done and where, as a sentence."""


@dataclass(frozen=True, slots=True)
class RepairedPrefix:
    """The beginning of a transcript whose repair no later message can change.

    It holds none of the original messages, so that they can be freed.
    """

    length: int = 0
    """How many of the original messages it covers."""
    sources: Sequence[int | BaseMessage] = ()
    """Its repaired messages: the index of each original that stayed as it was, or the message that replaced one."""
    repairs: tuple[Repair, ...] = ()
    copies: Mapping[str, int] = field(default_factory=dict)
    """Every call id, with the number of its last copy."""
    last_ids: Sequence[str] = ()
    """The ids of the last group's calls."""

    def messages(self, originals: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The repaired messages of a transcript that begins like this."""
        return [originals[source] if isinstance(source, int) else source for source in self.sources]


NOTHING_REPAIRED = RepairedPrefix()


@dataclass(frozen=True, slots=True)
class RepairedTranscript:
    """A transcript that Kimi accepts, and what was changed to make it so."""

    messages: list[BaseMessage]
    repairs: tuple[Repair, ...]
    prefix: RepairedPrefix = field(default=NOTHING_REPAIRED, compare=False, repr=False)
    """Where the repair of a longer transcript may continue; its messages are the first of `messages`."""


def repair(
    messages: Sequence[BaseMessage], *, k2_ids: bool = False, host: str = "", after: RepairedPrefix = NOTHING_REPAIRED
) -> RepairedTranscript:
    """Return the transcript as Kimi accepts it. No message is mutated; a valid transcript keeps its message objects.

    With `k2_ids`, call ids that do not have Kimi's own form (`functions.add:0`, `add:0`) are replaced by ids that do: a
    self-hosted K2 model reads the name of the tool from the id and nowhere else. Ids that `host` itself gave stay as
    they are. `after` is the prefix of an earlier repair with the same `k2_ids` and `host`, of a transcript that began
    with the same messages; it saves time and does not change the result.
    """
    prefix = _extend_prefix(messages, k2_ids, host, after)
    rewriter = _TranscriptRewriter(k2_ids, host, prefix)
    for index in range(prefix.length, len(messages)):
        rewriter.add(index, messages[index])
    rewriter.close_group()
    repaired = [*prefix.messages(messages), *rewriter.messages]
    return RepairedTranscript(repaired, prefix.repairs + rewriter.repairs_in_order(), prefix)


def _extend_prefix(messages: Sequence[BaseMessage], k2_ids: bool, host: str, after: RepairedPrefix) -> RepairedPrefix:
    """The longest prefix whose repair is final; it ends at the last answer or result at the latest.

    A group is final when all its calls are answered: a later result answers none of them, and whatever else follows
    stays behind them. What follows the last answer stays open, since callers often append a reminder for one request.
    """
    answers = (at for at in reversed(range(len(messages))) if isinstance(messages[at], (AIMessage, *_RESULTS)))
    end = next(answers, -1) + 1
    if end <= after.length:
        return after
    new = messages[after.length : end]
    seen: set[str | None] = {None, "", *after.copies}
    if not k2_ids and is_plainly_valid(new, seen):
        ids = (_ids(message.tool_calls) for message in reversed(new) if isinstance(message, AIMessage))
        last_ids = next(filter(None, ids), after.last_ids)
        copies = {call_id: after.copies.get(call_id, 1) for call_id in seen if call_id}
        return RepairedPrefix(end, [*after.sources, *range(after.length, end)], after.repairs, copies, last_ids)
    rewriter = _TranscriptRewriter(k2_ids, host, after)
    for index in range(after.length, end):
        rewriter.add(index, messages[index])
    return rewriter.prefix(messages, end)


def is_plainly_valid(messages: Sequence[BaseMessage], seen: set[str | None] | None = None) -> bool:
    """Whether every message is plain text, or calls with new ids and their results in order, as most agents have it.

    False does not mean that the transcript needs repair; it means that the slower rewriter has to look. `seen` holds
    the call ids of earlier messages; those of these messages are added.
    """
    seen = {None, ""} if seen is None else seen
    unanswered: list[str | None] = []
    message: Any
    for message in messages:
        content, kind = message.content, type(message)
        if type(content) is not str or content.isspace():
            return False
        if kind is ToolMessage:
            if not content or not unanswered or unanswered.pop() != message.tool_call_id:
                return False
        elif unanswered:
            return False
        elif kind is AIMessage:
            unanswered = _new_ids(message, seen)
            if not (unanswered or content):
                return False
        elif not content or (kind is not HumanMessage and kind is not SystemMessage):
            return False
    return not unanswered


def _new_ids(message: AIMessage, seen: set[str | None]) -> list[str | None]:
    """The ids of the message's calls, last first, added to `seen`; `[None]` where something is wrong with them."""
    if message.invalid_tool_calls:
        return [None]
    ids = [call["id"] for call in message.tool_calls]
    for call_id in ids:
        if call_id in seen:
            return [None]
        seen.add(call_id)
    if len(ids) > 1:
        if [call.get("id") for call in message.additional_kwargs.get(CALLS, message.tool_calls)] != ids:
            return [None]
        ids.reverse()
    return ids


class _TranscriptRewriter:
    """Collects the repaired messages: those of the groups before, and the group that is still open."""

    def __init__(self, k2_ids: bool, host: str = "", after: RepairedPrefix = NOTHING_REPAIRED) -> None:
        self._k2_ids = k2_ids
        self._host = host
        self._after = after
        self.messages: list[BaseMessage] = []
        self.repairs: list[Repair] = []
        self._copies = dict(after.copies)
        self._last_ids = after.last_ids
        self._caller: tuple[int, AIMessage] | None = None
        """The message with calls that opened the group, and its index; None before the first such message."""
        self._followers: list[tuple[int, BaseMessage]] = []
        """All other messages of the group."""
        self._results = 0
        """How many of the followers are results."""

    def note(self, index: int, rule: str, what: str) -> None:
        """Record one repair."""
        self.repairs.append(Repair(index, rule, f"messages[{index}]: {what}"))

    def add(self, index: int, message: BaseMessage) -> None:
        """Add the next message of the transcript, without what is empty or foreign in it."""
        if isinstance(message, AIMessage):
            assistant = clean_assistant(index, message, self.note)
            if assistant is not None and (assistant.tool_calls or assistant.invalid_tool_calls):
                self.close_group()
                self._caller = (index, assistant)
            elif assistant is not None:
                self._followers.append((index, assistant))
        elif isinstance(message, _RESULTS):
            self._followers.append((index, clean_result(index, message, self.note)))
            self._results += 1
        elif isinstance(message, RemoveMessage):
            self.note(index, "remove_message", "a RemoveMessage is an instruction to a graph and was left out.")
        elif isinstance(message, ChatMessage) and message.role not in ("user", "system", "assistant"):
            self.add(index, with_known_role(index, message, self.note))
        elif (cleaned := clean_input(index, message, self.note)) is not None:
            self._followers.append((index, cleaned))

    def repairs_in_order(self) -> tuple[Repair, ...]:
        """The repairs in the order of their messages."""
        return tuple(sorted(self.repairs, key=lambda made: made.index))

    def prefix(self, originals: Sequence[BaseMessage], end: int) -> RepairedPrefix:
        """Close the open group; the prefix of the originals before `end`, all of which were added, that is final."""
        before = self._prefix_to(originals, self._caller[0] if self._caller else end)
        return self._prefix_to(originals, end) if self.close_group() else before

    def _prefix_to(self, originals: Sequence[BaseMessage], end: int) -> RepairedPrefix:
        indices = {id(originals[index]): index for index in range(self._after.length, end)}
        sources = [*self._after.sources, *(indices.get(id(message), message) for message in self.messages)]
        repairs = tuple(made for made in self.repairs_in_order() if made.index < end)
        return RepairedPrefix(end, sources, self._after.repairs + repairs, dict(self._copies), self._last_ids)

    def close_group(self) -> bool:
        """Append the open group: its calls, one result for each, then its other messages.

        False where a result was missing.
        """
        complete = True
        calls: list[_AnyCall] = []
        ids: list[str] = []
        if self._caller is not None:
            index, message = self._caller
            unordered = _calls(message)
            order = _wire_order(message, unordered)
            calls = [unordered[position] for position in order]
            ids_of_host = self._ids_of_host(message)
            ids = [self._unique_id(index, call, ids_of_host) for call in calls]
            self.messages.append(message if _ids(calls) == ids else _with_new_ids(message, order, ids))
            self._last_ids = _ids(calls)
        first = self._followers[: len(ids)]
        if self._results == len(ids) and [getattr(result, "tool_call_id", None) for _, result in first] == ids:
            self.messages += [message for _, message in self._followers]
        else:
            complete = self._pair(calls, ids)
        self._caller, self._followers, self._results = None, [], 0
        return complete

    def _ids_of_host(self, message: AIMessage) -> frozenset[object]:
        """The ids that the host itself gave the message's calls; none where they do not matter."""
        kwargs = message.additional_kwargs
        if not self._k2_ids or kwargs.get(HOST) != self._host:
            return frozenset()
        return frozenset(entry["id"] for entry in filter(_is_recorded, kwargs.get(CALLS) or ()) if entry["id"])

    def _unique_id(self, index: int, call: _AnyCall, ids_of_host: frozenset[object]) -> str:
        """The call's id where no earlier call has it, else a new one that does not depend on later messages."""
        base = unique = call["id"] or call["name"] or "call"
        if self._k2_ids and (unique in self._copies or not (call["id"] in ids_of_host or _OWN_FORM.fullmatch(base))):
            return self._k2_id(index, call)
        while unique in self._copies:
            self._copies[base] += 1
            unique = f"{base}~{self._copies[base]}"
        self._copies[unique] = 1
        if not call["id"]:
            self.note(index, "missing_id", f"the call of {call['name']} had no id; it and its result got {unique!r}.")
        elif unique != base:
            self.note(index, "duplicate_id", f"the call id {base!r} was used before; here it became {unique!r}.")
        return unique

    def _k2_id(self, index: int, call: _AnyCall) -> str:
        """An id of the form that K2's template reads, numbered over the conversation."""
        number = len(self._copies)
        name = re.sub(r"[^A-Za-z0-9_-]", "_", call["name"] or "call")
        while (unique := f"functions.{name}:{number}") in self._copies:
            number += 1
        self._copies[unique] = 1
        self.note(index, "k2_id", f"the call id {call['id']!r} became {unique!r}, from which K2 reads the tool's name.")
        return unique

    def _pair(self, calls: Sequence[_AnyCall], ids: Sequence[str]) -> bool:
        """Append one result for each call, in the order of the calls, and all other messages behind them.

        False where a result was missing.
        """
        answers: dict[int, tuple[int, BaseMessage]] = {}
        others: list[tuple[int, BaseMessage]] = []
        for index, message in self._followers:
            if not isinstance(message, _RESULTS):
                others.append((index, message))
            elif (slot := _slot(message, calls, answers)) is not None:
                answers[slot] = (index, self._as_answer(index, message, ids[slot]))
            else:
                self._note_unmatched(index, message)
        last = max((index for index, _ in answers.values()), default=-1)
        for index, _ in others:
            if index < last:
                self.note(index, "moved_after_results", "what stood between a call and its result moved behind it.")
        positions = [answers[slot][0] for slot in range(len(ids)) if slot in answers]
        if positions != sorted(positions):
            self.note(positions[0], "reordered_results", "the results were put in the order of their calls.")
        for slot, (call, call_id) in enumerate(zip(calls, ids, strict=True)):
            self.messages.append(answers[slot][1] if slot in answers else self._missing_result(call, call_id))
        self.messages += [message for _, message in others]
        return len(answers) == len(ids)

    def _missing_result(self, call: _AnyCall, call_id: str) -> ToolMessage:
        """An error result for a call that has none; a call whose arguments are no JSON object was never run."""
        index = self._caller[0] if self._caller else 0
        text, state = MISSING_RESULT, "unknown"
        if "error" in call:
            text, state = UNUSABLE_CALL.format(quote=quote_arguments(str(call["args"] or ""))), "not run"
        self.note(index, "missing_result", f"the call {call_id!r} had no result; it was answered as {state}.")
        return ToolMessage(text, tool_call_id=call_id, name=call["name"], status="error")

    def _as_answer(self, index: int, message: ToolResult, call_id: str) -> BaseMessage:
        """The result under the id of its call: the same object where it has that id already."""
        if isinstance(message, FunctionMessage):
            self.note(index, "function_message", f"a FunctionMessage became the result of the call {call_id!r}.")
            return ToolMessage(message.content, tool_call_id=call_id, name=message.name, id=message.id)
        return message if message.tool_call_id == call_id else message.model_copy(update={"tool_call_id": call_id})

    def _note_unmatched(self, index: int, message: ToolResult) -> None:
        if isinstance(message, FunctionMessage):
            text = f"a FunctionMessage of {message.name!r} answers no open call; it was dropped."
            self.note(index, "function_message", text)
        elif message.tool_call_id in self._last_ids:
            self.note(index, "doubled_result", f"a second result for the call {message.tool_call_id!r} was dropped.")
        else:
            text = f"a result for {message.tool_call_id!r}, which is no open call, was dropped."
            self.note(index, "stray_result", text)


def _calls(message: AIMessage) -> list[_AnyCall]:
    return [*message.tool_calls, *message.invalid_tool_calls]


def _ids(calls: Iterable[_AnyCall]) -> list[str]:
    return [call["id"] or "" for call in calls]


def _slot(message: ToolResult, calls: Sequence[_AnyCall], answers: Mapping[int, object]) -> int | None:
    """Which open call the result answers: the first with its id, or with its name where the result has no id."""
    if isinstance(message, ToolMessage):
        matches = [call_id == message.tool_call_id for call_id in _ids(calls)]
    else:
        matches = [call["name"] == message.name for call in calls]
    return next((slot for slot, match in enumerate(matches) if match and slot not in answers), None)


def _wire_order(message: AIMessage, calls: Sequence[_AnyCall]) -> Sequence[int]:
    """The positions of the calls in the order in which the model made them: as recorded, then the others.

    Calls that share an id are distinguished by whether their arguments parse.
    """
    recorded = message.additional_kwargs.get(CALLS) if len(calls) > 1 else None
    if not recorded:
        return range(len(calls))
    left, order = list(range(len(calls))), []
    for entry in filter(_is_recorded, recorded):
        same = [position for position in left if calls[position]["id"] == entry["id"]]
        if len(same) > 1:
            parses = bool(parse_calls([entry])[0])
            same.sort(key=lambda position: isinstance(calls[position]["args"], dict) is not parses)
        if same:
            left.remove(same[0])
            order.append(same[0])
    return order + left


def _is_recorded(entry: object) -> TypeGuard[RawCall]:
    return isinstance(entry, dict) and {"id", "name", "arguments"} <= entry.keys()


def _with_new_ids(message: AIMessage, order: Sequence[int], ids: Sequence[str]) -> AIMessage:
    """The message with the new ids wherever an id is written: the k-th call of an id is the k-th record of it."""
    new_id = dict(zip(order, ids, strict=True))
    calls = _calls(message)
    old_ids = _ids(calls[position] for position in order)
    new_calls: list[dict[str, Any]] = [{**call, "id": new_id[position]} for position, call in enumerate(calls)]
    valid = len(message.tool_calls)
    update: dict[str, Any] = {"tool_calls": new_calls[:valid], "invalid_tool_calls": new_calls[valid:]}
    if recorded := message.additional_kwargs.get(CALLS):
        records = _replace_ids(recorded, old_ids, ids, _is_recorded)
        update["additional_kwargs"] = {**message.additional_kwargs, CALLS: records}
    if isinstance(message.content, list):
        update["content"] = _replace_ids(message.content, old_ids, ids, is_call_block)
    return message.model_copy(update=update)


def _replace_ids(
    entries: Iterable[Any], old_ids: Sequence[str], new_ids: Sequence[str], is_call: Callable[[Any], bool]
) -> list[Any]:
    """The entries with new ids; those of calls that the message no longer makes are left out."""
    pairs = list(zip(old_ids, new_ids, strict=True))
    changed = []
    for entry in entries:
        if not is_call(entry):
            changed.append(entry)
        elif pair := next((pair for pair in pairs if pair[0] == (entry.get("id") or "")), None):
            pairs.remove(pair)
            changed.append({**entry, "id": pair[1]})
    return changed
