"""Reports waits before retries to LangChain's callbacks and, inside a graph, on LangGraph's `custom` stream."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, dispatch_custom_event
from langchain_core.callbacks.manager import handle_event

from langchain_kimi._http import RetryWait

if TYPE_CHECKING:
    from langchain_kimi.agent.events import RetryEvent

WAIT_EVENT: Final = "kimi_wait"
"""The custom event of a wait before a retry: `seconds`, `attempt` and the text of the `error`."""


def retry_reporter(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
    waits: list[dict[str, Any]] | None = None,
) -> Callable[[RetryWait], None]:
    """A function that reports a wait as the custom event `kimi_wait` to the callbacks of this run, else to those of the
    run around it, and adds it to `waits`.
    """

    def report(wait: RetryWait) -> None:
        seconds, attempt, error = wait.seconds, wait.attempt, str(wait.error)
        if waits is not None:
            kind, status = type(wait.error).__name__, wait.error.status
            waits.append({"seconds": round(seconds, 3), "error": kind, "status": status})
        _write_to_graph_stream({"event": WAIT_EVENT, "seconds": seconds, "attempt": attempt, "error": error})
        data = {"seconds": seconds, "attempt": attempt, "error": error}
        if run_manager:
            run = {"run_id": run_manager.run_id, "tags": run_manager.tags, "metadata": run_manager.metadata}
            handle_event(run_manager.handlers, "on_custom_event", "ignore_custom_event", WAIT_EVENT, data, **run)
            return
        with suppress(RuntimeError):  # there is no run around it
            dispatch_custom_event(WAIT_EVENT, data)

    return report


def _write_to_graph_stream(event: "RetryEvent") -> None:
    if "langgraph.config" in sys.modules:  # a chat app never loads LangGraph
        from langgraph.config import get_stream_writer

        with suppress(RuntimeError, KeyError):  # no graph runs here
            get_stream_writer()(event)
