"""Cassettes: recorded answers of Kimi that one can read, review and trust.

`Cassette` records and replays, `audit` judges a recording by today's rules, `import_cassette` reads those of others.
"""

from langchain_kimi.testing.cassettes.audit import Finding, audit
from langchain_kimi.testing.cassettes.cassette import Cassette
from langchain_kimi.testing.cassettes.errors import CannotReplay, CassetteError, NetworkBlocked, SecretsLeft
from langchain_kimi.testing.cassettes.file import Interaction
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
