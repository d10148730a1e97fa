"""From the wire to an interaction: what is kept of a request and its answer, without secrets."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from langchain_kimi._api_keys import is_loopback
from langchain_kimi.testing.cassettes.bodies import decompressed, pack
from langchain_kimi.testing.cassettes.errors import SecretsLeft
from langchain_kimi.testing.cassettes.file import Interaction, body_of, written
from langchain_kimi.testing.cassettes.scrub import Secrets, left, scrubbed, scrubbed_stream

_KEPT = frozenset({"content-type", "location", "retry-after", "retry-after-ms", "x-request-id", "x-trace-id"})
_KEPT_BEGIN = ("x-ratelimit-", "x-should-retry", "x-msh-usage-")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as a client sends it."""

    method: str
    host: str
    path: str
    """With its query, sorted."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    @classmethod
    def of(
        cls, method: str, host: str, path: str, query: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> "Sent":
        """A request from its parts."""
        asked = urlencode(sorted(parse_qsl(query, keep_blank_values=True)))
        return cls(method.upper(), host, f"{path}?{asked}" if asked else path, tuple(headers), body)

    def written(self, secrets: Secrets) -> dict[str, Any]:
        """The request for the file."""
        request: dict[str, Any] = {"method": self.method, "path": secrets.masked(self.path)}
        if self.host and not is_loopback(self.host):
            request["host"] = self.host
        return request | scrubbed(pack(self.body, header(self.headers, "content-type")), secrets)


@dataclass(slots=True)
class Recording:
    """A request and its answer while that arrives."""

    sent: Sent
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    pieces: list[bytes] = field(default_factory=list, repr=False)
    ends: str | None = "left"
    """None once the answer is complete."""

    def teach(self, secrets: Secrets) -> None:
        """Make known what is secret in the request and its answer. Raises CassetteError without the detector."""
        secrets.learn_headers((*self.sent.headers, *self.headers))
        asked = pack(self.sent.body, header(self.sent.headers, "content-type"))
        answered = pack(self._data(), header(self.headers, "content-type"))
        secrets.learn_bodies({"text": self.sent.path}, {"text": unquote_plus(self.sent.path)}, asked, answered)

    def _data(self) -> bytes:
        return decompressed(b"".join(self.pieces), header(self.headers, "content-encoding"))

    def interaction(self, secrets: Secrets, kept: frozenset[str] = frozenset()) -> Interaction:
        """What goes into the file. Raises SecretsLeft, and CassetteError for an unknown content-encoding."""
        data = self._data()
        kind = header(self.headers, "content-type")
        if kind.startswith("text/event-stream"):
            text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
            data = scrubbed_stream(text, secrets).encode("utf-8", "surrogateescape")
        body = scrubbed(pack(data, kind), secrets, answer=True)
        headers = {
            name.lower(): secrets.masked(value)
            for name, value in sorted(self.headers)
            if name.lower() in _KEPT | kept or name.lower().startswith(_KEPT_BEGIN)
        }
        response: dict[str, Any] = {"status": self.status, "headers": headers, **body}
        if self.ends and not data.rstrip().endswith(b"data: [DONE]"):  # some clients read no further
            response["ends"] = self.ends
        return checked(Interaction(self.sent.written(secrets), response), secrets)


def checked(interaction: Interaction, secrets: Secrets) -> Interaction:
    """The interaction as it is. Raises SecretsLeft where it still holds a secret."""
    found = left(body_of(interaction.request), written([Interaction(interaction.request, {})]), secrets)
    places = [f"the request {interaction.name}, {place}" for place in found]
    found = left(body_of(interaction.response), written([Interaction({}, interaction.response)]), secrets)
    places += [f"the answer to {interaction.name}, {place}" for place in found]
    if places:
        raise SecretsLeft(
            "a secret could not be taken out of the recording, so nothing was written. It stands in "
            + "; ".join(places)
            + ". Keep it from being sent, or change the test's data."
        )
    return interaction


def header(headers: Iterable[tuple[str, str]], name: str) -> str:
    """The value of a header; empty where it is not there."""
    return next((value for key, value in headers if key.lower() == name), "")
