"""Pictures and videos: every form that LangChain has for them, and what Kimi does not read."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.content import create_image_block, create_plaintext_block, create_video_block
from langchain_core.tools import tool

from langchain_kimi import KimiError, amedia_block, create_kimi_agent, media_block
from langchain_kimi._rules import whole_request
from langchain_kimi.chat_model import media
from langchain_kimi.errors import APIConnectionError, IllegalRequestError
from langchain_kimi.testing import called, said
from tests.conftest import Serve, kimi

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8 "
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
PDF = b"%PDF-1.7\n"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url_part(kind: str, url: str) -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


def inline(mime_type: str, data: bytes) -> dict[str, Any]:
    return url_part(mime_type.partition("/")[0], f"data:{mime_type};base64,{b64(data)}")


PNG_PART = inline("image/png", PNG)
BLOCKS = [
    (create_image_block(base64=b64(PNG), mime_type="image/png"), PNG_PART),
    (create_image_block(file_id="file-1"), url_part("image", "ms://file-1")),
    (create_image_block(file_id="ms://file-1"), url_part("image", "ms://file-1")),
    (create_image_block(url="ms://file-1"), url_part("image", "ms://file-1")),
    (create_image_block(url=PNG_PART["image_url"]["url"]), PNG_PART),
    (create_video_block(base64=b64(MP4), mime_type="video/mp4"), inline("video/mp4", MP4)),
    (create_video_block(base64=b64(MP4), mime_type="video/quicktime"), inline("video/mov", MP4)),
    (create_video_block(file_id="file-2"), url_part("video", "ms://file-2")),
    ({"type": "image", "source": {"data": b64(JPEG)}}, inline("image/jpeg", JPEG)),
    ({"type": "image", "base64": b64(JPEG), "mime_type": "image/jpg"}, inline("image/jpeg", JPEG)),
    (
        {"type": "image", "source_type": "base64", "data": b64(WEBP), "mime_type": "image/webp"},
        inline("image/webp", WEBP),
    ),
    ({"type": "image", "source_type": "id", "id": "file-1"}, url_part("image", "ms://file-1")),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)}}, PNG_PART),
    ({"type": "file", "base64": b64(PNG), "mime_type": "image/png"}, PNG_PART),
    ({"type": "media", "data": b64(MP4), "mime_type": "video/mp4"}, inline("video/mp4", MP4)),
    ({"type": "image_url", "image_url": "ms://file-1"}, {"type": "image_url", "image_url": "ms://file-1"}),
    (create_plaintext_block("The text of a file."), {"type": "text", "text": "The text of a file."}),
]


@pytest.mark.parametrize(("block", "part"), BLOCKS)
def test_every_block_that_holds_a_picture_or_a_video_reaches_kimi(serve: Serve, block: Any, part: Any) -> None:
    server = serve([said("I see.")], files={"file-1": "image", "file-2": "video"})
    kimi(server).invoke([HumanMessage([{"type": "text", "text": "Look:"}, block])])
    assert server.requests[0].messages == [{"role": "user", "content": [{"type": "text", "text": "Look:"}, part]}]


@pytest.mark.parametrize(("block", "part"), BLOCKS)
def test_a_tools_picture_reaches_kimi_as_its_result(serve: Serve, block: Any, part: Any) -> None:
    server = serve([said("I see.")], files={"file-1": "image", "file-2": "video"})
    asked = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "look:0"}])
    kimi(server, "kimi-k3").invoke([HumanMessage("Look."), asked, ToolMessage([block], tool_call_id="look:0")])
    sent = server.requests[0].messages[-1]
    assert sent["content"] == (part["text"] if part["type"] == "text" else [part])


REFUSED = [
    ({"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}, "transcribe it"),
    ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, "transcribe it"),
    ({"type": "file", "base64": b64(PDF), "mime_type": "application/pdf"}, "file-extract"),
    ({"type": "file", "file": {"file_id": "1"}}, "file-extract"),
    ({"type": "document", "source": {"type": "base64", "data": b64(PDF)}}, "file-extract"),
    ({"type": "image", "base64": b64(SVG), "mime_type": "image/svg+xml"}, "render it as a PNG"),
    (url_part("image", f"data:image/svg+xml;base64,{b64(SVG)}"), "render it as a PNG"),
    ({"type": "image", "base64": b64(b"II*\0"), "mime_type": "image/tiff"}, "reads no image/tiff"),
    ({"type": "image", "source": {"data": b64(SVG)}}, "no mime_type"),
    ({"type": "image", "base64": PNG, "mime_type": "image/png"}, "not a base64 string"),
    ({"type": "image", "base64": "", "mime_type": "image/png"}, "holds no data"),
    ({"type": "image_url", "image_url": {}}, "holds no url"),
    (url_part("image", "data:;base64,aGk="), "names no mime type"),
    ({"type": "image", "url": "https://example.org/a.png"}, "media_block"),
    (url_part("image", "https://example.org/a.png"), "unsupported image url"),
    ({"type": "video", "url": "http://example.org/a.mp4"}, "unsupported video url"),
    ({"type": "image", "url": "file:///tmp/a.png"}, "media_block"),
    (inline("image/png", b"no picture at all"), "failed to decode image"),
]


@pytest.mark.parametrize(("block", "words"), REFUSED)
async def test_what_kimi_does_not_read_raises_before_it_is_sent(serve: Serve, block: Any, words: str) -> None:
    server = serve([])
    model = kimi(server)
    with pytest.raises(IllegalRequestError, match=words):
        model.invoke([HumanMessage([block])])
    with pytest.raises(IllegalRequestError, match=words):
        await model.ainvoke([HumanMessage([block])])
    assert server.requests == []


@pytest.mark.parametrize("block", [block for block, _ in REFUSED if not isinstance(block.get("base64"), bytes)])
def test_a_result_that_kimi_does_not_read_is_told_in_short_and_bricks_nothing(serve: Serve, block: Any) -> None:
    server = serve([said("A pity."), said("A pity.")])
    asked = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "look:0"}])
    long = {
        key: f"{value}{'A' * 4_000}" if key in ("base64", "data") and value else value for key, value in block.items()
    }
    result = ToolMessage([long], tool_call_id="look:0")
    for _ in range(2):
        assert kimi(server, "kimi-k3").invoke([HumanMessage("Look."), asked, result]).text == "A pity."
    told = server.requests[0].messages[-1]["content"]
    assert isinstance(told, str)
    assert block["type"].removeprefix("input_") in told
    assert len(told) < 1_000
    assert server.requests[0].body == server.requests[1].body


async def test_an_agent_sees_the_picture_that_its_tool_took(serve: Serve) -> None:
    server = serve([called("look"), said("A dot."), called("look"), said("A dot.")])

    @tool
    def look() -> list[Any]:
        """Look."""
        return [media_block(PNG)]

    agent = create_kimi_agent(kimi(server, "kimi-k3"), [look])
    assert agent.invoke({"messages": [("user", "Look.")]})["messages"][-1].text == "A dot."
    assert (await agent.ainvoke({"messages": [("user", "Look.")]}))["messages"][-1].text == "A dot."
    assert server.requests[1].messages[-1]["content"] == server.requests[3].messages[-1]["content"] == [PNG_PART]


def test_a_model_without_eyes_says_so(serve: Serve) -> None:
    server = serve([], models=["kimi-k2-thinking"])
    with pytest.raises(IllegalRequestError, match="choose a model that reads it"):
        kimi(server, "kimi-k2-thinking").invoke([HumanMessage([create_image_block(file_id="file-1")])])


def test_a_model_without_eyes_is_told_of_a_tools_picture(serve: Serve) -> None:
    server = serve([said("I cannot see it.")], models=["kimi-k2-thinking"])
    asked = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "look:0"}])
    result = ToolMessage(["Taken.", media_block(PNG)], tool_call_id="look:0")
    kimi(server, "kimi-k2-thinking").invoke([HumanMessage("Look."), asked, result])
    assert server.requests[0].messages[-1]["content"] == "Taken.\n(image: this model cannot see it)"


def test_another_host_may_take_web_addresses(serve: Serve) -> None:
    server = serve([said("I see.")], models=["somebody/else"])
    with pytest.warns(match="not in the catalogue"):
        kimi(server, "somebody/else").invoke([HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])])
    assert server.requests[0].messages[0]["content"] == [url_part("image", "https://example.org/a.png")]


def test_a_request_larger_than_kimi_takes_is_not_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_request, "MAX_REQUEST_BYTES", 2_000)
    server = serve([said("I see.")])
    model = kimi(server)
    model.invoke([HumanMessage([inline("image/png", PNG)])])
    with pytest.raises(IllegalRequestError, match=r"Request exceeds the maximum size\. .*ms://"):
        model.invoke([HumanMessage([inline("image/png", PNG + bytes(2_000))])])
    assert len(server.requests) == 1


# Reading and fetching.


class _Site(http.server.BaseHTTPRequestHandler):
    files: dict[str, tuple[str, bytes]]
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers.items()))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/a.png")
            self.end_headers()
            return
        kind, data = self.files.get(self.path, ("text/plain", b""))
        self.send_response(200 if data else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    _Site.asked = []
    _Site.files = {
        "/a.png": ("image/png", PNG),
        "/b": ("video/mp4; codecs=x", MP4),
        "/large.png": ("image/png", PNG + bytes(5_000)),
        "/page": ("text/html", b"<html>"),
        "/c.svg": ("image/svg+xml", SVG),
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


PNG_BLOCK = {"type": "image", "base64": b64(PNG), "mime_type": "image/png"}
MP4_BLOCK = {"type": "video", "base64": b64(MP4), "mime_type": "video/mp4"}


async def both(source: Any, **settings: Any) -> dict[str, Any]:
    block = media_block(source, **settings)
    assert await amedia_block(source, **settings) == block
    return block


async def test_files_bytes_and_references_become_blocks(tmp_path: Path) -> None:
    picture, film = tmp_path / "a b.png", tmp_path / "film"
    picture.write_bytes(PNG)
    film.write_bytes(MP4)
    assert await both(picture) == await both(str(picture)) == await both(picture.as_uri()) == PNG_BLOCK
    assert await both(film) == MP4_BLOCK
    assert await both(PNG, mime_type="image/jpeg") == PNG_BLOCK  # the data knows better
    assert await both(b"\0\0\1\xb3", mime_type="video/mpeg") == {
        "type": "video",
        "base64": b64(b"\0\0\1\xb3"),
        "mime_type": "video/mpeg",
    }
    assert await both("ms://f") == {"type": "image", "url": "ms://f"}
    assert await both("ms://f", mime_type="video/mp4") == {"type": "video", "url": "ms://f"}
    url = PNG_PART["image_url"]["url"]
    assert await both(url) == {"type": "image", "url": url}


async def test_a_web_address_is_fetched_without_the_key(site: str, serve: Serve) -> None:
    assert await both(f"{site}/a.png") == await both(f"{site}/moved") == PNG_BLOCK
    assert await both(f"{site}/b") == MP4_BLOCK
    assert all("authorization" not in {name.lower() for name in asked} for asked in _Site.asked)
    server = serve([said("A dot.")])
    question = HumanMessage([{"type": "text", "text": "What is it?"}, media_block(f"{site}/a.png")])
    assert kimi(server).invoke([question]).text == "A dot."
    assert server.requests[0].messages[0]["content"][1] == PNG_PART


async def refused(source: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        media_block(source)
    with pytest.raises(error, match=words):
        await amedia_block(source)


async def test_what_cannot_be_had_or_sent_says_why(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in {
        "a.svg": SVG,
        "a.pdf": PDF,
        "a.wav": b"RIFF\0\0\0\0WAVE",
        "a.png": b"x",
        "empty.png": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
    await refused(tmp_path / "a.svg", IllegalRequestError, "render it as a PNG")
    await refused(tmp_path / "a.pdf", IllegalRequestError, r"a.pdf \(application/pdf\): .*file-extract")
    await refused(tmp_path / "a.wav", IllegalRequestError, "transcribe it")
    await refused(tmp_path / "a.png", IllegalRequestError, "begins like no image")
    await refused(tmp_path / "empty.png", IllegalRequestError, "is empty")
    await refused(tmp_path / "none.png", FileNotFoundError, "none.png")
    await refused(f"{site}/c.svg", IllegalRequestError, "render it as a PNG")
    await refused(f"{site}/page", IllegalRequestError, "text/html")
    await refused(f"{site}/gone", KimiError, "answered 404")
    await refused("http://127.0.0.1:9/a.png", APIConnectionError, "could not be fetched")
    await refused("data:application/pdf;base64,aGk=", IllegalRequestError, "file-extract")
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(1 << 40)  # all of it a hole: nobody could read it
    await refused(tmp_path / "film.mp4", IllegalRequestError, "1,099,511,627,776 bytes")
    monkeypatch.setattr(media, "LARGEST_FILE", 1_000)
    (tmp_path / "large.png").write_bytes(PNG + bytes(5_000))
    await refused(tmp_path / "large.png", IllegalRequestError, r"1,000 fit .*ms://")
    await refused(PNG + bytes(5_000), IllegalRequestError, r"1,000 fit .*ms://")
    await refused(f"{site}/large.png", IllegalRequestError, "more than 1,000 bytes")
