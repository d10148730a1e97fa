"""The profile of a model."""

from langchain_kimi import ChatKimi
from tests.conftest import KEY


def test_profile_and_tracing_names() -> None:
    model = ChatKimi(model="kimi-k3", api_key=KEY)
    profile = model.profile
    assert profile is not None
    assert profile["max_input_tokens"] == 1_048_576
    assert profile["reasoning_effort_levels"] == ["low", "high", "max"]
    assert profile["structured_output"] is True
    assert model._get_ls_params()["ls_provider"] == "moonshot"
    assert model._get_ls_params(model="kimi-k2.6")["ls_model_name"] == "kimi-k2.6"
    assert model.lc_secrets == {"api_key": "MOONSHOT_API_KEY"}
    assert ChatKimi(model="somebody/else", api_key=KEY).profile is None
