"""A chat with the thinking shown as it arrives. Live with MOONSHOT_API_KEY, else on a scripted local server."""

import os

from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage

from langchain_kimi import ChatKimi
from langchain_kimi.testing import KimiServer, said


def ask(model: ChatKimi, history: list[BaseMessage], question: str) -> list[BaseMessage]:
    """Stream one answer; the history with it, thinking included, so that the next turn builds on it."""
    history = [*history, HumanMessage(question)]
    answer: AIMessageChunk | None = None
    for chunk in model.stream(history):
        for block in chunk.content_blocks:
            if block["type"] == "reasoning":
                print(f"\033[2m{block['reasoning']}\033[0m", end="", flush=True)
            elif block["type"] == "text":
                print(block["text"], end="", flush=True)
        answer = chunk if answer is None else answer + chunk
    print()
    assert answer is not None
    return [*history, answer]


def main(model: ChatKimi) -> list[BaseMessage]:
    """Two turns; the second sends the first one's thinking back to the model."""
    history = ask(model, [], "Is 91 a prime number?")
    return ask(model, history, "And 97?")


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"))
    else:
        print("(no MOONSHOT_API_KEY: the answers are scripted)")
        script = [
            said("No: 91 = 7 × 13.", thinking="91 is odd and not divisible by 3 or 5; 7 × 13 = 91. "),
            said("Yes, 97 is prime.", thinking="Below 10 the primes are 2, 3, 5, 7; none divides 97. "),
        ]
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"))
