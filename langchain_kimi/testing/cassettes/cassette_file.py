"""The file of a cassette: recorded requests with their responses, `tests/cassettes/<module>/<test>.kimi.yaml`.

    format: kimi-cassette/1
    interactions:
    - request:   {method, path, host?, and a packed body}
      response:  {status, headers, a packed body, ends?}

`host` is omitted for this machine, whose ports differ in each run. `ends` is `cut` if the connection broke, and `left`
if the client closed it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_kimi.testing.cassettes.bodies import PackedBody
from langchain_kimi.testing.cassettes.cassette_errors import CassetteError
from langchain_kimi.testing.serialization import format_yaml, load_pyyaml, parse_yaml

load_pyyaml()  # without PyYAML the import fails, not the first recording

SUFFIX = ".kimi.yaml"
_FORMAT = "kimi-cassette/1"
_HEADER = "# Recorded by langchain_kimi.testing. Read it with `langchain-kimi cassettes show FILE`.\n"
_BODY_KEYS = ("json", "text", "base64", "frame", "events")
_CHAT_PATH = "/chat/completions"


@dataclass(slots=True)
class Interaction:
    """One recorded request and its response, as in the file."""

    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def chat(self) -> dict[str, Any] | None:
        """The body of a chat request; None for any other request."""
        body = self.request.get("json")
        path = str(self.request["path"]).partition("?")[0]
        return body if path.endswith(_CHAT_PATH) and isinstance(body, dict) else None

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.request['method']} {self.request['path']}"


def packed_body(part: dict[str, Any]) -> PackedBody:
    """The packed body of a request or a response."""
    return {key: part[key] for key in _BODY_KEYS if key in part}


def load_cassette(path: str | Path) -> list[Interaction]:
    """The interactions of a file. Raises CassetteError if it cannot be read or is not a cassette."""
    try:
        document = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteError(f"The cassette {path} cannot be read: {error}") from error
    except ValueError as error:
        raise CassetteError(f"The cassette {path} is not valid YAML: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise CassetteError(
            f"{path} is not a cassette of this package: it has no `format: {_FORMAT}`. "
            "`langchain-kimi cassettes import FROM TO` converts those of VCR.py and go-vcr."
        )
    return [_interaction(item, f"{path}, interaction {number}") for number, item in _numbered_items(document)]


def _numbered_items(document: dict[str, Any]) -> Iterable[tuple[int, Any]]:
    items = document.get("interactions")
    return enumerate(items if isinstance(items, list) else [], 1)


def _interaction(item: Any, location: str) -> Interaction:
    request = item.get("request") if isinstance(item, dict) else None
    response = item.get("response") if isinstance(item, dict) else None
    if not isinstance(request, dict) or not {"method", "path"} <= request.keys():
        raise CassetteError(f"{location}: there is no request with a method and a path")
    if not isinstance(response, dict) or not isinstance(response.get("status"), int):
        raise CassetteError(f"{location}: there is no response with a status")
    if not isinstance(response.setdefault("headers", {}), dict):
        raise CassetteError(f"{location}: the headers are not a mapping")
    return Interaction(request, response)


def cassette_text(interactions: Iterable[Interaction]) -> str:
    """The text of a file."""
    items = [{"request": each.request, "response": each.response} for each in interactions]
    return _HEADER + format_yaml({"format": _FORMAT, "interactions": items})


def save_cassette(path: str | Path, interactions: Iterable[Interaction]) -> None:
    """Writes the file atomically, with the permissions that the user's umask gives new files."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid4().hex}.part")
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(cassette_text(interactions))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
