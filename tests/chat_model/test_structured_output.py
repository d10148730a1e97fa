"""The ladder of structured output."""

import json
import warnings
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_kimi import KimiWarning
from langchain_kimi.errors import (
    StructuredOutputError,
)
from langchain_kimi.testing import (
    Request,
    called,
    said,
)
from tests.conftest import Serve, kimi

GOOD = {"setup": "Why?", "punchline": "Because."}


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


def as_asked(request: Request) -> Any:
    """Answers in the form asked for."""
    if "response_format" in request.json:
        return said(json.dumps(GOOD), thinking="hm")
    return called("Joke", **GOOD).thinking("hm")


@pytest.mark.parametrize(
    ("model", "settings", "method", "wire"),
    [
        ("kimi-k2.6", {}, None, {"response_format": "json_schema"}),
        ("kimi-k3", {}, None, {"response_format": "json_schema"}),
        ("kimi-k2.6", {}, "function_calling", {"tool_choice": "named", "thinking": "disabled"}),
        ("kimi-k2.6", {"thinking": True}, "function_calling", {"tool_choice": "auto", "thinking": "enabled"}),
        ("kimi-k2.7-code", {}, "function_calling", {"tool_choice": "auto"}),
        ("kimi-k3", {}, "function_calling", {"tool_choice": "required"}),
        ("kimi-k2.5", {}, None, {"tool_choice": "named", "thinking": "disabled"}),
        ("kimi-k2-thinking", {}, "json_schema", {"tool_choice": "auto"}),
        ("kimi-k2.6", {}, "json_mode", {"response_format": "json_object"}),
    ],
)
async def test_ladder_of_structured_output(
    serve: Serve, model: str, settings: dict[str, Any], method: Any, wire: dict[str, str]
) -> None:
    server = serve(as_asked, models=("kimi-k2.5", "kimi-k2-thinking"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", KimiWarning)
        structured = kimi(server, model, **settings).with_structured_output(Joke, method=method)
        assert structured.invoke("Tell one.") == Joke(**GOOD) == await structured.ainvoke("Tell one.")
    sent = server.requests[0].json
    choice = sent.get("tool_choice")
    seen = {
        "response_format": sent.get("response_format", {}).get("type"),
        "tool_choice": "named" if isinstance(choice, dict) else choice,
        "thinking": sent.get("thinking", {}).get("type"),
    }
    assert {key: value for key, value in seen.items() if value} == wire


async def test_model_that_cannot_be_forced_is_asked_again_then_given_up(serve: Serve) -> None:
    def stubborn(request: Request) -> Any:
        said_so_far = sum(message["role"] == "assistant" for message in request.messages)
        return (
            called("Joke", setup="Why?") if said_so_far == 0 else said("No.") if said_so_far == 1 else as_asked(request)
        )

    server = serve(stubborn)
    structured = kimi(server, thinking=True).with_structured_output(Joke, method="function_calling")
    assert structured.invoke("Tell one.") == await structured.ainvoke("Tell one.") == Joke(**GOOD)
    assert len(server.requests) == 6
    assert "punchline" in server.requests[1].last["content"]
    assert server.requests[1].last["role"] == "tool"

    server = serve(lambda request: said("I would rather not."))
    structured = kimi(server, thinking=True).with_structured_output(Joke, method="function_calling")
    with pytest.raises(StructuredOutputError, match="holds no JSON object") as caught:
        structured.invoke("Tell one.")
    assert caught.value.llm_output == "I would rather not."
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "text", [json.dumps(GOOD), f"```json\n{json.dumps(GOOD)}\n```", f"Here: {json.dumps(GOOD)} ok?"]
)
def test_json_is_found_plain_fenced_and_among_words(serve: Serve, text: str) -> None:
    structured = kimi(serve([said(text)])).with_structured_output(Joke.model_json_schema())
    assert structured.invoke("Tell one.") == GOOD


def test_include_raw_reports_instead_of_raising(serve: Serve) -> None:
    structured = kimi(serve([said("{}")] * 2)).with_structured_output(Joke, include_raw=True)
    outcome = structured.invoke("Tell one.")
    assert outcome["parsed"] is None
    assert outcome["raw"].content == "{}"
    assert isinstance(outcome["parsing_error"], StructuredOutputError)
