"""`with_structured_output(…).stream()` yields the object while it grows, and the valid one last."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_kimi import UsageMeter
from langchain_kimi.chat_model.schema_reader import SchemaReader
from langchain_kimi.errors import BrokenStreamError, StructuredOutputError
from langchain_kimi.testing import cut_after, said, thought
from tests.conftest import PAIRED, Serve, kimi


class Report(TypedDict):
    """A report."""

    title: str
    points: list[str]


class City(BaseModel):
    """A city."""

    name: str
    note: str = ""


OSLO = City(name="Oslo", note="Capital of Norway, on a fjord.")
SCHEMA: dict[str, Any] = {
    "title": "Report",
    "description": "A report.",
    "type": "object",
    "properties": {"title": {"type": "string"}, "points": {"type": "array", "items": {"type": "string"}}},
    "required": ["title", "points"],
}
REPORT = {"title": "Whales of the north", "points": ["They are large.", "They sing."]}
TEXT = json.dumps(REPORT)
METHODS = ["json_schema", "function_calling", "json_mode"]
WAYS = ["stream", "astream"]


async def streamed(runnable: Any, way: str, config: Any = None) -> list[Any]:
    if way == "stream":
        return list(runnable.stream("A report, as JSON.", config))
    return [part async for part in runnable.astream("A report, as JSON.", config)]


def answer(method: str, value: dict[str, Any], schema: str = "Report") -> Any:
    if method == "function_calling":
        return thought("Hm.").calling(schema, **value)
    return thought("Hm.").saying(json.dumps(value))


def grows(earlier: Any, later: Any) -> bool:
    """Whether a value has all that an earlier one had, and may have more at its end."""
    if isinstance(later, dict):
        return all(key in later and grows(value, later[key]) for key, value in earlier.items())
    if isinstance(later, list):
        return len(earlier) <= len(later) and all(map(grows, earlier, later))
    return bool(later.startswith(earlier))


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Report, SCHEMA], ids=["TypedDict", "JSON Schema"])
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_a_dict_grows_until_it_is_whole(serve: Serve, way: str, method: Any, schema: Any, version: str) -> None:
    server = serve([answer(method, REPORT)])
    model = kimi(server, thinking=False if method == "function_calling" else None, output_version=version)
    parts = await streamed(model.with_structured_output(schema, method=method), way)
    assert parts[-1] == REPORT
    assert len(parts) >= 4
    assert all(grows(earlier, later) and earlier != later for earlier, later in pairwise(parts))
    assert any(part.get("title") not in (None, REPORT["title"]) for part in parts)  # a text, while it is written


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_pydantic_class_is_yielded_as_soon_as_it_is_valid(serve: Serve, way: str, method: Any) -> None:
    server = serve([answer(method, dict(OSLO), "City")])
    model = kimi(server, thinking=False if method == "function_calling" else None)
    parts = await streamed(model.with_structured_output(City, method=method), way)
    assert parts[-1] == OSLO
    assert all(isinstance(part, City) for part in parts)
    assert len(parts) > 1
    assert "Oslo".startswith(parts[0].name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
async def test_after_an_invalid_object_that_of_the_next_answer_grows(serve: Serve, way: str, method: Any) -> None:
    server = serve([answer(method, {"title": "Whales"}), answer(method, REPORT)])
    meter = UsageMeter()
    model = kimi(server, thinking=False if method == "function_calling" else None)
    parts = await streamed(model.with_structured_output(Report, method=method), way, {"callbacks": [meter]})
    assert parts[-1] == REPORT
    assert {"title": "Whales"} in parts
    assert meter.total.requests == 2
    assert server.requests[1].messages[-2]["role"] == "assistant"
    assert "'points' is a required property" in server.requests[1].messages[-1]["content"]


@pytest.mark.parametrize("way", WAYS)
async def test_no_valid_object_raises_after_what_has_grown(serve: Serve, way: str) -> None:
    server = serve(lambda request: said('{"title": "Whales"}'))
    runnable = kimi(server).with_structured_output(Report)
    with pytest.raises(StructuredOutputError, match="'points' is a required property"):
        await streamed(runnable, way)
    assert len(server.requests) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_include_raw_is_one_dict(serve: Serve, way: str) -> None:
    runnable = kimi(serve([said(TEXT)])).with_structured_output(Report, include_raw=True)
    (only,) = await streamed(runnable, way)
    assert (only["parsed"], only["parsing_error"], only["raw"].text) == (REPORT, None, TEXT)


@pytest.mark.parametrize("way", WAYS)
async def test_a_model_that_is_not_streamed_yields_the_whole_object(serve: Serve, way: str) -> None:
    runnable = kimi(serve([said(TEXT)]), disable_streaming=True).with_structured_output(Report)
    assert await streamed(runnable, way) == [REPORT]


@pytest.mark.parametrize("way", WAYS)
async def test_objects_arrive_while_the_answer_is_written(serve: Serve, way: str) -> None:
    seen = threading.Event()

    def pieces() -> Iterator[str]:
        yield '{"title": "Whales"'
        assert seen.wait(20)
        yield ', "points": []}'

    runnable = kimi(serve([said(pieces())])).with_structured_output(Report)
    if way == "stream":
        for part in runnable.stream("?"):  # noqa: B007
            seen.set()
    else:
        async for part in runnable.astream("?"):  # noqa: B007
            seen.set()
    assert part == {"title": "Whales", "points": []}


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_breaks_off_raises(serve: Serve, way: str) -> None:
    runnable = kimi(serve([cut_after(said(TEXT), events=6)])).with_structured_output(Report)
    with pytest.raises(BrokenStreamError):
        await streamed(runnable, way)


@pytest.mark.parametrize("way", WAYS)
async def test_behind_a_prompt_and_before_a_function_it_streams_as_well(serve: Serve, way: str) -> None:
    def titles(parts: Iterator[Any]) -> Iterator[Any]:
        yield from (part["title"] for part in parts if "title" in part)

    async def atitles(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for part in parts:
            if "title" in part:
                yield part["title"]

    prompt = ChatPromptTemplate.from_messages([("user", "A report on {topic}")])
    chain = prompt | kimi(serve([said(TEXT)])).with_structured_output(Report) | RunnableGenerator(titles, atitles)
    if way == "stream":
        parts = [*chain.stream({"topic": "whales"})]
    else:
        parts = [part async for part in chain.astream({"topic": "whales"})]
    assert len(parts) > 2
    assert parts[-1] == REPORT["title"]


async def test_the_trace_has_the_model_below_the_runnable(serve: Serve) -> None:
    runnable = kimi(serve([said(TEXT)])).with_structured_output(Report)
    events = [event async for event in runnable.astream_events("?", version="v2")]
    names = {event["run_id"]: event["name"] for event in events}
    assert set(names.values()) == {"structured_output", "ChatKimi"}
    (model,) = {tuple(event["parent_ids"]) for event in events if event["name"] == "ChatKimi"}
    assert [names[parent] for parent in model] == ["structured_output"]


async def test_parsing_a_long_object_takes_time_for_its_length_only(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:

    read: list[int] = []
    real = SchemaReader.read_partial
    monkeypatch.setattr(SchemaReader, "read_partial", lambda self, text: read.append(len(text)) or real(self, text))
    long = {"title": "x" * 40_000, "points": []}
    runnable = kimi(serve([said(json.dumps(long))])).with_structured_output(Report)
    assert [*runnable.stream("?")][-1] == long
    assert sum(read) < 100 * 40_000
