"""Cassettes: recorded responses of Kimi in files that are made for review.

`Cassette` records and replays, `audit` checks a recording by today's rules, `import_cassette` converts recordings of
VCR.py and go-vcr.
"""

from langchain_kimi.testing.cassettes.audit import Finding, audit
from langchain_kimi.testing.cassettes.cassette import Cassette
from langchain_kimi.testing.cassettes.cassette_errors import CannotReplay, CassetteError, NetworkBlocked, SecretsLeft
from langchain_kimi.testing.cassettes.cassette_file import Interaction
from langchain_kimi.testing.cassettes.importer import import_cassette

__all__ = [
    "CannotReplay",
    "Cassette",
    "CassetteError",
    "Finding",
    "Interaction",
    "NetworkBlocked",
    "SecretsLeft",
    "audit",
    "import_cassette",
]
