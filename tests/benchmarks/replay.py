"""Replaying 1,000 recorded interactions: our cassettes against VCR.py's default, and against parsing the file alone.

Both replay the same requests of a synchronous httpx2 client, recorded from one KimiServer: streamed answers of about
25 events. Times are CPU seconds, the best of three; `open` is until the first request can be played.

    python tests/benchmarks/replay.py [--requests 1000] [--seed 1]
"""

import argparse
import logging
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import orjson
import vcr

from langchain_kimi.testing import KimiServer, Reply, Request, thought
from langchain_kimi.testing.cassettes import Cassette
from langchain_kimi.testing.serialization import parse_yaml

KEY = {"authorization": "Bearer sk-benchmark-0123456789"}
WORDS = ("river", "mill", "toward", "a", "grey", "and", "patient", "sea", "while", "gulls", "argue", "over", "bread")
Opened = Callable[[], AbstractContextManager[Any]]


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def bodies(requests: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    messages = [[{"role": "user", "content": f"{number}: {text(chance, 20)}"}] for number in range(requests)]
    return [orjson.dumps({"model": "kimi-k2.6", "stream": True, "messages": each}) for each in messages]


def script(request: Request) -> Reply:
    chance = random.Random(str(request.last["content"]))
    return thought(text(chance, 8)).saying(text(chance, 12))


def ask(url: str, asked: list[bytes]) -> int:
    """All answers of a run, read event by event; their bytes."""
    size = 0
    with httpx2.Client(headers=KEY) as client:
        for body in asked:
            with client.stream("POST", f"{url}/chat/completions", content=body) as answer:
                assert answer.status_code == 200
                size += sum(len(piece) for piece in answer.iter_bytes())
    return size


def timed(opened: Opened, url: str, asked: list[bytes]) -> tuple[float, float, int]:
    """Seconds to open and to replay, and the bytes of the answers."""
    begun = time.process_time()
    with opened():
        ready = time.process_time()
        size = ask(url, asked)
        done = time.process_time()
    return ready - begun, done - ready, size


def best(opened: Opened, url: str, asked: list[bytes], times: int) -> tuple[float, float, int]:
    return min((timed(opened, url, asked) for _ in range(times)), key=lambda each: each[0] + each[1])


def parsing(path: Path) -> float:
    begun = time.process_time()
    parse_yaml(path.read_text())
    return time.process_time() - begun


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--requests", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    logging.disable(logging.CRITICAL)
    asked = bodies(chosen.requests, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "a.kimi.yaml"), Path(folder, "a.yaml")
        with KimiServer(script) as server:
            with Cassette(ours, record="all"):
                ask(server.url, asked)
            with vcr.use_cassette(str(theirs), record_mode="all"):
                ask(server.url, asked)
            url = server.url
        opening, replaying, size = best(lambda: Cassette(ours), url, asked, 3)
        vcr_opening, vcr_replaying, vcr_size = best(
            lambda: vcr.use_cassette(str(theirs), record_mode="none"), url, asked, 1
        )
        parsed = min(parsing(ours) for _ in range(3))
        print(
            f"Python {platform.python_version()}, vcrpy {version('vcrpy')}, {os.cpu_count()} cores, {len(asked)} asked"
        )
        print(f"{'':14}{'open':>10}{'replay':>10}{'together':>10}{'file':>12}{'answers':>12}")
        for name, begin, play, path, answers in (
            ("ours", opening, replaying, ours, size),
            ("vcrpy", vcr_opening, vcr_replaying, theirs, vcr_size),
        ):
            file = path.stat().st_size
            print(f"{name:14}{begin:9.2f}s{play:9.2f}s{begin + play:9.2f}s{file / 1e6:10.2f}MB{answers / 1e6:10.2f}MB")
        together = opening + replaying
        ratio = together / (vcr_opening + vcr_replaying)
        print(f"ours / vcrpy: {ratio:.3f}; ours / parsing the file alone ({parsed:.2f}s): {together / parsed:.2f}")


if __name__ == "__main__":
    main()
