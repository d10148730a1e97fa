"""What it takes to import and to make a model: ChatKimi beside ChatOpenAI and beside LangChain's own base.

    python tests/benchmarks/startup.py [rounds]

Each import runs in a fresh interpreter, in turns; a figure is the median wall time less that of an empty interpreter.
"""

import statistics
import subprocess
import sys
import time

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_kimi import ChatKimi

IMPORTS = {
    "nothing": "pass",
    "floor: langchain_core's chat model": "import langchain_core.language_models.chat_models",
    "import langchain_kimi": "import langchain_kimi",
    "from langchain_kimi import ChatKimi": "from langchain_kimi import ChatKimi",
    "from langchain_openai import ChatOpenAI": "from langchain_openai import ChatOpenAI",
}


def seconds_to_run(statement: str) -> float:
    """Wall time of a fresh interpreter that runs a statement."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - begun


def seconds_to_make(model: type[ChatKimi] | type[ChatOpenAI]) -> float:
    """Wall time of a constructor that has run once before."""
    begun = time.perf_counter()
    model(model="kimi-k2.6", api_key=SecretStr("sk-benchmark"))
    return time.perf_counter() - begun


def main(rounds: int) -> None:
    """Measure, print a table."""
    taken = {name: [] for name in IMPORTS} | {"ChatKimi(…)": [], "ChatOpenAI(…)": []}
    for _ in range(rounds):
        for name, statement in IMPORTS.items():
            taken[name].append(seconds_to_run(statement))
        taken["ChatKimi(…)"].append(seconds_to_make(ChatKimi))
        taken["ChatOpenAI(…)"].append(seconds_to_make(ChatOpenAI))
    empty = statistics.median(taken.pop("nothing"))
    for name, times in taken.items():
        cost = statistics.median(times) - (empty if "import" in name or "floor" in name else 0)
        print(f"{name:42} {cost * 1000:8.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
