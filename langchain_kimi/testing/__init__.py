"""The test kit: a strict local double of Kimi's API, and the scripts that say what its model answers.

with KimiServer([called("add", a=1, b=2), said("3")]) as server:
    model = ChatKimi(base_url=server.url, api_key="sk-test")
"""

from langchain_kimi.testing.script import (
    Call,
    Refused,
    Reply,
    Request,
    Script,
    called,
    cut_after,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    thought,
)
from langchain_kimi.testing.server import Answer, CutOff, KimiDouble, KimiServer

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
    "called",
    "cut_after",
    "overloaded",
    "rate_limited",
    "raw_call",
    "refused",
    "said",
    "thought",
]
