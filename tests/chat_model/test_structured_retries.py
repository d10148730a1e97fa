"""An answer that is no valid object is asked for again, with what was wrong, and counted."""

from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_kimi import UsageMeter, create_kimi_agent
from langchain_kimi.errors import StructuredOutputError
from langchain_kimi.testing import Reply, called, said, thought
from tests.conftest import FOUR_WAYS, PAIRED, Serve, kimi


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int = Field(ge=1)


class Town(TypedDict):
    """A town."""

    name: str
    inhabitants: int


FIXED = '{"name":"Oslo","inhabitants":717710}'
SCHEMA: dict[str, Any] = {
    "title": "Village",
    "description": "A village.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer", "maximum": 1_000_000}},
    "required": ["name", "inhabitants"],
}


async def run(runnable: Any, way: str, config: Any = None) -> Any:
    if way == "invoke":
        return runnable.invoke("The largest?", config)
    if way == "ainvoke":
        return await runnable.ainvoke("The largest?", config)
    if way == "stream":
        return list(runnable.stream("The largest?", config))[-1]
    return [part async for part in runnable.astream("The largest?", config)][-1]


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("I do not know.", "it holds no JSON object"),
        ('{"name": "Oslo", "inhabitants": 0}', "greater than or equal to 1"),
        ('{"name": "Oslo"', "it holds no JSON object"),
    ],
)
async def test_the_model_is_asked_once_more_with_what_was_wrong(serve: Serve, way: str, wrong: str, words: str) -> None:
    server = serve([thought("Hm.").saying(wrong), said(FIXED)])
    meter = UsageMeter()
    city = await run(kimi(server).with_structured_output(City), way, {"callbacks": [meter]})
    assert city == City(name="Oslo", inhabitants=717710)
    first, second = server.requests
    assert second.messages[: len(first.messages)] == first.messages
    answer, correction = second.messages[len(first.messages) :]
    assert answer == {"role": "assistant", "content": wrong, "reasoning_content": "Hm."}
    assert words in correction["content"]
    assert "errors.pydantic.dev" not in correction["content"]
    assert correction["role"] == "user"
    assert meter.total.requests == 2


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("schema", [Town, SCHEMA], ids=["TypedDict", "JSON Schema"])
async def test_a_dict_is_checked_against_its_schema(serve: Serve, way: str, schema: Any) -> None:
    server = serve([said('{"name":"Oslo","inhabitants":"many"}'), said(FIXED)])
    assert await run(kimi(server).with_structured_output(schema), way) == {"name": "Oslo", "inhabitants": 717710}
    assert "`$.inhabitants`: 'many' is not of type 'integer'." in server.requests[1].messages[-1]["content"]


@FOUR_WAYS
async def test_a_call_is_answered_with_what_was_wrong(serve: Serve, way: str) -> None:
    server = serve([called("City", name="Oslo", inhabitants=-1), called("City", name="Oslo", inhabitants=717710)])
    runnable = kimi(server, thinking=False).with_structured_output(City, method="function_calling")
    assert await run(runnable, way) == City(name="Oslo", inhabitants=717710)
    correction = server.requests[1].messages[-1]
    assert correction["role"] == "tool"
    assert "greater than or equal to 1" in correction["content"]


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize(("retries", "requests"), [(None, 2), (0, 1), (3, 4)])
async def test_the_number_of_retries_is_bounded_and_settable(
    serve: Serve, way: str, retries: int | None, requests: int
) -> None:
    server = serve(lambda request: said("I do not know."))
    settings = {} if retries is None else {"max_validation_retries": retries}
    with pytest.raises(StructuredOutputError, match="no JSON object") as caught:
        await run(kimi(server).with_structured_output(City, **settings), way)
    assert caught.value.llm_output == "I do not know."
    assert len(server.requests) == requests


@pytest.mark.parametrize("retries", [-1, 1.5, True, "2"])
def test_another_number_is_refused(serve: Serve, retries: Any) -> None:
    with pytest.raises(ValueError, match="max_validation_retries"):
        kimi(serve([])).with_structured_output(City, max_validation_retries=retries)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_an_agents_object_is_asked_for_again_and_counted(serve: Serve, way: str) -> None:
    replies: list[Reply] = [said("Oslo."), said("It is Oslo."), said(FIXED)]
    agent = create_kimi_agent(kimi(serve(replies)), response_format=City)
    given = {"messages": [("user", "The largest?")]}
    state = agent.invoke(given) if way == "invoke" else await agent.ainvoke(given)
    assert state["structured_response"] == City(name="Oslo", inhabitants=717710)
    assert state["spent"]["requests"] == 3
    assert [message.text for message in state["messages"]] == ["The largest?", "Oslo."]


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("thinking", [True, False])
async def test_every_method_asks_again_with_what_was_wrong(serve: Serve, way: str, method: Any, thinking: bool) -> None:
    server = serve([said('{"name":"Oslo","inhabitants":0}'), said(FIXED)])
    runnable = kimi(server, thinking=thinking).with_structured_output(City, method=method)
    assert await run(runnable, way) == City(name="Oslo", inhabitants=717710)
    first, second = server.requests
    assert second.messages[: len(first.messages)] == first.messages
    assert "greater than or equal to 1" in second.messages[-1]["content"]
    assert {key: value for key, value in second.json.items() if key != "messages"} == {
        key: value for key, value in first.json.items() if key != "messages"
    }


@FOUR_WAYS
async def test_raw_is_the_last_answer_and_its_error_the_last_error(serve: Serve, way: str) -> None:
    server = serve([said("Hm."), said(FIXED), said("Hm."), said("No.")])
    runnable = kimi(server).with_structured_output(City, include_raw=True)
    outcome = await run(runnable, way)
    assert (outcome["raw"].text, outcome["parsed"], outcome["parsing_error"]) == (
        FIXED,
        City(name="Oslo", inhabitants=717710),
        None,
    )
    outcome = await run(runnable, way)
    assert (outcome["raw"].text, outcome["parsed"]) == ("No.", None)
    assert isinstance(outcome["parsing_error"], StructuredOutputError)
    assert len(server.requests) == 4


@FOUR_WAYS
async def test_tools_that_stay_are_in_both_requests(serve: Serve, way: str) -> None:
    def look(place: str) -> str:
        """Look somewhere."""
        raise AssertionError("never")

    server = serve([said("Oslo."), said(FIXED)])
    runnable = kimi(server).with_structured_output(City, keep_tools=[look])
    assert await run(runnable, way) == City(name="Oslo", inhabitants=717710)
    first, second = (request.json for request in server.requests)
    assert first["tools"] == second["tools"]
    assert first["tool_choice"] == second["tool_choice"] == "none"
