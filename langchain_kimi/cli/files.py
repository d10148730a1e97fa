"""`langchain-kimi files list|upload|content|delete`: the account's files."""

import argparse
import sys
from pathlib import Path

from langchain_kimi._endpoints import KimiFile
from langchain_kimi.cli.output import write_line
from langchain_kimi.platform import KimiFiles, KimiPlatform


def run_files_command(options: argparse.Namespace) -> int:
    """Run the action; the exit status."""
    files = KimiPlatform().files
    if options.action == "list":
        for file in files.list():
            write_line(_row(file))
    elif options.action == "upload":
        for path in options.paths:
            file = files.upload(path, purpose=options.purpose, progress=_progress if sys.stderr.isatty() else None)
            write_line(f"{_row(file)}{f'  {file.reference}' if file.purpose in ('image', 'video') else ''}")
    elif options.action == "content":
        _write_content(files, options.id, options.output)
    else:
        for file_id in options.ids:
            files.delete(file_id)
            write_line(f"deleted {file_id}")
    return 0


def _write_content(files: KimiFiles, file_id: str, output: str | None) -> None:
    """Write the exact bytes to a file or a pipe, and text without control characters to a terminal."""
    content = files.content(file_id)
    if output:
        Path(output).write_bytes(content)
    elif sys.stdout.isatty():
        write_line(content.decode("utf-8", "replace"), keep="\n\t")
    else:
        sys.stdout.buffer.write(content)


def _row(file: KimiFile) -> str:
    return f"{file.id}  {file.size:>11,}  {file.purpose:12}  {file.status:6}  {file.name}"


def _progress(sent: int, size: int) -> None:
    sys.stderr.write(f"\r{sent / size:4.0%}{'' if sent < size else chr(10)}")
