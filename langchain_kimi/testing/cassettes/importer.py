"""Recordings of VCR.py and go-vcr, of any OpenAI-compatible host, read into ours with the same scrubbing."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langchain_kimi.testing.cassettes import yamlfile
from langchain_kimi.testing.cassettes.bodies import dumps
from langchain_kimi.testing.cassettes.errors import CassetteError
from langchain_kimi.testing.cassettes.file import Interaction, save
from langchain_kimi.testing.cassettes.recording import Recording, Sent, header
from langchain_kimi.testing.cassettes.scrub import Secrets


def import_cassette(source: str | Path, target: str | Path, *, secrets: Iterable[str] = ()) -> list[Interaction]:
    """Writes a foreign recording as a cassette and returns its interactions.

    Reads VCR.py's YAML and JSON (also gzipped, and in the form of langchain-tests) and go-vcr's versions 1 and 2.
    Raises CassetteError where the file is none of them, and SecretsLeft, with nothing written.
    """
    recordings = list(_recordings(_document(Path(source)), source))
    if not recordings:
        raise CassetteError(f"{source} holds no interactions")
    known = Secrets(secrets)
    for recording in recordings:
        recording.teach(known)
    interactions = [recording.interaction(known) for recording in recordings]
    save(target, interactions)
    return interactions


def _document(source: Path) -> Any:
    try:
        data = source.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return yamlfile.read(data.decode())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CassetteError(f"{source} cannot be read: {error}") from error
    except (yamlfile.NotYaml, RecursionError) as error:
        raise CassetteError(f"{source} is no recording of VCR.py or go-vcr: {error}") from error


def _recordings(document: Any, source: str | Path) -> Iterator[Recording]:
    for number, (request, response) in enumerate(_pairs(document), 1):
        try:
            yield _recording(request, response)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = f"{source}, interaction {number}: not as VCR.py or go-vcr write it ({type(error).__name__}: {error})"
            raise CassetteError(text) from error


def _pairs(document: Any) -> list[tuple[Any, Any]]:
    if not isinstance(document, dict):
        return []
    if isinstance(requests := document.get("requests"), list):  # langchain-tests
        return list(zip(requests, document.get("responses") or [], strict=False))
    items = document.get("interactions")
    return [(item["request"], item["response"]) for item in items or [] if isinstance(item, dict) and "request" in item]


def _recording(request: dict[str, Any], response: dict[str, Any]) -> Recording:
    url = urlsplit(str(request.get("uri") or request["url"]))
    headers = _headers(request.get("headers"))
    sent = Sent.of(str(request["method"]), url.hostname or "", url.path, url.query, headers, _sent_body(request))
    status = response.get("code") or response["status"]
    code = status.get("code") if isinstance(status, dict) else status
    answered = _headers(response.get("headers"))
    body = _answered_body(response)
    if not _is_compressed(body, header(answered, "content-encoding")):
        answered = tuple((name, value) for name, value in answered if name != "content-encoding")
    if body.startswith((b"data:", b": ")) and not header(answered, "content-type"):
        answered = (*answered, ("content-type", "text/event-stream"))
    return Recording(sent, int(str(code).split()[0]), answered, [body], None)


def _is_compressed(body: bytes, encoding: str) -> bool:
    """Whether the body is as the header says: VCR.py may have decoded it, go-vcr always has."""
    marks = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
    return body.startswith(marks.get(encoding.strip().lower(), b"")) and not _is_text(body) if encoding else True


def _is_text(body: bytes) -> bool:
    try:
        return body.decode().lstrip().startswith(("{", "[", "data:", ":"))
    except UnicodeDecodeError:
        return False


def _sent_body(request: dict[str, Any]) -> bytes:
    if "parsed_body" in request:
        return dumps(request["parsed_body"]).encode()
    body = request.get("body")
    return _bytes(body.get("string") if isinstance(body, dict) else body)


def _answered_body(response: dict[str, Any]) -> bytes:
    if "parsed_body" in response:
        return dumps(response["parsed_body"]).encode()
    body = response.get("body", response.get("content"))
    return _bytes(body.get("string") if isinstance(body, dict) else body)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else str(body).encode()


def _headers(headers: Any) -> tuple[tuple[str, str], ...]:
    """Headers by lower-case names; each value may be one or a list."""
    return tuple(
        (str(name).lower(), value.decode() if isinstance(value, bytes) else str(value))
        for name, values in (headers or {}).items()
        for value in (values if isinstance(values, list) else [values])
    )
