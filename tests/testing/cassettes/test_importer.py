"""Recordings of VCR.py and go-vcr become ours, and play through ChatKimi."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import vcr
import yaml
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from langchain_kimi import ChatKimi
from langchain_kimi._raw_calls import HOST
from langchain_kimi.testing import KimiServer, thought
from langchain_kimi.testing.cassettes import Cassette, CassetteError, audit, import_cassette
from langchain_kimi.testing.cassettes.assistant_messages import response_message
from langchain_kimi.testing.cassettes.cassette_file import load_cassette
from tests.conftest import KEY, add
from tests.testing.cassettes.foreign_recordings import ASKED, EVENTS, HEADERS, STREAM, URL, go_vcr

NOWHERE = "http://127.0.0.1:9/v1"


def vcr_py(body: Any) -> dict[str, Any]:
    request = {"body": json.dumps(ASKED), "headers": HEADERS, "uri": URL, "method": "POST"}
    response = {"body": {"string": body}, "headers": EVENTS, "status": {"code": 200, "message": "OK"}}
    return {"version": 1, "interactions": [{"request": request, "response": response}]}


def langchain_tests() -> dict[str, Any]:
    document = vcr_py(STREAM.encode())
    (item,) = document["interactions"]
    return {"requests": [item["request"] | {"body": item["request"]["body"].encode()}], "responses": [item["response"]]}


def zipped(document: dict[str, Any]) -> dict[str, Any]:
    response = document["interactions"][0]["response"]
    response["headers"] = {**EVENTS, "content-encoding": ["gzip"]}
    return document


FORMS = {
    "go-vcr 1": yaml.dump(go_vcr(1)).encode(),
    "go-vcr 2": yaml.dump(go_vcr(2)).encode(),
    "VCR.py": yaml.dump(vcr_py(STREAM)).encode(),
    "VCR.py bytes": yaml.dump(vcr_py(STREAM.encode())).encode(),
    "VCR.py JSON": json.dumps(vcr_py(STREAM)).encode(),
    "VCR.py compressed": yaml.dump(zipped(vcr_py(gzip.compress(STREAM.encode())))).encode(),
    "VCR.py decoded, header left": yaml.dump(zipped(vcr_py(STREAM))).encode(),
    "langchain-tests": gzip.compress(yaml.dump(langchain_tests()).encode()),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_is_read_into_the_same_cassette_without_its_secrets(data: bytes, tmp_path: Path, path: Path) -> None:
    source = tmp_path / "foreign"
    source.write_bytes(data)
    import_cassette(source, path)
    (interaction,) = load_cassette(path)
    assert interaction.request == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "host": "api.example.com",
        "json": ASKED,
    }
    assert response_message(interaction).text == "Yes, <secret:key>"
    assert "2345678" not in path.read_text()
    assert [finding for finding in audit(path) if finding.check != "rules"] == []


@pytest.mark.parametrize("data", [b"a: [", b"[]", b"interactions:\n- request: {}\n  response: {}", b"\x00\xff", b""])
def test_file_of_no_known_form_says_so(data: bytes, tmp_path: Path, path: Path) -> None:
    source = tmp_path / "foreign.yaml"
    source.write_bytes(data)
    with pytest.raises(CassetteError, match=r"foreign\.yaml"):
        import_cassette(source, path)
    assert not path.exists()


def test_recording_made_by_vcrpy_plays_on(serve: Callable[..., KimiServer], tmp_path: Path, path: Path) -> None:
    def ask(url: str) -> AIMessage:
        return ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY).invoke("Hello?")

    with vcr.use_cassette(str(tmp_path / "theirs.yaml")):
        recorded = ask(serve([thought("Hm.").saying("Hi 😀").calling("add", a=1)]).url)
    import_cassette(tmp_path / "theirs.yaml", path)
    with Cassette(path):
        replayed = ask(NOWHERE)
    assert replayed.content == recorded.content
    assert replayed.tool_calls == recorded.tool_calls
    assert {**replayed.additional_kwargs, HOST: ""} == {**recorded.additional_kwargs, HOST: ""}


def wire_recordings() -> list[Path]:
    named = os.environ.get("KIMI_WIRE_RECORDINGS")
    folder = Path(named) if named else Path(__file__).parents[3].parent / "shared" / "wire"
    return sorted(folder.glob("*.yaml"))


WIRE = wire_recordings()


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@pytest.mark.skipif(not WIRE, reason="no recordings of other hosts: KIMI_WIRE_RECORDINGS names no folder that has them")
@pytest.mark.parametrize("source", WIRE, ids=lambda source: source.stem)
def test_recordings_of_other_hosts_import_and_play_to_the_right_messages(source: Path, path: Path) -> None:
    first, second = import_cassette(source, path)
    asked = first.request["json"]
    model = ChatKimi(
        model=asked["model"],
        base_url=f"https://{first.request['host']}{first.request['path'].removesuffix('/chat/completions')}",
        api_key="sk-none-needed-to-replay",
    ).bind_tools([add, multiply])
    # Another client wrote these requests: settings, schemas and the form of reasoning are its own.
    settings = ["max_tokens", "max_completion_tokens", "tool_choice", "usage", "tools", "reasoning"]
    theirs = [f"$.{name}" for name in settings]
    theirs += [f"$.messages[*].{name}" for name in ("reasoning", "reasoning_content", "reasoning_details", "content")]
    history: list[Any] = [(message["role"], message["content"]) for message in asked["messages"]]
    with Cassette(path, ignore=theirs, rechunk=7) as cassette:
        calls = model.invoke(history)
        results = [{"add": add, "multiply": multiply}[call["name"]].invoke(call) for call in calls.tool_calls]
        answer = model.invoke([*history, calls, *results])
    assert {call["name"]: call["args"] for call in calls.tool_calls} == {
        "add": {"a": 2, "b": 3},
        "multiply": {"a": 2, "b": 3},
    }
    assert [call["id"] for call in calls.tool_calls] == [call[0] for call in response_message(first).calls]
    assert calls.additional_kwargs.get("reasoning_content", "") == (response_message(first).reasoning or "")
    assert answer.text == response_message(second).text
    assert "5" in answer.text
    assert "6" in answer.text
    assert answer.usage_metadata
    assert cassette.unplayed == []


def test_raw_answers_of_an_import_are_those_of_the_recording(tmp_path: Path, path: Path) -> None:
    source = tmp_path / "foreign.yaml"
    source.write_bytes(yaml.dump(go_vcr(2)).replace("sk-01", "no key").encode())
    import_cassette(source, path)
    with Cassette(path):
        answer = httpx2.post(f"{NOWHERE}/chat/completions", json=ASKED)
    assert answer.text == STREAM.replace("sk-01", "no key")
