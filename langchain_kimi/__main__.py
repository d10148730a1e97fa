"""`python -m langchain_kimi`."""

import sys

from langchain_kimi.cli import main

if __name__ == "__main__":
    sys.exit(main())
