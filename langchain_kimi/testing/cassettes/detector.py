"""Secrets of other services, by the rules of Kingfisher (MongoDB's detector); loaded when something is written."""

from functools import lru_cache
from typing import Any

from langchain_kimi.testing.cassettes.errors import CassetteError

_SHORTEST = 6


def find_secrets(text: str) -> list[tuple[str, str]]:
    """Each secret in a text with the name of its kind. Nothing is sent anywhere.

    Raises CassetteError where the detector is not installed.
    """
    found = []
    for finding in _scanner().scan(text.encode("utf-8", "replace")):
        kind = finding.rule_id.rpartition(".")[2].rpartition("/")[2]
        found.append((finding.secret, kind))
        if finding.is_base64_encoded:
            start, end = finding.location["start_offset"], finding.location["end_offset"]
            found.append((text.encode("utf-8", "replace")[start:end].decode("utf-8", "replace"), kind))
    return [(secret, kind) for secret, kind in found if len(secret) >= _SHORTEST]


@lru_cache(maxsize=1)
def _scanner() -> Any:
    try:
        from kingfisher_sdk import Scanner
    except ImportError as error:
        raise CassetteError(
            "Recording needs Kingfisher, which finds secrets: pip install 'langchain-kimi-agent[testing]'."
        ) from error
    return Scanner()
