"""Shows a running agent in the terminal: thinking dimmed as it arrives, calls with their times, tokens and cost."""

import sys
import time
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_kimi.redaction import escape_controls
from langchain_kimi.usage import cost_of

_BAR = 24


class ToolClock(BaseCallbackHandler):
    """Notes when each tool call begins and ends, in seconds since the clock was made."""

    run_inline = True

    def __init__(self) -> None:
        self._zero = time.perf_counter()
        self._running: dict[UUID, tuple[str, float]] = {}
        self.took: dict[str, tuple[float, float]] = {}
        """Begin and end by tool call id."""

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._running[run_id] = (tool_call_id or "", time.perf_counter() - self._zero)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._ended(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._ended(run_id)

    def _ended(self, run_id: UUID) -> None:
        call_id, begun = self._running.pop(run_id)
        self.took[call_id] = (begun, time.perf_counter() - self._zero)


class Display:
    """Prints what an agent does. Styles need `rich` and a terminal; otherwise the same text is plain."""

    def __init__(self, model: str, clock: ToolClock) -> None:
        self._console = _console()
        self._model = model
        self._clock = clock
        self._open = ""
        self._turn = 0
        self._calls: dict[str, str] = {}
        self._results: dict[str, str] = {}
        self.usage: UsageMetadata | None = None

    def say(self, text: str, style: str = "", end: str = "\n") -> None:
        """Print a text, with its control characters escaped."""
        text = escape_controls(text, keep="\n\t")
        if self._console is None:
            print(text, end=end, flush=True)  # noqa: T201
        else:
            self._console.print(text, style=style, end=end, markup=False, highlight=False, soft_wrap=True)

    def chunk(self, chunk: BaseMessage) -> None:
        """A piece of the model's answer: thinking, then text."""
        if not isinstance(chunk, AIMessageChunk):
            return
        for kind, text, style in (
            ("thinking", chunk.additional_kwargs.get("reasoning_content", ""), "dim italic"),
            ("answer", chunk.text, "bold"),
        ):
            if text:
                self._begin(kind)
                self.say(text, style, end="")

    def message(self, message: BaseMessage) -> None:
        """A whole message: the end of a model turn, or a tool's result; the last result shows them all."""
        self._begin("")
        if isinstance(message, AIMessage):
            self._turn += 1
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            self._calls = {call["id"] or "": _call(call["name"] or "", call["args"]) for call in calls}
            self._results = {}
            self._spent(f"turn {self._turn}", message.usage_metadata)
            self.usage = add_usage(self.usage, message.usage_metadata)
        elif isinstance(message, ToolMessage):
            self._results[message.tool_call_id] = message.status
            if len(self._results) == len(self._calls):
                self._show_results()

    def _show_results(self) -> None:
        """The calls of the last turn with their times, drawn on one scale so that an overlap is seen."""
        took = {call_id: self._clock.took.get(call_id, (0.0, 0.0)) for call_id in self._calls}
        first, last = min(begun for begun, _ in took.values()), max(ended for _, ended in took.values())
        scale = _BAR / max(last - first, 1e-9)
        for call_id, (begun, ended) in took.items():
            bar = " " * round((begun - first) * scale) + "█" * max(1, round((ended - begun) * scale))
            mark, style = ("✓", "cyan") if self._results[call_id] == "success" else ("✗", "red")
            self.say(f"  {mark} {(ended - begun) * 1000:6.0f} ms ▏{bar:{_BAR}.{_BAR}}▕ ", style, end="")
            self.say(self._calls[call_id])

    def total(self, heading: str) -> None:
        """What the whole run took."""
        self._begin("")
        self._spent(heading, self.usage)

    def _begin(self, kind: str) -> None:
        if kind == self._open:
            return
        if self._open:
            self.say("")
        self._open = kind
        if kind:
            self.say(f"[{kind}] ", "dim", end="")

    def _spent(self, heading: str, usage: UsageMetadata | None) -> None:
        if usage is None:
            return
        cached = usage.get("input_token_details", {}).get("cache_read", 0)
        cost = cost_of(usage, self._model)
        price = "cost unknown" if cost is None else f"${cost:.5f}"
        self.say(
            f"[{heading}] {usage['input_tokens']} tokens in ({cached} cached), {usage['output_tokens']} out, {price}",
            "green",
        )


def _call(name: str, arguments: Any) -> str:
    if isinstance(arguments, dict):
        arguments = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return escape_controls(f"{name}({arguments})")


def _console() -> Any:
    """A rich console, None where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=sys.stdout)
