"""Waits before another try, told to LangChain's callbacks and, inside a graph, on LangGraph's `custom` stream."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, dispatch_custom_event
from langchain_core.callbacks.manager import handle_event

from langchain_kimi._http import RetryWait

if TYPE_CHECKING:
    from langchain_kimi.agent.events import RetryEvent

WAIT: Final = "kimi_wait"
"""The custom event that tells of a wait before another try."""


def teller(run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None) -> Callable[[RetryWait], None]:
    """Tells callbacks of a wait, as the custom event `kimi_wait`: of this run, else of the run around it."""

    def tell(wait: RetryWait) -> None:
        _stream({"event": WAIT, "seconds": wait.seconds, "attempt": wait.attempt, "error": str(wait.error)})
        data = {"seconds": wait.seconds, "attempt": wait.attempt, "error": str(wait.error)}
        if run_manager:
            about = {"run_id": run_manager.run_id, "tags": run_manager.tags, "metadata": run_manager.metadata}
            handle_event(run_manager.handlers, "on_custom_event", "ignore_custom_event", WAIT, data, **about)
            return
        with suppress(RuntimeError):  # there is no run around it
            dispatch_custom_event(WAIT, data)

    return tell


def _stream(event: "RetryEvent") -> None:
    if "langgraph.config" in sys.modules:  # a chat app never loads LangGraph
        from langgraph.config import get_stream_writer

        with suppress(RuntimeError, KeyError):  # no graph runs here
            get_stream_writer()(event)
