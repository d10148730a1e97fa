"""What the checks send: requests that Kimi takes, few and small enough."""

from dataclasses import replace
from pathlib import Path

import pytest

from langchain_kimi._api_keys import HOSTS
from langchain_kimi._host_checks.assumptions import ASSUMPTIONS
from langchain_kimi._host_checks.cost import estimate_requests
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, user
from langchain_kimi._host_checks.run import CHECKS, GROUPS, estimate
from langchain_kimi._rules import check
from langchain_kimi.catalogue import MODELS, find

CURRENT = [row.id for row in MODELS if not row.is_retired()]
REFUSED = {
    "repeated_id",
    "broken",
    "no_reasoning",
    "empty_reasoning",
    "no_messages",
    "named_choice",
    "pinned_temperature",
    "logprobs",
    "untyped_property",
}
"""The requests that are sent to see how they are refused."""


def requests(model: str, *, quick: bool) -> list[ChatRequest]:
    profile = HostProfile(HOSTS["intl"], model, 50, quick=quick)
    known = replace(profile, switch="thinking" if profile.may_be_instant else None, reasoning_key="reasoning_content")
    return [request for group in GROUPS for request in group.requests(known)]


@pytest.mark.parametrize("model", CURRENT)
def test_kimi_takes_every_request_but_those_that_are_meant_to_be_refused(model: str) -> None:
    for request in requests(model, quick=False):
        refusals = check(request.body(model))
        if request.name == "required" and find(model).family == "k2" and find(model).thinking == "always":  # type: ignore[union-attr]
            assert [one.rule for one in refusals] == ["tool_choice_thinking"]
        else:
            assert not refusals or request.name in REFUSED, (request.name, refusals)


def test_a_quick_check_of_the_cheapest_model_costs_less_than_a_cent() -> None:
    for url in HOSTS.values():
        most = [estimate(HostProfile(url, model, 0, quick=True)).usd for model in CURRENT]
        assert min(usd for usd in most if usd is not None) < 0.01


def test_the_estimate_is_the_sum_of_prompts_and_caps_at_list_price() -> None:
    request = ChatRequest("one", [user("x" * 400)], 1_000, {})
    prompt = 70 + 4 + 4  # the estimate of `[[{"role":"user","content":"…"}],null,null]`; the request; the message
    found = estimate_requests([request, request], find("kimi-k2.6"))
    assert (found.requests, found.input_tokens, found.output_tokens) == (2, 2 * prompt, 2_000)
    assert found.usd == pytest.approx(2 * (prompt * 0.95 + 1_000 * 4) / 1e6)
    assert estimate_requests([request], None).usd is None


def test_cases_grow_the_check_of_arguments_only() -> None:
    few, many = (estimate(HostProfile(HOSTS["cn"], "kimi-k3", cases)).requests for cases in (3, 20))
    assert many - few == 17


def test_the_docs_name_every_check_and_assumption() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")
    names = [one.name for one in (*CHECKS, *ASSUMPTIONS)]
    assert len(set(names)) == len(names) == 31 + 18
    assert [name for name in names if f"`{name}`" not in docs] == []
