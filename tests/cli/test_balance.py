"""`langchain-kimi balance`."""

import pytest

from langchain_kimi._api_keys import HOSTS
from langchain_kimi.testing import refused
from tests.cli.conftest import Account, Run


def test_the_balance_is_printed(account: Account, run: Run) -> None:
    account(balance=12.5)
    result = run("balance")
    assert (result.status, result.out) == (0, "12.50 available (cash 12.50, vouchers 0.00)\n")


def test_an_empty_account_is_a_failure(account: Account, run: Run) -> None:
    account(balance=-0.1)
    result = run("balance")
    assert result.status == 1
    assert "Top it up" in result.out


def test_the_currency_is_the_hosts(account: Account, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HOSTS, "cn", account(balance=7).url)
    assert "7.00 CNY available" in run("balance").out


def test_a_refusal_is_one_line_whatever_the_host_writes(account: Account, run: Run) -> None:
    account().refuse("GET /users/me/balance", refused(403, "permission_denied_error", "not\nallowed \x1b[2J"))
    result = run("balance")
    assert result.status == 1
    assert result.error.endswith("not\\nallowed \\x1b[2J\n")
