"""The file: recorded requests with their answers, `tests/testing/cassettes/<module>/<test>.kimi.yaml`.

    format: kimi-cassette/1
    interactions:
    - request:   {method, path, host?, and a packed body}
      response:  {status, headers, a packed body, ends?}

`host` is left out for this machine, whose ports are others each time. `ends` is `cut` where the connection broke, and
`left` where the client closed it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_kimi.testing.cassettes import yamlfile
from langchain_kimi.testing.cassettes.bodies import Packed
from langchain_kimi.testing.cassettes.errors import CassetteError

SUFFIX = ".kimi.yaml"
_FORMAT = "kimi-cassette/1"
_HEAD = "# Recorded by langchain_kimi.testing. `langchain-kimi cassettes show FILE` reads it aloud.\n"
_BODY = ("json", "text", "base64", "frame", "events")
_CHAT = "/chat/completions"


@dataclass(slots=True)
class Interaction:
    """One recorded request and its answer, as in the file."""

    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def chat(self) -> dict[str, Any] | None:
        """The body of a chat request; None for any other."""
        body = self.request.get("json")
        path = str(self.request["path"]).partition("?")[0]
        return body if path.endswith(_CHAT) and isinstance(body, dict) else None

    @property
    def name(self) -> str:
        """The request on one line."""
        return f"{self.request['method']} {self.request['path']}"


def body_of(part: dict[str, Any]) -> Packed:
    """The packed body of a request or an answer."""
    return {key: part[key] for key in _BODY if key in part}


def load(path: str | Path) -> list[Interaction]:
    """The interactions of a file. Raises CassetteError where there is none, or it is no cassette."""
    try:
        document = yamlfile.read(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteError(f"the cassette {path} cannot be read: {error}") from error
    except (yamlfile.NotYaml, RecursionError) as error:
        raise CassetteError(f"the cassette {path} is no YAML: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise CassetteError(
            f"{path} is no cassette of this package (it does not say `format: {_FORMAT}`). "
            "`langchain-kimi cassettes import FROM TO` reads those of VCR.py and go-vcr."
        )
    return [_interaction(item, f"{path}, interaction {number}") for number, item in _numbered(document)]


def _numbered(document: dict[str, Any]) -> Iterable[tuple[int, Any]]:
    items = document.get("interactions")
    return enumerate(items if isinstance(items, list) else [], 1)


def _interaction(item: Any, place: str) -> Interaction:
    request = item.get("request") if isinstance(item, dict) else None
    response = item.get("response") if isinstance(item, dict) else None
    if not isinstance(request, dict) or not {"method", "path"} <= request.keys():
        raise CassetteError(f"{place}: there is no request with a method and a path")
    if not isinstance(response, dict) or not isinstance(response.get("status"), int):
        raise CassetteError(f"{place}: there is no response with a status")
    if not isinstance(response.setdefault("headers", {}), dict):
        raise CassetteError(f"{place}: the headers are no mapping")
    return Interaction(request, response)


def written(interactions: Iterable[Interaction]) -> str:
    """The text of a file."""
    items = [{"request": each.request, "response": each.response} for each in interactions]
    return _HEAD + yamlfile.write({"format": _FORMAT, "interactions": items})


def save(path: str | Path, interactions: Iterable[Interaction]) -> None:
    """Writes the file, whole or not at all, with the permissions that the user's umask gives new files."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        with open(part, "x", encoding="utf-8", newline="\n") as file:
            file.write(written(interactions))
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
