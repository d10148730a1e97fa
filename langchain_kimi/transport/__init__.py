"""Sockets, server-sent events, deadlines, waiting, retries and closing: the only room with I/O.

What a request or an answer means is decided elsewhere. Each policy is written once, without I/O, and driven by a
synchronous and an asynchronous loop, which differ only in how they wait.
"""

from langchain_kimi.transport.clock import CLOCK, Clock
from langchain_kimi.transport.connections import Connections, shared_connections
from langchain_kimi.transport.credentials import checked_key, checked_url
from langchain_kimi.transport.deadlines import Deadlines
from langchain_kimi.transport.events import DONE, Events
from langchain_kimi.transport.form import Form, OnProgress
from langchain_kimi.transport.limits import RateLimits
from langchain_kimi.transport.response_limits import ResponseLimits
from langchain_kimi.transport.retries import MAX_RETRY_WAIT, Retries, Wait
from langchain_kimi.transport.steps import Ask, Pause, Steps, arun, run, transport_of
from langchain_kimi.transport.transport import Transport

__all__ = [
    "CLOCK",
    "DONE",
    "MAX_RETRY_WAIT",
    "Ask",
    "Clock",
    "Connections",
    "Deadlines",
    "Events",
    "Form",
    "OnProgress",
    "Pause",
    "RateLimits",
    "ResponseLimits",
    "Retries",
    "Steps",
    "Transport",
    "Wait",
    "arun",
    "checked_key",
    "checked_url",
    "run",
    "shared_connections",
    "transport_of",
]
