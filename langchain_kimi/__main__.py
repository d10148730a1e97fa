"""The entry point of `langchain-kimi` and `python -m langchain_kimi`."""

import sys


def main() -> int:
    """Run the command line; the exit status. Ctrl-C ends it without a traceback, also while it is being imported."""
    try:
        import signal

        from langchain_kimi.cli import main as run

        status = run()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by Ctrl-C.\n")
        return 130
    # From here on the interpreter only shuts down, where a KeyboardInterrupt would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


if __name__ == "__main__":
    sys.exit(main())
