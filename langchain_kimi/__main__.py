"""`python -m langchain_kimi`."""

import sys

if __name__ == "__main__":
    try:
        from langchain_kimi.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by Ctrl-C.\n")
        sys.exit(130)
    sys.exit(main())
