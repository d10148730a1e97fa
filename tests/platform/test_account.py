"""Models, balance, token counts, and where a platform gets its host and key from."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_kimi import ChatKimi, KimiPlatform
from langchain_kimi._api_keys import HOSTS
from langchain_kimi._request import Tools
from langchain_kimi.errors import AuthenticationError, BadRequestError, IllegalRequestError, KimiError, NotFoundError
from langchain_kimi.testing import refused, said
from tests.clock import VirtualClock
from tests.conftest import KEY, Serve, kimi
from tests.platform.conftest import Do


@tool
def depth(lake: str) -> int:
    """The depth of a lake in metres."""
    return 590


async def test_balance_is_read(serve: Serve, do: Do) -> None:
    server = serve([], balance=12.5)
    balance = await do(KimiPlatform.from_model(kimi(server)), "balance")
    assert (balance.available, balance.cash, balance.voucher) == (12.5, 12.5, 0.0)
    assert server.calls[0].headers["authorization"] == "Bearer ***"


async def test_a_refused_balance_is_typed_and_hides_the_account(serve: Serve, do: Do) -> None:
    server = serve([])
    words = "You are not allowed to get other user info of org-1234567890"
    server.refuse("GET /users/me/balance", refused(403, "permission_denied_error", words))
    with pytest.raises(KimiError, match="not allowed") as caught:
        await do(KimiPlatform.from_model(kimi(server)), "balance")
    assert caught.value.status == 403
    assert "org-1234567890" not in str(caught.value)


async def test_a_refusal_that_comes_as_a_success_is_an_error(serve: Serve, do: Do) -> None:
    server = serve([])
    told = '{"code":7,"error":"account is frozen","scode":"0x7","status":false}'
    server.refuse("GET /users/me/balance", refused(200, page=told))
    with pytest.raises(BadRequestError, match="account is frozen") as caught:
        await do(KimiPlatform.from_model(kimi(server)), "balance")
    assert caught.value.type == "0x7"
    assert caught.value.host


async def test_models_are_read(serve: Serve, do: Do) -> None:
    models = {one.id: one for one in await do(KimiPlatform.from_model(kimi(serve([]))), "models")}
    assert "kimi-k2.6" in models
    assert models["kimi-k2.6"].wire["id"] == "kimi-k2.6"
    assert models["kimi-k2.6"].inputs[0] == "text"


async def test_kimi_counts_the_messages_as_the_model_would_send_them(serve: Serve, do: Do) -> None:
    server = serve([])
    call = {"name": "depth", "args": {"lake": "Baikal"}, "id": "depth:0"}
    history = [HumanMessage("How deep?"), AIMessage("", tool_calls=[call]), ToolMessage("1642", tool_call_id="depth:0")]
    count = await do(KimiPlatform.from_model(kimi(server)), "count_tokens", history)
    assert server.calls[0].json["model"] == "kimi-k2.6"
    assert [one["role"] for one in server.calls[0].json["messages"]] == ["user", "assistant", "tool"]
    assert server.calls[0].json["messages"][1]["reasoning_content"] == " "
    assert (count.tools, int(count)) == (0, count.messages)
    assert count.messages > 0


async def test_tools_are_estimated_here_and_told_apart(serve: Serve, do: Do) -> None:
    from langchain_kimi import tokens

    server = serve([])
    platform = KimiPlatform.from_model(kimi(server))
    bare = await do(platform, "count_tokens", "How deep?")
    count = await do(platform, "count_tokens", "How deep?", [depth])
    assert "tools" not in server.calls[-1].json
    assert count.messages == bare.messages
    assert count.tools == tokens.count_tools([Tools.of([depth]).declared[0].wire]) > 10
    assert count.total == count.messages + count.tools


async def test_a_refused_count_says_why(serve: Serve, do: Do) -> None:
    platform = KimiPlatform.from_model(kimi(serve([]), "kimi-k9", max_retries=0))
    with pytest.raises(NotFoundError, match="kimi-k9"):
        await do(platform, "count_tokens", "hi")


async def test_counting_needs_a_model(serve: Serve, do: Do) -> None:
    server = serve([])
    platform = KimiPlatform(base_url=server.url, api_key=KEY)
    with pytest.raises(IllegalRequestError, match="model="):
        await do(platform, "count_tokens", "hi")
    assert int(await do(platform, "count_tokens", "hi", model="kimi-k3")) > 0


async def test_a_wrong_key_says_what_to_check(serve: Serve, do: Do) -> None:
    platform = KimiPlatform(base_url=serve([], api_key="sk-another").url, api_key=KEY)
    with pytest.raises(AuthenticationError, match="Check MOONSHOT_API_KEY"):
        await do(platform, "models")


async def test_passing_failures_are_repeated_as_the_models_are(serve: Serve, do: Do) -> None:
    server, clock = serve([]), VirtualClock()
    server.refuse("GET /models", *[refused(500, "server_error", "oops")] * 2)
    await do(KimiPlatform.from_model(kimi(server, max_retries=2, clock=clock)), "models")
    assert len(clock.waited) == 2


async def test_a_bound_model_is_a_model_too(serve: Serve, do: Do) -> None:
    server = serve([said("x")])
    platform = KimiPlatform.from_model(kimi(server).bind_tools([depth]).with_config(tags=["a"]))
    assert platform.base_url == server.url
    await do(platform, "balance")
    await do(platform, "count_tokens", "hi")
    assert server.calls[-1].json["model"] == "kimi-k2.6"


def test_what_is_no_model_is_told() -> None:
    with pytest.raises(TypeError, match="pass a ChatKimi"):
        KimiPlatform.from_model("kimi-k2.6")


def test_host_and_key_come_from_where_the_models_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuthenticationError, match="MOONSHOT_API_KEY"):
        KimiPlatform()
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-secret-of-mine")
    assert KimiPlatform().base_url == ChatKimi(model="kimi-k3")._url == HOSTS["intl"]
    assert KimiPlatform(region="cn").base_url == HOSTS["cn"]
    monkeypatch.setenv("MOONSHOT_BASE_URL", "http://127.0.0.1:9/v1/")
    assert KimiPlatform().base_url == "http://127.0.0.1:9/v1"
    assert "secret" not in repr(KimiPlatform())
    with pytest.raises(IllegalRequestError, match="one of them"):
        KimiPlatform(base_url="http://x", region="cn")
    with pytest.raises(IllegalRequestError, match="https://"):
        KimiPlatform(base_url="api.moonshot.ai/v1")
