"""Converts recordings of VCR.py and go-vcr, of any OpenAI-compatible host, into cassettes without secrets."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langchain_kimi.testing.cassettes.cassette_errors import CassetteError
from langchain_kimi.testing.cassettes.cassette_file import Interaction, save_cassette
from langchain_kimi.testing.cassettes.recording import Recording, SentRequest, header
from langchain_kimi.testing.cassettes.secret_values import Secrets
from langchain_kimi.testing.serialization import compact_json, parse_yaml


def import_cassette(source: str | Path, target: str | Path, *, secrets: Iterable[str] = ()) -> list[Interaction]:
    """Writes a recording of another library as a cassette and returns its interactions.

    Reads VCR.py's YAML and JSON (also gzipped, and in the form of langchain-tests) and go-vcr's versions 1 and 2.
    Raises CassetteError if the file is none of these, and SecretsLeft; in both cases nothing is written.
    """
    recordings = _read(source)
    all_secrets = Secrets(secrets)
    for recording in recordings:
        recording.add_secrets_to(all_secrets)
    interactions = [recording.interaction(all_secrets) for recording in recordings]
    save_cassette(target, interactions)
    return interactions


def read_recording(source: str | Path) -> list[Interaction]:
    """The interactions of a recording of another library as they are: secrets stay in. Raises CassetteError."""
    return [recording.with_secrets() for recording in _read(source)]


def _read(source: str | Path) -> list[Recording]:
    recordings = list(_recordings(_document(Path(source)), source))
    if not recordings:
        raise CassetteError(f"{source} contains no interactions")
    return recordings


def _document(source: Path) -> Any:
    try:
        data = source.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return parse_yaml(data.decode())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CassetteError(f"{source} cannot be read: {error}") from error
    except ValueError as error:
        raise CassetteError(f"{source} is not a recording of VCR.py or go-vcr: {error}") from error


def _recordings(document: Any, source: str | Path) -> Iterator[Recording]:
    for number, (request, response) in enumerate(_pairs(document), 1):
        try:
            yield _recording(request, response)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            location = f"{source}, interaction {number}"
            raise CassetteError(
                f"{location} is not in the format of VCR.py or go-vcr: {type(error).__name__}: {error}"
            ) from error


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
    sent = SentRequest.from_parts(
        str(request["method"]), url.hostname or "", url.path, url.query, headers, _request_body(request)
    )
    status = response.get("code") or response["status"]
    code = status.get("code") if isinstance(status, dict) else status
    response_headers = _headers(response.get("headers"))
    body = _response_body(response)
    if not _is_compressed(body, header(response_headers, "content-encoding")):
        response_headers = tuple((name, value) for name, value in response_headers if name != "content-encoding")
    if body.startswith((b"data:", b": ")) and not header(response_headers, "content-type"):
        response_headers = (*response_headers, ("content-type", "text/event-stream"))
    return Recording(sent, int(str(code).split()[0]), response_headers, [body], None)


def _is_compressed(body: bytes, encoding: str) -> bool:
    """Whether the body is still compressed as the header says: VCR.py may decode it, go-vcr always does."""
    marks = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
    return body.startswith(marks.get(encoding.strip().lower(), b"")) and not _is_text(body) if encoding else True


def _is_text(body: bytes) -> bool:
    try:
        return body.decode().lstrip().startswith(("{", "[", "data:", ":"))
    except UnicodeDecodeError:
        return False


def _request_body(request: dict[str, Any]) -> bytes:
    if "parsed_body" in request:
        return compact_json(request["parsed_body"]).encode()
    body = request.get("body")
    return _bytes(body.get("string") if isinstance(body, dict) else body)


def _response_body(response: dict[str, Any]) -> bytes:
    if "parsed_body" in response:
        return compact_json(response["parsed_body"]).encode()
    body = response.get("body", response.get("content"))
    return _bytes(body.get("string") if isinstance(body, dict) else body)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else str(body).encode()


def _headers(headers: Any) -> tuple[tuple[str, str], ...]:
    """Headers with lower-case names; each value may be a single one or a list."""
    return tuple(
        (str(name).lower(), value.decode() if isinstance(value, bytes) else str(value))
        for name, values in (headers or {}).items()
        for value in (values if isinstance(values, list) else [values])
    )
