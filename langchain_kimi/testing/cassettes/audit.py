"""`audit`: checks a recording by today's rules.

Requests have to be valid, to return reasoning unchanged and to extend the prefix of the conversation, and there must be
no secrets. A request continues the latest earlier one whose response is in its history. The prefix is compared as JSON;
its bytes are visible only in KimiServer's requests.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_kimi._rules import check
from langchain_kimi.catalogue import find
from langchain_kimi.testing.cassettes.assistant_messages import AssistantMessage, parse_message, response_message
from langchain_kimi.testing.cassettes.cassette import Cassette
from langchain_kimi.testing.cassettes.cassette_file import (
    SUFFIX,
    Interaction,
    cassette_text,
    load_cassette,
    packed_body,
)
from langchain_kimi.testing.cassettes.conversations import RecordedTurn, is_assistant, previous_turn
from langchain_kimi.testing.cassettes.matching import MISSING, Difference, common_length, differences
from langchain_kimi.testing.cassettes.scrub import learn_bodies, remaining_secrets
from langchain_kimi.testing.cassettes.secret_values import Secrets
from langchain_kimi.testing.dialects import OTHER_REASONING_FIELDS, from_host_request

CHECKS = ("rules", "reasoning", "prefix", "played", "secret", "retired")
_KIMI_HOSTS = ("moonshot.ai", "moonshot.cn", "kimi.com")


@dataclass(frozen=True, slots=True)
class Finding:
    """One error of a recording. `check` is one of CHECKS, `at` counts interactions from 1."""

    check: str
    at: int
    message: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path}{':' if self.path else ''} interaction {self.at}: [{self.check}] {self.message}"


def audit(recorded: str | Path | Cassette, *, skip: Iterable[str] = ()) -> list[Finding]:
    """The errors of a cassette's file, or of an open cassette, in the order of its interactions.

    The check `played` needs an open `Cassette`: it reports interactions that were not replayed. `skip` names checks to
    omit. Raises CassetteError for a file that is not a cassette.
    """
    path = recorded.path if isinstance(recorded, Cassette) else Path(recorded)
    interactions = recorded.interactions if isinstance(recorded, Cassette) else load_cassette(path)
    findings = [*_check_interactions(interactions), *_check_conversations(interactions)]
    if isinstance(recorded, Cassette):
        unplayed = {id(each) for each in recorded.unplayed}
        text = "no request uses it. Record again, so that the cassette contains only what the test needs."
        findings += [("played", at, text) for at, each in enumerate(interactions, 1) if id(each) in unplayed]
    skipped = set(skip)
    findings.sort(key=lambda finding: (finding[1], CHECKS.index(finding[0])))
    return [Finding(check_name, at, text, str(path)) for check_name, at, text in findings if check_name not in skipped]


def _check_interactions(interactions: list[Interaction]) -> Iterator[tuple[str, int, str]]:
    secrets = Secrets(home="")
    for at, interaction in enumerate(interactions, 1):
        body = interaction.chat
        if body is not None:
            for violation in check(in_kimi_form(body)):
                text = f"at `{violation.path}`: {violation.message}. {violation.way_out}"
                yield "rules", at, text
            if text := _retired(body, interaction.request.get("host")):
                yield "retired", at, text
        path = {"text": str(interaction.request["path"])}
        request, response = packed_body(interaction.request), packed_body(interaction.response)
        learn_bodies(secrets, path, request, response)
        locations = remaining_secrets(request, cassette_text([interaction]), secrets)
        if locations := [*locations, *remaining_secrets(response, "", secrets)]:
            yield "secret", at, f"there is a secret, {'; '.join(locations)}. Revoke it, and record again."


def in_kimi_form(body: dict[str, Any]) -> dict[str, Any]:
    """A request in Kimi's form. Other hosts have other fields for reasoning."""
    messages = body.get("messages")
    assistants = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    others = any(field in m for m in assistants for field in OTHER_REASONING_FIELDS)
    if not others or any("reasoning_content" in m for m in assistants):
        return body
    try:
        return from_host_request(body, "openrouter")
    except ValueError:
        return body


def _retired(body: dict[str, Any], host: str | None) -> str:
    row = find(str(body.get("model")))
    if row is None or not row.is_retired() or not (host is None or host.endswith(_KIMI_HOSTS)):
        return ""
    return f"{row.retirement_text()} Record again with it."


def _check_conversations(interactions: list[Interaction]) -> Iterator[tuple[str, int, str]]:
    turns: list[RecordedTurn] = []
    for at, interaction in enumerate(interactions, 1):
        if interaction.chat is not None:
            turn = RecordedTurn(at, interaction.chat, response_message(interaction))
            if earlier := previous_turn(turn, turns):
                yield from _check_turns(earlier, turn)
            turns.append(turn)


def _check_turns(earlier: RecordedTurn, turn: RecordedTurn) -> Iterator[tuple[str, int, str]]:
    common = common_length(earlier.messages, turn.messages)
    if common < len(earlier.messages):
        path = f"messages[{common}]"
        if common < len(turn.messages):
            changes = differences(earlier.messages[common], turn.messages[common], path)
        else:
            changes = [Difference(path, earlier.messages[common], MISSING)]
        yield "prefix", turn.at, f"it continues request {earlier.at} with another prefix: {_joined(changes)}"
    if earlier.body.get("tools") != turn.body.get("tools"):
        changes = differences(earlier.body.get("tools"), turn.body.get("tools"), "tools")
        yield "prefix", turn.at, f"the tools are not those of request {earlier.at}: {_joined(changes)}"
    repeated = [(at, message) for at, message in turn.history if earlier.response.is_repeated_by(message)]
    index = len(earlier.messages)
    if common == index < len(turn.messages) and is_assistant(turn.messages[index]):
        repeated = [(index, parse_message(turn.messages[index]))]
    if repeated:
        yield from (("reasoning", turn.at, text) for text in _changes_of_response(earlier, *repeated[-1]))


def _changes_of_response(earlier: RecordedTurn, at: int, sent: AssistantMessage) -> Iterator[str]:
    """How a message of the history differs from the response that it repeats."""
    response = earlier.response
    path = f"messages[{at}]"
    if response.reasoning is not None and sent.reasoning is None:
        yield f"{path}.reasoning_content is missing; in response {earlier.at} it is {response.reasoning[:60]!r}"
    elif (response.reasoning or "") != (sent.reasoning or "") and (
        response.reasoning or (sent.reasoning or "").strip()
    ):
        field = f"{path}.reasoning_content (of response {earlier.at})"
        yield str(Difference(field, response.reasoning, sent.reasoning))
    if response.text != sent.text:
        yield str(Difference(f"{path}.content (of response {earlier.at})", response.text, sent.text))
    if response.calls != sent.calls:
        recorded_calls, sent_calls = ([list(call) for call in message.calls] for message in (response, sent))
        yield from map(str, differences(recorded_calls, sent_calls, f"{path}.tool_calls"))


def _joined(changes: list[Difference]) -> str:
    return "; ".join(map(str, changes))


def find_cassettes(paths: Iterable[str | Path]) -> list[Path]:
    """The cassettes at paths, which are files or folders to search."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    return list(dict.fromkeys(Path(os.path.normpath(path)) for path in files))
