"""Messages that lost their thinking on the way: they are sent, and told of once, with what built them anew."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, convert_to_openai_messages
from langchain_core.messages.utils import convert_to_messages

from langchain_kimi import KimiWarning
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import said
from tests.conftest import Serve, add, kimi
from tests.frameworks.wire import Told, adds, results_of, warnings_of


def calling(name: str, **more: Any) -> list[BaseMessage]:
    """A turn in which an assistant message without thinking calls a tool."""
    call: Any = {"id": f"{name}:0", "name": name, "args": {}}
    said_so = AIMessage("", tool_calls=[call], **more)
    return [HumanMessage(f"Do {name}."), said_so, ToolMessage("Done.", tool_call_id=f"{name}:0")]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("transfer_back_to_lead", "langgraph-supervisor's hand-off back .*add_handoff_back_messages=False"),
        ("transfer_to_ann", "langgraph-supervisor's hand-off builds it anew .* create_kimi_team"),
        ("add", "written by hand, or a framework or a conversion .* additional_kwargs included"),
    ],
)
def test_one_warning_names_the_step_however_often_it_comes(
    serve: Serve, name: str, step: str, recwarn: pytest.WarningsRecorder
) -> None:
    server = serve(lambda request: said("Fine."))
    model = kimi(server)
    with pytest.warns(KimiWarning, match=f"calls '{name}' came without the reasoning.*{step}"):
        model.invoke(calling(name))
    model.invoke(calling(name))
    model.invoke([*calling(name), AIMessage("Fine."), *calling(f"{name}_2")])
    assert warnings_of(recwarn) == []
    assert server.statuses == [200] * 3
    calling_ones = [message for message in server.requests[2].messages if "tool_calls" in message]
    assert [message["reasoning_content"] for message in calling_ones] == [" ", " "]


def test_another_model_is_warned_of_the_same_messages_too(serve: Serve) -> None:
    server = serve(lambda request: said("Fine."))
    for _ in range(2):
        with pytest.warns(KimiWarning, match="came without the reasoning"):
            kimi(server).invoke(calling("add"))


def test_a_conversion_that_drops_thinking_is_told_of(serve: Serve) -> None:
    server = serve(Told(adds))
    model = kimi(server).bind_tools([add])
    answer = model.invoke("Add.")
    history: Any = [HumanMessage("Add."), answer, *results_of(answer)]
    with pytest.warns(KimiWarning, match="'add' came without the reasoning"):
        model.invoke(convert_to_messages(convert_to_openai_messages(history)))
    assert server.requests[1].messages[1]["reasoning_content"] == " "


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"thinking": False}, {}),
        ({}, {"response_metadata": {"model_provider": "openai"}}),
        ({}, {"additional_kwargs": {"reasoning_content": "I add."}}),
        ({}, {"additional_kwargs": {"kimi_calls": [{"id": "add:0", "name": "add", "arguments": "{ }"}]}}),
    ],
    ids=["a model that does not think", "another model's message", "thinking is there", "Kimi did not think"],
)
def test_nothing_is_said_of_messages_that_lost_nothing(
    serve: Serve, settings: Any, more: Any, recwarn: pytest.WarningsRecorder
) -> None:
    server = serve([said("Fine.")])
    kimi(server, **settings).invoke(calling("add", **more))
    assert warnings_of(recwarn) == []


def test_who_wants_an_error_gets_no_warning(serve: Serve, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(IllegalRequestError, match="reasoning_content is missing"):
        kimi(serve([]), missing_reasoning="raise").invoke(calling("transfer_to_ann"))
    assert warnings_of(recwarn) == []
