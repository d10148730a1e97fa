"""Recordings: a request and its response on the wire, and their form in the file, without secrets."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from langchain_kimi._api_keys import is_loopback
from langchain_kimi.testing.cassettes.bodies import PackedBody, decompress, pack_body
from langchain_kimi.testing.cassettes.cassette_errors import SecretsLeft
from langchain_kimi.testing.cassettes.cassette_file import Interaction, cassette_text, packed_body
from langchain_kimi.testing.cassettes.scrub import learn_bodies, remaining_secrets, scrub_body, scrub_stream
from langchain_kimi.testing.cassettes.secret_values import Secrets

_RECORDED_HEADERS = frozenset(
    {"content-type", "location", "retry-after", "retry-after-ms", "x-request-id", "x-trace-id"}
)
_RECORDED_PREFIXES = ("x-ratelimit-", "x-should-retry", "x-msh-usage-")


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as a client sends it."""

    method: str
    host: str
    path: str
    """The path with its query, whose fields are sorted."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    @classmethod
    def from_parts(
        cls, method: str, host: str, path: str, query: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> "SentRequest":
        """A request from its HTTP parts."""
        sorted_query = urlencode(sorted(parse_qsl(query, keep_blank_values=True)))
        return cls(method.upper(), host, f"{path}?{sorted_query}" if sorted_query else path, tuple(headers), body)

    def packed(self) -> PackedBody:
        """The body in the form of the file."""
        return pack_body(self.body, header(self.headers, "content-type"))

    def scrubbed(self, secrets: Secrets) -> dict[str, Any]:
        """The request in the form of the file, without secrets."""
        request: dict[str, Any] = {"method": self.method, "path": secrets.mask(self.path)}
        if self.host and not is_loopback(self.host):
            request["host"] = self.host
        return request | scrub_body(self.packed(), secrets)


@dataclass(slots=True)
class Recording:
    """A request and its response, which is filled while it arrives."""

    sent: SentRequest
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    pieces: list[bytes] = field(default_factory=list, repr=False)
    ends: str | None = "left"
    """None when the response is complete; see `cassette_file`."""

    def add_secrets_to(self, secrets: Secrets) -> None:
        """Adds the secrets of the request and the response. Raises CassetteError if the detector is not installed."""
        secrets.learn_headers((*self.sent.headers, *self.headers))
        secrets.learn_texts((self.sent.path, unquote_plus(self.sent.path)))
        learn_bodies(secrets, self.sent.packed(), pack_body(self._data(), header(self.headers, "content-type")))

    def _data(self) -> bytes:
        return decompress(b"".join(self.pieces), header(self.headers, "content-encoding"))

    def with_secrets(self) -> Interaction:
        """The interaction as it is, to be read only: its secrets are not removed, and its headers left out."""
        request = {"method": self.sent.method, "path": self.sent.path, "host": self.sent.host, **self.sent.packed()}
        body = pack_body(self._data(), header(self.headers, "content-type"))
        return Interaction(request, {"status": self.status, "headers": {}, **body})

    def interaction(self, secrets: Secrets, keep_headers: frozenset[str] = frozenset()) -> Interaction:
        """The interaction for the file. Raises SecretsLeft, and CassetteError for an unknown content-encoding."""
        data = self._data()
        kind = header(self.headers, "content-type")
        if kind.startswith("text/event-stream"):
            text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
            data = scrub_stream(text, secrets).encode("utf-8", "surrogateescape")
        body = scrub_body(pack_body(data, kind), secrets, is_response=True)
        headers = {
            name.lower(): secrets.mask(value)
            for name, value in sorted(self.headers)
            if name.lower() in _RECORDED_HEADERS | keep_headers or name.lower().startswith(_RECORDED_PREFIXES)
        }
        response: dict[str, Any] = {"status": self.status, "headers": headers, **body}
        if self.ends and not data.rstrip().endswith(b"data: [DONE]"):  # some clients do not read further
            response["ends"] = self.ends
        return require_no_secrets(Interaction(self.sent.scrubbed(secrets), response), secrets)


def require_no_secrets(interaction: Interaction, secrets: Secrets) -> Interaction:
    """The unchanged interaction. Raises SecretsLeft if it contains a secret."""
    locations = []
    for part, name, text in (
        (interaction.request, f"the request {interaction.name}", cassette_text([Interaction(interaction.request, {})])),
        (
            interaction.response,
            f"the response to {interaction.name}",
            cassette_text([Interaction({}, interaction.response)]),
        ),
    ):
        locations += [f"{name}, {location}" for location in remaining_secrets(packed_body(part), text, secrets)]
    if locations:
        raise SecretsLeft(
            f"A secret could not be removed from the recording, so nothing was written. It is in "
            f"{'; '.join(locations)}. Do not send it, or change the data of the test."
        )
    return interaction


def header(headers: Iterable[tuple[str, str]], name: str) -> str:
    """The value of a header; an empty string if there is none."""
    return next((value for key, value in headers if key.lower() == name), "")
