"""No key is shown anywhere: a table of forms of keys, places where hosts repeat them, surfaces and ways to ask."""

import asyncio
import base64
import json
import logging
import pickle
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import SecretStr, ValidationError

from langchain_kimi import (
    ChatKimi,
    KimiError,
    KimiPlatform,
    ReasoningLog,
    agent_as_tool,
    create_kimi_agent,
    formula_tools,
)
from langchain_kimi import _redaction as redaction
from langchain_kimi.cli import run_command_line
from langchain_kimi.errors import AuthenticationError, IllegalRequestError
from langchain_kimi.testing import KimiServer, called, said
from langchain_kimi.testing.cassettes import Cassette
from tests.clock import VirtualClock, with_clock
from tests.conftest import FOUR_WAYS, PAIRED
from tests.raw_server import Sent, raw_server
from tests.secrets.echo import ERRORS, PLACES, base_url, echoing_host

CORE = "Zq7Xw9Kp3Lm5"
"""The part that every key has, in whatever form it is written."""

TRIMMED = {
    "as it is": f"sk-{CORE}abcdefgh",
    "trailing newline": f"sk-{CORE}abcdefgh\n",
    "trailing CR and newline": f"sk-{CORE}abcdefgh\r\n",
    "spaces around": f"  sk-{CORE}abcdefgh\t",
    "no sk-": f"{CORE}0123456789",
    "characters that are escaped": f"a/b+c\"d'e\\f&g<{CORE}>%h",
    "shape of an account": f"org-{CORE}",
    "dots and slashes after sk-": f"sk-{CORE}.ab/cd+ef==",
    "secret string": SecretStr(f"sk-{CORE}abcdefgh\n"),
}
REFUSED = {
    "quotes": f'"sk-{CORE}abcdefgh"',
    "a quote at the end": f'sk-{CORE}abcdefgh"',
    "typographic quotes": f"\u201csk-{CORE}abcdefgh\u201d",
    "not ASCII": f"sk-{CORE}abcd\u00e9fgh",
    "zero-width space": f"sk-{CORE}\u200babcdefgh",
    "newline inside": f"sk-{CORE}\nabcdefgh",
    "header inside": f"sk-{CORE}\r\nx-other: 1",
    "space inside": f"Bearer sk-{CORE}abcdefgh",
    "control character": f"sk-{CORE}\x00abcdefgh",
    "list": [f"sk-{CORE}abcdefgh"],
    "dict": {"key": f"sk-{CORE}abcdefgh"},
    "bytes": f"sk-{CORE}abcdefgh".encode(),
}
SOME = {name: TRIMMED[name] for name in ("trailing newline", "characters that are escaped", "no sk-")}
WAYS = ("invoke", "stream", "ainvoke", "astream", "whole")


class Surfaces(BaseCallbackHandler):
    """Collects as text what anybody could be shown."""

    run_inline = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *shown: object) -> None:
        for each in shown:
            self.texts += [str(each), repr(each)]

    def failed(self, error: BaseException) -> None:
        """An exception with all that it came from, suppressed or not, and what it carries."""
        self.texts += traceback.format_exception(error)
        link: BaseException | None = error
        while link is not None:
            self.add(link, link.args, getattr(link, "__notes__", None))
            if isinstance(link, KimiError):
                self.add(vars(link))
            if isinstance(link, ValidationError):
                self.add(link.errors(), link.json())
            link = link.__cause__ or link.__context__

    def assert_clean(self) -> None:
        leaks = [text for text in self.texts if CORE in text]
        assert not leaks, leaks[0][:500]

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self.add(args, kwargs)
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with echoing_host() as url:
        yield url


@pytest.fixture
def surfaces(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surfaces]:
    """Empty surfaces, among them what all libraries log; a test that ends with a key on one of them fails."""
    monkeypatch.setattr(redaction, "_known", {})
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "langchain_kimi", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    found = Surfaces()
    yield found
    records = caplog.get_records("call")
    found.add(*(record.getMessage() for record in records), *(record.__dict__ for record in records))
    found.texts += map(logging.Formatter().format, records)
    found.assert_clean()


def ask(model: ChatKimi, way: str, surfaces: Surfaces, log: Path) -> None:
    """Ask in one of the ways; what comes back or is raised is put on the surfaces."""
    with ReasoningLog(log) as reasoning_log:
        config: Any = {"callbacks": [surfaces, reasoning_log]}
        try:
            if way == "stream":
                surfaces.add(*model.stream("Hello?", config))
            elif way == "ainvoke":
                surfaces.add(asyncio.run(model.ainvoke("Hello?", config)))
            elif way == "astream":
                surfaces.add(*asyncio.run(_collected(model, config)))
            else:
                surfaces.add(model.invoke("Hello?", config))
        except Exception as error:
            surfaces.failed(error)
    surfaces.add(log.read_text())


async def _collected(model: ChatKimi, config: Any) -> list[Any]:
    pieces = [piece async for piece in model.astream("Hello?", config)]
    return pieces + [event async for event in model.astream_events("Hello?", config, version="v2")]


@PAIRED
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", TRIMMED.values(), ids=TRIMMED)
def test_a_key_that_the_host_repeats_is_shown_nowhere(
    key: Any, place: str, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    url = base_url(host, place)
    for way in WAYS:
        streaming = False if way == "whole" else None
        model = ChatKimi(model="kimi-k2.6", base_url=url, api_key=key, max_retries=0, streaming=streaming)
        ask(model, way, surfaces, tmp_path / "log.jsonl")
    surfaces.add(model, model.model_dump(), model.model_dump_json(), dumps(model), model._identifying_params)
    assert len(surfaces.texts) > 20


@PAIRED
@pytest.mark.parametrize("key", SOME.values(), ids=SOME)
@pytest.mark.parametrize("place", ["error body", "html page", "later event"])
def test_a_retried_request_tells_its_waits_without_the_key(
    key: Any, place: str, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    model = ChatKimi(model="kimi-k2.6", base_url=base_url(host, place), api_key=key)
    ask(
        with_clock(model, VirtualClock()),
        "whole" if place == "later event" else "invoke",
        surfaces,
        tmp_path / "log.jsonl",
    )


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED)
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    key: Any, surfaces: Surfaces, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    makers: list[Callable[[], object]] = [
        lambda: ChatKimi(model="kimi-k2.6", api_key=key),
        lambda: KimiPlatform(api_key=key),
    ]
    if isinstance(key, str):
        makers.append(lambda: ChatKimi(model="kimi-k2.6", api_key=SecretStr(key)))
    for make in makers:
        with pytest.raises(AuthenticationError, match=r"api_key") as caught:
            make()
        surfaces.failed(caught.value)
    if isinstance(key, str) and "\x00" not in key:
        monkeypatch.setenv("MOONSHOT_API_KEY", key)
        with pytest.raises(AuthenticationError, match="MOONSHOT_API_KEY") as caught:
            ChatKimi(model="kimi-k2.6")
        surfaces.failed(caught.value)
        assert run_command_line(["doctor"]) == 2
        surfaces.add(*capsys.readouterr())


def test_a_key_that_was_assigned_later_is_checked_before_it_is_sent(host: str, surfaces: Surfaces) -> None:
    model = ChatKimi(model="kimi-k2.6", base_url=base_url(host, "error body"), api_key="sk-first-key")
    model.api_key = SecretStr(f"sk-{CORE}\x00")
    with pytest.raises(AuthenticationError) as caught:
        model.invoke("Hello?")
    surfaces.failed(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"apikey": f"sk-{CORE}abcdefgh"},
        {"openai_api_key": f"sk-{CORE}abcdefgh"},
        {"api_key": f"sk-{CORE}abcdefgh", "model": None},
        {"api_key": f"sk-{CORE}abcdefgh", "max_retries": "many"},
        {"default_headers": {"x-api-key": [f"sk-{CORE}"]}},
        {"default_headers": f"x-api-key: {CORE}"},
        {"base_url": [f"https://user:{CORE}@host/v1"]},
    ],
)
def test_errors_of_pydantic_hold_no_input(settings: dict[str, Any], surfaces: Surfaces) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatKimi(**{"model": "kimi-k2.6", "api_key": "sk-good-key", **settings})
    surfaces.failed(caught.value)
    with pytest.raises(ValidationError) as caught:
        ChatKimi(api_key=f"sk-{CORE}abcdefgh")  # type: ignore[call-arg]
    surfaces.failed(caught.value)


URLS = [
    f"https://user:{CORE}@api.example.com/v1",
    f"https://{CORE}@api.example.com/v1",
    f"user:{CORE}@api.example.com/v1",
    f"https://user:{CORE}/x@api.example.com/v1",
    f"https://user:{CORE}#x@api.example.com/v1",
    f"https://api.example.com/v1?api_key={CORE}",
    f"https://api.example.com/v1#{CORE}",
]


@pytest.mark.parametrize("url", URLS)
def test_a_base_url_with_a_secret_is_refused_without_being_shown(
    url: str, surfaces: Surfaces, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for make in (
        lambda: ChatKimi(model="kimi-k2.6", api_key="sk-good-key", base_url=url),
        lambda: ChatKimi(model="kimi-k2.6", api_key="sk-good-key", base_url=url, region="cn"),
        lambda: KimiPlatform(api_key="sk-good-key", base_url=url),
    ):
        with pytest.raises(IllegalRequestError, match="base_url") as caught:
            make()
        surfaces.failed(caught.value)
    monkeypatch.setenv("MOONSHOT_BASE_URL", url)
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-good-key")
    with pytest.raises(IllegalRequestError, match="base_url") as caught:
        ChatKimi(model="kimi-k2.6")
    surfaces.failed(caught.value)
    assert run_command_line(["doctor"]) == 2
    surfaces.add(*capsys.readouterr())


def test_white_space_around_a_base_url_is_dropped(host: str) -> None:
    url = f" {base_url(host, 'header')}/\n"
    assert ChatKimi(model="kimi-k2.6", api_key="sk-good-key", base_url=url).invoke("Hello?").text == "ok"
    assert KimiPlatform(api_key="sk-good-key", base_url=url).base_url == url.strip().rstrip("/")


@pytest.mark.parametrize("value", [f"{CORE}\n", f"{CORE}\r\nx: y", f" {CORE}", f"{CORE}\u00e9", f"{CORE}\x00", "***"])
def test_headers_that_http_does_not_take_are_refused_without_being_shown(value: str, surfaces: Surfaces) -> None:
    for make in (
        lambda: ChatKimi(model="kimi-k2.6", api_key="sk-good-key", default_headers={"x-other": value}),
        lambda: KimiPlatform(api_key="sk-good-key", default_headers={"x-other": value}),
    ):
        with pytest.raises(IllegalRequestError, match="x-other") as caught:
            make()
        surfaces.failed(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_secrets_in_default_headers_are_shown_nowhere(
    place: str, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    for way in WAYS:
        model = ChatKimi(
            model="kimi-k2.6",
            base_url=base_url(host, place),
            api_key="sk-good-key",
            max_retries=0,
            streaming=False if way == "whole" else None,
            default_headers={"X-Api-Key": f"{CORE}0123", "Cookie": f"session={CORE}4567; a=b", "x-team": "blue"},
        )
        ask(model, way, surfaces, tmp_path / "log.jsonl")
    surfaces.add(model, model.model_dump(), model.model_dump_json(), dumps(model))
    assert json.loads(model.model_dump_json())["default_headers"]["x-team"] == "blue"
    copied = pickle.loads(pickle.dumps(model))
    assert copied.default_headers == model.default_headers


CLIENTS = [(httpx2.Client, httpx2.AsyncClient), (httpx.Client, httpx.AsyncClient)]


@PAIRED
@pytest.mark.parametrize("clients", CLIENTS, ids=["httpx2", "httpx"])
@pytest.mark.parametrize("place", PLACES)
def test_secrets_of_the_users_own_client_are_shown_nowhere(
    place: str, clients: Any, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    headers = {"x-api-key": f"{CORE}0123456789"}
    settings = {"headers": headers, "auth": ("user", f"{CORE}-password"), "timeout": 30}
    for way in WAYS:
        with clients[0](**settings) as client:
            model = ChatKimi(
                model="kimi-k2.6",
                base_url=base_url(host, place),
                api_key="sk-good-key",
                max_retries=0,
                streaming=False if way == "whole" else None,
                http_client=client,
                http_async_client=clients[1](**settings),
            )
            ask(model, way, surfaces, tmp_path / "log.jsonl")
            surfaces.add(model, model.model_dump(), dumps(model))


def basic(family: Any) -> dict[str, Any]:
    """A password of which the header's base64 text has CORE in it."""
    return {"auth": ("user5", base64.b64decode(CORE))}


def custom(family: Any) -> dict[str, Any]:
    class Signed(family.Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Iterator[Any]:
            request.headers["x-api-key"] = f"{CORE}0123456789"
            yield request

    return {"auth": Signed()}


def function(family: Any) -> dict[str, Any]:
    def signed(request: Any) -> Any:
        request.headers["x-api-key"] = f"{CORE}0123456789"
        return request

    return {"auth": signed}


def hook(family: Any) -> dict[str, Any]:
    def signed(request: Any) -> None:
        request.headers["x-api-key"] = f"{CORE}0123456789"

    return {"event_hooks": {"request": [signed]}}


def asynchronous(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for an asynchronous client, whose hooks are coroutine functions."""
    if "event_hooks" not in settings:
        return settings
    (signed,) = settings["event_hooks"]["request"]

    async def asigned(request: Any) -> None:
        signed(request)

    return {"event_hooks": {"request": [asigned]}}


@PAIRED
@pytest.mark.parametrize("family", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("how", [basic, custom, function, hook])
@pytest.mark.parametrize("way", WAYS)
def test_what_the_users_client_adds_when_it_sends_is_known_before_the_first_response(
    way: str, how: Callable[[Any], dict[str, Any]], family: Any, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    settings = how(family)
    with family.Client(**settings) as client:
        model = ChatKimi(
            model="kimi-k2.6",
            base_url=base_url(host, "header"),
            max_retries=0,
            streaming=False if way == "whole" else None,
            http_client=client,
            http_async_client=family.AsyncClient(**asynchronous(settings)),
        )
        ask(model, way, surfaces, tmp_path / "log.jsonl")
    assert any("'ok'" in text for text in surfaces.texts)


@PAIRED
@pytest.mark.parametrize("family", [httpx2, httpx], ids=["httpx2", "httpx"])
@FOUR_WAYS
def test_an_auth_of_two_requests_is_answered(way: str, family: Any, surfaces: Surfaces, tmp_path: Path) -> None:
    challenge = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    answer = b'{"choices": [{"index": 0, "message": {"content": "welcome"}, "finish_reason": "stop"}]}'
    with raw_server(Sent(b"{}", status=401, headers=challenge), Sent(answer)) as server:
        with family.Client(auth=family.DigestAuth("user", CORE)) as client:
            other = family.AsyncClient(auth=family.DigestAuth("user", CORE))
            model = ChatKimi(model="kimi-k2.6", base_url=server.url, http_client=client, http_async_client=other)
            ask(model, way, surfaces, tmp_path / "log.jsonl")
        assert b'Digest username="user"' in server.requests[1]
    assert any("welcome" in text for text in surfaces.texts)


@PAIRED
@pytest.mark.parametrize("clients", CLIENTS, ids=["httpx2", "httpx"])
@pytest.mark.parametrize("way", WAYS)
def test_a_header_of_the_users_client_that_http_does_not_take_is_not_shown(
    way: str, clients: Any, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    headers = {"x-anything": f"{CORE}\n"}
    model = ChatKimi(
        model="kimi-k2.6",
        base_url=base_url(host, "header"),
        api_key="sk-good-key",
        streaming=False if way == "whole" else None,
        http_client=clients[0](headers=headers),
        http_async_client=clients[1](headers=headers),
    )
    ask(model, way, surfaces, tmp_path / "log.jsonl")
    assert any("http_client" in text for text in surfaces.texts)


@PAIRED
@pytest.mark.parametrize("key", SOME.values(), ids=SOME)
@pytest.mark.parametrize("place", ERRORS)
def test_platform_formulas_and_doctor_do_not_show_the_key(
    key: Any,
    place: str,
    host: str,
    surfaces: Surfaces,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform = KimiPlatform(base_url=base_url(host, place), api_key=key, max_retries=0)
    surfaces.add(platform)
    for action in (
        platform.models,
        platform.balance,
        platform.files.list,
        platform.batches.list,
        lambda: asyncio.run(platform.abalance()),
        lambda: formula_tools("moonshot/date:latest", platform=platform),
    ):
        with pytest.raises(KimiError) as caught:
            action()
        surfaces.failed(caught.value)
    monkeypatch.setenv("MOONSHOT_BASE_URL", base_url(host, place))
    monkeypatch.setenv("MOONSHOT_API_KEY", key.get_secret_value() if isinstance(key, SecretStr) else key)
    commands = [["doctor"]]
    if place == "error body":  # the others wait before they ask again
        commands += [["balance"], ["files", "list"], ["ask", "Hello?"]]
    for command in commands:
        assert run_command_line(command) > 0
        surfaces.add(*capsys.readouterr())


@PAIRED
@pytest.mark.parametrize("key", SOME.values(), ids=SOME)
@pytest.mark.parametrize("place", PLACES)
def test_results_of_sub_agents_and_checkpoints_do_not_hold_the_key(
    key: Any, place: str, host: str, surfaces: Surfaces, tmp_path: Path
) -> None:
    echo = ChatKimi(model="kimi-k2.6", base_url=base_url(host, place), api_key=key, max_retries=0)
    worker = agent_as_tool(create_kimi_agent(echo, name="worker"), name="worker", description="works")
    with (
        KimiServer([called("worker", task="go"), said("done")], strict=False) as server,
        sqlite3.connect(tmp_path / "threads.sqlite", check_same_thread=False) as connection,
    ):
        model = ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=f"sk-{CORE}-outer", max_retries=0)
        agent = create_kimi_agent(model, [worker], checkpointer=SqliteSaver(connection))
        config: Any = {"configurable": {"thread_id": "1"}, "callbacks": [surfaces]}
        for part in agent.stream({"messages": "Hi"}, config, stream_mode=["updates", "custom", "messages"]):
            surfaces.add(part)
        result = next(message for message in agent.get_state(config).values["messages"] if message.type == "tool")
        surfaces.add(result, *server.requests, *(request.headers for request in server.requests))
        assert len(server.requests) == 2
        surfaces.add(server.requests[1].body.decode())
    for file in tmp_path.glob("threads.sqlite*"):
        surfaces.texts.append(file.read_bytes().decode("latin-1"))


@PAIRED
@pytest.mark.parametrize("key", SOME.values(), ids=SOME)
@pytest.mark.parametrize("place", PLACES)
def test_recordings_do_not_hold_the_key(key: Any, place: str, host: str, surfaces: Surfaces, tmp_path: Path) -> None:
    path = tmp_path / "a.kimi.yaml"
    model = ChatKimi(model="kimi-k2.6", base_url=base_url(host, place), api_key=key, max_retries=0)
    with Cassette(path, record="all"):
        ask(model, "invoke", surfaces, tmp_path / "log.jsonl")
    surfaces.add(path.read_text() if path.exists() else "nothing is recorded of what is no answer")


def test_the_double_records_no_secret_header(surfaces: Surfaces) -> None:
    with KimiServer([said("ok")]) as server:
        headers = {"X-Api-Key": f"{CORE}0123", "X-Gateway-Token": CORE, "Cookie": f"a={CORE}", "x-team": "blue"}
        ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=f"sk-{CORE}", default_headers=headers).invoke("Hi")
        KimiPlatform(base_url=server.url, api_key=f"sk-{CORE}", default_headers=headers).models()
        surfaces.add(server.requests[0].headers, server.calls[-1].headers)
        assert server.requests[0].headers["x-team"] == "blue"
