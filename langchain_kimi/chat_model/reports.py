"""Warns and logs each thing once for each model, however often a request repeats it."""

import logging

from langchain_kimi._request import EncodedRequest
from langchain_kimi.errors import warn

logger = logging.getLogger("langchain_kimi")

_MAX_REMEMBERED = 10_000
"""After so many different warnings and log lines, a long-lived model forgets which ones it has given."""


class Reports:
    """The warnings and log lines that one model has given."""

    def __init__(self) -> None:
        self._given: set[tuple[str, str]] = set()

    def is_first(self, kind: str, detail: str) -> bool:
        """Whether this was not reported before; from now on it counts as reported."""
        if (kind, detail) in self._given:
            return False
        if len(self._given) >= _MAX_REMEMBERED:
            self._given.clear()
        self._given.add((kind, detail))
        return True

    def warn_of_changes(self, encoded: EncodedRequest) -> None:
        """Warn of changes to the user's settings."""
        for note in encoded.notes:
            reports = _OF_PROCESS if note.once_a_process else self
            if reports.is_first(encoded.fields["model"], note.topic):
                warn(note.text)

    def log_repairs(self, encoded: EncodedRequest) -> None:
        """Log the repairs of the transcript."""
        for repair in encoded.repairs:
            if self.is_first(repair.rule, repair.detail):
                logger.info("transcript repaired: message %d: %s: %s", repair.index, repair.rule, repair.detail)

    def warn_of_finish_reason(self, host: str, reason: str) -> None:
        """Log a finish reason that is unknown here, and warn of it once."""
        text = f"{host} ended an answer with the finish reason {reason!r}, which is not known here."
        logger.warning("%s", text)
        if self.is_first("finish_reason", reason):
            warn(f"{text} Tool calls of such an answer do not run.")


_OF_PROCESS = Reports()
"""The warnings that are given once in a process."""
