"""The local estimate of tokens: everything that Kimi counts, once, without asking anyone."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_kimi import ChatKimi, tokens
from langchain_kimi.catalogue import find
from langchain_kimi.tools import web_search

PNG = "iVBORw0KGgo" + "A" * 40_000
USED: Any = {"input_tokens": 900, "output_tokens": 100, "total_tokens": 1_000}


def called(arguments: str, **more: Any) -> AIMessage:
    call = {"id": "add:0", "name": "add", "args": {"a": 1}}
    kept = {"kimi_calls": [{"id": "add:0", "name": "add", "arguments": arguments}]}
    return AIMessage("", tool_calls=[call], additional_kwargs=kept, **more)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog. " * 100, 1_000, 1_200),
        ("月之暗面发布了新的模型，" * 100, 600, 800),
        ("Быстрая лиса прыгает. " * 100, 600, 1_000),
        ("", 0, 0),
        ("a", 1, 1),
        ("\ud800", 1, 1),
    ],
    ids=["english", "chinese", "russian", "empty", "one", "half a character"],
)
def test_text_counts_by_its_script(text: str, least: int, most: int) -> None:
    assert least <= tokens.count_text(text) <= most


def test_thinking_counts_once_wherever_it_stands() -> None:
    thought = "I should add the numbers. " * 40
    as_key = AIMessage("ok", additional_kwargs={"reasoning_content": thought})
    block = [{"type": "reasoning", "reasoning": thought}, {"type": "text", "text": "ok"}]
    as_block = AIMessage(block)  # type: ignore[arg-type]
    both = AIMessage(block, additional_kwargs={"reasoning_content": thought})  # type: ignore[arg-type]
    assert tokens.count([as_key]) == tokens.count([as_block]) == tokens.count([both])
    assert tokens.count([as_key]) - tokens.count([AIMessage("ok")]) == tokens.count_text(thought)


def test_calls_count_by_the_argument_string_that_kimi_sent() -> None:
    long = '{"a":' + " " * 400 + "1}"
    added = tokens.count_text(long) - tokens.count_text('{"a":1}')
    assert tokens.count([called(long)]) - tokens.count([called('{"a":1}')]) == added > 5
    v1 = called(long).model_copy(update={"content": [{"type": "tool_call", "id": "add:0", "name": "add", "args": {}}]})
    assert tokens.count([v1]) == tokens.count([called(long)])


def test_results_pictures_and_videos_count() -> None:
    assert tokens.count([ToolMessage("word " * 100, tool_call_id="1")]) > tokens.count([]) + 100
    picture = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    video = {"type": "video_url", "video_url": {"url": "ms://abc"}}
    blocks: list[Any] = [picture, url, video]
    shown = [tokens.count_message(HumanMessage([block])) - tokens.overhead(HumanMessage("")) for block in blocks]
    assert shown == [tokens.PER_IMAGE, tokens.PER_IMAGE, tokens.PER_VIDEO]


def test_tools_count_in_every_form_that_bind_tools_takes() -> None:
    @tool
    def search(query: str) -> str:
        """Search the archive of all letters for words."""
        return query

    class Search(BaseModel):
        """Search the archive of all letters for words."""

        query: str = Field(description="the words")

    declared = {"type": "function", "function": {"name": "f", "description": "word " * 100, "parameters": {}}}
    for form in (search, search.func, Search, declared, {"type": "builtin_function", "function": {"name": "$x"}}):  # type: ignore[attr-defined]
        assert tokens.count([], [form]) > tokens.count([]) + 5
    assert tokens.count([], [declared]) > tokens.count([]) + 100
    assert tokens.count([], [object()]) > tokens.count([])
    assert 5 < tokens.count_tools([web_search()]) < 100
    brought = SystemMessage("", additional_kwargs={"tools": [declared]})
    dynamic_frame = 56 - 11 - 35
    assert tokens.count([brought]) == tokens.count([SystemMessage("")]) + tokens.count_tools([declared]) + dynamic_frame


def test_the_model_counts_the_same_without_a_server() -> None:
    model = ChatKimi(model="kimi-k2.6", api_key="sk-test")
    messages: list[BaseMessage] = [HumanMessage("word " * 800), AIMessage("short"), HumanMessage("last")]
    frames = tokens.frames_of(find("kimi-k2.6"))
    assert model.get_num_tokens_from_messages(messages) == tokens.count(messages, frames=frames)
    assert trim_messages(messages, max_tokens=200, token_counter=model) == messages[1:]


def test_counting_leaves_messages_as_they_are() -> None:
    messages = [called('{"a":1}'), ToolMessage("2", tool_call_id="add:0")]
    copies = [message.model_copy(deep=True) for message in messages]
    tokens.count(messages)
    assert messages == copies
