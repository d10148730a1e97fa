"""The fake API: Kimi's endpoints as a function from an HTTP request to an answer, as strict as Kimi's own."""

from langchain_kimi.testing.api.api import FakeKimiAPI
from langchain_kimi.testing.api.formulas import Fiber, Formula, encrypted, fiber_failed, ran
from langchain_kimi.testing.api.http_request import HttpRequest, Upload
from langchain_kimi.testing.api.response import Answer, CutOff, Stalled
from langchain_kimi.testing.api.script_runner import ScriptError

__all__ = [
    "Answer",
    "CutOff",
    "FakeKimiAPI",
    "Fiber",
    "Formula",
    "HttpRequest",
    "ScriptError",
    "Stalled",
    "Upload",
    "encrypted",
    "fiber_failed",
    "ran",
]
