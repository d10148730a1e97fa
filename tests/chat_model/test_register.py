"""Ways into ChatKimi: init_chat_model, a configured ChatOpenAI, and what counts tokens locally."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain.chat_models import base, init_chat_model
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_openai import ChatOpenAI

from langchain_kimi import ChatKimi, KimiWarning, register_with_langchain
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import said
from tests.conftest import KEY, Serve, kimi


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    base._get_chat_model_creator.cache_clear()
    yield
    base._get_chat_model_creator.cache_clear()


async def test_init_chat_model_makes_kimi_after_one_call(serve: Serve) -> None:
    with pytest.raises(ValueError, match="moonshot"):
        init_chat_model("moonshot:kimi-k2.6")
    register_with_langchain()
    register_with_langchain()
    server = serve([said("Hello."), said("Hello."), said("Hello.")])
    model = init_chat_model("moonshot:kimi-k2.6", base_url=server.url, api_key=KEY, thinking=False)
    assert isinstance(model, ChatKimi)
    assert model.invoke("Hello.").text == (await model.ainvoke("Hello.")).text == "Hello."
    assert server.requests[0].json["thinking"] == {"type": "disabled"}
    late = init_chat_model(configurable_fields=("model", "model_provider"), base_url=server.url, api_key=KEY)
    configured = {"configurable": {"model": "kimi-k3", "model_provider": "moonshot"}}
    assert late.invoke("Hello.", configured).text == "Hello."
    assert server.requests[2].model == "kimi-k3"


def test_another_package_under_the_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base._BUILTIN_PROVIDERS, "moonshot", ("langchain_moonshot", "ChatMoonshot", base._call))
    with pytest.raises(RuntimeError, match=r"langchain_moonshot\.ChatMoonshot"):
        register_with_langchain()
    assert base._BUILTIN_PROVIDERS["moonshot"][0] == "langchain_moonshot"


@pytest.mark.parametrize("table", [None, [], {"openai": "langchain_openai"}])
def test_a_langchain_that_changed_says_what_to_do(monkeypatch: pytest.MonkeyPatch, table: Any) -> None:
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", table)
    with pytest.raises(RuntimeError, match=r"Pass ChatKimi\(model=…\)"):
        register_with_langchain()


@pytest.mark.slow
def test_langchain_is_loaded_by_the_call_only_and_openai_by_nothing() -> None:
    code = (
        "import sys\nfrom langchain_kimi import ChatKimi, register_with_langchain\n"
        "from types import SimpleNamespace as S\n"
        "ChatKimi.from_chat_openai(S(model_name='kimi-k2.6', openai_api_base='http://127.0.0.1:9/v1'))\n"
        "print(*[name for name in ('langchain', 'langchain_openai', 'openai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# From ChatOpenAI.


async def test_a_configured_chat_openai_becomes_the_same_model(serve: Serve) -> None:
    server = serve([said("Hello."), said("Hello.")], api_key=KEY)
    theirs = ChatOpenAI(
        model="kimi-k2.6",
        base_url=server.url,
        api_key=KEY,
        timeout=7,
        max_retries=5,
        max_tokens=20_000,
        stop=["END"],
        default_headers={"x-team": "blue"},
        extra_body={"thinking": {"type": "enabled", "keep": "all"}, "prompt_cache_key": "s1", "mine": 1},
        model_kwargs={"safety_identifier": "u1"},
        tags=["t"],
        metadata={"m": 1},
    )
    model = ChatKimi.from_chat_openai(theirs)
    assert (model.model, model.base_url, model.timeout, model.max_retries) == ("kimi-k2.6", server.url, 7, 5)
    assert (model.thinking, model.keep_thinking, model.tags) == (True, True, ["t"])
    versions = (model.metadata or {}).pop("lc_versions")
    assert model.metadata == {"m": 1}
    assert "langchain-openai" not in versions
    assert KEY not in repr(model)
    assert model.invoke("Hello.").text == (await model.ainvoke("Hello.")).text == "Hello."
    sent = server.requests[0].json
    wanted = {
        "thinking": {"type": "enabled", "keep": "all"},
        "prompt_cache_key": "s1",
        "safety_identifier": "u1",
        "mine": 1,
        "max_completion_tokens": 20_000,
        "stop": ["END"],
    }
    assert {name: sent.get(name) for name in wanted} == wanted
    assert server.requests[0].headers["x-team"] == "blue"


def test_its_http_client_is_used(serve: Serve) -> None:
    server = serve([said("Hello.")])
    with httpx.Client(headers={"x-client": "mine"}) as client:
        theirs = ChatOpenAI(model="kimi-k3", base_url=server.url, api_key=KEY, http_client=client)
        ChatKimi.from_chat_openai(theirs).invoke("Hello.")
        assert not client.is_closed
    assert server.requests[0].headers["x-client"] == "mine"


@pytest.mark.parametrize(
    ("settings", "knobs"),
    [
        ({"extra_body": {"thinking": {"type": "disabled"}}}, {"thinking": False}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ({"extra_body": {"reasoning_effort": "low"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"extra_body": {"thinking": {"type": "enabled", "effort": "max"}}}, {"thinking": "max"}),
    ],
)
def test_every_way_to_say_how_to_think_is_read(settings: dict[str, Any], knobs: dict[str, Any]) -> None:
    name = "kimi-k2.6" if knobs == {"thinking": False} else "kimi-k3"
    model = ChatKimi.from_chat_openai(ChatOpenAI(model=name, api_key=KEY, base_url="http://127.0.0.1:9/v1", **settings))
    assert {
        knob: getattr(model, knob) for knob in ("thinking", "reasoning_effort") if getattr(model, knob) is not None
    } == knobs


def test_what_has_no_place_is_named_once_and_never_shown() -> None:
    theirs = ChatOpenAI(
        model="kimi-k3",
        api_key=lambda: KEY,
        base_url="http://127.0.0.1:9/v1",
        organization="org-secret",
        seed=3,
        reasoning_effort="medium",
        model_kwargs={"user": "ann-secret"},
        extra_body={"thinking": {"type": "adaptive"}},
    )
    with pytest.warns(KimiWarning) as warned:
        model = ChatKimi.from_chat_openai(theirs, temperature=1.0)
    assert len(warned) == 1
    said_so = str(warned[0].message)
    for name in ("api_key", "openai_organization", "seed", "reasoning_effort", "model_kwargs['user']", "thinking"):
        assert name in said_so
    assert "secret" not in said_so
    assert (model.temperature, model.extra_body) == (1.0, None)


def test_plain_settings_warn_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    ChatKimi.from_chat_openai(ChatOpenAI(model="kimi-k3", api_key=KEY, base_url="http://127.0.0.1:9/v1"))
    assert [one for one in recwarn if issubclass(one.category, KimiWarning)] == []


def test_what_the_model_cannot_do_raises_here() -> None:
    theirs = ChatOpenAI(model="kimi-k3", api_key=KEY, extra_body={"thinking": {"type": "disabled"}})
    with pytest.raises(IllegalRequestError, match="always thinks"):
        ChatKimi.from_chat_openai(theirs)


@pytest.mark.parametrize("no_model", [SimpleNamespace(), None, ChatOpenAI(model="x", api_key=KEY).bind(stop=["a"])])
def test_something_else_is_a_type_error(no_model: Any) -> None:
    with pytest.raises(TypeError, match="is no ChatOpenAI"):
        ChatKimi.from_chat_openai(no_model)


# Tokens.


def test_tokens_are_counted_here_reasoning_and_tools_included(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tiktoken", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    server = serve([])
    model = kimi(server)
    talk = [HumanMessage("How many?"), AIMessage("Seven.", additional_kwargs={"reasoning_content": "Hm. " * 50})]
    plain = model.get_num_tokens_from_messages([talk[0], AIMessage("Seven.")])
    assert model.get_num_tokens_from_messages(talk) > plain + 20
    assert model.get_num_tokens_from_messages(talk, tools=[count]) > model.get_num_tokens_from_messages(talk)
    assert 1 <= model.get_num_tokens("Seven.") < 30
    with pytest.raises(NotImplementedError, match="get_num_tokens"):
        model.get_token_ids("Seven.")
    assert server.requests == []


def test_messages_are_trimmed_by_the_models_count(serve: Serve) -> None:
    model = kimi(serve([]))
    talk = [HumanMessage("word " * 100), AIMessage("Yes."), HumanMessage("Short?"), AIMessage("Short.")]
    room = model.get_num_tokens_from_messages(talk[2:])
    kept = trim_messages(talk, max_tokens=room, token_counter=model, start_on="human")
    assert [message.text for message in kept] == ["Short?", "Short."]


def count(things: list[str]) -> int:
    """Count things."""
    return len(things)
