"""No secret is written: not of a request, a header or an answer, also where a stream brings it in pieces."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_kimi import ChatKimi
from langchain_kimi.testing import rate_limited, said, thought
from langchain_kimi.testing.cassettes import Cassette, SecretsLeft
from langchain_kimi.testing.cassettes.scrub import scrub_stream
from langchain_kimi.testing.cassettes.secret_values import Secrets
from langchain_kimi.testing.serialization import compact_json
from tests.conftest import Serve
from tests.testing.cassettes.conftest import Host

NOWHERE = "http://127.0.0.1:9/v1"
JSON = ("content-type", "application/json")
EVENTS = ("content-type", "text/event-stream")


def ask(url: str, prompt: str = "Hello?", key: str = "sk-0123456789abcdef") -> Any:
    return ChatKimi(model="kimi-k2.6", base_url=url, api_key=key, max_retries=0).invoke(prompt)


def test_key_of_the_request_is_nowhere_even_without_a_known_form(serve: Serve, path: Path) -> None:
    key = "plain-looking-passphrase"
    with Cassette(path, record="once"):
        ask(serve([said(f"Your key is {key}.")]).url, f"My key is {key}.", key)
    assert key not in path.read_text()
    assert path.read_text().count("<secret:key>") == 2


@pytest.mark.parametrize("name", ["DB_PASSWORD", "GITHUB_TOKEN", "MYKEY", "client_secret", "AWS_SECRET_ACCESS_KEY"])
def test_value_of_the_environment_under_a_telling_name_is_removed(
    name: str, serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, 'tr0ub"4dor & 3')
    monkeypatch.setenv("HARMLESS", "an ordinary value")
    with Cassette(path, record="once"):
        url = serve([thought('It is tr0ub"4dor & 3.').calling("login", password='tr0ub"4dor & 3')]).url
        ask(url, 'Use tr0ub"4dor & 3 and an ordinary value.')
    written = path.read_text()
    assert "tr0ub" not in written
    assert "dor & 3" not in written
    assert f"Use <secret:{name}> and an ordinary value." in written


def test_request_with_a_removed_secret_plays_also_where_the_secret_is_another(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "correct horse battery")
    with Cassette(path, record="once"):
        ask(serve([said("ok")]).url, "Log in with correct horse battery, please.")
    monkeypatch.delenv("DB_PASSWORD")
    with Cassette(path):
        assert ask(NOWHERE, "Log in with nothing, please.").text == "ok"


@pytest.mark.parametrize(
    "leak",
    [
        "sk-LEAKleak",
        "sk-proj-Ab12_cd-34",
        "org-4f1d0c2be5a94a6d",
        "ak-e1hq0zkd7c",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_known_forms_are_removed_from_streams_in_any_pieces(leak: str, serve: Serve, path: Path) -> None:
    for pieces in (list(f"a {leak} b"), ["a ", leak[:3], leak[3:5], leak[5:], " b"], [f"a {leak} b"]):
        with Cassette(path, record="all"):
            ask(serve([said(pieces, thinking=pieces)]).url)
        assert not any(part in path.read_text() for part in (leak, leak[3:], leak[5:]) if len(part) > 3)
        with Cassette(path):
            message = ask(NOWHERE)
        assert re.fullmatch(r"a <secret:\w+> b", message.text)
        assert message.additional_kwargs["reasoning_content"] == message.text


def test_secret_in_streamed_arguments_is_removed_and_the_call_stays_whole(serve: Serve, path: Path) -> None:
    reply = thought("").calling("send", key="sk-0123456789abcdefghij0123456789", to="b").calling("add", a=1)
    with Cassette(path, record="once"):
        ask(serve([reply]).url)
    assert "0123456789" not in path.read_text()
    with Cassette(path):
        first, second = ask(NOWHERE).tool_calls
    assert first["args"] == {"key": "<secret:key>", "to": "b"}
    assert second["args"] == {"a": 1}


def test_account_in_a_rate_limit_is_removed_and_the_wait_stays(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"), pytest.raises(Exception, match="try again after 7 seconds"):
        ask(serve([rate_limited(7)]).url)
    written = path.read_text()
    assert "org-" not in written
    assert "ak-" not in written
    assert "Your account <secret:account> request reached organization max RPM: 3, please try again after 7" in written
    assert "retry-after: '7'" in written


def test_cookies_and_account_headers_are_removed_wherever_they_come_back(host: Host, path: Path) -> None:
    body = json.dumps({"session": "c00kie-value-1", "organization_id": "acme", "you_sent": "mine-1234567"}).encode()
    headers = [("set-cookie", "sid=c00kie-value-1; Path=/"), ("openai-organization", "acme"), ("cf-ray", "1"), JSON]
    with Cassette(path, record="once"):
        httpx2.post(host(body, *headers), json={}, headers={"cookie": "a=mine-1234567", "x-api-key": "k"})
    written = path.read_text()
    for secret in ("c00kie", "mine-1234567", "acme", "cookie:", "x-api-key", "cf-ray"):
        assert secret not in written
    assert "session: '<secret:cookie>'" in written


def test_header_is_kept_where_it_is_asked_for(host: Host, path: Path) -> None:
    with Cassette(path, record="once", keep_headers=["X-Version"]):
        httpx2.get(host(b"{}", ("x-version", "7"), ("x-other", "8")))
    assert "x-version: '7'" in path.read_text()
    assert "x-other" not in path.read_text()


def test_secret_in_path_and_compressed_answer_is_removed(host: Host, path: Path) -> None:
    url = host(gzip.compress(b'{"k": "sk-0123456789"}'), JSON, ("content-encoding", "gzip"))
    with Cassette(path, record="once"):
        httpx2.get(f"{url}/v1/x?key=sk-abcdefghij")
    assert "sk-" not in path.read_text()
    with Cassette(path):
        assert httpx2.get(f"{NOWHERE}/x?key=sk-another-one").json() == {"k": "<secret:key>"}


def test_declared_values_are_removed(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once", secrets=["Erika Mustermann"]):
        ask(serve([said(["I know Eri", "ka Muster", "mann."])]).url)
    assert "Muster" not in path.read_text()


HIDDEN = {
    "escaped inside arguments": json.dumps({"arguments": '{"k": "sk\\u002d0123456789"}'}).encode(),
    "in an escaped list": json.dumps({"text": '["\\u0073k-0123456789"]'}).encode(),
}


@pytest.mark.parametrize("body", HIDDEN.values(), ids=HIDDEN)
def test_secret_that_cannot_be_taken_out_fails_and_nothing_is_written(body: bytes, host: Host, path: Path) -> None:
    url = host(body, JSON)
    cassette = Cassette(path, record="once")
    with pytest.raises(SecretsLeft, match=r"the response to POST /, at \$\.(arguments|text)") as caught, cassette:
        httpx2.post(url, json={})
    assert "0123456789" not in str(caught.value)
    assert not path.exists()
    assert list(path.parent.glob("*")) == []


def test_failed_recording_leaves_the_old_file_as_it_was(host: Host, path: Path) -> None:
    with Cassette(path, record="once"):
        httpx2.post(host(b'{"fine": 1}', JSON), json={})
    before = path.read_bytes()
    with pytest.raises(SecretsLeft), Cassette(path, record="all"):
        httpx2.post(host(next(iter(HIDDEN.values())), JSON), json={})
    assert path.read_bytes() == before


def test_ordinary_words_stay() -> None:
    text = "An org-chart for ak-hoc sk-y tasks; the project org-structure; 'Your account is suspended'; task-12345678."
    assert Secrets(environment={}).mask(text) == text


def test_a_value_that_is_a_path_here_is_no_secret(tmp_path: Path) -> None:
    assert not Secrets(environment={"SSL_KEY_FILE": str(tmp_path)}).occur_in(f"see {tmp_path}")


@given(st.data())
def test_any_cut_of_a_stream_hides_the_secret_and_keeps_the_rest(data: st.DataObject) -> None:
    text = "before sk-0123456789abcdef, then org-12345678 after"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=12)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    events = []
    for number, part in enumerate(parts):
        delta = {"tool_calls": [{"index": number % 2, "function": {"arguments": part if number % 2 else ""}}]}
        events.append({"choices": [{"index": 0, "delta": {"content": part}}]})
        events.append({"choices": [{"index": 0, "delta": delta}]})
    stream = "".join(f"data: {compact_json(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    cleaned = scrub_stream(stream, Secrets(environment={}))
    said_now = ""
    for block in cleaned.split("\n\n")[:-2]:
        said_now += json.loads(block[6:])["choices"][0]["delta"].get("content", "")
    assert said_now == "before <secret:key>, then <secret:account> after"
    assert cleaned.endswith("data: [DONE]\n\n")


def test_parallel_calls_are_told_apart_by_their_index() -> None:
    pieces = [(0, '{"k": "sk-01'), (1, '{"k": "plain'), (0, "23456789"), (1, ' text"}'), (0, '"}')]
    calls = [{"tool_calls": [{"index": index, "function": {"arguments": text}}]} for index, text in pieces]
    stream = "".join(f"data: {compact_json({'choices': [{'index': 0, 'delta': call}]})}\n\n" for call in calls)
    told = {0: "", 1: ""}
    for block in scrub_stream(stream, Secrets(environment={})).split("\n\n")[:-1]:
        (call,) = json.loads(block[6:])["choices"][0]["delta"]["tool_calls"]
        told[call["index"]] += call["function"]["arguments"]
    assert told == {0: '{"k": "<secret:key>"}', 1: '{"k": "plain text"}'}


def test_stream_without_secrets_is_not_touched() -> None:
    stream = 'data: {"choices": [{"delta": {"content":"a"}}]}\n\n: hm\n\ndata: {"x"\n\ndata: [DONE]\n\n'
    assert scrub_stream(stream, Secrets(environment={})) == stream
