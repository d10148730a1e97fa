"""Models are random: a slip of the model is no failure of the host, and a host that ignores a field is found."""

import itertools
import threading
from collections.abc import Callable

import pytest

from langchain_kimi._host_checks.checks import Check
from langchain_kimi.testing import Reply, Request, said
from tests.conftest import Serve
from tests.host_checks.helpers import checked, not_passed
from tests.host_checks.scripted_model import obedient, talkative

CHECK = Check("one", "must", "what is expected", "documentation")


@pytest.mark.parametrize(
    ("good", "total", "outcome"),
    [
        (0, 0, "unclear"),
        (0, 1, "unclear"),
        (1, 1, "passed"),
        (1, 2, "passed"),
        (0, 2, "failed"),
        (4, 5, "passed"),
        (3, 5, "failed"),
        (18, 20, "passed"),
        (17, 20, "failed"),
    ],
)
def test_a_check_of_obedience_fails_by_two_slips_and_a_low_rate(good: int, total: int, outcome: str) -> None:
    assert CHECK.by_rate(good, total, 0.9, "answers").outcome == outcome


def slipping(matches: Callable[[Request], bool], wrong: Reply) -> Callable[[Request], Reply]:
    """A model that slips at its first request of a kind."""
    slips, lock = itertools.count(), threading.Lock()

    def script(request: Request) -> Reply:
        if matches(request):
            with lock:
                if next(slips) == 0:
                    return wrong
        return obedient(request)

    return script


@pytest.mark.slow
@pytest.mark.parametrize(
    ("matches", "wrong"),
    [
        (lambda request: request.json.get("tool_choice") == "required", said("Hello!")),
        (lambda request: "response_format" in request.json, said("Here: {}")),
        (lambda request: request.text_of("user").startswith("Choose"), said("I forgot it.", thinking="Hm.")),
        (lambda request: "at once" in request.text_of("user"), said("Shall I?", thinking="Hm.")),
        (
            lambda request: "save_note" in request.text_of("user"),
            Reply(reasoning="Hm.").calling_raw("save_note", '{"title": 1}'),
        ),
        (
            lambda request: request.text_of("user").startswith("Reply with exactly"),
            said("Oh", thinking="Hm").finish("length"),
        ),
    ],
    ids=["required", "json_schema", "planted number", "parallel", "arguments", "cut"],
)
def test_one_slip_of_the_model_fails_nothing(serve: Serve, matches: Callable[[Request], bool], wrong: Reply) -> None:
    assert not_passed(checked(serve(slipping(matches, wrong)), cases=6)) == {}


@pytest.mark.slow
def test_a_talkative_model_fails_what_it_does_not_do_and_nothing_else(serve: Serve) -> None:
    server = serve(talkative)
    assert not_passed(checked(server)) == {
        "tool_choice_required": "failed",
        "json_schema": "failed",
        "parallel_calls": "failed",
        "reasoning_read": "failed",
        "arguments": "failed",
        "finish_length": "failed",
    }
