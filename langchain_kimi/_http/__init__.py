"""Sockets, server-sent events, deadlines, waiting, retries and closing: the only room with I/O.

What a request or an answer means is decided elsewhere. Each policy is written once, without I/O, and driven by a
synchronous and an asynchronous loop, which differ only in how they wait.
"""

from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._http.connections import Connections, shared_connections
from langchain_kimi._http.credentials import checked_key, checked_url
from langchain_kimi._http.multipart import OnProgress, UploadForm
from langchain_kimi._http.operations import HttpRequest, Pause, TransportProvider, transport_of
from langchain_kimi._http.response_limits import ResponseLimits
from langchain_kimi._http.retries import MAX_RETRY_WAIT, RetryPolicy, RetryWait
from langchain_kimi._http.sse import DONE, SSEParser
from langchain_kimi._http.timeouts import Timeouts
from langchain_kimi._http.transport import Transport
from langchain_kimi.rate_limits import RateLimits

__all__ = [
    "CLOCK",
    "DONE",
    "MAX_RETRY_WAIT",
    "Clock",
    "Connections",
    "HttpRequest",
    "OnProgress",
    "Pause",
    "RateLimits",
    "ResponseLimits",
    "RetryPolicy",
    "RetryWait",
    "SSEParser",
    "Timeouts",
    "Transport",
    "TransportProvider",
    "UploadForm",
    "checked_key",
    "checked_url",
    "shared_connections",
    "transport_of",
]
