"""The errors of cassettes. All are `KimiError`s that are never retried, so that they reach the test unchanged."""

from collections.abc import Sequence

from langchain_kimi.errors import KimiError


class CassetteError(KimiError):
    """A cassette cannot be read, recorded or written."""


class CannotReplay(CassetteError):
    """No recorded request equals the one that was sent. `differences` has a line for each difference to the nearest.

    `summary` is the shortest text that says what differs.
    """

    def __init__(self, message: str, differences: Sequence[str] = (), *, summary: str = "") -> None:
        super().__init__(message)
        self.differences = tuple(differences)
        self.summary = " ".join((summary or str(self)).split())


class SecretsLeft(CassetteError):
    """A recording would contain a secret that could not be removed. Nothing was written."""


class NetworkBlocked(CassetteError):
    """Something other than a recorded request tried to leave this machine while a cassette replays."""
