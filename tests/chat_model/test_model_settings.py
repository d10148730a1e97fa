"""What the constructor and configurable fields take, and what follows from it."""

import copy
import pickle
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from langchain_kimi import ChatKimi
from langchain_kimi.errors import (
    AuthenticationError,
    IllegalRequestError,
)
from langchain_kimi.testing import (
    said,
)
from tests.conftest import KEY, Serve, kimi


def test_configurable_fields_are_checked_the_same_way(serve: Serve) -> None:
    server = serve(lambda request: said("ok"))
    fields = {"model": ConfigurableField(id="model"), "thinking": ConfigurableField(id="thinking")}
    model = kimi(server).configurable_fields(**fields)
    model.with_config(configurable={"model": "kimi-k3", "thinking": "low"}).invoke("hi")
    assert (server.requests[0].model, server.requests[0].json["reasoning_effort"]) == ("kimi-k3", "low")
    with pytest.raises(IllegalRequestError, match="always thinks"):
        model.with_config(configurable={"model": "kimi-k2.7-code", "thinking": False}).invoke("hi")


def test_base_url_region_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def host(**settings: Any) -> str:
        return ChatKimi(model="kimi-k2.6", api_key=KEY, **settings)._transport().host

    assert host() == "api.moonshot.ai"
    assert host(region="cn") == "api.moonshot.cn"
    monkeypatch.setenv("MOONSHOT_BASE_URL", "https://gateway.example/v1/")
    assert host() == "gateway.example"
    assert host(region="intl") == "api.moonshot.ai"
    assert host(base_url="http://127.0.0.1:9/v1") == "127.0.0.1:9"
    with pytest.raises(IllegalRequestError, match="contradict"):
        host(base_url="http://127.0.0.1:9/v1", region="cn")
    with pytest.raises(IllegalRequestError, match="must begin with"):
        host(base_url="gateway.example/v1")


def test_missing_key_is_an_error_at_once_on_kimis_hosts_only() -> None:
    with pytest.raises(AuthenticationError, match="MOONSHOT_API_KEY"):
        ChatKimi(model="kimi-k2.6")
    ChatKimi(model="kimi-k2.6", base_url="http://127.0.0.1:9/v1")


def test_mistyped_setting_and_impossible_thinking_fail_at_once() -> None:
    with pytest.raises(ValidationError, match="thinkng"):
        ChatKimi(model="kimi-k2.6", api_key=KEY, thinkng=True)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="model"):
        ChatKimi(api_key=KEY)  # type: ignore[call-arg]
    with pytest.raises(IllegalRequestError, match="always thinks"):
        ChatKimi(model="kimi-k3", api_key=KEY, thinking=False)


def test_no_key_in_any_text(serve: Serve) -> None:
    model = kimi(serve([]), default_headers={"x-secret": "s3cret"})
    texts = [repr(model), str(model), model.model_dump_json(), str(model._identifying_params), repr(model._transport())]
    assert not any(KEY in text or "s3cret" in text for text in texts[:2] + texts[3:])
    assert KEY not in texts[2]


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), lambda model: model.model_copy()],
    ids=["copy", "deepcopy", "pickle", "model_copy"],
)
def test_copies_of_a_model_work(serve: Serve, copied: Any) -> None:
    model = kimi(serve(lambda request: said("hi")))
    model.invoke("warm up")
    assert copied(model).invoke("hi").text == "hi"
