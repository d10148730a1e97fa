"""The command line, `langchain-kimi` or `python -m langchain_kimi`.

`parser.py` declares all commands with their options. The module with a command's name has the function that runs it:
`run_tokens_command` in `tokens.py` runs `langchain-kimi tokens`, and `doctor_tools.py` has `langchain-kimi doctor
tools`.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from langchain_kimi.cli.command_errors import INTERRUPTED, exit_status, one_line
from langchain_kimi.cli.output import use_any_encoding, write_error
from langchain_kimi.cli.parser import PROGRAM, build_parser


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 (Kimi refused or a check failed), 2 (not run) or 130 (Ctrl-C)."""
    use_any_encoding()
    program = PROGRAM
    try:
        options = build_parser().parse_args(arguments)
        program = options.program
        # Imported here: help and a mistyped command should not wait for LangChain.
        name = options.module or options.command
        run_command = getattr(import_module(f"langchain_kimi.cli.{name}"), f"run_{name}_command")
        status: int = run_command(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        write_error("Stopped by Ctrl-C.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has gone (`… | head`). Python would report it again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        write_error(f"{program}: {one_line(error)}")
        return exit_status(error)
