"""The messages of a request: repaired, encoded, judged and dumped, all four only behind the beginning that is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi import _rules as rules
from langchain_kimi import tokens
from langchain_kimi._request.dynamic_tools import all_brought
from langchain_kimi._request.encode_cache import RECENT, Beginning, Form, Print, fingerprints
from langchain_kimi._request.missing_reasoning import rebuilt
from langchain_kimi._request.names import wire_name
from langchain_kimi._request.partial import as_beginning, split_beginning
from langchain_kimi._request.repair import Repair, Repaired, repair
from langchain_kimi._request.replace_surrogates import clean_message, clean_transcript
from langchain_kimi._request.settings import Note
from langchain_kimi._request.tools import Declared
from langchain_kimi._rules import Judged, Violation


@dataclass(frozen=True, slots=True)
class Transcript:
    """The messages of one request."""

    form: Form
    messages: Sequence[BaseMessage]
    """The given ones, repaired; a last one to go on with stays in its place."""
    goes_on: bool
    """Whether the last one is to be gone on with."""
    pieces: Sequence[bytes]
    """The JSON of each, as the host takes it; none where there are violations."""
    repairs: tuple[Repair, ...]
    violations: list[Violation]
    called: dict[str, str]
    """The user's names of called tools whose names on the wire are others."""
    calls: int
    tokens: int
    """An estimate of the messages' tokens."""
    notes: Mapping[str, Note]
    """On messages that lost their thinking, by topic."""

    def encoded(self) -> list[dict[str, Any]]:
        """The messages in Kimi's form."""
        return _encode(self.form, self.messages, goes_on=self.goes_on)

    def json(self, head: bytes, tail: bytes) -> bytes:
        """The JSON of all between two others, in one copy."""
        if not self.pieces:
            return head + tail
        pieces = [*self.pieces]
        pieces[0] = head + pieces[0]
        pieces[-1] += tail
        return b",".join(pieces)


@dataclass(frozen=True, slots=True)
class Begun:
    """A transcript of which some beginning may be known."""

    form: Form
    given: Sequence[BaseMessage]
    last: AIMessage | None
    """A last message to go on with, which is not in `given`."""
    prints: Sequence[Print]
    known: Beginning
    cleaned: bool
    """Whether surrogates were replaced."""

    @classmethod
    def of(cls, form: Form, messages: Sequence[BaseMessage]) -> "Begun":
        """The given messages, without surrogates, and what is known of them. Raises IllegalRequestError for calls to go
        on with.
        """
        given, last = split_beginning(messages)
        prints: Sequence[Print] = fingerprints(given)
        known = RECENT.find(form, prints)
        clean, prints = clean_transcript(given, prints, known.settled.given)
        cleaned = clean is not given
        if cleaned:
            known = RECENT.find(form, prints)
        if last is not None and (whole := clean_message(last)) is not last:
            assert isinstance(whole, AIMessage)
            last, cleaned = whole, True
        return cls(form, clean, last, prints, known, cleaned)

    @property
    def brought(self) -> list[Declared]:
        """Every tool that the messages bring along."""
        return [*self.known.brought, *all_brought(self.given[self.known.settled.given :])]

    def encode(self, fields: Mapping[str, Any]) -> Transcript:
        """The transcript of a request with these other fields; what is settled and legal of it is known from now on."""
        form, known = self.form, self.known
        repaired = repair(self.given, k2_ids=form.k2_ids, host=form.host, after=known.settled)
        messages = [*repaired.messages, self.last] if self.last else repaired.messages
        first, settled = len(known.settled.origins), len(repaired.settled.origins)
        new = messages[first:]
        encoded = _encode(form, new, goes_on=self.last is not None)
        violations, judged = self._judge({**fields, "messages": encoded}, messages, settled)
        pieces = [] if violations else [form.dump(*pair) for pair in zip(encoded, new, strict=True)]
        counts = [_count(*pair) for pair in zip(pieces, new, strict=False)]
        if judged and first < settled and repaired.settled.given <= len(self.prints):
            count = known.tokens + sum(counts[: settled - first])
            self._keep(repaired, [*known.pieces, *pieces[: settled - first]], judged, count)
        names = _names(new)
        return Transcript(
            form,
            messages,
            self.last is not None,
            [*known.pieces, *pieces],
            repaired.repairs,
            violations,
            {**known.called, **renamed(names)},
            known.calls + len(names),
            known.tokens + sum(counts),
            {**known.notes, **_notes(form, new)},
        )

    def _judge(
        self, request: dict[str, Any], messages: Sequence[BaseMessage], settled: int
    ) -> tuple[list[Violation], Judged | None]:
        """What the rules find in the whole; nothing and what is to be remembered of its settled part otherwise."""
        first = len(self.known.settled.origins)
        if self.known.judged and (judged := rules.check_new(self.known.judged, request, settled - first)):
            return [], judged
        whole = {**request, "messages": [*_encode(self.form, messages[:first]), *request["messages"]]}
        violations = rules.check(whole)
        return violations, None if violations else rules.judged(whole, settled)

    def _keep(self, repaired: Repaired, pieces: Sequence[bytes], judged: Judged, count: int) -> None:
        known, settled = self.known, repaired.settled
        new = repaired.messages[len(known.settled.origins) : len(settled.origins)]
        names = _names(new)
        beginning = Beginning(
            prints=self.prints[: settled.given],
            settled=settled,
            pieces=pieces,
            judged=judged,
            brought=[*known.brought, *all_brought(self.given[known.settled.given : settled.given])],
            called={**known.called, **renamed(names)},
            calls=known.calls + len(names),
            tokens=count,
            notes={**known.notes, **_notes(self.form, new)},
        )
        RECENT.keep(self.form, beginning, instead_of=known)


def _count(piece: bytes, message: BaseMessage) -> int:
    """An estimate of a message's tokens from its JSON; from the message itself where that may hold pictures."""
    if isinstance(message.content, list):
        return tokens.count_message(message)
    return tokens.count_json(piece)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Names on the wire that are not the user's, with the user's."""
    return {wire_name(name): name for name in names if wire_name(name) != name}


def _names(messages: Iterable[BaseMessage]) -> list[str]:
    """The name of each call in the messages."""
    said = (message for message in messages if isinstance(message, AIMessage))
    return [call["name"] or "" for one in said for call in (*one.tool_calls, *one.invalid_tool_calls)]


def _notes(form: Form, messages: Iterable[BaseMessage]) -> dict[str, Note]:
    """On messages whose thinking is missing, where it matters to the model and a space stands for it."""
    return rebuilt(messages) if form.thinks and form.pads else {}


def _encode(form: Form, messages: Sequence[BaseMessage], *, goes_on: bool = False) -> list[dict[str, Any]]:
    encoded = [form.encode(message) for message in messages]
    return [*encoded[:-1], as_beginning(encoded[-1])] if goes_on else encoded
