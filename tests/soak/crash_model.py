"""The model of `crash.py`: what it says is a pure function of the request, with strings that are easily damaged."""

import json
import random
import time
from collections.abc import Iterator

from langchain_kimi.testing import Reply, Request, said

AWKWARD = (
    "ünï",
    "line\u2028paragraph\u2029",
    "日本語",
    '"quoted" \\ back',
    "tab\there",
    "🙂",
    "{brace: 1}",
    "\n\n",
    " end ",
)


def rounds(task: str) -> int:
    """How many rounds of calls a task takes."""
    return random.Random(task).randint(2, 4)


def thinking(task: str, turn: int) -> str:
    """What the model thinks in a turn of a task."""
    chance = random.Random(f"{task}/{turn}/thinking")
    return f"{task}, turn {turn}: " + " ".join(chance.choices(AWKWARD, k=chance.randint(1, 30)))


def calls(task: str, turn: int) -> list[tuple[str, str, str]]:
    """The calls of a turn as the model writes them: id, name, argument string."""
    chance = random.Random(f"{task}/{turn}/calls")
    made = []
    for place in range(chance.randint(1, 4)):
        name = chance.choice(["work", "work_async", "work_async", "work", "fly"])
        text = chance.choice(["", "", "", "fail "]) + " ".join(chance.choices(AWKWARD, k=3)) + f" {turn}.{place}"
        value = json.dumps(text, ensure_ascii=chance.random() < 0.5)
        ways = (f'{{"text": {value}}}', f'{{  "text":{value} ,"more" : 1e2}}', f'{{"text":{value}}}\n')
        arguments = chance.choice(ways)
        number = 1000 * int(task.rpartition(" ")[2]) + 10 * turn + place
        made.append((f"functions.{name}:{number}", name, arguments))
    return made


def script(request: Request) -> Reply:
    """The model: a pure function of the request."""
    spoken = [at for at, message in enumerate(request.messages) if message["role"] == "user"]
    task = request.messages[spoken[-1]]["content"]
    turn = sum(message["role"] == "assistant" for message in request.messages[spoken[-1] :])
    thought = thinking(task, turn)
    slow = random.Random(f"{task}/{turn}/slow").random() < 0.6
    reply = said(f"done: {task}", thinking=_slowly(thought) if slow else thought)
    if turn >= rounds(task):
        return reply
    reply = reply.saying("")
    for call_id, name, arguments in calls(task, turn):
        reply = reply.calling_raw(name, arguments, call_id)
    return reply


def _slowly(text: str) -> Iterator[str]:
    for start in range(0, len(text), 8):
        time.sleep(0.002)
        yield text[start : start + 8]
