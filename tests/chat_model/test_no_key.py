"""Without a key: a server on this machine takes a placeholder, Kimi's own hosts and all others get none."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from langchain_kimi import ChatKimi, KimiPlatform
from langchain_kimi._api_keys import is_loopback
from langchain_kimi.errors import AuthenticationError
from langchain_kimi.testing import said
from tests.conftest import Serve
from tests.testing.ways import WAYS, Way


@WAYS
async def test_a_server_on_this_machine_answers_without_a_key(serve: Serve, way: Way) -> None:
    server = serve([said("Hello")])
    await way(ChatKimi(model="kimi-k2.6", base_url=server.url), "hi")
    assert server.statuses == [200]
    assert KimiPlatform(base_url=server.url).balance().available == 50


@WAYS
async def test_a_server_that_wants_its_own_key_refuses_the_placeholder(serve: Serve, way: Way) -> None:
    server = serve([said("Hello")], api_key="sk-its-own")
    with pytest.raises(AuthenticationError, match="Check MOONSHOT_API_KEY"):
        await way(ChatKimi(model="kimi-k2.6", base_url=server.url), "hi")


@WAYS
async def test_another_host_gets_no_key(serve: Serve, way: Way) -> None:
    url = serve([]).url.replace("127.0.0.1", "0.0.0.0")  # leads here, and is no loopback address
    with pytest.raises(AuthenticationError, match="Incorrect API key provided"):
        await way(ChatKimi(model="kimi-k2.6", base_url=url), "hi")


def test_what_the_user_sends_instead_is_left_alone(serve: Serve) -> None:
    server = serve([said("a"), said("b")], api_key="sk-its-own")
    sent: dict[str, Any] = {"Authorization": "Bearer sk-its-own"}
    assert ChatKimi(model="kimi-k2.6", base_url=server.url, default_headers=sent).invoke("hi").text == "a"
    with httpx2.Client(headers=sent, trust_env=False) as client:
        assert ChatKimi(model="kimi-k2.6", base_url=server.url, http_client=client).invoke("hi").text == "b"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.1.2.3/v1", True),
        ("http://localhost/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("http://kimi.localhost/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.example/v1", False),
        ("http://127.0.0.1.example/v1", False),
        ("https://api.moonshot.ai/v1", False),
    ],
)
def test_what_counts_as_this_machine(url: str, local: bool) -> None:
    assert is_loopback(urlsplit(url).hostname or "") is local
