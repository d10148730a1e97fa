"""What goes wrong with VCR.py's defaults, each shown on VCR.py, and shown not to happen here."""

import gzip
import json
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import vcr

from langchain_kimi import ChatKimi
from langchain_kimi.testing import said
from langchain_kimi.testing.cassettes import CannotReplay, Cassette
from tests.conftest import Serve
from tests.testing.cassettes.conftest import Host

KEY = "sk-0123456789abcdef"
NOWHERE = "http://127.0.0.1:9/v1"
JSON = ("content-type", "application/json")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return tmp_path / "theirs.yaml"


def vcrpy(path: Path, mode: str = "once", **settings: Any) -> AbstractContextManager[Any]:
    opened: AbstractContextManager[Any] = vcr.use_cassette(str(path), record_mode=mode, **settings)
    return opened


def ask(url: str, prompt: str = "Hello?", **settings: Any) -> str:
    model = {"model": "kimi-k2.6", **settings}
    return str(ChatKimi(base_url=url, api_key=KEY, max_retries=0, **model).invoke(prompt).text)


def test_key_is_not_written(serve: Serve, theirs: Path, path: Path) -> None:
    url = serve([said("Hi"), said("Hi")]).url
    with vcrpy(theirs):
        ask(url)
    with Cassette(path, record="once"):
        ask(url)
    assert KEY in theirs.read_text()
    assert KEY not in path.read_text()


@pytest.mark.parametrize("change", [{"prompt": "Bye?"}, {"model": "kimi-k3"}, {"max_tokens": 7}])
def test_another_request_does_not_get_the_answer(
    change: dict[str, Any], serve: Serve, theirs: Path, path: Path
) -> None:
    url = serve([said("Hi"), said("Hi")]).url
    with vcrpy(theirs):
        ask(url)
    with Cassette(path, record="once"):
        ask(url)
    with vcrpy(theirs, "none"):
        assert ask(url, **change) == "Hi"
    with Cassette(path), pytest.raises(CannotReplay, match="recorded"):
        ask(url, **change)


def test_secret_in_pieces_is_not_written(serve: Serve, theirs: Path, path: Path) -> None:
    pieces = ["Your key: sk-", "LE", "AK", "1234", "567890."]

    def scrub(response: Any) -> Any:
        body = response["body"]["string"].replace(b"sk-LEAK1234567890", b"")
        return response | {"body": {"string": body}}

    url = serve([said(pieces), said(pieces)]).url
    with vcrpy(theirs, before_record_response=scrub):
        ask(url)
    with Cassette(path, record="once"):
        ask(url)
    with vcrpy(theirs, "none"):
        assert ask(url) == "Your key: sk-LEAK1234567890."
    with Cassette(path):
        assert ask(url) == "Your key: <secret:key>."
    assert "LEAK" not in path.read_text()
    assert '"LE"' not in path.read_text()
    assert "567890" not in path.read_text()


def test_home_folder_is_not_written_and_is_that_of_whoever_replays(
    serve: Serve, theirs: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/erika.mustermann")
    pieces = ["Look in /home/eri", "ka.muster", "mann/notes, not /home/erika.mustermann-2"]
    url = serve([said(pieces), said(pieces)]).url
    with vcrpy(theirs):
        ask(url, "What is in /home/erika.mustermann?")
    with Cassette(path, record="once"):
        ask(url, "What is in /home/erika.mustermann?")
    assert "erika.mustermann" in theirs.read_text()
    assert "in <secret:home>?" in path.read_text()
    assert '" in /home/eri' not in path.read_text()
    monkeypatch.setenv("HOME", "/Users/max")
    with Cassette(path):
        answer = ask(NOWHERE, "What is in /Users/max?")
    assert answer == "Look in /Users/max/notes, not /home/erika.mustermann-2"


def test_host_and_port_do_not_count(serve: Serve, theirs: Path, path: Path) -> None:
    url = serve([said("Hi"), said("Hi")]).url
    with vcrpy(theirs):
        ask(url)
    with Cassette(path, record="once"):
        ask(url)
    with vcrpy(theirs, "none"), pytest.raises(Exception, match="overwrite"):
        ask(NOWHERE)
    with Cassette(path):
        assert ask(NOWHERE) == "Hi"


def test_order_of_keys_does_not_make_a_recording_stale(host: Host, theirs: Path, path: Path) -> None:
    one, other = ({"model": "kimi-k2.6", "messages": []}, {"messages": [], "model": "kimi-k2.6"})
    url = host(b"{}", JSON)
    strict = {"match_on": ["method", "body"]}
    with vcrpy(theirs, **strict):
        httpx2.post(url, content=json.dumps(one))
    with Cassette(path, record="once"):
        httpx2.post(url, content=json.dumps(one))
    with vcrpy(theirs, "none", **strict), pytest.raises(Exception, match="overwrite"):
        httpx2.post(url, content=json.dumps(other))
    with Cassette(path):
        assert httpx2.post(url, content=json.dumps(other)).json() == {}


def test_compressed_answer_is_readable_in_the_file_and_by_every_client(host: Host, theirs: Path, path: Path) -> None:
    url = host(gzip.compress(b'{"said": "in plain words"}'), JSON, ("content-encoding", "gzip"))
    with vcrpy(theirs):
        httpx2.post(url, json={})
    with Cassette(path, record="once"):
        httpx2.post(url, json={})
    assert "in plain words" not in theirs.read_text()
    assert "said: in plain words" in path.read_text()
    with Cassette(path), httpx2.stream("POST", url, json={}) as answer:
        assert b"".join(answer.iter_raw()) == b'{"said":"in plain words"}'


def test_stream_is_not_held_back_while_it_is_recorded(serve: Serve, theirs: Path, path: Path) -> None:
    def streams(recording: AbstractContextManager[Any]) -> bool:
        read, held = threading.Event(), []

        def pieces() -> Any:
            yield "one "
            held.append(not read.wait(1.0))
            yield "two"

        model = ChatKimi(model="kimi-k2.6", base_url=serve([said(pieces())]).url, api_key=KEY)
        with recording:
            for chunk in model.stream("Hello?"):
                if chunk.text == "one ":
                    read.set()
        return not held[0]

    assert not streams(vcrpy(theirs))
    assert streams(Cassette(path, record="once"))


def test_stream_is_replayed_event_by_event(serve: Serve, theirs: Path, path: Path) -> None:
    def chunks() -> int:
        body = {"model": "kimi-k2.6", "stream": True, "messages": [{"role": "user", "content": "Hello?"}]}
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.stream("POST", f"{url}/chat/completions", json=body, headers=headers) as answer:
            return len(list(answer.iter_raw()))

    url = serve([said("one two three four"), said("one two three four")]).url
    for recording in (vcrpy(theirs), Cassette(path, record="once")):
        with recording:
            chunks()
    with vcrpy(theirs, "none"):
        assert chunks() == 1
    with Cassette(path):
        assert chunks() == 7


def test_broken_answer_is_recorded(serve: Serve, host: Host, theirs: Path, path: Path) -> None:
    url = host(b'{"half": ', JSON, cut=True)
    for recording in (vcrpy(theirs), Cassette(path, record="once")):
        with recording, pytest.raises(httpx2.RemoteProtocolError):
            httpx2.post(url, json={})
    assert not theirs.exists()
    with Cassette(path), pytest.raises(httpx2.RemoteProtocolError, match="recorded up to here"):
        httpx2.post(NOWHERE.removesuffix("/v1"), json={})


def test_recording_that_nobody_asks_for_is_noticed(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        url = serve([said("Hi"), said("Bye")]).url
        ask(url)
        ask(url, "More?")
    with Cassette(path) as cassette:
        ask(url)
    assert [interaction.chat["messages"][0]["content"] for interaction in cassette.unplayed if interaction.chat] == [
        "More?"
    ]


def test_characters_stay_readable(serve: Serve, theirs: Path, path: Path) -> None:
    url = serve([said("x"), said("x")]).url
    for recording in (vcrpy(theirs), Cassette(path, record="once")):
        with recording:
            ask(url, "Grüße, 月之暗面 😀")
    assert "Grüße, 月之暗面 😀" not in theirs.read_text()
    assert "Grüße, 月之暗面 😀" in path.read_text()
