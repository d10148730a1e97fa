"""The arguments of a person's `edit` decision are checked when it is given; the thread stays paused for another."""

import re
import warnings
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, Tool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, ToolRuntime
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from langchain_kimi import TeamMember, create_kimi_agent, create_kimi_team
from tests.agent.helpers import THREAD, decisions, foreign, ran
from tests.conftest import PAIRED, SYNC_AND_ASYNC

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydantic.v1 import BaseModel as BaseModelV1

RAN: list[Any] = []


def note(**args: Any) -> str:
    """Note what a tool ran with."""
    RAN.append(args)
    return "noted"


@tool
def injected(
    path: str,
    lines: list[int] | None = None,
    *,
    state: Annotated[dict[str, Any], InjectedState],
    runtime: ToolRuntime,
    call_id: Annotated[str, InjectedToolCallId],
) -> str:
    """A tool to which LangGraph gives more than the model does."""
    assert (call_id, runtime.tool_call_id, len(state["messages"])) == ("c1", "c1", 2)
    return note(path=path, lines=lines)


class Period(BaseModel):
    """A period."""

    begin: int = Field(validation_alias=AliasChoices("from", "begin"))
    end: int = Field(10, ge=0, alias="to")

    @model_validator(mode="after")
    def in_order(self) -> "Period":
        if self.end < self.begin:
            raise ValueError("`to` lies before `from`")
        return self


class Open(BaseModel):
    """Further arguments are welcome."""

    model_config = ConfigDict(extra="allow")
    path: str


class Closed(BaseModel):
    """No further arguments."""

    model_config = ConfigDict(extra="forbid")
    path: str


class Old(BaseModelV1):
    """A schema of pydantic 1."""

    path: str


def noted(schema: Any) -> BaseTool:
    return StructuredTool.from_function(note, name="take", description="Take.", args_schema=schema)


def with_schema(**more: Any) -> BaseTool:
    """A tool as those of MCP servers are."""
    path = {"path": {"type": "string"}}
    return noted({"type": "object", "properties": path, "required": ["path"], **more})


NO_ARGUMENT = "`pth`: There is no such argument; the arguments are: {}."
STRING = "`path`: Input should be a valid string."
JSON_STRING = "`$.path`: 5 is not of type 'string'."
REFUSED: dict[str, tuple[BaseTool, Any, str]] = {
    "wrong kind": (injected, {"path": 5}, STRING),
    "wrong inside": (injected, {"path": "a", "lines": [1, "x"]}, "`lines.1`: Input should be a valid integer"),
    "missing": (injected, {}, "`path`: Field required."),
    "surplus": (injected, {"path": "a", "pth": "b"}, NO_ARGUMENT.format("path, lines")),
    "injected state": (injected, {"path": "a", "state": {}}, "`state`: There is no such argument"),
    "injected id": (injected, {"path": "a", "call_id": "c2"}, "`call_id`: There is no such argument"),
    "two faults": (injected, {"path": 5, "pth": "b"}, f"{STRING} {NO_ARGUMENT.format('path, lines')}"),
    "constraint": (noted(Period), {"from": 1, "to": -1}, "`to`: Input should be greater than or equal to 0."),
    "missing alias": (noted(Period), {"to": 1}, "`from`: Field required."),
    "as a whole": (noted(Period), {"from": 20}, "Value error, `to` lies before `from`."),
    "open": (noted(Open), {"path": 5, "more": 1}, STRING),
    "closed": (noted(Closed), {"path": "a", "pth": 1}, NO_ARGUMENT.format("path")),
    "pydantic 1": (noted(Old), {}, "`path`: field required."),
    "pydantic 1, surplus": (noted(Old), {"path": "a", "pth": 1}, NO_ARGUMENT.format("path")),
    "schema": (with_schema(), {"path": 5}, JSON_STRING),
    "schema, missing": (with_schema(), {}, "`$`: 'path' is a required property."),
    "schema, surplus": (with_schema(), {"path": "a", "pth": "b"}, NO_ARGUMENT.format("path")),
    "closed schema": (with_schema(additionalProperties=False), {"path": "a", "pth": "b"}, "('pth' was unexpected)"),
    "open schema": (with_schema(additionalProperties={"type": "integer"}), {"path": "a", "more": "b"}, "`$.more`: 'b'"),
    "no arguments": (noted({"type": "object", "properties": {}}), {"pth": 1}, NO_ARGUMENT.format("none")),
}
ALLOWED: dict[str, tuple[BaseTool, Any, Any]] = {
    "injected": (injected, {"path": "a", "lines": [1]}, {"path": "a", "lines": [1]}),
    "alias": (noted(Period), {"begin": 1, "to": 5}, {"begin": 1, "end": 5}),
    "open": (noted(Open), {"path": "a", "more": 1}, {"path": "a", "more": 1}),
    "pydantic 1": (noted(Old), {"path": "a"}, {"path": "a"}),
    "schema": (with_schema(), {"path": "a"}, {"path": "a"}),
    "open schema": (with_schema(additionalProperties=True), {"path": "a", "more": 1}, {"path": "a", "more": 1}),
    "any object": (noted({"type": "object"}), {"more": 1}, {"more": 1}),
    "no schema": (Tool("take", lambda text: note(text=text), "Take."), {"__arg1": "a"}, {"text": "a"}),
}


def paused_agent(one: BaseTool, kind: str) -> Any:
    """An agent whose model calls the tool once, with arguments of which the person changes all."""
    call = {"name": one.name, "args": {"path": "model's"}, "id": "c1", "type": "tool_call"}
    model = foreign(AIMessage("", tool_calls=[call]), AIMessage("done"))
    settings: Any = {"interrupt_on": {one.name: True}, "checkpointer": InMemorySaver()}
    if kind == "team":
        return create_kimi_team([TeamMember(name="ann", model=model, tools=[one])], **settings)
    return create_kimi_agent(model, [one], **settings)


def edit(one: BaseTool, args: Any) -> Any:
    return decisions({"type": "edit", "edited_action": {"name": one.name, "args": args}})


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["agent", "team"])
@pytest.mark.parametrize(("one", "args", "words"), REFUSED.values(), ids=REFUSED)
async def test_an_edit_with_wrong_arguments_is_refused_when_it_is_given(
    one: BaseTool, args: Any, words: str, kind: str, way: str
) -> None:
    RAN.clear()
    agent = paused_agent(one, kind)
    await ran(agent, way)
    with pytest.raises(
        ValidationError, match=re.escape(f"The arguments of {one.name} do not fit its schema. ")
    ) as told:
        await ran(agent, way, edit(one, args))
    assert words in str(told.value)
    assert "decisions[0]: the edited call cannot run." in str(told.value)
    assert agent.get_state(THREAD).next == ("review",)
    assert RAN == []
    state = await ran(agent, way, decisions({"type": "reject"}))
    assert (RAN, state["messages"][-1].text) == ([], "done")


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(("one", "args", "ran_with"), ALLOWED.values(), ids=ALLOWED)
async def test_an_edit_whose_arguments_fit_runs(one: BaseTool, args: Any, ran_with: Any, way: str) -> None:
    RAN.clear()
    agent = paused_agent(one, "agent")
    await ran(agent, way)
    with pytest.raises(ValidationError, match="decisions"):
        await ran(agent, way, decisions())
    state = await ran(agent, way, edit(one, args))
    assert (RAN, state["messages"][-1].text) == ([ran_with], "done")


@SYNC_AND_ASYNC
async def test_arguments_are_those_of_the_tool_that_the_edit_names(way: str) -> None:
    RAN.clear()
    other = StructuredTool.from_function(note, name="other", description="Other.", args_schema=Closed)
    call = {"name": "injected", "args": {"path": "a"}, "id": "c1", "type": "tool_call"}
    agent = create_kimi_agent(
        foreign(AIMessage("", tool_calls=[call]), AIMessage("done")),
        [injected, other],
        interrupt_on={"injected": True},
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    with pytest.raises(
        ValidationError, match=r"The arguments of other do not fit its schema\. `lines`: There is no such"
    ):
        await ran(agent, way, edit(other, {"path": "a", "lines": [1]}))
    await ran(agent, way, edit(other, {"path": "b"}))
    assert RAN == [{"path": "b"}]
