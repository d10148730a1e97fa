"""The endpoints beside chat over real sockets: what they answer, and what they refuse in which words."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from langchain_kimi.testing import (
    Formula,
    KimiServer,
    ScriptError,
    Upload,
    cut_after,
    fiber_encrypted,
    fiber_failed,
    fiber_succeeded,
    overloaded,
    refused,
    said,
)

MB = 1024 * 1024
WAIT = 20.0
OFFICIAL = [
    *("convert", "web-search", "rethink", "random-choice", "mew", "memory"),
    *("excel", "date", "base64", "fetch", "quickjs", "code_runner"),
]

Client = Callable[..., tuple[KimiServer, httpx2.Client]]


@pytest.fixture
def world(serve: Callable[..., KimiServer]) -> Iterator[Client]:
    """A server and a client of it."""
    clients: list[httpx2.Client] = []

    def start(script: Any = (), **settings: Any) -> tuple[KimiServer, httpx2.Client]:
        server = serve(script, **settings)
        headers = {"authorization": "Bearer sk-test-0123456789"}
        clients.append(httpx2.Client(base_url=server.url, headers=headers, trust_env=False, timeout=WAIT))
        return server, clients[-1]

    yield start
    for client in clients:
        client.close()


def error(answer: httpx2.Response) -> tuple[int, str, str]:
    assert answer.json().keys() == {"error"}
    return answer.status_code, answer.json()["error"]["type"], answer.json()["error"]["message"]


def upload(http: httpx2.Client, data: bytes, purpose: str = "file-extract", name: str = "note.txt") -> httpx2.Response:
    return http.post("/files", files={"file": (name, data)}, data={"purpose": purpose})


class TestFiles:
    def test_a_file_is_uploaded_listed_read_and_deleted(self, world: Client) -> None:
        server, http = world()
        file = upload(http, b"\xef\xbb\xbf" + "Grüße\r\n--x\r\n".encode(), name="Grüße 1.txt").json()
        assert (file["object"], file["bytes"], file["filename"]) == ("file", 17, "Grüße 1.txt")
        assert (file["purpose"], file["status"], file["status_details"]) == ("file-extract", "ok", "")
        assert http.get("/files").json() == {"object": "list", "data": [file]}
        assert http.get(f"/files/{file['id']}").json() == file
        content = http.get(f"/files/{file['id']}/content")
        assert content.headers["content-type"].startswith("text/plain")
        assert content.text == "Grüße\r\n--x\r\n"
        assert http.delete(f"/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}
        assert http.get("/files").json()["data"] == []
        for answer in (
            http.get(f"/files/{file['id']}"),
            http.get(f"/files/{file['id']}/content"),
            http.delete(f"/files/{file['id']}"),
        ):
            assert error(answer) == (404, "resource_not_found_error", f"file {file['id']} not found")
        assert [(call.method, call.route, call.status) for call in server.calls[:2]] == [
            ("POST", "/files", 200),
            ("GET", "/files", 200),
        ]

    def test_the_form_is_kept_as_it_was_sent(self, world: Client) -> None:
        server, http = world()
        data = b"\0\r\n\r\n--\xff\r\n" * 3
        upload(http, data, "image", 'a "b".png')
        sent = server.calls[0].form
        assert sent["purpose"] == "image"
        assert isinstance(sent["file"], Upload)
        assert (sent["file"].name.replace("%22", '"'), sent["file"].data) == ('a "b".png', data)
        assert server.calls[0].headers["authorization"] == "Bearer ***"

    def test_an_unknown_purpose_is_refused(self, world: Client) -> None:
        _, http = world()
        words = "only `file-extract`, `batch`, `batch_output`, `lambda`, `image` and `video` accepted"
        assert error(upload(http, b"x", "assistants")) == (
            400,
            "invalid_request_error",
            f"Invalid purpose: assistants, {words}",
        )

    def test_an_empty_file_is_refused(self, world: Client) -> None:
        _, http = world()
        status, _, message = error(upload(http, b""))
        assert (status, message[:22]) == (400, "File size is zero, ple")

    def test_a_file_of_100_mb_is_taken_and_one_byte_more_is_refused(self, world: Client) -> None:
        server, http = world()
        assert upload(http, bytes(100 * MB), "video", "film.mp4").json()["bytes"] == 100 * MB
        assert error(upload(http, bytes(100 * MB + 1), "video", "film.mp4")) == (
            400,
            "invalid_request_error",
            "File size is too large, max file size is 100MB, please confirm and re-upload the file",
        )
        server.calls.clear()

    def test_what_is_no_form_is_refused(self, world: Client) -> None:
        _, http = world()
        message = "request Content-Type isn't multipart/form-data"
        assert error(http.post("/files", json={}))[2] == message
        assert error(http.post("/files", data={"purpose": "file-extract"}))[2] == message
        missing = http.post("/files", files={"other": ("a", b"x")}, data={"purpose": "image"})
        assert error(missing)[2] == "Invalid request: file is required"

    def test_only_text_is_extracted_unless_the_test_says_what_is_in_a_file(self, world: Client) -> None:
        _, http = world(extracts={"report.pdf": "Revenue rose."})
        assert error(upload(http, b"%PDF\xff", name="other.pdf"))[2].startswith("text extract error")
        file = upload(http, b"%PDF\xff", name="report.pdf").json()
        assert http.get(f"/files/{file['id']}/content").text == "Revenue rose."

    def test_chat_reads_uploaded_media_and_refuses_others(self, world: Client) -> None:
        _, http = world([said("A dot.")], files={"film-1": "video"})
        picture = upload(http, b"\x89PNG\r\n\x1a\n", "image", "a.png").json()["id"]
        text = upload(http, b"text").json()["id"]

        def ask(kind: str, file_id: str) -> httpx2.Response:
            part = {"type": kind, kind: {"url": f"ms://{file_id}"}}
            return http.post(
                "/chat/completions", json={"model": "kimi-k3", "messages": [{"role": "user", "content": [part]}]}
            )

        assert error(ask("image_url", "nothing"))[2] == "Invalid request: file nothing not found"
        assert error(ask("image_url", text))[2].endswith("was uploaded for file-extract, not for image")
        assert error(ask("image_url", "film-1"))[2].endswith("was uploaded for video, not for image")
        assert ask("image_url", picture).json()["usage"]["prompt_tokens"] > 1_000
        http.delete(f"/files/{picture}")
        assert error(ask("image_url", picture))[0] == 400


class TestAccount:
    def test_the_balance(self, world: Client) -> None:
        _, http = world(balance=-1.5)
        assert http.get("/users/me/balance").json() == {
            "code": 0,
            "data": {"available_balance": -1.5, "voucher_balance": 0, "cash_balance": -1.5},
            "scode": "0x0",
            "status": True,
        }

    def test_any_endpoint_refuses_as_often_as_it_is_told_to(self, world: Client) -> None:
        server, http = world()
        server.refuse("GET /v1/users/me/balance", overloaded(times=2), refused(504, page="<html>"))
        server.refuse("GET /formulas/*/tools", refused(500, "server_error", "down"))
        assert [http.get("/users/me/balance").status_code for _ in range(4)] == [429, 429, 504, 200]
        with pytest.raises(ValueError, match="Put the error into the script"):
            server.refuse("POST /v1/chat/completions", overloaded())
        assert error(http.get("/formulas/moonshot/date:latest/tools")) == (500, "server_error", "down")
        assert http.get("/formulas/moonshot/date:latest/tools").status_code == 200

    def test_every_endpoint_wants_a_key(self, world: Client) -> None:
        server, http = world(api_key="sk-other")
        for method, path in [("GET", "/users/me/balance"), ("POST", "/files"), ("GET", "/batches"), ("GET", "/models")]:
            assert error(http.request(method, path)) == (401, "invalid_authentication_error", "Invalid Authentication")
        assert [call.status for call in server.calls] == [401] * 4

    def test_models_say_what_they_read(self, world: Client) -> None:
        _, http = world(models=("kimi-k2-thinking",))
        rows = {row["id"]: row for row in http.get("/models").json()["data"]}
        assert rows["kimi-k2.6"]["supports_image_in"] is True
        assert (rows["kimi-k2-thinking"]["supports_image_in"], rows["kimi-k3"]["context_length"]) == (False, 1_048_576)

    @pytest.mark.parametrize("path", ["/embeddings", "/caching", "/batches/x/y", "/formulas/date/tools", "/files/a/b"])
    def test_what_does_not_exist_is_not_found(self, world: Client, path: str) -> None:
        _, http = world()
        answer = http.get(path, headers={"user-agent": "test/1"})
        assert answer.status_code == 404
        assert answer.json() == {
            "code": 5,
            "error": "url.not_found",
            "message": "没找到对象",
            "method": "GET",
            "scode": "0x5",
            "status": False,
            "ua": "test/1",
            "url": f"/v1{path}",
        }


class TestEstimate:
    def ask(self, http: httpx2.Client, **body: Any) -> httpx2.Response:
        return http.post("/tokenizers/estimate-token-count", json={"model": "kimi-k3", **body})

    def test_it_counts_what_chat_bills_and_no_tools(self, world: Client) -> None:
        _, http = world([said("x")])
        messages = [{"role": "user", "content": "Wie viele? " * 50}]
        counted = self.ask(http, messages=messages, tools=[{"name": "x"}]).json()["data"]["total_tokens"]
        billed = http.post("/chat/completions", json={"model": "kimi-k3", "messages": messages}).json()["usage"]
        assert counted == billed["prompt_tokens"] > 100

    def test_it_refuses_in_a_shape_of_its_own(self, world: Client) -> None:
        _, http = world()
        call = {"id": "a:0", "type": "function", "function": {"name": "a", "arguments": "{}"}}
        open_call = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        answer = self.ask(http, messages=[*open_call, {"role": "user", "content": "y"}], model="kimi-k2.6")
        assert answer.status_code == 400
        refusal = answer.json()
        assert refusal.keys() == {"code", "error", "message", "scode", "status"}
        assert (refusal["code"], refusal["scode"], refusal["status"]) == (3, "0x3", False)
        assert refusal["error"].startswith("messages[1]: ")
        assert self.ask(http, messages=[]).json()["error"] == "messages must not be empty"
        assert self.ask(http, messages=[], model="kimi-k9").status_code == 404


def line(custom_id: str, model: str = "kimi-k2.6", messages: Any = None, **changes: Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": custom_id}] if messages is None else messages}
    row = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}
    return json.dumps(row).encode() + b"\n"


def create(http: httpx2.Client, file_id: str, **changes: Any) -> httpx2.Response:
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **changes}
    return http.post("/batches", json=asked)


def batch(http: httpx2.Client, *lines: bytes) -> dict[str, Any]:
    file = upload(http, b"".join(lines), "batch", "in.jsonl").json()
    made: dict[str, Any] = create(http, file["id"], metadata={"job": "7"}).json()
    return made


def polled(http: httpx2.Client, made: dict[str, Any]) -> list[dict[str, Any]]:
    """The batch at every poll, to its end."""
    seen = [made]
    while seen[-1]["status"] not in ("completed", "failed", "cancelled"):
        seen.append(http.get(f"/batches/{made['id']}").json())
    return seen


def lines_of(http: httpx2.Client, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in http.get(f"/files/{file_id}/content").text.splitlines()]


class TestBatches:
    def test_a_batch_goes_on_with_every_poll_and_ends_in_two_files(self, world: Client) -> None:
        server, http = world([said("one"), refused(500, "server_error", "down"), cut_after(said("x"), events=1)])
        made = batch(http, line("a"), line("bad", messages=[]), line("b"), line("c"))
        seen = polled(http, made)
        assert [one["status"] for one in seen] == [
            *("validating", "in_progress", "in_progress", "finalizing", "completed")
        ]
        assert [one["request_counts"]["completed"] for one in seen] == [0, 0, 1, 1, 1]
        end = seen[-1]
        assert end["request_counts"] == {"total": 4, "completed": 1, "failed": 3}
        assert (end["metadata"], end["errors"], end["endpoint"]) == ({"job": "7"}, None, "/v1/chat/completions")
        assert end["expires_at"] - end["created_at"] == 24 * 3600
        (done,) = lines_of(http, end["output_file_id"])
        assert (done["custom_id"], done["error"], done["response"]["status_code"]) == ("a", None, 200)
        assert done["response"]["body"]["choices"][0]["message"]["content"] == "one"
        failed = {row["custom_id"]: row for row in lines_of(http, end["error_file_id"])}
        assert failed["bad"]["response"]["body"]["error"]["message"] == "Invalid request: messages must not be empty"
        assert failed["b"]["response"]["status_code"] == 500
        assert (failed["c"]["response"], failed["c"]["error"]["code"]) == (None, "server_error")
        assert [request.model for request in server.requests] == ["kimi-k2.6"] * 4
        assert http.get(f"/files/{end['output_file_id']}").json()["purpose"] == "batch_output"

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ((b"{",), "is not a JSON object"),
            ((line("a"), b"\n", line("b")), "is not a JSON object"),
            ((b'{"custom_id": "a"}\n',), "lacks method, url, body"),
            ((line("a"), line("a")), "custom_id a"),
            ((line("a", url="/v1/embeddings"),), "not a POST to"),
            ((line("a"), line("b", model="kimi-k2.7-code")), "same model"),
            ((line("a", model="kimi-k3"),), "kimi-k3 does not support batches"),
        ],
    )
    def test_a_bad_file_fails_the_batch_and_names_the_line(
        self, world: Client, lines: tuple[bytes, ...], words: str
    ) -> None:
        server, http = world()
        end = polled(http, batch(http, *lines))[-1]
        assert (end["status"], end["output_file_id"]) == ("failed", None)
        assert words in end["errors"]["data"][0]["message"]
        assert end["errors"]["data"][0]["line"] in (1, 2)
        assert server.requests == []

    def test_what_no_batch_can_be_made_of_is_refused(self, world: Client) -> None:
        _, http = world()
        file = upload(http, line("a"), "batch").json()["id"]
        text = upload(http, line("a")).json()["id"]
        assert "file-x not found" in error(create(http, "file-x"))[2]
        assert "it must be batch" in error(create(http, text))[2]
        assert "endpoint must be" in error(create(http, file, endpoint="/v1/embeddings"))[2]
        for window in ("11h", "8d", "1w", None, 24):
            assert "between 12h and 7d" in error(create(http, file, completion_window=window))[2]
        assert error(http.get("/batches/batch_x"))[0] == 404

    def test_a_cancelled_batch_keeps_what_was_done(self, world: Client) -> None:
        _, http = world([said("x")])
        made = batch(http, *(line(name) for name in "abc"))
        for _ in range(2):
            http.get(f"/batches/{made['id']}")
        assert http.post(f"/batches/{made['id']}/cancel").json()["status"] == "cancelling"
        end = polled(http, http.get(f"/batches/{made['id']}").json())[-1]
        assert (end["status"], end["request_counts"]["completed"], end["error_file_id"]) == ("cancelled", 1, None)
        assert len(lines_of(http, end["output_file_id"])) == 1
        assert "cannot be cancelled" in error(http.post(f"/batches/{made['id']}/cancel"))[2]

    def test_batches_are_listed_newest_first_in_pages(self, world: Client) -> None:
        _, http = world()
        made = [batch(http, line("a"))["id"] for _ in range(3)]
        page = http.get("/batches?limit=2").json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
        rest = http.get(f"/batches?limit=2&after={made[1]}").json()
        assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)
        assert {one["status"] for one in rest["data"]} == {"validating"}


def fiber(http: httpx2.Client, uri: str, name: str, arguments: Any = "{}") -> httpx2.Response:
    return http.post(f"/formulas/{uri}/fibers", json={"name": name, "arguments": arguments})


class TestFormulas:
    @pytest.mark.parametrize("name", OFFICIAL)
    def test_every_official_formula_has_tools_that_kimi_takes(self, world: Client, name: str) -> None:
        _, http = world([said("x")])
        tools = http.get(f"/formulas/moonshot/{name}:latest/tools").json()["tools"]
        assert tools[0]["function"]["name"].startswith(name.replace("-", "_"))
        body = {"model": "kimi-k3", "messages": [{"role": "user", "content": "x"}], "tools": tools}
        assert http.post("/chat/completions", json=body).status_code == 200
        run = fiber(
            http, f"moonshot/{name}:latest", tools[0]["function"]["name"], '{"candidates":["x"],"data":"x"}'
        ).json()
        assert run["status"] == "succeeded"
        assert run["context"].get("output") or run["context"]["encrypted_output"]

    def test_one_formula_has_two_names_in_the_documents(self, world: Client) -> None:
        _, http = world(formulas={"moonshot/code-runner": "4"})
        for uri in ("moonshot/code_runner:latest", "moonshot/code-runner:latest"):
            assert fiber(http, uri, "code_runner", '{"code": "2+2"}').json()["context"]["output"] == "4"

    def test_a_search_is_for_the_models_eyes_only(self, world: Client) -> None:
        _, http = world()
        run = fiber(http, "moonshot/web-search:latest", "web_search", '{"query":"x"}').json()
        assert run["context"].keys() == {"input", "encrypted_output"}
        assert run["context"]["encrypted_output"].startswith("----MOONSHOT ENCRYPTED BEGIN----")
        assert run["context"]["encrypted_output"].endswith("----MOONSHOT ENCRYPTED END----")
        assert (run["object"], run["formula"]) == ("fiber", "moonshot/web-search:latest")
        assert run["id"].startswith("fiber-")

    def test_results_are_scripted(self, world: Client) -> None:
        results: dict[str, Any] = {
            "moonshot/date:latest": "Monday",
            "moonshot/fetch": [fiber_succeeded("a page"), fiber_failed("no such host")],
            "moonshot/convert:latest": lambda name, arguments: f"{name} {arguments['value']}",
            "moonshot/memory:latest": [fiber_failed("full", error_at="context"), fiber_failed(status="timeout")],
            "moonshot/excel:latest": fiber_encrypted("cells"),
        }
        _, http = world(formulas=results)
        assert fiber(http, "moonshot/date:latest", "date").json()["context"]["output"] == "Monday"
        runs = [fiber(http, "moonshot/fetch:latest", "fetch").json() for _ in range(2)]
        assert [run["status"] for run in runs] == ["succeeded", "failed"]
        assert (runs[1]["error"], runs[1]["context"].keys()) == ("no such host", {"input"})
        converted = fiber(http, "moonshot/convert:latest", "convert", '{"value": 3}').json()
        assert converted["context"]["output"] == "convert 3"
        full, timeout = (fiber(http, "moonshot/memory:latest", "memory").json() for _ in range(2))
        assert (full["context"]["error"], "error" in full) == ("full", False)
        assert (timeout["status"], "error" in timeout, timeout["context"].keys()) == ("timeout", False, {"input"})
        assert "encrypted_output" in fiber(http, "moonshot/excel:latest", "excel").json()["context"]

    def test_a_script_that_fails_is_told_and_remembered(self, world: Client) -> None:
        def script(name: str, arguments: dict[str, Any]) -> str:
            pytest.fail("not again")

        server, http = world(formulas={"moonshot/fetch:latest": ["once"], "moonshot/date:latest": script})
        fiber(http, "moonshot/fetch:latest", "fetch")
        told = [error(fiber(http, f"moonshot/{name}:latest", name)) for name in ("fetch", "date")]
        assert [one[:2] for one in told] == [(400, "script_error")] * 2
        assert "no result is left for moonshot/fetch:latest" in told[0][2]
        with pytest.raises(ScriptError, match="Failed: not again"):
            server.verify()

    def test_a_formula_of_ones_own(self, world: Client) -> None:
        tool = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object", "properties": {}}}}
        _, http = world(formulas={"me/own:1": Formula([tool], "done")})
        assert http.get("/formulas/me/own:1/tools").json() == {"tools": [tool]}
        assert fiber(http, "me/own:1", "mine").json()["context"]["output"] == "done"
        with pytest.raises(ValueError, match="me/other:latest is not an official formula"):
            world(formulas={"me/other": "done"})

    def test_what_cannot_run_fails_or_is_refused(self, world: Client) -> None:
        server, http = world()
        for answer in (http.get("/formulas/moonshot/nope:latest/tools"), fiber(http, "moonshot/nope:latest", "x")):
            assert error(answer) == (404, "resource_not_found_error", "formula moonshot/nope:latest not found")
        assert fiber(http, "moonshot/date:latest", "fetch").json()["status"] == "failed"
        assert "no JSON" in fiber(http, "moonshot/date:latest", "date", "{").json()["error"]
        assert fiber(http, "moonshot/base64:latest", "base64_decode", '{"data": "?"}').json()["status"] == "failed"
        assert "must be strings" in error(fiber(http, "moonshot/date:latest", "date", {"operation": "now"}))[2]
        assert server.calls[-1].json == {"name": "date", "arguments": {"operation": "now"}}

    def test_runs_go_on_side_by_side(self, world: Client) -> None:
        together = threading.Barrier(3)

        def slow(name: str, arguments: dict[str, Any]) -> str:
            together.wait(WAIT)
            return "met"

        _, http = world(formulas={"moonshot/fetch:latest": slow})
        with ThreadPoolExecutor(3) as pool:
            runs = list(pool.map(lambda _: fiber(http, "moonshot/fetch:latest", "fetch").json(), range(3)))
        assert [run["context"]["output"] for run in runs] == ["met"] * 3
