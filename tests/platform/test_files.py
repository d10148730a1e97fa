"""Files over real HTTP: what is uploaded, what comes back, and what is refused before anything is sent."""

import io
from pathlib import Path

import pytest

from langchain_kimi import KimiPlatform
from langchain_kimi.catalogue import MAX_UPLOAD_BYTES
from langchain_kimi.errors import (
    APIConnectionError,
    BadRequestError,
    IllegalRequestError,
    NotFoundError,
    OverloadedError,
)
from langchain_kimi.testing import KimiServer, overloaded, refused, said
from tests.clock import VirtualClock
from tests.conftest import KEY, Serve, kimi
from tests.platform.conftest import Do


def platform_on(server: KimiServer, **settings: object) -> KimiPlatform:
    return KimiPlatform(**{"base_url": server.url, "api_key": KEY, "max_retries": 0, **settings})  # type: ignore[arg-type]


async def test_a_file_goes_up_and_its_text_comes_back_as_a_document(serve: Serve, do: Do, tmp_path: Path) -> None:
    server = serve([], extracts={"report.pdf": "Lakes are deep.\u2028Very."})
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7 \xff\xfe")
    document = await do(platform_on(server).files, "load", path)
    assert document.page_content == "Lakes are deep.\u2028Very."
    upload, content = server.calls
    assert (upload.method, upload.path, upload.form["purpose"]) == ("POST", "/v1/files", "file-extract")
    assert (upload.form["file"].name, upload.form["file"].data) == ("report.pdf", b"%PDF-1.7 \xff\xfe")  # type: ignore[union-attr]
    assert content.path == f"/v1/files/{document.metadata['file_id']}/content"
    assert (document.metadata["source"], document.metadata["size"]) == (str(path), 11)
    assert len(await do(platform_on(server).files, "list")) == 1


async def test_load_removes_the_upload_on_request(serve: Serve, do: Do) -> None:
    server = serve([])
    document = await do(platform_on(server).files, "load", b"plain text", name="a.txt", delete=True)
    assert (document.page_content, document.metadata["source"]) == ("plain text", "a.txt")
    assert await do(platform_on(server).files, "list") == []


async def test_load_removes_the_upload_where_its_text_cannot_be_had(serve: Serve, do: Do) -> None:
    server = serve([])
    server.refuse("GET /files/*", refused(500, "server_error", "extraction crashed"))
    with pytest.raises(Exception, match="extraction crashed"):
        await do(platform_on(server).files, "load", b"text", delete=True)
    assert [call.method for call in server.calls] == ["POST", "GET", "DELETE"]


async def test_files_are_listed_described_read_and_deleted(serve: Serve, do: Do) -> None:
    files = platform_on(serve([])).files
    file = await do(files, "upload", io.BytesIO(b"\x89PNG...."), purpose="image", name="lake ä.png")
    assert (file.name, file.size, file.purpose, file.status) == ("lake ä.png", 8, "image", "ok")
    assert await do(files, "get", file.id) == file
    assert await do(files, "list") == [file]
    assert await do(files, "content", file.id) == b"\x89PNG...."
    await do(files, "delete", file.id)
    with pytest.raises(NotFoundError, match=file.id):
        await do(files, "get", file.id)


async def test_an_uploaded_image_is_shown_to_the_model_by_its_reference(serve: Serve, do: Do) -> None:
    server = serve([said("A lake.")])
    model = kimi(server)
    file = await do(KimiPlatform.from_model(model).files, "upload", b"\x89PNG....", purpose="image")
    await model.ainvoke([("user", [{"type": "text", "text": "What is it?"}, file.block])])
    part = server.requests[-1].messages[-1]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": file.reference}}
    assert file.reference == f"ms://{file.id}"


async def test_progress_is_told_from_the_first_byte_to_the_last(serve: Serve, do: Do, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(bytes(300_000))
    told: list[tuple[int, int]] = []
    await do(platform_on(serve([])).files, "upload", path, purpose="video", progress=lambda *sent: told.append(sent))
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == (300_000, 300_000)


async def test_an_upload_is_repeated_whole_after_a_passing_failure(serve: Serve, do: Do, tmp_path: Path) -> None:
    server, clock = serve([]), VirtualClock()
    server.refuse("POST /files", overloaded(times=2))
    path = tmp_path / "a.txt"
    path.write_text("all of it")
    file = await do(platform_on(server, max_retries=2, clock=clock).files, "upload", path)
    assert [call.form["file"].data for call in server.calls] == [b"all of it"] * 3  # type: ignore[union-attr]
    assert file.size == 9
    assert len(clock.waited) == 2


async def test_a_missing_file_is_told_before_anything_is_sent(serve: Serve, do: Do, tmp_path: Path) -> None:
    server = serve([])
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.pdf cannot be read: No such file or directory\. Check the path\.$"
    ):
        await do(platform_on(server).files, "upload", tmp_path / "nowhere.pdf")
    assert server.calls == []


async def test_a_folder_is_no_file(serve: Serve, do: Do, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        await do(platform_on(serve([])).files, "upload", tmp_path)


async def test_an_empty_file_is_told_before_anything_is_sent(serve: Serve, do: Do, tmp_path: Path) -> None:
    server = serve([])
    (tmp_path / "empty.txt").touch()
    for source in (tmp_path / "empty.txt", b"", io.BytesIO()):
        with pytest.raises(IllegalRequestError, match="empty"):
            await do(platform_on(server).files, "upload", source)
    assert server.calls == []


async def test_a_file_over_100_mb_is_told_before_anything_is_sent(serve: Serve, do: Do, tmp_path: Path) -> None:
    server = serve([])
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(IllegalRequestError, match="104,857,601 bytes"):
        await do(platform_on(server).files, "upload", path)
    assert server.calls == []


async def test_an_unknown_purpose_is_told_before_anything_is_sent(serve: Serve, do: Do) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match="file-extract, image, video, batch"):
        await do(platform_on(server).files, "upload", b"x", purpose="assistants")
    assert server.calls == []


async def test_what_kimi_cannot_read_raises_in_its_words(serve: Serve, do: Do) -> None:
    with pytest.raises(BadRequestError, match="text extract error"):
        await do(platform_on(serve([])).files, "load", b"\xff\xfe\xfa", name="noise.bin")


async def test_an_empty_id_asks_nothing(serve: Serve, do: Do) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match="The id is empty"):
        await do(platform_on(server).files, "delete", "")
    assert server.calls == []


async def test_an_id_cannot_reach_another_path(serve: Serve, do: Do) -> None:
    server = serve([])
    with pytest.raises(NotFoundError):
        await do(platform_on(server).files, "get", "../batches?x=1")
    assert server.calls[0].query == {}


async def test_text_inside_json_is_read_as_text(serve: Serve, do: Do) -> None:
    wrapped = '{"content":"Deep.","file_type":"text/plain","filename":"a.txt","title":"","type":"file"}'
    files = platform_on(serve([], extracts={"a.txt": wrapped, "b.json": '{"content": 1}'})).files
    assert (await do(files, "load", b"x", name="a.txt")).page_content == "Deep."
    assert (await do(files, "load", b"x", name="b.json")).page_content == '{"content": 1}'


async def test_refusals_are_typed_as_for_chat(serve: Serve, do: Do) -> None:
    server = serve([])
    server.refuse("GET /files", overloaded(times=1))
    with pytest.raises(OverloadedError):
        await do(platform_on(server).files, "list")
    server.close()
    with pytest.raises(APIConnectionError):
        await do(platform_on(server).files, "list")


async def test_an_answer_of_an_unknown_form_is_a_server_error_that_shows_it(serve: Serve, do: Do) -> None:
    server = serve([])
    server.refuse("GET /files", refused(200, page='{"x": "not a list"}'))
    with pytest.raises(Exception, match="GET /files in an unknown form"):
        await do(platform_on(server).files, "list")
