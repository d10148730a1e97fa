"""Rewrites any JSON Schema so that Kimi accepts it, with a report of every change.

Pure and deterministic: the same schema gives the same bytes in any process, a legal schema is returned as it is, and
normalising an outcome changes nothing. What the subset cannot say is moved into descriptions, so the model still reads
it; the original schema stays the one to validate arguments against. Where a schema is silent, the outcome says what its
author meant rather than all that JSON Schema would let through: `properties` without a type means an object, and a
tuple means its items.
"""

from langchain_kimi._schema.normalise import Normalised, normalise
from langchain_kimi._schema.subschema import Change

__all__ = ["Change", "Normalised", "normalise"]
