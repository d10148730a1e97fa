"""Prints a running agent, for `demo` and `ask`: its thinking as it arrives, calls with their times, tokens and cost."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_kimi._redaction import escape_controls
from langchain_kimi.cli.word_wrap import WordWrap
from langchain_kimi.errors import KimiError
from langchain_kimi.usage import cost_of

_BAR = 24
"""Columns of the bars that show when calls ran."""
_SHORT_BAR = 8
_NARROWEST = 20
_STYLES = {"thinking": "dim italic", "answer": "bold"}


class ToolClock(BaseCallbackHandler):
    """Records when each tool call begins and ends, in seconds since the clock was made."""

    run_inline = True

    def __init__(self) -> None:
        self._zero = time.perf_counter()
        self._running: dict[UUID, tuple[str, float]] = {}
        self.times: dict[str, tuple[float, float]] = {}
        """Start and end by tool call id."""

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
        call_id, start = self._running.pop(run_id)
        self.times[call_id] = (start, time.perf_counter() - self._zero)


class AgentDisplay:
    """Prints what an agent does, wrapped at words. Styles need `rich` and a terminal; otherwise the text is plain."""

    def __init__(self, model: str, clock: ToolClock) -> None:
        self._console = _rich_console()
        self._model = model
        self._clock = clock
        width = _width()
        self._wrap = WordWrap(width)
        self._bar = _BAR if width is None or width >= 80 else _SHORT_BAR
        self._section = ""
        self._turn = 0
        self._calls: dict[str, str] = {}
        self._results: dict[str, str] = {}
        self.usage: UsageMetadata | None = None

    def line(self, text: str, style: str = "", indent: str = "") -> None:
        """Print a whole line; `indent` begins the lines that it is broken into."""
        self._print(self._wrap.add(f"{_escaped(text)}\n", indent), style)

    def chunk(self, chunk: BaseMessage) -> None:
        """Print a piece of the model's answer: thinking, then text."""
        if not isinstance(chunk, AIMessageChunk):
            return
        for section, text, style in (
            ("thinking", chunk.additional_kwargs.get("reasoning_content", ""), _STYLES["thinking"]),
            ("answer", chunk.text, _STYLES["answer"]),
        ):
            if text:
                self._begin(section)
                self._print(self._wrap.add(_escaped(text)), style)

    def message(self, message: BaseMessage) -> None:
        """Take a whole message: the end of a model turn, or a tool's result; the last result prints them all."""
        self._begin("")
        if isinstance(message, AIMessage):
            self._turn += 1
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            self._calls = {call["id"] or "": _call(call["name"] or "", call["args"]) for call in calls}
            self._results = {}
            self._write_usage(f"turn {self._turn}", message.usage_metadata)
            self.usage = add_usage(self.usage, message.usage_metadata)
        elif isinstance(message, ToolMessage):
            self._results[message.tool_call_id] = message.status
            if len(self._results) == len(self._calls):
                self._write_calls()

    def _write_calls(self) -> None:
        """Print the calls of the last turn with their times, on one scale so that an overlap is seen."""
        times = {call_id: self._clock.times.get(call_id, (0.0, 0.0)) for call_id in self._calls}
        first, last = min(start for start, _ in times.values()), max(end for _, end in times.values())
        scale = self._bar / max(last - first, 1e-9)
        for call_id, (start, end) in times.items():
            bar = " " * round((start - first) * scale) + "█" * max(1, round((end - start) * scale))
            mark, style = ("✓", "cyan") if self._results[call_id] == "success" else ("✗", "red")
            timing = f"  {mark} {(end - start) * 1000:6.0f} ms ▏{bar:{self._bar}.{self._bar}}▕"
            self.line(f"{timing} {self._calls[call_id]}", style, indent="    ")

    def total(self, heading: str) -> None:
        """Print what the whole run used."""
        self._begin("")
        self._write_usage(heading, self.usage)

    def _begin(self, section: str) -> None:
        """End the section that is being printed, and begin another unless it is empty."""
        if section == self._section:
            return
        if self._section:
            self._print(f"{self._wrap.end()}{self._wrap.add(chr(10))}", _STYLES[self._section])
        self._section = section
        if section:
            self._print(f"{self._wrap.add(f'[{section}] ')}{self._wrap.end()}", "dim")

    def _print(self, text: str, style: str) -> None:
        if self._console is None:
            print(text, end="", flush=True)  # noqa: T201
        elif text:
            self._console.print(text, style=style, end="", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _write_usage(self, heading: str, usage: UsageMetadata | None) -> None:
        if usage is None:
            return
        cached = usage.get("input_token_details", {}).get("cache_read", 0)
        cost = cost_of(usage, self._model)
        price = "cost unknown" if cost is None else f"${cost:.5f}"
        self.line(
            f"[{heading}] {usage['input_tokens']} tokens in ({cached} cached), {usage['output_tokens']} out, {price}",
            "green",
        )


def run_and_show(agent: Any, question: str, display: AgentDisplay, callbacks: list[BaseCallbackHandler]) -> None:
    """Ask an agent and print what it does. Where it fails or is stopped, what it used so far is printed first."""
    state: Any = {"messages": [("user", question)]}

    async def run() -> None:
        events: AsyncIterator[Any] = agent.astream(state, {"callbacks": callbacks}, stream_mode=["messages", "updates"])
        async for mode, event in events:
            if mode == "messages":
                display.chunk(event[0])
            else:
                for message in (message for update in event.values() for message in (update or {}).get("messages", ())):
                    display.message(message)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        display.total("stopped; so far")
        raise
    except KimiError:
        display.total("failed; so far")
        raise
    display.total("total")


def _call(name: str, arguments: Any) -> str:
    if isinstance(arguments, dict):
        arguments = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return escape_controls(f"{name}({arguments})")


def _escaped(text: str) -> str:
    return escape_controls(text, keep="\n\t")


def _width() -> int | None:
    """The columns to wrap at: the variable COLUMNS, else the terminal's; None where there is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return max(int(columns), _NARROWEST)
    if not sys.stdout.isatty():
        return None
    return max(os.get_terminal_size(sys.stdout.fileno()).columns, _NARROWEST)


def _rich_console() -> Any:
    """A rich console; None where rich is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=sys.stdout)
