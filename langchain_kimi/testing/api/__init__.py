"""The fake API: Kimi's endpoints as a function from an HTTP request to a response, as strict as Kimi's own."""

from langchain_kimi.testing.api.fake_api import FakeKimiAPI
from langchain_kimi.testing.api.formula_endpoints import Fiber, Formula, fiber_encrypted, fiber_failed, fiber_succeeded
from langchain_kimi.testing.api.http_request import HttpRequest, Upload
from langchain_kimi.testing.api.http_response import ConnectionCut, ConnectionStalled, HttpResponse
from langchain_kimi.testing.api.script_runner import ScriptError

__all__ = [
    "ConnectionCut",
    "ConnectionStalled",
    "FakeKimiAPI",
    "Fiber",
    "Formula",
    "HttpRequest",
    "HttpResponse",
    "ScriptError",
    "Upload",
    "fiber_encrypted",
    "fiber_failed",
    "fiber_succeeded",
]
