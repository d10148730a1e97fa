"""The test kit: a strict local double of Kimi's API, and the scripts that say what its model answers.

with KimiServer([called("add", a=1, b=2), said("3")]) as server:
    model = ChatKimi(base_url=server.url, api_key="sk-test")
"""

from langchain_kimi.testing.double import Answer, CutOff, KimiDouble, Stalled
from langchain_kimi.testing.script import (
    Call,
    Refused,
    Reply,
    Request,
    Script,
    called,
    cut_after,
    empty,
    error_event,
    garbage,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    slowly,
    stall,
    thought,
    too_many,
)
from langchain_kimi.testing.server import KimiServer

__all__ = [
    "Answer",
    "Call",
    "CutOff",
    "KimiDouble",
    "KimiServer",
    "Refused",
    "Reply",
    "Request",
    "Script",
    "Stalled",
    "called",
    "cut_after",
    "empty",
    "error_event",
    "garbage",
    "overloaded",
    "rate_limited",
    "raw_call",
    "refused",
    "said",
    "slowly",
    "stall",
    "thought",
    "too_many",
]
