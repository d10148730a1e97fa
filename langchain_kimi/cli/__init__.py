"""The command line, `langchain-kimi` or `python -m langchain_kimi`.

`parser.py` declares all commands with their options. The module with a command's name runs it: `tokens.py` holds
`langchain-kimi tokens`, `doctor_tools.py` holds `langchain-kimi doctor tools`.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from langchain_kimi.cli.errors import INTERRUPTED, exit_status, one_line
from langchain_kimi.cli.output import use_any_encoding, write_error
from langchain_kimi.cli.parser import PROGRAM, build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, 1 (Kimi refused or a check failed), 2 (not run) or 130 (Ctrl-C)."""
    use_any_encoding()
    program = PROGRAM
    try:
        options = build_parser().parse_args(arguments)
        program = options.program
        # Imported here: help and a mistyped command should not wait for LangChain.
        status: int = import_module(f"langchain_kimi.cli.{options.module or options.command}").run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        write_error("Stopped by Ctrl-C.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has gone (`… | head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        write_error(f"{program}: {one_line(error)}")
        return exit_status(error)
