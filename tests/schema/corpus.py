"""Every schema of the corpus by name: what Python programmers pass and what tool servers send."""

from tests.schema import pydantic_corpus
from tests.schema.raw_corpus import LEGAL, MESSY, REFUSED, Raw

CORPUS: dict[str, Raw] = {**pydantic_corpus.corpus(), **LEGAL, **MESSY}

__all__ = ["CORPUS", "LEGAL", "MESSY", "REFUSED"]
