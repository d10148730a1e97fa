"""Another request fails, and says where it differs; what varies by nature is declared."""

import copy
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.tools import tool

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, called, said
from langchain_kimi.testing.cassettes import CannotReplay, Cassette, CassetteError, NetworkBlocked
from tests.conftest import KEY
from tests.testing.cassettes.conftest import Host

NOWHERE = "http://127.0.0.1:9/v1"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("look", "count")
]
BODY: dict[str, Any] = {
    "model": "kimi-k2.6",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}],
    "tools": TOOLS,
    "max_completion_tokens": 100,
}


def post(body: Any, url: str = NOWHERE) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.post(f"{url}/chat/completions", json=body, headers=headers)


def record(path: Path, host: Host, body: Any) -> None:
    with Cassette(path, record="once"):
        post(body, host(b'{"ok": true}', ("content-type", "application/json")) + "/v1")


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    change(body)
    return body


CHANGES = {
    "prompt": (
        changed(lambda b: b["messages"][1].update(content="How much?")),
        'messages[1].content: recorded "How many?", sent "How much?"',
    ),
    "model": (changed(lambda b: b.update(model="kimi-k3")), 'model: recorded "kimi-k2.6", sent "kimi-k3"'),
    "parameter": (
        changed(lambda b: b.update(max_completion_tokens=200)),
        "max_completion_tokens: recorded 100, sent 200",
    ),
    "new parameter": (changed(lambda b: b.update(stop=["x"])), 'stop: not recorded, sent ["x"]'),
    "dropped parameter": (
        changed(lambda b: b.pop("max_completion_tokens")),
        "max_completion_tokens: recorded 100, not sent",
    ),
    "tool": (
        changed(lambda b: b["tools"].pop()),
        'tools[1]: recorded {"type":"function","function":{"name":"count"',
    ),
    "schema": (
        changed(lambda b: b["tools"][0]["function"]["parameters"].update(required=["x"])),
        'tools[0].function.parameters.required: not recorded, sent ["x"]',
    ),
    "order": (
        changed(lambda b: b["tools"].reverse()),
        'tools: recorded in the order ["look","count"], sent in the order ["count","look"]',
    ),
    "message": (
        changed(lambda b: b["messages"].insert(1, {"role": "user", "content": "Hm."})),
        'messages[1]: not recorded, sent {"role":"user","content":"Hm."}',
    ),
    "type": (changed(lambda b: b.update(max_completion_tokens=True)), "max_completion_tokens: recorded 100, sent true"),
}


@pytest.mark.parametrize(("body", "says"), CHANGES.values(), ids=CHANGES)
def test_changed_request_is_refused_with_the_field_that_changed(
    body: dict[str, Any], says: str, host: Host, path: Path
) -> None:
    record(path, host, BODY)
    with Cassette(path) as cassette, pytest.raises(CannotReplay) as caught:
        post(body)
    assert says in str(caught.value)
    assert len(caught.value.differences) == 1
    assert cassette.misses == [caught.value]


def test_order_of_keys_host_port_and_spaces_do_not_count(host: Host, path: Path) -> None:
    record(path, host, BODY)
    reordered = dict(reversed(BODY.items())) | {"max_completion_tokens": 100.0}
    with Cassette(path):
        assert post(reordered, "https://api.moonshot.ai/v1").json() == {"ok": True}


def test_true_is_not_one(host: Host, path: Path) -> None:
    record(path, host, {"n": 1})
    with Cassette(path), pytest.raises(CannotReplay, match="n: recorded 1, sent true"):
        post({"n": True})


def test_difference_is_told_against_the_nearest_request(host: Host, path: Path) -> None:
    with Cassette(path, record="once"):
        url = host(b"{}") + "/v1"
        for text in ("one", "two", "three"):
            post({"model": "kimi-k2.6", "messages": [{"role": "user", "content": text}], "stop": [text]}, url)
    with Cassette(path), pytest.raises(CannotReplay, match="request 2 of 3 in") as caught:
        post({"model": "kimi-k2.6", "messages": [{"role": "user", "content": "two!"}], "stop": ["two"]})
    assert caught.value.differences == ('messages[0].content: recorded "two", sent "two!"',)


def test_long_texts_are_told_by_the_place_where_they_part(host: Host, path: Path) -> None:
    words = " ".join(map(str, range(2_000)))
    record(path, host, {"text": words})
    with Cassette(path), pytest.raises(CannotReplay) as caught:
        post({"text": words.replace("1500", "fifteen hundred")})
    (difference,) = caught.value.differences
    assert "1499 1500 1501" in difference
    assert "1499 fifteen hundred" in difference
    assert len(difference) < 400


VARIES = {
    "a path": (["$.messages[1].content"], BODY, CHANGES["prompt"][0]),
    "all of an array": (["$.messages[*].content"], BODY, CHANGES["prompt"][0]),
    "a path into a string of JSON": (
        ["$.messages[*].content.thread"],
        {"messages": [{"content": '{"thread": 1, "text": "Hi"}'}]},
        {"messages": [{"content": '{"text": "Hi", "thread": 22}'}]},
    ),
    "the last": (["$.messages[-1]"], BODY, CHANGES["prompt"][0]),
    "a quoted key": (['$["a b"]'], {"a b": 1, "c": 1}, {"a b": 2, "c": 1}),
    "a field that is not there": (["$.user"], {"a": 1, "user": "me"}, {"a": 1}),
    "uuids": (
        ["uuids"],
        {"a": "thread 0c2fda0b-65b8-46bf-94c5-905830000001 ends"},
        {"a": "thread 7b197d99-d4ff-4439-aaea-f8280000000f ends"},
    ),
    "timestamps": (
        ["timestamps"],
        {"a": "It is 2026-11-20T09:30:00+01:00, a day after 2026-11-19."},
        {"a": "It is 2027-01-02 10:00, a day after 2027-01-01."},
    ),
    "a pattern": ([re.compile(r"run-\d+")], {"a": "run-1"}, {"a": "run-22"}),
}


@pytest.mark.parametrize(("ignore", "recorded", "sent"), VARIES.values(), ids=VARIES)
def test_declared_variation_matches_and_nothing_else_does(
    ignore: list[Any], recorded: Any, sent: Any, host: Host, path: Path
) -> None:
    record(path, host, recorded)
    with Cassette(path), pytest.raises(CannotReplay):
        post(sent)
    with Cassette(path, ignore=ignore) as cassette:
        with pytest.raises(CannotReplay):
            post(sent | {"another": 1})
        assert post(sent).json() == {"ok": True}
    assert cassette.unplayed == []


@pytest.mark.parametrize("wrong", ["messages", "$", "$.a[", "$..a", "ids"])
def test_wrong_path_is_told_at_once(wrong: str, path: Path) -> None:
    with pytest.raises(CassetteError, match="is not a JSON path"):
        Cassette(path, ignore=[wrong])


def test_chat_model_hands_the_difference_on_at_once(serve: Callable[..., KimiServer], path: Path) -> None:
    with Cassette(path, record="once"):
        ChatKimi(model="kimi-k2.6", base_url=serve([said("Hi")]).url, api_key=KEY).invoke("Hello?")
    with Cassette(path) as cassette:
        with pytest.raises(CannotReplay, match=r'content: recorded "Hello\?", sent "Bye\?"'):
            ChatKimi(model="kimi-k2.6", base_url=NOWHERE, api_key=KEY).invoke("Bye?")
        with pytest.raises(CannotReplay), openai.OpenAI(base_url=NOWHERE, api_key=KEY) as client:
            client.chat.completions.create(model="kimi-k2.6", messages=[{"role": "user", "content": "Bye?"}])
    assert len(cassette.misses) == 2


def test_agent_with_a_changed_tool_fails_with_the_tool(serve: Callable[..., KimiServer], path: Path) -> None:
    def agent(url: str, description: str) -> Any:
        @tool(description=description)
        def add(a: int, b: int) -> int:
            return a + b

        return create_kimi_agent(ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY), [add])

    asked = {"messages": [("user", "2 + 3?")]}
    with Cassette(path, record="once"):
        agent(serve([called("add", a=2, b=3), said("5")]).url, "Add.").invoke(asked)
    with Cassette(path):
        assert agent(NOWHERE, "Add.").invoke(asked)["messages"][-1].text == "5"
    with Cassette(path), pytest.raises(CannotReplay, match=r'description: recorded "Add.", sent "Sum."'):
        agent(NOWHERE, "Sum.").invoke(asked)


def test_nothing_else_leaves_the_machine_while_a_cassette_replays(host: Host, path: Path) -> None:
    live = host(b'"here"')
    record(path, host, BODY)
    with Cassette(path):
        with pytest.raises(NetworkBlocked, match=r"connection to api\.moonshot\.ai was blocked"):
            urllib.request.urlopen("https://api.moonshot.ai/v1/models")
        with pytest.raises(NetworkBlocked, match=r"192\.0\.2\.1"), socket.socket() as other:
            other.connect(("192.0.2.1", 80))
        with pytest.raises(NetworkBlocked, match=r"192\.0\.2\.1"), socket.socket() as other:
            other.connect_ex(("192.0.2.1", 80))
        assert urllib.request.urlopen(live).read() == b'"here"'


def test_network_is_free_again_afterwards(path: Path) -> None:
    before = (socket.socket.connect, socket.getaddrinfo, httpx2.HTTPTransport.handle_request)
    cassette = Cassette(path)
    with pytest.raises(httpx2.ConnectError), cassette:
        raise httpx2.ConnectError("the test failed")
    assert (socket.socket.connect, socket.getaddrinfo, httpx2.HTTPTransport.handle_request) == before
