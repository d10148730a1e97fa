"""`langchain-kimi ask`: a live agent with Moonshot's tools."""

from typing import Any

from langchain_kimi.testing import Reply, Request, called, refused, said, thought
from tests.cli.conftest import Account, Run
from tests.cli.controls import EVIL, without_controls


def reporter(request: Request) -> Reply:
    results = request.tool_results()
    if len(request.messages) == 2:
        return thought("The date first.").calling("date", operation="now").calling("web_search", query="lakes")
    return said(f"Lakes rose. {len(results)} results.", thinking="Enough.")


def test_ask_is_a_live_agent_with_moonshots_tools(account: Account, run: Run) -> None:
    server = account(reporter)
    result = run("ask", "What do lakes do?")
    assert (result.status, result.err) == (0, "")
    assert [tool["function"]["name"] for tool in server.requests[0].json["tools"]] == ["date", "web_search", "fetch"]
    for text in (
        "[live: kimi-k3]",
        "[thinking] The date first.",
        "✓",
        "web_search(query='lakes')",
        "[answer] Lakes rose. 2 results.",
        "[total]",
        "[fees] $0.005",
    ):
        assert text in result.out


def test_a_tool_that_is_not_available_is_a_warning(account: Account, run: Run) -> None:
    account([said("Without it.")])
    result = run("ask", "hi", "--formula", "acme/nothing:latest", "--formula", "moonshot/date:latest")
    assert result.status == 0
    assert "[warning] The Formula 'acme/nothing:latest' cannot be loaded" in result.out
    assert "Without it." in result.out


def test_a_wrong_key_is_an_error_of_one_line(account: Account, run: Run) -> None:
    account([], api_key="sk-another")
    result = run("ask", "hi")
    assert result.status == 1
    assert result.error.startswith("langchain-kimi ask: ")
    assert "Check MOONSHOT_API_KEY" in result.error


def test_no_key_is_an_error_that_names_the_variable(run: Run) -> None:
    result = run("ask", "anything")
    assert result.status == 2
    assert "Set MOONSHOT_API_KEY" in result.error


def test_text_of_the_model_and_its_tools_cannot_steer_the_terminal(account: Account, run: Run) -> None:
    def script(request: Request) -> Any:
        if request.tool_results():
            return said(f"{EVIL}\nsecond line :bee:", thinking=EVIL)
        return called(f"date{EVIL}\nforged", operation=EVIL).thinking(EVIL)

    account(script)
    result = run("ask", "hi")
    assert result.status == 0
    text = without_controls(result)
    assert "\\x1b[2Jb" in text
    assert "\nsecond line :bee:" in text
    assert "\nforged" not in text


def test_an_error_of_the_host_cannot_steer_the_terminal(account: Account, run: Run) -> None:
    account([refused(400, EVIL, EVIL)])
    result = run("ask", "hi")
    assert result.status == 1
    assert "\\x1b" in without_controls(result)
