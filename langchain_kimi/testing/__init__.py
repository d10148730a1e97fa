"""The test kit: a strict local double of Kimi's API, and the scripts that say what its model answers.

with KimiServer([called("add", a=1, b=2), said("3")]) as server:
    model = ChatKimi(base_url=server.url, api_key="sk-test")

model = FakeKimi([called("add", a=1, b=2), said("3")])  # the same without a socket
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi.testing.api.api import FakeKimiAPI
    from langchain_kimi.testing.api.formulas import Fiber, Formula, encrypted, fiber_failed, ran
    from langchain_kimi.testing.api.http_request import HttpRequest, Upload
    from langchain_kimi.testing.api.response import Answer, CutOff, Stalled
    from langchain_kimi.testing.api.script_runner import ScriptError
    from langchain_kimi.testing.cassettes import Cassette, audit
    from langchain_kimi.testing.fake_model import FakeKimi, InProcess
    from langchain_kimi.testing.script.chat_request import Request
    from langchain_kimi.testing.script.reply import (
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
    from langchain_kimi.testing.script.schema_replies import continued, shaped
    from langchain_kimi.testing.script.yaml_script import conversation
    from langchain_kimi.testing.server import KimiServer

_ROOMS = {
    "Answer": "api",
    "Call": "script",
    "Cassette": "cassettes",
    "CutOff": "api",
    "FakeKimi": "fake_model",
    "Fiber": "api",
    "Formula": "api",
    "HttpRequest": "api",
    "InProcess": "fake_model",
    "FakeKimiAPI": "api",
    "KimiServer": "server",
    "Refused": "script",
    "Reply": "script",
    "Request": "script",
    "Script": "script",
    "ScriptError": "api",
    "Stalled": "api",
    "Upload": "api",
    "audit": "cassettes",
    "called": "script",
    "continued": "script",
    "conversation": "script",
    "cut_after": "script",
    "empty": "script",
    "encrypted": "api",
    "error_event": "script",
    "fiber_failed": "api",
    "garbage": "script",
    "no_choice": "script",
    "overloaded": "script",
    "ran": "api",
    "rate_limited": "script",
    "raw_call": "script",
    "refused": "script",
    "said": "script",
    "shaped": "script",
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
    "FakeKimiAPI",
    "Fiber",
    "Formula",
    "HttpRequest",
    "InProcess",
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
