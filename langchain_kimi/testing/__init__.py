"""The test kit: a strict local double of Kimi's API, and the scripts that say what its model answers.

with KimiServer([called("add", a=1, b=2), said("3")]) as server:
    model = ChatKimi(base_url=server.url, api_key="sk-test")

model = FakeKimi([called("add", a=1, b=2), said("3")])  # the same without a socket
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi.testing.answer import Answer, CutOff, Stalled
    from langchain_kimi.testing.cassettes import Cassette, audit
    from langchain_kimi.testing.conversations import conversation
    from langchain_kimi.testing.double import KimiDouble
    from langchain_kimi.testing.fake import FakeKimi, InProcess
    from langchain_kimi.testing.fitting import continued, shaped
    from langchain_kimi.testing.formulas import Fiber, Formula, encrypted, fiber_failed, ran
    from langchain_kimi.testing.play import ScriptError
    from langchain_kimi.testing.received import HttpRequest, Upload
    from langchain_kimi.testing.request import Request
    from langchain_kimi.testing.script import (
        Call,
        Refused,
        Reply,
        Script,
        called,
        cut_after,
        empty,
        error_event,
        garbage,
        no_choice,
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

_ROOMS = {
    "Answer": "answer",
    "Call": "script",
    "Cassette": "cassettes",
    "CutOff": "answer",
    "FakeKimi": "fake",
    "Fiber": "formulas",
    "Formula": "formulas",
    "HttpRequest": "received",
    "InProcess": "fake",
    "KimiDouble": "double",
    "KimiServer": "server",
    "Refused": "script",
    "Reply": "script",
    "Request": "request",
    "Script": "script",
    "ScriptError": "play",
    "Stalled": "answer",
    "Upload": "received",
    "audit": "cassettes",
    "called": "script",
    "continued": "fitting",
    "conversation": "conversations",
    "cut_after": "script",
    "empty": "script",
    "encrypted": "formulas",
    "error_event": "script",
    "fiber_failed": "formulas",
    "garbage": "script",
    "no_choice": "script",
    "overloaded": "script",
    "ran": "formulas",
    "rate_limited": "script",
    "raw_call": "script",
    "refused": "script",
    "said": "script",
    "shaped": "fitting",
    "slowly": "script",
    "stall": "script",
    "thought": "script",
    "too_many": "script",
}

__all__ = [
    "Answer",
    "Call",
    "Cassette",
    "CutOff",
    "FakeKimi",
    "Fiber",
    "Formula",
    "HttpRequest",
    "InProcess",
    "KimiDouble",
    "KimiServer",
    "Refused",
    "Reply",
    "Request",
    "Script",
    "ScriptError",
    "Stalled",
    "Upload",
    "audit",
    "called",
    "continued",
    "conversation",
    "cut_after",
    "empty",
    "encrypted",
    "error_event",
    "fiber_failed",
    "garbage",
    "no_choice",
    "overloaded",
    "ran",
    "rate_limited",
    "raw_call",
    "refused",
    "said",
    "shaped",
    "slowly",
    "stall",
    "thought",
    "too_many",
]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: pytest loads this package for its plugin in every environment that has it.
    if name in _ROOMS:
        return getattr(import_module(f"langchain_kimi.testing.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
