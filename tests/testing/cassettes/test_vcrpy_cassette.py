"""A conversation recorded with VCR.py against a KimiServer, replayed with the server gone.

Record it anew with `pytest tests/testing/cassettes/test_vcrpy_cassette.py --record-mode=rewrite`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vcr
from vcr.errors import CannotOverwriteExistingCassetteException

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.conftest import add

KEY = "sk-cassette-0123456789"
NOWHERE = "http://127.0.0.1:9/v1"
CASSETTE = Path(__file__).parent / "cassettes" / "test_vcrpy_cassette" / "test_agent_replays_without_a_server.yaml"


def script(request: Request) -> Reply:
    if request.tool_results():
        return said(f"It is {request.last['content']}.", thinking="The tool said so. ")
    return thought("2 and 3, so 加.\u2028 ").calling_raw("add", '{"a": 2,  "b": 3}')


@pytest.fixture
def vcr_config() -> dict[str, Any]:
    return {"filter_headers": ["authorization"], "match_on": ["method", "path", "body"]}


@pytest.fixture
def url(record_mode: str) -> Iterator[str]:
    """A server while recording, nothing while replaying."""
    if record_mode == "none":
        yield NOWHERE
        return
    with KimiServer(script) as server:
        yield server.url


def model(url: str) -> ChatKimi:
    return ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY, max_retries=0)


@pytest.mark.vcr
async def test_agent_replays_without_a_server(url: str) -> None:
    state = await create_kimi_agent(model(url), [add]).ainvoke({"messages": [("user", "2 + 3?")]})
    first, last = state["messages"][1], state["messages"][-1]
    assert first.additional_kwargs["reasoning_content"] == "2 and 3, so 加.\u2028 "
    assert first.additional_kwargs["kimi_calls"][0]["arguments"] == '{"a": 2,  "b": 3}'
    assert last.text == "It is 5."


def test_another_prompt_does_not_get_the_recorded_answer(vcr_config: dict[str, Any]) -> None:
    with (
        vcr.VCR(**vcr_config).use_cassette(str(CASSETTE), record_mode="none"),
        pytest.raises(CannotOverwriteExistingCassetteException),
    ):
        create_kimi_agent(model(NOWHERE), [add]).invoke({"messages": [("user", "2 + 4?")]})


def test_cassette_holds_no_key() -> None:
    recorded = CASSETTE.read_text()
    assert KEY not in recorded
    assert "authorization" not in recorded.lower()
