"""`langchain-kimi verify-host`: what it prints, what it costs, and how it ends."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi import ChatKimi
from langchain_kimi.cli.host_report import settings_code
from langchain_kimi.testing import KimiServer, Reply, Request, refused, said
from tests.cli.conftest import Run
from tests.conftest import KEY, Serve
from tests.host_checks.faults import FaultyServer, faults
from tests.host_checks.scripted_model import obedient

K26 = "kimi-k2.6"
DOCS = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONSHOT_API_KEY", KEY)


def faulty(name: str, script: Any = obedient) -> FaultyServer:
    return FaultyServer(script, faults()[name], strict=False, api_key=KEY)


def dropped(request: Request) -> bool:
    """Whether the client leaves in the middle of the answer."""
    return request.text_of("user").startswith("Write a story")


def test_a_faithful_host_passes_and_the_report_says_what_it_cost(serve: Serve, run: Run) -> None:
    server = serve(obedient, api_key=KEY)
    result = run("verify-host", server.url, "--model", K26, "--quick")
    assert result.status == 0
    assert "A faithful Kimi: everything holds that must hold." in result.out
    assert "~" not in re.sub(r"`[^`]*`", "", result.out)
    before, *progress = result.err.splitlines()
    assert before.startswith(f"{len(server.requests)} requests: at most $0.0")
    assert progress[0] == "streams: 2 requests"
    cost = re.search(r"^Cost: \$(0\.\d+) at .*: (\d+) requests, ([\d,]+) tokens read", result.out, re.M)
    assert cost is not None
    assert int(cost[2]) == len(server.requests)
    sent = zip(server.usages, server.requests, strict=True)
    answered = [usage for usage, request in sent if usage and not dropped(request)]
    assert cost[3] == f"{sum(usage['prompt_tokens'] for usage in answered):,}"
    paid = sum(
        (usage["prompt_tokens"] - usage["cached_tokens"]) * 0.95
        + usage["cached_tokens"] * 0.16
        + usage["completion_tokens"] * 4
        for usage in answered
    )
    assert float(cost[1]) == pytest.approx(paid / 1e6, abs=5.1e-5)
    assert KEY not in result.out + result.err


def test_a_must_that_fails_is_status_1_and_is_named(run: Run) -> None:
    with faulty("reasoning not read") as server:
        result = run("verify-host", server.url, "--model", K26, "--quick")
    assert result.status == 1
    assert "No faithful Kimi: reasoning_read must hold and fails." in result.out
    assert re.search(r"✗ reasoning_read +must: .*0 of 2 answers", result.out)


def test_a_should_that_fails_is_status_0(run: Run) -> None:
    with faulty("no [DONE]") as server:
        result = run("verify-host", server.url, "--model", K26, "--quick")
    assert result.status == 0
    assert "everything holds that must hold; it differs in stream_done." in result.out


def report(run: Run, server: KimiServer, *options: str, status: int = 0) -> dict[str, Any]:
    """The report in JSON."""
    result = run("verify-host", server.url, "--json", *options)
    assert result.status == status, result.err
    parsed: dict[str, Any] = json.loads(result.out)
    return parsed


def test_the_report_in_json_has_the_documented_fields_and_settings_that_work(run: Run, serve: Serve) -> None:
    server = serve(obedient, dialect="vllm", api_key=KEY)
    document = report(run, server, "--model", K26, "--quick")
    described = re.findall(r"^\| `(\w+)` \|", DOCS.partition("## The report in JSON")[2].partition("\n## ")[0], re.M)
    assert list(document) == described
    assert (document["version"], document["faithful"], document["host_is_kimi"]) == (1, True, False)
    assert document["settings"] == {"model": K26, "base_url": server.url, "dialect": "vllm"}
    cost = document["cost"]
    assert cost["requests"] == len(server.requests)
    assert 0 < cost["usd"] < cost["estimated_at_most_usd"] < 0.011
    (reasoning_key,) = [check for check in document["checks"] if check["name"] == "reasoning_key"]
    assert reasoning_key["outcome"] == "differs"
    assert reasoning_key["observed"] == "under `reasoning`"
    namespace: dict[str, Any] = {}
    exec(document["python"], namespace)
    model = namespace["model"]
    assert (model.model, model.base_url, model.dialect) == (K26, server.url, "vllm")
    assert model.invoke("Reply with OK.").text == "OK."


@pytest.mark.slow
def test_the_report_in_the_docs_is_that_of_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "118")
    name = "moonshotai/Kimi-K2.6"
    fault = faults()["no usage in the stream"]
    with FaultyServer(obedient, fault, dialect="vllm", models=[name], strict=False) as server:
        result = run("verify-host", server.url, "--model", name, "--cases", "12")
        printed = result.out.replace(server.url, "http://127.0.0.1:8000/v1")
    assert result.status == 0
    example = DOCS.partition("```text\n")[2].partition("\n```")[0]
    for part in example.split("\n…\n"):
        assert part in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        ("no usage in the stream", {"streaming": False}),
        ("padded reasoning refused", {"missing_reasoning": "thinking_off"}),
        ("max_completion_tokens ignored", {"extra_body": {"max_tokens": 32_768}}),
        ("no finish reason in the stream", {"streaming": False}),
        ("reasoning under another key", {"dialect": "vllm"}),
    ],
)
def test_the_settings_are_those_for_the_fault(run: Run, fault: str, settings: dict[str, Any]) -> None:
    with faulty(fault) as server:
        document = report(run, server, "--model", K26, "--quick")
        assert document["settings"] == {"model": K26, "base_url": server.url, **settings}
        namespace: dict[str, Any] = {}
        exec(document["python"], namespace)
        assert {name: getattr(namespace["model"], name) for name in settings} == settings


def test_the_key_comes_from_the_named_variable(run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOONSHOT_API_KEY")
    monkeypatch.setenv("HOST_KEY", "sk-of-the-host")
    server = serve(obedient, api_key="sk-of-the-host")
    document = report(run, server, "--model", K26, "--quick", "--api-key-env", "HOST_KEY")
    namespace: dict[str, Any] = {}
    exec(document["python"], namespace)
    assert isinstance(namespace["model"], ChatKimi)
    assert namespace["model"].api_key.get_secret_value() == "sk-of-the-host"
    assert "sk-of" not in document["python"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "the following arguments are required: URL"),
        ("http://127.0.0.1:1/v1 --cases many", "'many' is not a number of cases"),
        ("http://127.0.0.1:1/v1 --timeout 0", "'0' is not a number of seconds"),
        ("127.0.0.1:1 --model kimi-k3", "must begin with https:// or http://"),
        ("http://127.0.0.1:1/v1 --api-key-env NO_SUCH_VARIABLE", "the variable NO_SUCH_VARIABLE holds no key"),
    ],
)
def test_wrong_use_is_status_2(run: Run, arguments: str, words: str) -> None:
    result = run("verify-host", *arguments.split())
    assert result.status == 2
    assert words in result.error


def test_without_a_key_nothing_is_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOONSHOT_API_KEY")
    result = run("verify-host", "https://host.example/v1")
    assert result.status == 2
    assert "No key for Kimi" in result.error
    assert "--api-key-env" in result.error


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([refused(401, "invalid_authentication_error", "Invalid Authentication")], "Invalid Authentication"),
        ([refused(404, "resource_not_found_error", "Not found the model")], "Not found the model"),
    ],
)
def test_a_refused_first_request_is_status_2(run: Run, serve: Serve, script: list[Reply], words: str) -> None:
    result = run("verify-host", serve(script).url, "--model", K26)
    assert (result.status, result.out) == (2, "")
    assert "the first request was not answered" in result.err
    assert words in result.err


def test_an_unreachable_host_is_status_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_kimi._http.retries._exponential", lambda first, attempt, most: 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    result = run("verify-host", url)
    assert (result.status, result.out) == (2, "")
    assert "The connection to 127.0.0.1" in result.err


def test_an_account_without_money_ends_the_checks_with_what_is_known(run: Run, serve: Serve) -> None:
    def script(request: Request) -> Reply:
        if request.number > 3:
            return refused(429, "exceeded_current_quota_error", "You exceeded your current token quota")
        return obedient(request)

    server = serve(script)
    result = run("verify-host", server.url, "--model", K26, "--quick")
    assert result.status == 1
    assert "interrupted" in result.out
    assert "✓ stream_events" in result.out
    assert "reasoning_read" not in result.out
    assert "You exceeded your current token quota" in result.err
    assert len(server.requests) == 4


@pytest.fixture
def interrupting() -> Iterator[KimiServer]:
    """A host that gets Ctrl-C sent to this process at its third request, and never answers it."""
    ended = threading.Event()

    def script(request: Request) -> Reply:
        if request.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(60)
        return obedient(request)

    with KimiServer(script, strict=False) as server:
        yield server
        ended.set()


@pytest.mark.parametrize("form", ["table", "json"])
def test_ctrl_c_prints_what_is_known(run: Run, interrupting: KimiServer, form: str) -> None:
    result = run("verify-host", interrupting.url, "--model", K26, "--quick", *(["--json"] if form == "json" else []))
    assert result.status == 130
    assert result.err.endswith("Stopped by Ctrl-C.\n")
    if form == "json":
        document = json.loads(result.out)
        assert (document["interrupted"], document["faithful"]) == (True, False)
        assert {check["outcome"] for check in document["checks"]} == {"passed"}
    else:
        assert "✓ stream_done" in result.out
        assert "The checks were interrupted" in result.out


def test_an_unknown_price_is_said(run: Run, serve: Serve) -> None:
    server = serve(obedient, models=["own-model"])
    result = run("verify-host", server.url, "--model", "own-model", "--quick")
    assert "the price of own-model is not known" in result.err
    assert "Cost: unknown price: " in result.out


def test_text_of_the_host_cannot_steer_the_terminal_or_show_the_key(run: Run) -> None:
    def leaks(request: dict[str, Any], answer: Any) -> Any:
        if request["messages"]:
            return answer(request)
        return refusing(request, answer)

    refusing = faults()["errors with status 200"]
    words = f"\x1b[31m {KEY} org-0123456789abcdef"
    script = said(words, thinking="Hm.").finish(words)
    with FaultyServer(lambda request: script, leaks, strict=False) as server:
        result = run("verify-host", server.url, "--model", K26, "--quick")
    assert "\x1b" not in result.out + result.err
    assert KEY not in result.out + result.err
    assert "org-0123" not in result.out


def test_the_python_quotes_what_it_is_given() -> None:
    code = settings_code({"model": 'a"b', "base_url": "https://h/v1", "extra_body": {"max_tokens": 5}}, 'X"Y')
    compile(code, "settings", "exec")
    assert r"model=\"a\\\"b\"" in json.dumps(code)
