"""The test kit: a strict local fake of Kimi's API, scripts for its answers, and cassettes of recorded responses.

with KimiServer([called("add", a=1, b=2), said("3")]) as server:
    model = ChatKimi(base_url=server.url, api_key="sk-test")

model = FakeKimi([called("add", a=1, b=2), said("3")])  # the same without a socket
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi.testing.api.fake_api import FakeKimiAPI
    from langchain_kimi.testing.api.formula_endpoints import (
        Fiber,
        Formula,
        fiber_encrypted,
        fiber_failed,
        fiber_succeeded,
    )
    from langchain_kimi.testing.api.http_request import HttpRequest, Upload
    from langchain_kimi.testing.api.http_response import ConnectionCut, ConnectionStalled, HttpResponse
    from langchain_kimi.testing.api.script_runner import ScriptError
    from langchain_kimi.testing.cassettes import Cassette, audit
    from langchain_kimi.testing.fake_model import FakeKimi, FakeKimiTransport
    from langchain_kimi.testing.script.chat_request import Request
    from langchain_kimi.testing.script.reply import (
        ErrorReply,
        Reply,
        Script,
        ScriptedToolCall,
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

_PACKAGES = {
    "HttpResponse": "api",
    "ScriptedToolCall": "script",
    "Cassette": "cassettes",
    "ConnectionCut": "api",
    "FakeKimi": "fake_model",
    "Fiber": "api",
    "Formula": "api",
    "HttpRequest": "api",
    "FakeKimiTransport": "fake_model",
    "FakeKimiAPI": "api",
    "KimiServer": "server",
    "ErrorReply": "script",
    "Reply": "script",
    "Request": "script",
    "Script": "script",
    "ScriptError": "api",
    "ConnectionStalled": "api",
    "Upload": "api",
    "audit": "cassettes",
    "called": "script",
    "continued": "script",
    "conversation": "script",
    "cut_after": "script",
    "empty": "script",
    "fiber_encrypted": "api",
    "error_event": "script",
    "fiber_failed": "api",
    "garbage": "script",
    "no_choice": "script",
    "overloaded": "script",
    "fiber_succeeded": "api",
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
    "Cassette",
    "ConnectionCut",
    "ConnectionStalled",
    "ErrorReply",
    "FakeKimi",
    "FakeKimiAPI",
    "FakeKimiTransport",
    "Fiber",
    "Formula",
    "HttpRequest",
    "HttpResponse",
    "KimiServer",
    "Reply",
    "Request",
    "Script",
    "ScriptError",
    "ScriptedToolCall",
    "Upload",
    "audit",
    "called",
    "continued",
    "conversation",
    "cut_after",
    "empty",
    "error_event",
    "fiber_encrypted",
    "fiber_failed",
    "fiber_succeeded",
    "garbage",
    "no_choice",
    "overloaded",
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
    # Names are loaded on first access because pytest imports this package for its plugin in every environment.
    if name in _PACKAGES:
        return getattr(import_module(f"langchain_kimi.testing.{_PACKAGES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
