"""Reads the calls of models that were recorded: cassettes, recordings of VCR.py and go-vcr, and reasoning logs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages.ai import UsageMetadata

from langchain_kimi._recorded_runs.interactions import read_interactions
from langchain_kimi._recorded_runs.log import begins_as_log, billed_usage, is_free, is_log_file, log_records
from langchain_kimi.testing.cassettes.assistant_messages import response_message
from langchain_kimi.testing.cassettes.audit import in_kimi_form
from langchain_kimi.testing.cassettes.cassette_file import SUFFIX, Interaction
from langchain_kimi.usage import usage_metadata

_RECORDING = re.compile(rb'^(?:interactions|requests):|^\s*\{\s*"(?:version|interactions|requests)"', re.MULTILINE)
"""How the recordings of other libraries begin."""
_HEAD = 4_096
_ENDINGS = (".yaml", ".yml", ".json", ".jsonl", ".gz")


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One request to a model and what is known of its response."""

    number: int
    """Of the interaction in a recording, or of the line in a log; from 1."""
    model: str
    body: Mapping[str, Any] | None
    """The request in Kimi's form; None in a log, which does not have it."""
    usage: UsageMetadata | None
    failed: bool
    """Whether the response was an error. Without usage, such a call cost nothing."""
    thought: bool | None = None
    """Whether the answer has reasoning; None in recordings, whose request says whether the model thinks."""


def find_recordings(paths: Iterable[str]) -> list[Path]:
    """The recordings and logs at paths: files as they are named, and in folders what begins as one."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += filter(_begins_as_recording, sorted(path.rglob("*"))) if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def read_calls(path: Path) -> list[RecordedCall]:
    """The calls of a file. Raises CassetteError or OSError where it cannot be read."""
    if is_log_file(path):
        return [_call_of_line(number, record) for number, record in log_records(path)]
    return list(_calls_of_recording(read_interactions(path)))


def _begins_as_recording(path: Path) -> bool:
    if not path.is_file() or not path.name.endswith(_ENDINGS):
        return False
    head = _head(path)
    is_packed = path.suffix == ".gz" and ".yaml" in path.name
    return path.name.endswith(SUFFIX) or is_packed or bool(_RECORDING.search(head)) or begins_as_log(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _calls_of_recording(interactions: Iterable[Interaction]) -> Iterator[RecordedCall]:
    for number, interaction in enumerate(interactions, 1):
        if (body := interaction.chat) is None:
            continue
        answer = response_message(interaction)
        failed = answer.error is not None
        yield RecordedCall(number, str(body.get("model")), in_kimi_form(body), usage_metadata(answer.usage), failed)


def _call_of_line(number: int, record: Mapping[str, Any]) -> RecordedCall:
    usage, thought = billed_usage(record), record.get("reasoning") is not None
    return RecordedCall(number, str(record["model"]), None, usage, is_free(record), thought)
