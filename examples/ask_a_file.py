"""Questions to a file: Kimi extracts its text. Live with MOONSHOT_API_KEY, else on a scripted local server."""

import os
import sys

from langchain_core.messages import SystemMessage

from langchain_kimi import ChatKimi, KimiPlatform
from langchain_kimi.testing import KimiServer, Reply, Request, said


def main(model: ChatKimi, path: str, question: str) -> str:
    """Upload the file, put its text before the question, answer, remove the upload."""
    platform = KimiPlatform.from_model(model)
    document = platform.files.load(path, delete=True)
    messages = [SystemMessage(document.page_content), ("user", question)]
    print(f"{document.metadata['source']}: {platform.count_tokens(messages).total} tokens with the question")
    answer = model.invoke(messages)
    print(answer.text)
    return answer.text


def script(request: Request) -> Reply:
    """Plays the model: it counts the lines of the text that it was given."""
    lines = request.messages[0]["content"].splitlines()
    return said(f"It has {len(lines)} lines and begins with {lines[0]!r}.", thinking="I read the system message.")


if __name__ == "__main__":
    question = sys.argv[1] if len(sys.argv) > 1 else "What is in this file?"
    path = sys.argv[2] if len(sys.argv) > 2 else __file__
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"), path, question)
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted)")
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"), path, question)
