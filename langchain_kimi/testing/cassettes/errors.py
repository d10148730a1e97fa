"""What goes wrong with cassettes. All are `KimiError`s that nobody retries, so that they reach the test as they are."""

from collections.abc import Sequence

from langchain_kimi.errors import KimiError


class CassetteError(KimiError):
    """A cassette cannot be read, recorded or written."""


class CannotReplay(CassetteError):
    """No recorded request is the one that was sent. `differences` are those to the nearest one, a line each."""

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


class SecretsLeft(CassetteError):
    """A recording would hold a secret that could not be taken out; nothing was written."""


class NetworkBlocked(CassetteError):
    """Something else than a recorded request would have left this machine while a cassette replays."""
