"""`langchain-kimi doctor`: what is wrong between the key and the model."""

import json

import pytest

from langchain_kimi._api_keys import HOSTS
from langchain_kimi.testing import refused
from tests.cli.conftest import Account, Run
from tests.cli.controls import EVIL, without_controls
from tests.conftest import KEY


def test_a_sound_account_passes(account: Account, run: Run) -> None:
    account(balance=3)
    result = run("doctor")
    assert result.status == 0
    assert "✗" not in result.out
    for text in ("host", "reachable", "key       accepted", "kimi-k3 is available", "balance   3.00"):
        assert text in result.out
    assert KEY not in result.out


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("kimi-k2-thinking", "its successor is 'kimi-k3'. Use kimi-k3 (--model)\n"),
        ("kimi-k9", "kimi-k9 is not among the account's models. Use kimi-k3 (--model)\n"),
        ("kimi-k2.7-cod", "kimi-k2.7-cod is not among the account's models. Use kimi-k2.7-code (--model)\n"),
    ],
)
def test_a_model_that_is_not_available_fails(account: Account, run: Run, model: str, why: str) -> None:
    account()
    result = run("doctor", "--model", model)
    assert result.status == 1
    assert why in result.out
    assert "✓ key       accepted; its models: kimi-k3.1-pro, kimi-k3.1-pro-highspeed, kimi-k3, " in result.out


@pytest.mark.parametrize(
    ("available", "proposed"),
    [
        (("kimi-k3", "kimi-k3.1-pro"), "Use kimi-k3 (--model)"),
        (("kimi-k2.7-code", "kimi-k3.1-pro"), "Use kimi-k3.1-pro (--model)"),
        (("kimi-of-tomorrow",), "Use kimi-of-tomorrow (--model)"),
        ((), "are reported not to have it\n"),
    ],
)
def test_a_model_that_the_account_has_is_proposed(
    account: Account, run: Run, available: tuple[str, ...], proposed: str
) -> None:
    account().refuse("GET /models", refused(200, page=json.dumps({"data": [{"id": name} for name in available]})))
    result = run("doctor", "--model", "kimi-k2.6")
    assert result.status == 1
    assert "reported to be retired on Kimi's platform on 2026-12-31" in result.out
    assert "Accounts registered since 2026-10-31 are reported not to have it" in result.out
    assert proposed in result.out


def test_a_retirement_that_is_near_is_named(account: Account, run: Run) -> None:
    account()
    result = run("doctor", "--model", "kimi-k2.6")
    assert result.status == 0
    assert "✓ model     kimi-k2.6 is available. kimi-k2.6 is reported to be retired" in result.out


def test_a_k3_that_is_not_unlocked_fails(account: Account, run: Run) -> None:
    account().refuse("GET /models", refused(200, page='{"object":"list","data":[{"id":"kimi-k2.6"}]}'))
    result = run("doctor", "--model", "kimi-k3")
    assert result.status == 1
    assert "is open to accounts that were topped up; vouchers do not count. Use kimi-k2.6 (--model)" in result.out


def test_an_empty_account_fails(account: Account, run: Run) -> None:
    account(balance=0)
    result = run("doctor")
    assert result.status == 1
    assert "✗ balance   0.00: Kimi refuses requests until the account is topped up" in result.out


def test_a_wrong_key_fails(account: Account, run: Run) -> None:
    account(api_key="sk-another")
    result = run("doctor")
    assert result.status == 1
    assert "✓ reachable" in result.out
    assert "✗ key" in result.out


def test_a_key_of_the_other_region_is_recognised(account: Account, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    china, here = account(api_key=KEY), account(api_key="sk-another")
    monkeypatch.setitem(HOSTS, "intl", here.url)
    monkeypatch.setitem(HOSTS, "cn", china.url)
    result = run("doctor")
    assert result.status == 1
    assert f'it works with region="cn" or MOONSHOT_BASE_URL={china.url}' in result.out


def test_a_host_that_is_not_there_fails(account: Account, run: Run) -> None:
    account().close()
    result = run("doctor")
    assert result.status == 1
    assert "✗ reachable" in result.out
    assert "Errno" not in result.out


def test_no_key_fails_in_one_line(run: Run) -> None:
    result = run("doctor")
    assert result.status == 2
    assert result.out.startswith("✗ key       No key for Kimi. Set MOONSHOT_API_KEY")
    assert result.out.count("\n") == 1


def test_text_of_the_host_cannot_steer_the_terminal(account: Account, run: Run) -> None:
    server = account(models=(EVIL,))
    assert "\\x1b" in without_controls(run("doctor", "--model", f"kimi-k9{EVIL}"))
    server.refuse("GET /models", refused(403, "permission_denied_error", EVIL))
    result = run("doctor")
    assert result.status == 1
    assert "\\x1b[2Jb" in without_controls(result)
