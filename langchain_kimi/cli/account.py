"""`langchain-kimi tokens|balance|files`: what the account has, and how large a prompt is.

Exit status: 0 where all is well, 1 where Kimi refused or the account is empty, 2 where it could not be asked.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages

from langchain_kimi import tokens
from langchain_kimi.catalogue import find
from langchain_kimi.cli.terminal import write_failure, write_line
from langchain_kimi.encode import Tools
from langchain_kimi.endpoints import HOSTS, KimiFile
from langchain_kimi.errors import AuthenticationError, IllegalRequestError, KimiError
from langchain_kimi.platform import KimiPlatform


def run(chosen: argparse.Namespace) -> int:
    """Run a command; the exit status, with a failure's cause in one line."""
    commands: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "tokens": _tokens,
        "balance": _balance,
        "files": _files,
    }
    try:
        return commands[chosen.command](chosen)
    except (OSError, ValueError, KimiError) as error:
        write_failure(error)
        never_asked = not isinstance(error, KimiError) or isinstance(error, IllegalRequestError)
        return 2 if never_asked or (isinstance(error, AuthenticationError) and error.status is None) else 1


# Tokens.


def _tokens(chosen: argparse.Namespace) -> int:
    source = sys.stdin.buffer.read() if chosen.file == "-" else Path(chosen.file).read_bytes()
    messages, tools = _prompt(source)
    if chosen.exact:
        counted = KimiPlatform().count_tokens(messages, tools, model=chosen.model)
        by = f"counted by Kimi for {chosen.model}"
        by += f", {counted.tools:,} of them for tools, which are estimated here" if tools else ""
        total = counted.total
    else:
        total = tokens.count(messages, tools=[tool.wire for tool in Tools.of(tools).declared])
        by = "estimated here; --exact asks Kimi"
    write_line(f"{total:,} tokens ({by})")
    row = find(chosen.model)
    if row and total > row.context:
        write_line(f"{chosen.model} reads {row.context:,} tokens, answer included: this is too long.")
        return 1
    return 0


def _prompt(source: bytes) -> tuple[list[BaseMessage], Sequence[Any]]:
    """Messages and tools of a file: a text, a JSON list of messages, or the body of a chat request."""
    text = source.decode("utf-8-sig")
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [HumanMessage(text)], ()
    messages = parsed.get("messages") if isinstance(parsed, dict) else parsed
    if not isinstance(messages, list) or not all(isinstance(one, dict) and "role" in one for one in messages):
        return [HumanMessage(text)], ()
    tools = parsed.get("tools") if isinstance(parsed, dict) else None
    return convert_to_messages(messages), tools or ()


# Balance.


def _balance(chosen: argparse.Namespace) -> int:
    platform = KimiPlatform()
    balance = platform.balance()
    unit = currency(platform)
    write_line(f"{balance.available:.2f}{unit} available (cash {balance.cash:.2f}, vouchers {balance.voucher:.2f})")
    if balance.available <= 0:
        write_line("Kimi answers no requests of an account without balance: top it up.")
        return 1
    return 0


def currency(platform: KimiPlatform) -> str:
    """The unit of the account's money with a space before it; empty where the host is not Kimi's own."""
    hosts = {urlsplit(url).netloc: unit for url, unit in zip(HOSTS.values(), (" USD", " CNY"), strict=True)}
    return hosts.get(urlsplit(platform.base_url).netloc, "")


# Files.


def _files(chosen: argparse.Namespace) -> int:
    files = KimiPlatform().files
    if chosen.action == "list":
        for file in files.list():
            write_line(_row(file))
    elif chosen.action == "upload":
        for path in chosen.paths:
            file = files.upload(path, purpose=chosen.purpose, progress=_progress if sys.stderr.isatty() else None)
            write_line(f"{_row(file)}{f'  {file.reference}' if file.purpose in ('image', 'video') else ''}")
    elif chosen.action == "content":
        content = files.content(chosen.id)
        if chosen.output:
            Path(chosen.output).write_bytes(content)
        elif sys.stdout.isatty():
            write_line(content.decode("utf-8", "replace"), keep="\n\t")
        else:
            sys.stdout.buffer.write(content)
    else:
        for file_id in chosen.ids:
            files.delete(file_id)
            write_line(f"deleted {file_id}")
    return 0


def _row(file: KimiFile) -> str:
    return f"{file.id}  {file.size:>11,}  {file.purpose:12}  {file.status:6}  {file.name}"


def _progress(sent: int, size: int) -> None:
    sys.stderr.write(f"\r{sent / size:4.0%}{'' if sent < size else chr(10)}")
