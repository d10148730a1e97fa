"""`langchain-kimi tokens`: how large a prompt is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages

from langchain_kimi import tokens
from langchain_kimi._request import Tools
from langchain_kimi.catalogue import Model, find
from langchain_kimi.cli.command_errors import CHECK_FAILED, CommandError
from langchain_kimi.cli.output import write_line
from langchain_kimi.platform import KimiPlatform


def run_tokens_command(options: argparse.Namespace) -> int:
    """Print the number and what it is made of; the exit status, 1 where the model's window is smaller."""
    messages, tools = _read_prompt(options.file)
    if options.exact:
        counted = KimiPlatform().count_tokens(messages, tools, model=options.model)
        total = counted.total
        of_tools = f", {counted.tools:,} of them for tools, which are estimated here" if tools else ""
        write_line(f"{total:,} tokens (counted by Kimi for {options.model}{of_tools})")
    else:
        total = _write_estimate(messages, tools, find(options.model))
    row = find(options.model)
    if row and total > row.context:
        write_line(f"{options.model} reads {row.context:,} tokens, answer included: this is too long.")
        return CHECK_FAILED
    return 0


def _write_estimate(messages: Sequence[BaseMessage], tools: Sequence[Any], row: Model | None) -> int:
    """Print the estimate for a model with its overhead; the sum."""
    frames, thinks = tokens.frames_of(row), row is None or row.thinking != "never"
    of_messages = tokens.count_messages(messages, frames=frames, thinks=thinks)
    of_tools = tokens.count_tools([tool.wire for tool in Tools.of(tools).declared], frames=frames)
    of_frames = sum(tokens.overhead(message, frames=frames, thinks=thinks) for message in messages)
    of_request = tokens.per_request(frames, thinks=thinks)
    total = of_messages + of_tools + of_request
    parts = [f"{of_messages - of_frames:,} content"]
    if tools:
        parts.append(f"{of_tools:,} tool declarations ({frames.tools} of them overhead)")
    plural = "" if len(messages) == 1 else "s"
    parts.append(f"{of_frames:,} overhead of {len(messages):,} message{plural}")
    effort = f", {frames.effort} of them to say how much to think" if thinks and frames.effort else ""
    parts.append(f"{of_request} overhead of any request{effort}")
    write_line(f"{total:,} tokens (estimated here; --exact asks Kimi)")
    write_line(f"= {' + '.join(parts)}")
    return total


def _read_prompt(path: str) -> tuple[list[BaseMessage], Sequence[Any]]:
    """Messages and tools of a file: a text, a JSON list of messages, or the body of a chat request."""
    source = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    name = "standard input" if path == "-" else path
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not text in UTF-8 (byte {error.start}). Convert it to UTF-8 first.") from error
    if not text.strip():
        raise CommandError(f"{name} is empty. Give a text, messages or a chat request.")
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [HumanMessage(text)], ()
    messages = parsed.get("messages") if isinstance(parsed, dict) else parsed
    if not isinstance(messages, list) or not all(isinstance(one, dict) and "role" in one for one in messages):
        return [HumanMessage(text)], ()
    tools = parsed.get("tools") if isinstance(parsed, dict) else None
    try:
        return convert_to_messages(messages), tools or ()
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"the messages in {name} cannot be read: {error}") from error
