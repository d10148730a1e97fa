"""Recording and replaying: every client, streams, parallel requests, modes, bodies, and how answers end."""

import asyncio
import gzip
import importlib.util
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_kimi import ChatKimi
from langchain_kimi.errors import BrokenStreamError
from langchain_kimi.testing import cut_after, overloaded, said, thought
from langchain_kimi.testing.cassettes import CannotReplay, Cassette, CassetteError, bodies
from langchain_kimi.testing.cassettes.cassette_file import Interaction, load_cassette, save_cassette
from langchain_kimi.testing.serialization import format_yaml, parse_yaml
from tests.conftest import KEY, Serve
from tests.testing.cassettes.conftest import Host

NOWHERE = "http://127.0.0.1:9/v1"
ASKED = [{"role": "user", "content": "Hello?"}]


def model(url: str, **settings: Any) -> ChatKimi:
    return ChatKimi(**{"model": "kimi-k2.6", "base_url": url, "api_key": KEY, "max_retries": 0, **settings})


def by_kimi(url: str) -> str:
    return str(model(url).invoke("Hello?").text)


def by_kimi_async(url: str) -> str:
    async def ask() -> str:
        return "".join([chunk.text async for chunk in model(url).astream("Hello?")])

    return asyncio.run(ask())


def by_openai(url: str) -> str:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(model="kimi-k2.6", messages=ASKED, stream=True)  # type: ignore[call-overload]
        return "".join(event.choices[0].delta.content or "" for event in stream)


def by_openai_async(url: str) -> str:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            answer = await client.chat.completions.create(model="kimi-k2.6", messages=ASKED)  # type: ignore[call-overload]
            return str(answer.choices[0].message.content)

    return asyncio.run(ask())


def by_client(family: Any) -> Callable[[str], str]:
    def ask(url: str) -> str:
        body = {"model": "kimi-k2.6", "messages": ASKED}
        answer = family.post(f"{url}/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
        return str(answer.json()["choices"][0]["message"]["content"])

    return ask


def by_client_async(family: Any) -> Callable[[str], str]:
    def ask(url: str) -> str:
        async def post() -> str:
            async with family.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as client:
                body = {"model": "kimi-k2.6", "messages": ASKED, "stream": True}
                async with client.stream("POST", f"{url}/chat/completions", json=body) as answer:
                    return "".join([line async for line in answer.aiter_lines() if '"content"' in line])

        return asyncio.run(post())

    return ask


CLIENTS = {
    "ChatKimi": by_kimi,
    "ChatKimi async": by_kimi_async,
    "openai": by_openai,
    "openai async": by_openai_async,
    "httpx2": by_client(httpx2),
    "httpx2 async": by_client_async(httpx2),
    "httpx": by_client(httpx),
    "httpx async": by_client_async(httpx),
}


@pytest.mark.parametrize("ask", CLIENTS.values(), ids=CLIENTS)
def test_every_client_gets_on_replay_what_it_got_when_recorded(
    ask: Callable[[str], str], serve: Serve, path: Path
) -> None:
    server = serve([thought("Greet.").saying("Hé 😀, it's\n  you\u2028!")])
    with Cassette(path, record="once"):
        recorded = ask(server.url)
    server.close()
    with Cassette(path) as cassette:
        assert ask(NOWHERE) == recorded
    assert "you" in recorded
    assert cassette.unplayed == []


def test_answer_recorded_by_one_client_plays_to_another(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        by_client(httpx)(serve([said("Hi")]).url)
    with Cassette(path):
        assert by_openai_async(NOWHERE) == "Hi"


def test_client_gets_a_streamed_answer_while_it_is_recorded(serve: Serve, path: Path) -> None:
    read = threading.Event()

    def pieces() -> Any:
        yield "one "
        assert read.wait(10), "the second piece waits until the first was read"
        yield "two"

    heard = ""
    with Cassette(path, record="once"):
        for chunk in model(serve([said(pieces())]).url).stream("Hello?"):
            heard += chunk.text
            if heard == "one ":
                read.set()
    assert heard == "one two"


def test_parallel_requests_get_their_own_answers_in_any_order(serve: Serve, path: Path) -> None:
    server = serve(lambda request: said(f"to {request.last['content']}"))

    async def ask(url: str, names: list[str]) -> list[str]:
        answers = await asyncio.gather(*(model(url).ainvoke(name) for name in names))
        return [answer.text for answer in answers]

    with Cassette(path, record="once"):
        asyncio.run(ask(server.url, ["a", "b", "c", "d"]))
    with Cassette(path) as cassette:
        assert asyncio.run(ask(NOWHERE, ["d", "b", "a", "c"])) == ["to d", "to b", "to a", "to c"]
    assert cassette.unplayed == []


def test_equal_requests_play_in_the_order_of_their_recording_and_once_each(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        url = serve([overloaded(), said("now")]).url
        first = httpx2.post(f"{url}/chat/completions", json={"model": "kimi-k2.6", "messages": ASKED}, headers=auth())
        assert first.status_code == 429
        assert by_client(httpx2)(url) == "now"
    with Cassette(path):
        body = {"model": "kimi-k2.6", "messages": ASKED}
        assert httpx2.post(f"{NOWHERE}/chat/completions", json=body).status_code == 429
        assert by_client(httpx2)(NOWHERE) == "now"
        with pytest.raises(CannotReplay, match="more often than it was recorded: request 1 of 2 in"):
            by_client(httpx2)(NOWHERE)


def auth() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("seed", range(5))
def test_stream_cut_anew_is_the_same_message(seed: int, serve: Serve, path: Path) -> None:
    reply = thought("Zwei Wörter, 加 – 😀.").saying("Ä").calling("add", a=2, b=3)
    with Cassette(path, record="once"):
        recorded = model(serve([reply]).url).invoke("Hello?")
    with Cassette(path, rechunk=seed) as cassette:
        replayed = model(NOWHERE).invoke("Hello?")
    for message in (replayed, recorded):
        message.additional_kwargs.pop("kimi_host")  # the test's own server, and none
    assert without_id(replayed) == without_id(recorded)
    (interaction,) = cassette.interactions
    natural = bodies.body_pieces(interaction.response)
    assert cassette.response_pieces(interaction) != natural
    assert b"".join(cassette.response_pieces(interaction)) == b"".join(natural)


def without_id(message: AIMessage) -> dict[str, Any]:
    return {key: value for key, value in message.model_dump().items() if key != "id"}


def test_seed_says_where_a_stream_is_cut(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        model(serve([said("a few words " * 20)]).url).invoke("Hello?")
    one, again, other = (Cassette(path, rechunk=seed) for seed in (1, 1, 2))
    assert one.response_pieces(one.interactions[0]) == again.response_pieces(again.interactions[0])
    assert one.response_pieces(one.interactions[0]) != other.response_pieces(other.interactions[0])


def test_none_asks_nobody_and_names_the_missing_file(serve: Serve, path: Path) -> None:
    server = serve([said("Hi")])
    with Cassette(path, advice="Record it."), pytest.raises(CannotReplay, match=r"does not exist\. Record it\."):
        by_kimi(server.url)
    assert server.requests == []
    assert not path.exists()


def test_once_records_the_first_time_only(serve: Serve, path: Path) -> None:
    server = serve([said("Hi")])
    for _ in range(2):
        with Cassette(path, record="once"):
            assert by_kimi(server.url) == "Hi"
    assert len(server.requests) == 1
    with Cassette(path, record="once"), pytest.raises(CannotReplay):
        model(server.url).invoke("Something else?")


def test_new_episodes_keeps_what_is_there_and_asks_for_the_rest(serve: Serve, path: Path) -> None:
    server = serve([said("Hi"), said("More")])
    with Cassette(path, record="once"):
        by_kimi(server.url)
    with Cassette(path, record="new_episodes"):
        assert by_kimi(server.url) == "Hi"
        assert model(server.url).invoke("And?").text == "More"
    assert len(server.requests) == 2
    with Cassette(path):
        assert model(NOWHERE).invoke("And?").text == "More"
        assert by_kimi(NOWHERE) == "Hi"


def test_all_records_anew_and_leaves_nothing_old(serve: Serve, path: Path) -> None:
    server = serve([said("old"), said("older"), said("new")])
    with Cassette(path, record="once"):
        by_kimi(server.url)
        model(server.url).invoke("And?")
    with Cassette(path, record="all"):
        assert by_kimi(server.url) == "new"
    assert [interaction.chat["messages"] for interaction in load_cassette(path) if interaction.chat] == [ASKED]


def encoded(encoding: str, data: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.compress(data)
    if encoding == "deflate":
        return zlib.compress(data)
    if encoding == "br":
        import brotli

        return bytes(brotli.compress(data))
    return zstandard.compress(data)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
@pytest.mark.parametrize("family", [httpx, httpx2])
def test_compressed_answer_is_stored_plain_and_read_by_any_client(
    encoding: str, family: Any, host: Host, path: Path
) -> None:
    if encoding == "br" and importlib.util.find_spec("brotli") is None:
        pytest.skip("brotli is not installed")
    url = host(
        encoded(encoding, b'{"said": "plain"}'), ("content-type", "application/json"), ("content-encoding", encoding)
    )
    with Cassette(path, record="once"):
        httpx2.post(url, json={}, headers={"accept-encoding": encoding})
    assert "said: plain" in path.read_text()
    with Cassette(path):
        assert family.post("http://127.0.0.1:9", json={}).json() == {"said": "plain"}


def test_unknown_encoding_is_refused_and_nothing_written(host: Host, path: Path) -> None:
    cassette = Cassette(path, record="once")
    with pytest.raises(CassetteError, match="content-encoding 'xyz'"), cassette:
        httpx2.post(host(b"???", ("content-encoding", "xyz")), json={})
    assert not path.exists()


def test_binary_answer_keeps_its_bytes(host: Host, path: Path) -> None:
    data = bytes(range(256))
    with Cassette(path, record="once"):
        httpx2.get(host(data, ("content-type", "image/png")))
    with Cassette(path):
        assert httpx2.get("http://127.0.0.1:9/").content == data


def test_upload_matches_whatever_boundary_the_client_makes_up(host: Host, path: Path) -> None:
    url = host(b'{"id": "file-1"}')
    with Cassette(path, record="once"):
        httpx2.post(f"{url}/v1/files", files={"file": ("a.txt", b"text")}, data={"purpose": "file-extract"})
    with Cassette(path):
        files, data = {"file": ("a.txt", b"text")}, {"purpose": "file-extract"}
        assert httpx2.post(f"{NOWHERE}/files", files=files, data=data).json() == {"id": "file-1"}
        with pytest.raises(CannotReplay, match=r"text/plain.*ntext.*nother"):
            httpx2.post(f"{NOWHERE}/files", files={"file": ("a.txt", b"other")}, data=data)


def test_query_counts_but_not_its_order(host: Host, path: Path) -> None:
    with Cassette(path, record="once"):
        httpx2.get(host(b"[]") + "/files?b=2&a=1")
    with Cassette(path):
        with pytest.raises(CannotReplay):
            httpx2.get("http://127.0.0.1:9/files?a=1&b=3")
        assert httpx2.get("http://127.0.0.1:9/files?a=1&b=2").json() == []


def test_broken_answer_breaks_again_on_replay(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"), pytest.raises(BrokenStreamError) as recorded:
        model(serve([cut_after(said("a long text"), events=2)]).url).invoke("Hello?")
    assert "ends: cut" in path.read_text()
    with Cassette(path), pytest.raises(BrokenStreamError) as replayed:
        model(NOWHERE).invoke("Hello?")
    assert replayed.value.usage_metadata == recorded.value.usage_metadata is not None


def test_answer_that_the_client_left_ends_there_on_replay(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        stream = model(serve([said("one two three four")]).url).stream("Hello?")
        first = next(stream).text
        stream.close()
    with Cassette(path):
        stream = model(NOWHERE).stream("Hello?")
        assert next(stream).text == first
        stream.close()


def test_cancelled_request_leaves_the_rest_of_the_recording_usable(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        url = serve(lambda request: said(str(request.last["content"]) * 50)).url
        model(url).invoke("a")
        model(url).invoke("b")

    async def ask() -> str:
        stream = model(NOWHERE).astream("a")
        await anext(stream)
        await stream.aclose()
        task = asyncio.create_task(model(NOWHERE).ainvoke("c"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await model(NOWHERE).ainvoke("b")).text

    with Cassette(path):
        assert asyncio.run(ask()) == "b" * 50


def test_unreachable_host_leaves_no_recording(path: Path) -> None:
    with Cassette(path, record="once"), pytest.raises(httpx2.ConnectError):
        httpx2.post("http://127.0.0.1:9/v1/chat/completions", json={})
    assert not path.exists()


def test_allowed_host_is_neither_recorded_nor_replayed(serve: Serve, host: Host, path: Path) -> None:
    other = host(b'"live"')
    beside = other.removeprefix("http://")
    with Cassette(path, record="once", allowed_hosts=[beside]):
        by_kimi(serve([said("Hi")]).url)
        assert httpx2.get(other).json() == "live"
    assert len(load_cassette(path)) == 1
    with Cassette(path, allowed_hosts=[beside]):
        assert httpx2.get(other).json() == "live"


def test_file_is_one_a_person_can_review(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        model(serve([said("It's fine", thinking="So:\n- be kind")]).url).invoke(
            [("system", "Be brief.\nBe kind."), ("user", "Hello?")]
        )
    text = path.read_text()
    assert "        content: |-\n          Be brief.\n          Be kind.\n" in text
    assert """    - '{"content":" fine"}'\n""" in text
    assert "    - data: '[DONE]'\n" in text
    assert "authorization" not in text
    assert max(map(len, text.splitlines())) < 500


def test_no_line_ends_in_a_blank_that_an_editor_would_strip(serve: Serve, path: Path) -> None:
    with Cassette(path, record="once"):
        model(serve([said("one \ntwo\t\n ")]).url).invoke("One \nTwo\t\n   \n ")
    assert [line for line in path.read_text().splitlines() if line != line.rstrip()] == []


def test_file_that_cannot_be_written_leaves_nothing_behind(path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        save_cassette(path, [Interaction({"method": "GET", "path": "/\ud800"}, {"status": 200, "headers": {}})])
    assert list(path.parent.iterdir()) == []


def test_recording_the_same_again_changes_only_ids(host: Host, path: Path) -> None:
    url = host(
        b'{"b": 1, "a": [2.5, 1e-07, "\xe2\x80\xa8"]}', ("x-request-id", "1"), ("content-type", "application/json")
    )
    written = set()
    for _ in range(2):
        with Cassette(path, record="all"):
            httpx2.post(url, json={"z": 1, "a": 2})
        written.add(path.read_text())
    assert len(written) == 1


texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t:#'\"-|>{}[]\r\x85\u2028\ufeffa1e."))
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_any_json_comes_back_from_the_file(document: dict[str, Any]) -> None:
    assert parse_yaml(format_yaml(document)) == document


@given(st.lists(st.sampled_from(["data: ", '{"delta": {"a":', '"x"}}', "\n", "\n\n", ": hm", "data:x", "é", "[DONE]"])))
def test_any_stream_comes_back_from_the_file(parts: list[str]) -> None:
    data = "".join(parts).encode()
    packed = bodies.pack_body(data, "text/event-stream")
    assert bodies.unpack_body(parse_yaml(format_yaml({"x": packed}))["x"]) == data


@pytest.mark.parametrize("text", ['{"a": "\\ud83d"}', '{"a": 1, "a": 2}', "[" * 500 + "]" * 500, '{"a": 1e999}', "{"])
def test_json_that_yaml_cannot_hold_stays_text(text: str) -> None:
    assert bodies.pack_body(text.encode()) == {"text": text}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("interactions: []", "`langchain-kimi cassettes import FROM TO` converts those of VCR.py"),
        ("format: kimi-cassette/1\ninteractions: [1]", "interaction 1: there is no request"),
        (
            "format: kimi-cassette/1\ninteractions:\n- request: {method: GET, path: /}",
            "interaction 1: there is no response",
        ),
        ("a: [", "is not valid YAML"),
        ("!!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_file_that_is_no_cassette_says_so(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "x.kimi.yaml"
    file.write_text(text)
    with pytest.raises(CassetteError, match=says):
        Cassette(file)
