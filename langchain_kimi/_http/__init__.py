"""Connections, server-sent events, timeouts and retries: the only package with I/O to hosts.

It does not know what a request or a response means. What to send, when to retry and which error to raise is decided
without I/O, in `call`; the synchronous and the asynchronous methods of `transport` only send, read and wait.
"""

from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._http.connections import Connections, shared_connections
from langchain_kimi._http.credentials import checked_key, checked_url
from langchain_kimi._http.multipart import OnProgress, UploadForm
from langchain_kimi._http.operations import ApiRequest, Pause, TransportProvider, transport_of
from langchain_kimi._http.raw_exchange import RawResponse, raw_exchange
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
    "ApiRequest",
    "Clock",
    "Connections",
    "OnProgress",
    "Pause",
    "RateLimits",
    "RawResponse",
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
    "raw_exchange",
    "shared_connections",
    "transport_of",
]
