"""What limits that processes share let through, and what they cost: 8 workers, the real Redis, a host that counts.

    python tests/benchmarks/shared_limits.py concurrency [seconds]
    python tests/benchmarks/shared_limits.py requests [seconds]
    python tests/benchmarks/shared_limits.py tokens [seconds]
    python tests/benchmarks/shared_limits.py killed [seconds]
    python tests/benchmarks/shared_limits.py cost

The times are those of users: a window of 60 seconds, leases of 15. `allowed` is what the limits allow in the time: a
full limit at the beginning and after each window, or answers without a pause. `killed` is `concurrency` with a worker
that is killed every twenty seconds and started again; its leases, free after 15 seconds, count as allowed.
`cost` measures slots of one process for which nobody has to wait.
"""

import asyncio
import itertools
import math
import statistics
import sys
import time
from typing import Any

from langchain_kimi import RateLimits
from langchain_kimi._shared_limits import Timing
from tests.shared_limits.counting_server import CountingServer, counting_server
from tests.shared_limits.workers import Account, start_worker, workers

WORKERS, ANSWER = 8, 2.0
CONCURRENCY, REQUESTS, TOKENS = 24, 600, 100_000
WORKLOADS: dict[str, dict[str, int]] = {
    "concurrency": {"concurrency": CONCURRENCY},
    "requests": {"rpm": REQUESTS},
    "tokens": {"tpm": TOKENS},
    "killed": {"concurrency": CONCURRENCY},
}


def measure(workload: str, seconds: float) -> None:
    """Run a workload for so long after the first requests of all workers, and print what the host saw."""
    account = Account(WORKLOADS[workload], Timing())
    answer = ANSWER if "concurrency" in account.limits else 0.2
    with counting_server(seconds=answer) as server, workers(WORKERS, account, server.url, at_a_time=8) as started:
        while len({key for _, _, key in list(server.arrivals)}) < WORKERS:
            time.sleep(0.01)
        begin = time.monotonic()
        while (left := begin + seconds - time.monotonic()) > 0:
            time.sleep(min(20.0, left))
            if workload == "killed" and left > 20:
                replace_a_worker(account, started, server.url)
        end = time.monotonic()
    report(workload, server, begin, end)
    account.delete()


def replace_a_worker(account: Account, started: list[Any], url: str) -> None:
    """Kill the first worker and start another."""
    victim = started.pop(0)
    victim.kill()
    victim.join()
    started.append(start_worker(int(time.monotonic()) % WORKERS, account, url, 8))


def report(workload: str, server: CountingServer, begin: float, end: float) -> None:
    """Print a row of the figures."""
    arrivals = [(at, tokens) for at, tokens, _ in server.arrivals if at <= end]
    if workload in ("requests", "tokens"):
        seen = len(arrivals) if workload == "requests" else sum(tokens for _, tokens in arrivals)
        limit = REQUESTS if workload == "requests" else TOKENS
        allowed = limit * (math.floor((end - arrivals[0][0]) / 60.0) + 1.0)
    else:
        seen, allowed = sum(begin <= at for at, _ in arrivals), (end - begin) * CONCURRENCY / ANSWER
    print(f"{workload}: {seen:,} seen of {allowed:,.0f} allowed ({seen / allowed:.1%}) in {end - begin:.0f} s")
    most = server.most_in_progress, server.most_requests(60), server.most_tokens(60)
    print("most: {:,} at a time; in 60 seconds {:,} requests and {:,} tokens".format(*most))


def cost() -> None:
    """Print what a slot costs that nobody has to wait for."""
    account = Account({"concurrency": 100, "rpm": 1_000_000, "tpm": 1_000_000_000}, Timing())
    for name, limits in {"shared": account.rate_limits(), "of one process": RateLimits(concurrency=100)}.items():
        times, cpu = asyncio.run(slots(limits, 2_000))
        quantiles = statistics.quantiles(times, n=100)
        print(f"{name}: {quantiles[49] * 1e6:.0f} µs to begin (p99 {quantiles[98] * 1e6:.0f}), {cpu * 1e6:.0f} µs CPU")
    statistic = account.client().info("commandstats").get("cmdstat_evalsha", {})
    print(f"Redis: {statistic.get('usec_per_call', 0)} µs for a call of a script, of all users of this server")
    account.delete()


async def slots(limits: RateLimits, count: int) -> tuple[list[float], float]:
    """The seconds until each of so many slots began, and the CPU seconds of one."""
    times, cpu = [], time.process_time()
    for _ in itertools.repeat(None, count):
        begin = time.perf_counter()
        async with limits.slot(100) as slot:
            slot.sent()
            times.append(time.perf_counter() - begin)
    return times, (time.process_time() - cpu) / count


if __name__ == "__main__":
    if sys.argv[1] == "cost":
        cost()
    else:
        measure(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 180.0)
