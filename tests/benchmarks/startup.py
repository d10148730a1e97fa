"""What it takes to import and to make a model: ChatKimi beside ChatOpenAI and beside LangChain's own base.

    python tests/benchmarks/startup.py [rounds]

Each import runs in a fresh interpreter, in turns; a figure is the median CPU time less that of an empty interpreter.
All modules are compiled, as after an installation.
"""

import os
import statistics
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
    """CPU time of a fresh interpreter that runs a statement."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = os.spawnve(os.P_NOWAIT, sys.executable, [sys.executable, "-c", statement], environment)
    _, status, usage = os.wait4(process, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def seconds_to_make(model: type[ChatKimi] | type[ChatOpenAI]) -> float:
    """Seconds of a constructor that has run before."""
    start = time.perf_counter()
    for _ in range(100):
        model(model="kimi-k2.6", api_key=SecretStr("sk-benchmark"))
    return (time.perf_counter() - start) / 100


def main(rounds: int) -> None:
    """Measure, print a table."""
    taken = {name: [] for name in IMPORTS} | {"ChatKimi(…)": [], "ChatOpenAI(…)": []}
    for statement in IMPORTS.values():
        seconds_to_run(statement)  # compiles what is not compiled yet
    for _ in range(rounds):
        for name, statement in IMPORTS.items():
            taken[name].append(seconds_to_run(statement))
        taken["ChatKimi(…)"].append(seconds_to_make(ChatKimi))
        taken["ChatOpenAI(…)"].append(seconds_to_make(ChatOpenAI))
    empty = statistics.median(taken.pop("nothing"))
    costs = {name: statistics.median(times) - (empty if name in IMPORTS else 0) for name, times in taken.items()}
    base = costs["floor: langchain_core's chat model"]
    for name, cost in costs.items():
        print(f"{name:42} {cost * 1000:8.2f} ms" + (f"  {cost / base:5.2f} of floor" if name in IMPORTS else ""))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
