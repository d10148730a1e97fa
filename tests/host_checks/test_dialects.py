"""A faithful server of every dialect and kind of model: the right settings, and no invented result."""

from typing import Any

import pytest

from langchain_kimi._host_checks.host_profile import HostProfile
from tests.conftest import Serve
from tests.host_checks.helpers import checked, not_passed
from tests.host_checks.scripted_model import obedient

OTHER_KEY = {"reasoning_key": "differs", "usage_headers": "differs"}
OTHER_HOST = {**OTHER_KEY, "thinking_off": "differs"}
SLOW = pytest.mark.slow
CASES = [
    ("kimi", "kimi-k2.6", {}),
    pytest.param("kimi", "kimi-k3", {}, marks=SLOW),
    pytest.param("kimi", "kimi-k3.1-pro", {}, marks=SLOW),
    pytest.param("kimi", "kimi-k2.7-code", {}, marks=SLOW),
    pytest.param("kimi", "kimi-k2-0905-preview", {}, marks=SLOW),
    pytest.param("vllm", "moonshotai/Kimi-K2.6", OTHER_HOST, marks=SLOW),
    pytest.param("vllm", "moonshotai/Kimi-K3", OTHER_HOST, marks=SLOW),
    pytest.param("vllm", "kimi-k2.7-code", OTHER_KEY, marks=SLOW),
    ("openrouter", "moonshotai/kimi-k3", OTHER_HOST),
    pytest.param("openrouter", "moonshotai/kimi-k2.6", OTHER_HOST, marks=SLOW),
]


@pytest.mark.parametrize(("dialect", "model", "found"), CASES)
def test_a_faithful_server_passes(serve: Serve, dialect: Any, model: str, found: dict[str, str]) -> None:
    report = checked(serve(obedient, dialect=dialect, models=[model]), model)
    assert not_passed(report) == found
    assert report.settings.get("dialect") == (None if dialect == "kimi" else dialect)


@pytest.mark.parametrize(
    ("key", "switch", "dialect"),
    [
        (None, None, None),
        ("reasoning_content", "thinking", None),
        ("reasoning_content", "chat_template_kwargs", "sglang"),
        ("reasoning", None, "vllm"),
        ("reasoning", "chat_template_kwargs", "vllm"),
        ("reasoning", "reasoning", "together"),
        ("reasoning_details", "reasoning", "openrouter"),
        ("reasoning_details", None, "openrouter"),
    ],
)
def test_the_dialect_follows_from_the_key_and_the_switch(key: Any, switch: Any, dialect: str | None) -> None:
    profile = HostProfile("http://127.0.0.1:1/v1", "kimi-k2.6", 0, reasoning_key=key, switch=switch)
    assert profile.dialect == dialect


def test_a_domain_that_is_known_needs_no_dialect() -> None:
    profile = HostProfile("https://openrouter.ai/api/v1", "kimi-k2.6", 0, reasoning_key="reasoning_details")
    assert profile.dialect is None
    profile.switch = "reasoning"
    assert profile.dialect is None
