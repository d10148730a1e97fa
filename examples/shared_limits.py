"""Four worker processes share the limits of one account, so that the host refuses none of their requests.

Needs Redis: python examples/shared_limits.py redis://127.0.0.1:6379
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from langchain_kimi import ChatKimi, RateLimits
from langchain_kimi.errors import RateLimitError
from langchain_kimi.testing import KimiServer, Reply, Request, said

REDIS = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379"
WORKERS, QUESTIONS, AT_ONCE = 4, 10, 3


def answer(request: Request) -> Reply:
    """Plays the model, which takes its time."""
    time.sleep(0.05)
    return said("A moth.")


def work(url: str, account: str, shared: str | None) -> int:
    """One worker: it asks all its questions at once. Returns how many were refused."""
    limits = RateLimits(concurrency=AT_ONCE, shared=shared, account=account)
    model = ChatKimi(model="kimi-k3", base_url=url, rate_limits=limits, max_retries=0)

    def is_refused(number: int) -> bool:
        try:
            model.invoke(f"What is number {number}?")
        except RateLimitError:
            return True
        return False

    with ThreadPoolExecutor(QUESTIONS) as pool:
        return sum(pool.map(is_refused, range(QUESTIONS)))


def refused(shared: str | None) -> int:
    """How many requests of all workers the host refuses, which takes three at a time."""
    spawn = multiprocessing.get_context("spawn")
    with KimiServer(answer, concurrency=AT_ONCE) as server, spawn.Pool(WORKERS) as workers:
        jobs = [(server.url, f"example-{os.getpid()}", shared)] * WORKERS
        return sum(workers.starmap(work, jobs, chunksize=1))


if __name__ == "__main__":
    print(f"{WORKERS * QUESTIONS} requests of {WORKERS} workers, {AT_ONCE} at a time")
    print(f"each worker with limits of its own: {'some' if refused(None) else 'none'} refused")
    print(f"with shared limits: {refused(REDIS) or 'none'} refused")
