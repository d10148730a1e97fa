"""Judges a recording by what is known today: legal requests, kept reasoning, a growing prefix, no secrets.

Conversations are found by what they repeat: a request continues the latest earlier one whose answer is in its history.
The prefix is compared as JSON; that its bytes stay the same is for KimiServer's raw log to show.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_kimi._rules import check
from langchain_kimi.catalogue import find
from langchain_kimi.testing.cassettes.cassette import Cassette
from langchain_kimi.testing.cassettes.file import Interaction, body_of, load, written
from langchain_kimi.testing.cassettes.matching import MISSING, Difference, differences
from langchain_kimi.testing.cassettes.responses import Said, answer_of, said_in
from langchain_kimi.testing.cassettes.scrub import Secrets, left
from langchain_kimi.testing.dialects import read_request

CHECKS = ("rules", "reasoning", "prefix", "played", "secret", "retired")
_KIMI = ("moonshot.ai", "moonshot.cn", "kimi.com")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a recording. `check` is one of CHECKS, `at` counts interactions from 1."""

    check: str
    at: int
    message: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path}{':' if self.path else ''} interaction {self.at}: [{self.check}] {self.message}"


def audit(recorded: str | Path | Cassette, *, skip: Iterable[str] = ()) -> list[Finding]:
    """Everything that is wrong with a cassette's file, or with an open cassette, in the order of its interactions.

    Whether every interaction was played is asked of a `Cassette` only. `skip` names checks to leave out. Raises
    CassetteError for a file that is no cassette.
    """
    path = recorded.path if isinstance(recorded, Cassette) else Path(recorded)
    interactions = recorded.interactions if isinstance(recorded, Cassette) else load(path)
    found = [*_each(interactions), *_conversations(interactions)]
    if isinstance(recorded, Cassette):
        unplayed = {id(each) for each in recorded.unplayed}
        text = "nothing asked for it: record again, so that no answer stays that nobody gets"
        found += [("played", at, text) for at, each in enumerate(interactions, 1) if id(each) in unplayed]
    left_out = set(skip)
    return [Finding(name, at, text, str(path)) for name, at, text in sorted(found, key=_order) if name not in left_out]


def _order(found: tuple[str, int, str]) -> tuple[int, int]:
    return found[1], CHECKS.index(found[0])


def _each(interactions: list[Interaction]) -> Iterator[tuple[str, int, str]]:
    secrets = Secrets(home="")
    for at, interaction in enumerate(interactions, 1):
        body = interaction.chat
        if body is not None:
            for violation in check(_as_kimi(body)):
                text = f"at `{violation.path}`: {violation.message}. {violation.way_out}"
                yield "rules", at, text
            if text := _retired(body, interaction.request.get("host")):
                yield "retired", at, text
        path = {"text": str(interaction.request["path"])}
        secrets.learn_bodies(path, body_of(interaction.request), body_of(interaction.response))
        places = left(body_of(interaction.request), written([interaction]), secrets)
        if places := [*places, *left(body_of(interaction.response), "", secrets)]:
            yield "secret", at, f"there is a secret, {'; '.join(places)}: change what leaked, and record again"


def _as_kimi(body: dict[str, Any]) -> dict[str, Any]:
    """A request to another host in Kimi's form: its reasoning comes under other names."""
    messages = body.get("messages")
    assistants = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    others = any("reasoning" in m or "reasoning_details" in m for m in assistants)
    if not others or any("reasoning_content" in m for m in assistants):
        return body
    try:
        return read_request(body, "openrouter")
    except ValueError:
        return body


def _retired(body: dict[str, Any], host: str | None) -> str:
    row = find(str(body.get("model")))
    if row is None or row.retired is None or not (host is None or host.endswith(_KIMI)):
        return ""
    return f"{row.id} was retired on {row.retired}: record again with {row.successor}"


@dataclass(slots=True)
class _Turn:
    """A chat request with its answer."""

    at: int
    body: dict[str, Any]
    answer: Said

    @property
    def messages(self) -> list[Any]:
        messages = self.body.get("messages")
        return messages if isinstance(messages, list) else []

    @property
    def history(self) -> list[tuple[int, Said]]:
        """Where the assistant's messages stand, and what they say."""
        return [
            (at, said_in(message))
            for at, message in enumerate(self.messages)
            if isinstance(message, dict) and message.get("role") == "assistant" and not message.get("partial")
        ]


def _conversations(interactions: list[Interaction]) -> Iterator[tuple[str, int, str]]:
    turns: list[_Turn] = []
    for at, interaction in enumerate(interactions, 1):
        if interaction.chat is not None:
            turn = _Turn(at, interaction.chat, answer_of(interaction))
            if earlier := _continued(turn, turns):
                yield from _between(earlier, turn)
            turns.append(turn)


def _continued(turn: _Turn, turns: list[_Turn]) -> _Turn | None:
    """The turn that this one goes on from; None for the beginning of a conversation."""
    history = turn.history
    if not history:
        return None
    best: tuple[int, int, int] | None = None
    chosen = None
    for earlier in turns:
        if earlier.answer.error:
            continue
        common = _common(earlier.messages, turn.messages)
        whole = common == len(earlier.messages) < len(turn.messages)
        echo = max((at for at, said in history if earlier.answer.is_echoed_by(said)), default=-1)
        if echo < 0 and not (whole and _is_assistant(turn.messages[common])):
            continue
        rank = (max(echo, common if whole else -1), common, earlier.at)
        if best is None or rank > best:
            best, chosen = rank, earlier
    return chosen


def _between(earlier: _Turn, turn: _Turn) -> Iterator[tuple[str, int, str]]:
    common = _common(earlier.messages, turn.messages)
    if common < len(earlier.messages):
        now = turn.messages[common] if common < len(turn.messages) else MISSING
        moved = [
            str(each)
            for each in (
                differences(earlier.messages[common], now, f"messages[{common}]")
                if now is not MISSING
                else [Difference(f"messages[{common}]", earlier.messages[common], MISSING)]
            )
        ]
        yield "prefix", turn.at, f"request {earlier.at} went on with another beginning: {'; '.join(moved)}"
    if earlier.body.get("tools") != turn.body.get("tools"):
        moved = [str(each) for each in differences(earlier.body.get("tools"), turn.body.get("tools"), "tools")]
        yield "prefix", turn.at, f"the tools are not those of request {earlier.at}: {'; '.join(moved)}"
    echoes = [(at, said) for at, said in turn.history if earlier.answer.is_echoed_by(said)]
    place = len(earlier.messages)
    if common == place < len(turn.messages) and _is_assistant(turn.messages[place]):
        echoes = [(place, said_in(turn.messages[place]))]
    if echoes:
        yield from (("reasoning", turn.at, text) for text in _unfaithful(earlier, *echoes[-1]))


def _unfaithful(earlier: _Turn, at: int, sent: Said) -> Iterator[str]:
    """What of an answer did not go back as it was said."""
    said = earlier.answer
    place = f"messages[{at}]"
    if said.reasoning is not None and sent.reasoning is None:
        yield f"{place}.reasoning_content is missing: answer {earlier.at} thought {said.reasoning[:60]!r}"
    elif (said.reasoning or "") != (sent.reasoning or "") and (said.reasoning or (sent.reasoning or "").strip()):
        yield str(Difference(f"{place}.reasoning_content (of answer {earlier.at})", said.reasoning, sent.reasoning))
    if said.text != sent.text:
        yield str(Difference(f"{place}.content (of answer {earlier.at})", said.text, sent.text))
    if said.calls != sent.calls:
        calls = differences([list(c) for c in said.calls], [list(c) for c in sent.calls], f"{place}.tool_calls")
        yield from map(str, calls)


def _is_assistant(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant" and not message.get("partial")


def _common(one: list[Any], two: list[Any]) -> int:
    pairs = list(zip(one, two, strict=False))
    return next((at for at, (left, right) in enumerate(pairs) if left != right), len(pairs))


def cassettes_in(paths: Iterable[str | Path]) -> list[Path]:
    """The cassettes at paths: files as they are, folders with everything below."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.rglob("*.kimi.yaml")) if path.is_dir() else [path]
    return list(dict.fromkeys(Path(os.path.normpath(path)) for path in found))
