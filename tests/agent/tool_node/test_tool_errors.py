"""What becomes of a tool's exceptions, of arguments that do not fit a schema, and of tools that cannot run here."""

import asyncio
import functools
import logging
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from pydantic import TypeAdapter, ValidationError

from langchain_kimi import TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team, formula_tools
from langchain_kimi.agent.tool_node.argument_checks import ArgumentChecks
from langchain_kimi.testing import called, fiber_failed, said
from tests.conftest import FOUR_WAYS, PAIRED, SYNC_AND_ASYNC, TWO_OF_FOUR_WAYS, Serve, kimi

GO: Any = {"messages": [("user", "go")]}
RANGE: dict[str, Any] = {
    "type": "object",
    "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 3}, "name": {"$ref": "#/$defs/name"}},
    "required": ["count"],
    "$defs": {"name": {"type": "string", "maxLength": 3}},
}


async def run(agent: Any, way: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last state, and the custom events where the run streams."""
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, GO), []
    if way == "ainvoke":
        return await agent.ainvoke(GO), []
    modes = ["custom", "values"]
    if way == "stream":
        parts = await asyncio.to_thread(lambda: list(agent.stream(GO, stream_mode=modes)))
    else:
        parts = [part async for part in agent.astream(GO, stream_mode=modes)]
    state = [part for mode, part in parts if mode == "values"][-1]
    return state, [part for mode, part in parts if mode == "custom"]


def result(state: dict[str, Any]) -> ToolMessage:
    (message,) = (message for message in state["messages"] if isinstance(message, ToolMessage))
    return message


def broken(x: int) -> str:
    """Break."""
    raise LookupError(f"nothing at {x}, key sk-abcdefghijklmnop")


def script(*tools: Any) -> Any:
    return lambda request: said("done") if request.tool_results() else tools[0]


@TWO_OF_FOUR_WAYS
async def test_an_exception_is_a_result_a_log_record_an_event_and_a_count(
    serve: Serve, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = create_kimi_agent(kimi(serve(script(called("broken", x=1)))), [broken])
    with caplog.at_level(logging.WARNING, "langchain_kimi"):
        state, events = await run(agent, way)
    assert result(state).text == "LookupError: nothing at 1, key sk-***"
    assert result(state).status == "error"
    assert state["spent"]["tool_errors"] == 1
    (record,) = (record for record in caplog.records if "the tool broken raised" in record.getMessage())
    assert record.exc_info is not None
    assert "in broken" in (record.exc_text or "")
    assert "nothing at 1, key sk-***" in (record.exc_text or "")
    assert "sk-abc" not in caplog.text
    if way in ("stream", "astream"):
        (finished,) = (event for event in events if event["event"] == "tool_finished")
        assert finished["error"] == "LookupError: nothing at 1, key sk-***"
        assert finished["status"] == "error"


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize(
    ("choice", "outcome"),
    [
        (True, "LookupError: nothing at 1, key sk-***"),
        (False, None),
        ("try later", "try later"),
        (LookupError, "LookupError: nothing at 1, key sk-***"),
        ((KeyError, ValueError), None),
        (lambda error: isinstance(error, LookupError), "LookupError: nothing at 1, key sk-***"),
        (lambda error: None, None),
        (lambda error: f"sorry: {type(error).__name__}", "sorry: LookupError"),
    ],
    ids=["all", "none", "text", "type", "other types", "yes", "no", "words"],
)
async def test_tool_errors_chooses_what_becomes_a_result(
    serve: Serve, way: str, choice: Any, outcome: str | None
) -> None:
    agent = create_kimi_agent(kimi(serve(script(called("broken", x=1)))), [broken], tool_errors=choice)
    if outcome is None:
        with pytest.raises(LookupError, match="nothing at 1"):
            await run(agent, way)
    else:
        assert result((await run(agent, way))[0]).text == outcome


async def test_a_handlers_annotation_says_which_exceptions_it_takes(serve: Serve) -> None:
    def on_value_error(error: ValueError | KeyError) -> str:
        return "never"

    agent = create_kimi_agent(kimi(serve(script(called("broken", x=1)))), [broken], tool_errors=on_value_error)
    with pytest.raises(LookupError, match="nothing at 1"):
        await agent.ainvoke(GO)


async def test_wrong_arguments_are_a_result_whatever_was_chosen(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(script(called("broken", y=1)))), [broken], tool_errors=False)
    assert "x" in result(await agent.ainvoke(GO)).text


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("nested", [False, True])
async def test_pydantics_error_in_a_tools_own_work_is_the_tools(
    serve: Serve, caplog: pytest.LogCaptureFixture, nested: bool, way: str
) -> None:
    """ToolNode takes it for arguments that do not fit, and may say nothing of what was wrong."""

    def parse(text: str) -> str:
        """Parse."""
        if nested:
            return str(StructuredTool.from_function(broken).invoke({"x": text}))
        return str(TypeAdapter(int).validate_python(text))

    agent = create_kimi_agent(kimi(serve(script(called("parse", text="many")))), [parse])
    state, _ = await run(agent, way)
    content = result(state).text
    assert content.startswith("ValidationError: 1 validation error")
    assert "unable to parse string as an integer" in content
    assert "errors.pydantic.dev" not in content
    assert "the tool parse raised ValidationError" in caplog.text
    with pytest.raises(ValidationError):
        await run(create_kimi_agent(kimi(serve([called("parse", text="many")])), [parse], tool_errors=False), way)


@pytest.mark.parametrize("choice", [(), ("x",), 3, [ValueError], "raise", "results"])
def test_a_choice_that_is_none_is_named(serve: Serve, choice: Any) -> None:
    with pytest.raises(ValueError, match="tool_errors="):
        create_kimi_agent(kimi(serve([])), [broken], tool_errors=choice)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_failed_sub_agent_is_logged_and_counted(
    serve: Serve, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    inner = create_kimi_agent(kimi(serve(script(called("broken", x=1)))), [broken], tool_errors=False)
    helper = agent_as_tool(inner, name="helper", description="Help.")
    agent = create_kimi_agent(kimi(serve(script(called("helper", task="x")))), [helper])
    state, _ = await run(agent, way)
    assert result(state).text == "helper failed: LookupError: nothing at 1, key sk-***"
    assert state["spent"]["tool_errors"] == 1
    assert any("the tool helper raised LookupError" in record.getMessage() for record in caplog.records)


def declared(schema: dict[str, Any], ran: list[Any], *, only_async: bool = False) -> BaseTool:
    def take(**kwargs: Any) -> str:
        ran.append(kwargs)
        return "taken"

    async def atake(**kwargs: Any) -> str:
        return take(**kwargs)

    return StructuredTool(
        name="take", description="Take.", args_schema=schema, func=None if only_async else take, coroutine=atake
    )


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"count": 5}, "`$.count`: 5 is greater than the maximum of 3."),
        ({"count": 0}, "`$.count`: 0 is less than the minimum of 1."),
        ({"count": "2"}, "`$.count`: '2' is not of type 'integer'."),
        ({}, "`$`: 'count' is a required property."),
        ({"count": 1, "name": "abcd"}, "`$.name`: 'abcd' is too long"),
        ({"count": 2, "name": "abc"}, None),
    ],
)
async def test_arguments_are_checked_against_a_dict_schema_before_the_tool_runs(
    serve: Serve, way: str, arguments: dict[str, Any], reason: str | None
) -> None:
    ran: list[Any] = []
    agent = create_kimi_agent(kimi(serve(script(called("take", **arguments)))), [declared(RANGE, ran)])
    state, _ = await run(agent, way)
    if reason is None:
        assert ran == [arguments]
    else:
        assert ran == []
        assert reason in result(state).text
        assert result(state).status == "error"
        assert "tool_errors" not in state["spent"]  # the model's mistake, not the tool's


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"count": {"type": "integer", "minimum": "one"}}},
        {"type": "object", "properties": {"count": {"$ref": "http://127.0.0.1:9/schema.json"}}},
        {"type": "object", "properties": {"count": {"$ref": "#/$defs/nowhere"}}},
    ],
    ids=["invalid", "elsewhere", "nowhere"],
)
def test_a_schema_that_cannot_be_applied_checks_nothing_and_fetches_nothing(
    schema: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    checks = ArgumentChecks({"take": declared(schema, [])})
    assert checks.invalid({"name": "take", "args": {"count": 1}, "id": "1", "type": "tool_call"}) is None
    assert any("the schema of the tool take" in record.getMessage() for record in caplog.records)


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("arguments", [{"count": 1}, {"count": 5}], ids=["valid", "invalid"])
async def test_the_arguments_of_an_asynchronous_tool_are_checked_in_each_way(
    serve: Serve, way: str, arguments: dict[str, Any]
) -> None:
    ran: list[Any] = []
    tool = declared(RANGE, ran, only_async=True)
    state, _ = await run(create_kimi_agent(kimi(serve(script(called("take", **arguments)))), [tool]), way)
    assert ran == ([arguments] if arguments["count"] == 1 else [])
    assert result(state).status == ("success" if ran else "error")


@SYNC_AND_ASYNC
async def test_what_an_asynchronous_tool_raises_is_a_result(serve: Serve, way: str) -> None:
    @tool
    async def broken_later(x: int) -> str:
        """Break."""
        await asyncio.sleep(0)
        return broken(x)

    agent = create_kimi_agent(kimi(serve(script(called("broken_later", x=1)))), [broken_later])
    state, _ = await run(agent, "invoke" if way == "sync" else "ainvoke")
    assert result(state).text == "LookupError: nothing at 1, key sk-***"
    assert state["spent"]["tool_errors"] == 1


async def test_what_a_tool_has_not_implemented_itself_is_an_error_result(serve: Serve) -> None:
    def take(count: int) -> str:
        """Take."""
        raise NotImplementedError("no more than two")

    agent = create_kimi_agent(kimi(serve(script(called("take", count=3)))), [take])
    state = await asyncio.to_thread(agent.invoke, GO)
    assert result(state).text == "NotImplementedError: no more than two"


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize(
    ("own", "text"),
    [
        (True, "no disk"),
        ("Try later.", "Try later."),
        (lambda error: f"Sorry: {error}", "Sorry: no disk"),
    ],
    ids=["true", "text", "function"],
)
async def test_what_a_tool_makes_a_result_by_itself_is_logged_and_counted_too(
    serve: Serve, way: str, own: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    def save(x: int) -> str:
        """Save."""
        raise ToolException("no disk")

    tool = StructuredTool.from_function(save, handle_tool_error=own)
    agent = create_kimi_agent(kimi(serve(script(called("save", x=1)))), [tool], tool_errors=False)
    state, events = await run(agent, way)
    assert result(state).text == text
    assert state["spent"]["tool_errors"] == 1
    assert "the tool save raised ToolException: no disk" in caplog.text
    assert [event["error"] for event in events if event["event"] == "tool_finished"] in (
        [],
        ["ToolException: no disk"],
    )
    assert tool.handle_tool_error is own  # the caller's tool is as it was


@TWO_OF_FOUR_WAYS
async def test_a_formula_that_fails_is_logged_and_counted(
    serve: Serve, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    formula = "moonshot/date:latest"
    model = kimi(serve(script(called("date", operation="now")), formulas={formula: fiber_failed("no clock")}))
    (tool,) = await asyncio.to_thread(formula_tools, formula, model=model)
    state, _ = await run(create_kimi_agent(model, [tool]), way)
    assert result(state).status == "error"
    assert "no clock" in result(state).text
    assert state["spent"]["tool_errors"] == 1
    assert "the tool date raised ToolException" in caplog.text


class Choice:
    """A handler that is an object."""

    def __call__(self, error: ValueError) -> str:
        return "chosen"


def chosen(prefix: str, error: Exception) -> str:
    return f"{prefix} {type(error).__name__}"


def anything(error: Any) -> str:
    return "anything"


@pytest.mark.parametrize(
    ("choice", "text"),
    [(functools.partial(chosen, "a"), "a LookupError"), (anything, "anything"), (Choice(), None)],
    ids=["partial", "Any", "object"],
)
async def test_a_handler_may_be_any_callable(serve: Serve, choice: Any, text: str | None) -> None:
    agent = create_kimi_agent(kimi(serve(script(called("broken", x=1)))), [broken], tool_errors=choice)
    if text is None:
        with pytest.raises(LookupError, match="nothing at 1"):
            await agent.ainvoke(GO)
    else:
        assert result(await agent.ainvoke(GO)).text == text


def test_an_asynchronous_handler_is_refused(serve: Serve) -> None:
    async def handle(error: Exception) -> str:
        return "never"

    with pytest.raises(ValueError, match="synchronous function"):
        create_kimi_agent(kimi(serve([])), [broken], tool_errors=handle)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_team_chooses_too(serve: Serve, way: str) -> None:
    def team(choice: Any) -> Any:
        model = kimi(serve(script(called("broken", x=1))))
        return create_kimi_team(
            [TeamMember(name="solo", model=model, tools=[broken], description="All.")], tool_errors=choice
        )

    state, _ = await run(team(True), way)
    assert result(state).text == "LookupError: nothing at 1, key sk-***"
    assert state["spent"]["tool_errors"] == 1
    with pytest.raises(LookupError, match="nothing at 1"):
        await run(team(False), way)
