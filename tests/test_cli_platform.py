"""The commands that talk to the account: what they print, what they send, and their exit statuses."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi import endpoints
from langchain_kimi.cli import main
from langchain_kimi.testing import KimiServer, Reply, Request, refused, said, thought
from tests.conftest import KEY

Serve = Callable[..., KimiServer]


@pytest.fixture
def account(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[..., KimiServer]:
    """A server that the environment names, with a key for it."""

    def start(script: Any = (), **settings: Any) -> KimiServer:
        server = serve(script, **settings)
        monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
        monkeypatch.setenv("MOONSHOT_BASE_URL", server.url)
        return server

    return start


Out = pytest.CaptureFixture[str]


# ask


def reporter(request: Request) -> Reply:
    results = request.tool_results()
    if len(request.messages) == 2:
        return thought("The date first.").calling("date", operation="now").calling("web_search", query="lakes")
    return said(f"Lakes rose. {len(results)} results.", thinking="Enough.")


def test_ask_is_a_live_agent_with_moonshots_tools(account: Serve, capsys: Out) -> None:
    server = account(reporter)
    assert main(["ask", "What do lakes do?"]) == 0
    out = capsys.readouterr().out
    assert [tool["function"]["name"] for tool in server.requests[0].json["tools"]] == ["date", "web_search", "fetch"]
    for text in (
        "[live: kimi-k2.6]",
        "[thinking] The date first.",
        "✓",
        "web_search(query='lakes')",
        "[answer] Lakes rose. 2 results.",
        "[total]",
        "[fees] $0.005",
    ):
        assert text in out


def test_ask_without_a_key_says_in_one_sentence_what_to_do(capsys: Out) -> None:
    assert main(["ask", "anything"]) == 2
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "MOONSHOT_API_KEY" in out
    assert "demo" in out


def test_ask_tells_of_a_tool_that_cannot_be_had_and_goes_on(account: Serve, capsys: Out) -> None:
    account([said("Without it.")])
    command = ["ask", "hi", "--formula", "acme/nothing:latest", "--formula", "moonshot/date:latest"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "[warning] The Formula 'acme/nothing:latest' cannot be had" in out
    assert "Without it." in out


def test_ask_fails_in_one_line(account: Serve, capsys: Out) -> None:
    account([], api_key="sk-another")
    assert main(["ask", "hi"]) == 1
    assert "Check MOONSHOT_API_KEY" in capsys.readouterr().out


# tokens


def test_tokens_are_estimated_without_a_key(tmp_path: Path, capsys: Out) -> None:
    text = tmp_path / "prompt.txt"
    text.write_text("How deep is Lake Baikal? " * 100)
    assert main(["tokens", str(text)]) == 0
    out = capsys.readouterr().out
    assert 300 < int(out.split()[0].replace(",", "")) < 1500
    assert "estimated here" in out


def test_tokens_reads_messages_and_requests_with_tools(tmp_path: Path, capsys: Out) -> None:
    messages = [{"role": "user", "content": "How deep is it?"}]
    parameters = {"type": "object", "properties": {"lake": {"type": "string"}}}
    declared = {"type": "function", "function": {"name": "depth", "description": "Tells.", "parameters": parameters}}
    sizes = []
    for number, content in enumerate((messages, {"messages": messages, "tools": [declared]})):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        assert main(["tokens", str(path)]) == 0
        sizes.append(int(capsys.readouterr().out.split()[0]))
    assert sizes[0] < sizes[1]


def test_tokens_asks_kimi_on_request(account: Serve, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    server = account()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"How deep?")))
    assert main(["tokens", "-", "--exact", "--model", "kimi-k3"]) == 0
    assert "counted by Kimi for kimi-k3" in capsys.readouterr().out
    assert server.calls[0].json["messages"] == [{"role": "user", "content": "How deep?"}]


def test_tokens_beyond_the_window_are_told(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 400_000)
    assert main(["tokens", str(path)]) == 1
    assert "too long" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00binary"])
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, capsys: Out, content: bytes | None) -> None:
    path = tmp_path / "prompt.txt"
    if content:
        path.write_bytes(content)
    assert main(["tokens", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# balance


def test_balance_is_shown(account: Serve, capsys: Out) -> None:
    account(balance=12.5)
    assert main(["balance"]) == 0
    assert capsys.readouterr().out == "12.50 available (cash 12.50, vouchers 0.00)\n"


def test_an_empty_account_is_told(account: Serve, capsys: Out) -> None:
    account(balance=-0.1)
    assert main(["balance"]) == 1
    assert "top it up" in capsys.readouterr().out


def test_a_balance_that_is_refused_is_told_in_one_line(account: Serve, capsys: Out) -> None:
    server = account()
    server.refuse("GET /users/me/balance", refused(403, "permission_denied_error", "not\nallowed"))
    assert main(["balance"]) == 1
    assert capsys.readouterr().err.endswith("not\\nallowed\n")


def test_no_key_is_told_in_one_line(capsys: Out) -> None:
    for command in (["balance"], ["files", "list"], ["doctor"]):
        assert main(command) == 2
        captured = capsys.readouterr()
        assert "MOONSHOT_API_KEY" in captured.out + captured.err
        assert (captured.out + captured.err).count("\n") == 1


# files


def test_files_go_up_are_listed_read_and_deleted(account: Serve, capsys: Out, tmp_path: Path) -> None:
    server = account()
    path = tmp_path / "lake.txt"
    path.write_text("Deep.")
    assert main(["files", "upload", str(path)]) == 0
    file_id = capsys.readouterr().out.split()[0]
    assert main(["files", "list"]) == 0
    assert capsys.readouterr().out.split()[-1] == "lake.txt"
    assert main(["files", "content", file_id, "-o", str(tmp_path / "out.txt")]) == 0
    assert (tmp_path / "out.txt").read_text() == "Deep."
    assert main(["files", "delete", file_id]) == 0
    assert main(["files", "delete", file_id]) == 1
    assert file_id in capsys.readouterr().err
    assert [call.method for call in server.calls] == ["POST", "GET", "GET", "DELETE", "DELETE"]


def test_an_image_goes_up_with_its_reference(account: Serve, capsys: Out, tmp_path: Path) -> None:
    account()
    (tmp_path / "lake.png").write_bytes(b"\x89PNG")
    assert main(["files", "upload", str(tmp_path / "lake.png"), "--purpose", "image"]) == 0
    assert "ms://" in capsys.readouterr().out


def test_files_that_cannot_go_up_are_told_in_one_line(account: Serve, capsys: Out, tmp_path: Path) -> None:
    server = account()
    (tmp_path / "empty").touch()
    for name, word in (("nowhere", "No such file"), ("empty", "empty")):
        assert main(["files", "upload", str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert word in err
        assert err.count("\n") == 1
    assert server.calls == []


# doctor


def test_a_sound_account_passes(account: Serve, capsys: Out) -> None:
    account(balance=3)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "✗" not in out
    for text in ("host", "reachable", "key       accepted", "kimi-k2.6 may be asked", "balance   3.00"):
        assert text in out
    assert KEY not in out


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("kimi-k2-thinking", "its successor is kimi-k2.6"),
        ("kimi-k9", "kimi-k9 is not among the account's models: kimi-k3.1-pro"),
    ],
)
def test_a_model_that_may_not_be_asked_is_found(account: Serve, capsys: Out, model: str, why: str) -> None:
    account()
    assert main(["doctor", "--model", model]) == 1
    assert why in capsys.readouterr().out


def test_a_k3_that_is_not_unlocked_is_found(account: Serve, capsys: Out) -> None:
    server = account()
    server.refuse("GET /models", refused(200, page='{"object":"list","data":[{"id":"kimi-k2.6"}]}'))
    assert main(["doctor", "--model", "kimi-k3"]) == 1
    assert "needs a top-up" in capsys.readouterr().out


def test_an_empty_account_is_found(account: Serve, capsys: Out) -> None:
    account(balance=0)
    assert main(["doctor"]) == 1
    assert "✗ balance   0.00: Kimi answers no requests, top the account up" in capsys.readouterr().out


def test_a_wrong_key_is_found(account: Serve, capsys: Out) -> None:
    account(api_key="sk-another")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "✓ reachable" in out
    assert "✗ key" in out


def test_a_key_of_the_other_region_is_found(account: Serve, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    china, here = account(api_key=KEY), account(api_key="sk-another")
    monkeypatch.setitem(endpoints.HOSTS, "intl", here.url)
    monkeypatch.setitem(endpoints.HOSTS, "cn", china.url)
    assert main(["doctor"]) == 1
    assert f'it works with region="cn" or MOONSHOT_BASE_URL={china.url}' in capsys.readouterr().out
    assert main(["balance"]) == 1


def test_a_host_that_is_not_there_is_found(account: Serve, capsys: Out) -> None:
    account().close()
    assert main(["doctor"]) == 1
    assert "✗ reachable" in capsys.readouterr().out


def test_the_currency_is_the_hosts(account: Serve, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(endpoints.HOSTS, "cn", account(balance=7).url)
    assert main(["balance"]) == 0
    assert "7.00 CNY available" in capsys.readouterr().out


def test_tools_of_a_module_are_still_checked(capsys: Out) -> None:
    assert main(["doctor", "tools", "nowhere:TOOLS"]) == 2
    assert "nowhere" in capsys.readouterr().out


# what they cost


def test_commands_that_are_not_run_are_not_loaded() -> None:
    code = (
        "import sys; from langchain_kimi.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('langchain_core', 'langgraph', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]"), done.stdout + done.stderr
    for command in ("ask", "tokens", "balance", "files", "doctor"):
        assert command in done.stdout
