"""A script that fails fails the test at once, in words that name the script, and no client asks again."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.errors import BadRequestError
from langchain_kimi.testing import FakeKimi, FakeKimiAPI, KimiServer, Reply, Request, ScriptError, called, said
from tests.conftest import KEY, add, kimi
from tests.testing.ways import WAYS, Way


def raises(request: Request) -> Reply:
    raise LookupError("no such page")


def pieces(request: Request) -> Reply:
    def words() -> Iterator[str]:
        yield "Once "
        raise LookupError("no such page")

    return said(words())


FAILURES = pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "the script has no reply left for request 1: 'hi'"),
        ([said("x").expecting(user="bye")], "request 1 is not the one expected"),
        (raises, "the script raised at request 1: LookupError: no such page"),
        (pieces, "the script raised at request 1: LookupError: no such page"),
    ],
    ids=["dry", "unexpected", "raises", "raises in the middle"],
)


def model_of(server: KimiServer, **settings: Any) -> ChatKimi:
    """A model with the default retries, under which a passing failure is asked again."""
    return ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=KEY, **settings)  # type: ignore[arg-type]


@WAYS
@FAILURES
async def test_a_server_answers_once_and_the_error_names_the_script(way: Way, script: Any, words: str) -> None:
    server = KimiServer(script, strict=False)
    with server, pytest.raises(BadRequestError) as raised:
        await way(model_of(server), "hi")
    assert words in str(raised.value)
    assert "This is a failure of the test's script, not of Kimi." in str(raised.value)
    assert (raised.value.type, raised.value.is_retryable, len(server.requests)) == ("script_error", False, 1)


@WAYS
@FAILURES
async def test_a_fake_raises_the_failure_itself(way: Way, script: Any, words: str) -> None:
    model = FakeKimi(script)
    with pytest.raises(ScriptError) as raised:
        await way(model, "hi")
    assert words in str(raised.value)
    assert len(model.requests) == 1
    if callable(script):
        assert isinstance(raised.value.__cause__, LookupError)


@WAYS
@pytest.mark.parametrize("fake", [True, False], ids=["FakeKimi", "KimiServer"])
async def test_an_agent_ends_with_the_failure(way: Way, fake: bool) -> None:
    script = [called("add", a=1, b=2)]
    with KimiServer(script, strict=False) as server:
        agent = create_kimi_agent(FakeKimi(script) if fake else model_of(server), [add])
        with pytest.raises(ScriptError if fake else BadRequestError, match="no reply left for request 2"):
            await way(agent, {"messages": [("user", "1 + 2?")]})


def test_what_pytest_fails_in_a_script_fails_the_test() -> None:
    def script(request: Request) -> Reply:
        pytest.fail("the app must not ask")

    with pytest.raises(ScriptError, match="the app must not ask") as raised:
        FakeKimi(script).invoke("hi")
    assert isinstance(raised.value.__cause__, pytest.fail.Exception)


def test_it_is_logged_for_an_app_that_swallows_the_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "langchain_kimi.testing"), pytest.raises(ScriptError):
        FakeKimi([]).invoke("hi")
    assert "the script has no reply left for request 1: 'hi'" in caplog.text


def test_another_failure_in_the_block_names_the_scripts_too() -> None:
    def test() -> None:
        with KimiServer([]) as server:
            with pytest.raises(BadRequestError):
                model_of(server).invoke("hi")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        test()
    assert raised.value.__notes__ == ["KimiServer: the script has no reply left for request 1: 'hi'"]


def test_a_failure_in_the_middle_of_a_stream_is_its_last_event() -> None:
    api = FakeKimi(pieces).api
    body = json.dumps({"model": "kimi-k2.6", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    answer = api.respond("POST", "/v1/chat/completions", {"authorization": "Bearer x"}, body.encode())
    with pytest.raises(ScriptError, match="no such page"):
        list(answer.body)


class TestStrict:
    def test_a_left_over_reply_fails_the_block(self) -> None:
        with (
            pytest.raises(ScriptError, match=r"1 reply .* not used; the last request was 'one'\. Left:\n  'two'"),
            KimiServer([said("one"), said("two")]) as server,
        ):
            kimi(server).invoke("one")

    def test_an_unscripted_request_fails_the_block_even_where_its_error_is_swallowed(self) -> None:
        with pytest.raises(AssertionError, match="no reply left for request 1: 'hi'"), KimiServer() as server:
            _swallowed(server)

    def test_the_tests_own_failure_is_not_hidden(self) -> None:
        with pytest.raises(KeyError), KimiServer([said("one")]):
            raise KeyError

    def test_it_can_be_switched_off(self) -> None:
        with KimiServer([said("one")], strict=False) as server:
            assert server.script_left == 1

    def test_a_function_has_no_left_over_replies_but_may_fail(self) -> None:
        with KimiServer(lambda request: said("x")) as server:
            kimi(server).invoke("hi")

        def script(request: Any) -> Reply:
            pytest.fail("never asked")

        with pytest.raises(ScriptError, match="Failed: never asked"), KimiServer(script) as server:
            _swallowed(server)

    def test_an_unknown_setting_is_named(self) -> None:
        with pytest.raises(TypeError, match="there is no setting modles; the settings are api_key, models"):
            KimiServer([], modles=("kimi-k2-thinking",))  # type: ignore[call-arg]

    def test_a_script_of_something_else_is_refused_at_once(self) -> None:
        with pytest.raises(TypeError, match=r"not of a text; for a file, give Path\('model\.yaml'\)"):
            FakeKimiAPI("model.yaml")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="put a single reply into a list"):
            FakeKimiAPI(said("hello"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a script consists of replies"):
            FakeKimiAPI(["hello"])  # type: ignore[list-item]


def _swallowed(server: KimiServer) -> None:
    with pytest.raises(Exception, match="script"):
        kimi(server).invoke("hi")
