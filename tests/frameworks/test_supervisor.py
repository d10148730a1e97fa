"""langgraph-supervisor: its hand-offs, alone and in parallel, and what of the thinking its messages lose."""

import warnings
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor

from langchain_kimi.testing import KimiServer, Reply, Request, said
from tests.conftest import PAIRED, Serve, add, kimi
from tests.frameworks.wire import WAYS_AND_MODELS, Plan, Told, sent_back, three_turns, warnings_of

BACK = "langgraph-supervisor's hand-off back"
PARALLEL = "langgraph-supervisor's hand-off builds it anew"

# create_react_agent, on which langgraph-supervisor stands, is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent", "ignore:AgentState")


def who(request: Request) -> str:
    """Whose request it is: each agent's prompt is its name."""
    return str(request.messages[0]["content"])


def is_lead(request: Request) -> bool:
    return who(request) == "lead"


def words_since_user(request: Request) -> list[str]:
    """The text of all that was said and found since the user spoke."""
    last = max(n for n, message in enumerate(request.messages) if message["role"] == "user")
    return [str(message["content"]) for message in request.messages[last + 1 :]]


def one_by_one(request: Request) -> Reply:
    """The lead adds, hands over to one, then to the other, then ends; the others add."""
    if not is_lead(request):
        own = request.tool_results()
        return said("Added.") if own and not own[-1]["content"].startswith("Success") else _sum()
    handed = sum(text.startswith("Successfully transferred to") for text in words_since_user(request))
    if handed == 0:
        return Reply().calling_raw("transfer_to_ann", "{ }") if request.tool_results() else _sum()
    return Reply().calling_raw("transfer_to_bob", "") if handed == 1 else said("All done.")


def both_at_once(request: Request) -> Reply:
    """The lead hands over to both at once, then ends; the others add."""
    return _hands_over(request, Reply().calling_raw("transfer_to_ann", "{ }").calling_raw("transfer_to_bob", "{ }"))


def beside_a_sum(request: Request) -> Reply:
    """The lead adds and hands over in one answer, then ends; the others add."""
    return _hands_over(request, _sum().calling_raw("transfer_to_bob", "{ }"))


def _hands_over(request: Request, reply: Reply) -> Reply:
    if is_lead(request) and not any("transferred" in text for text in words_since_user(request)):
        return reply
    return said("All done.") if is_lead(request) else one_by_one(request)


def _sum() -> Reply:
    return Reply().calling_raw("add", '{"a": 2,  "b":3}')


def supervised(server: KimiServer, lead: str, **settings: Any) -> Any:
    """A lead over two agents, all as langgraph-supervisor has them."""
    workers: list[Any] = [
        create_agent(kimi(server, model), [add], system_prompt=name, name=name)
        for name, model in (("ann", "kimi-k2.6"), ("bob", "kimi-k3"))
    ]
    flow = create_supervisor(workers, model=kimi(server, lead), tools=[add], prompt="lead", **settings)
    return flow.compile(checkpointer=InMemorySaver())


@PAIRED
@WAYS_AND_MODELS
@pytest.mark.parametrize("output_mode", ["full_history", "last_message"])
async def test_three_turns_of_hand_offs_one_by_one(
    serve: Serve, model: str, way: str, output_mode: str, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    told = Told(one_by_one)
    server = serve(told)
    await three_turns(supervised(server, model, output_mode=output_mode), way)
    back = sent_back(server, told)
    assert set(told.by(is_lead)) - {len(told.said) - 1} <= set(back[-1])
    if output_mode == "full_history":
        assert back[-1] == list(range(len(told.said) - 1))
    warned = warnings_of(recwarn)
    assert len(warned) == 3  # once for each of the three models
    assert all(BACK in text for text in warned)


@WAYS_AND_MODELS
async def test_hand_offs_back_can_be_left_out(
    serve: Serve, model: str, way: str, recwarn: pytest.WarningsRecorder
) -> None:
    told = Told(one_by_one)
    server = serve(told)
    await three_turns(supervised(server, model, add_handoff_back_messages=False), way)
    back = sent_back(server, told)
    assert {numbers[-1] + 1 for numbers in back if numbers} == set(range(1, len(told.said)))
    assert len([n for n in told.by(is_lead) if told.said[n].calls]) == 9
    assert warnings_of(recwarn) == []


@PAIRED
@WAYS_AND_MODELS
@pytest.mark.parametrize("output_mode", ["full_history", "last_message"])
@pytest.mark.parametrize("plan", [both_at_once, beside_a_sum])
async def test_three_turns_of_hand_offs_in_parallel(
    serve: Serve, model: str, way: str, output_mode: str, plan: Plan, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    told = Told(plan)
    server = serve(told)
    await three_turns(supervised(server, model, output_mode=output_mode), way)
    handed_over = [n for n in told.by(is_lead) if told.said[n].calls]
    assert len(handed_over) == 3
    back = sent_back(server, told, lost=handed_over)
    assert any(set(handed_over) & set(numbers) for numbers in back)
    warned = warnings_of(recwarn)
    assert {BACK in text or PARALLEL in text for text in warned} == {True}
    assert any(PARALLEL in text for text in warned)
