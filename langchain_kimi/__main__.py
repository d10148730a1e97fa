"""The entry point of `langchain-kimi` and `python -m langchain_kimi`."""

import sys


def main() -> int:
    """Run the command line and return its exit status. Ctrl-C ends it without a traceback, even during its import."""
    try:
        import signal

        from langchain_kimi.cli import run_command_line

        status = run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by Ctrl-C.\n")
        return 130
    # From here on the interpreter only shuts down, where a KeyboardInterrupt would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


if __name__ == "__main__":
    sys.exit(main())
