"""Control characters are escaped and known secrets are masked, whatever form they are written in."""

import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_kimi import KimiError, redaction
from langchain_kimi.errors import KimiWarning, from_response, warn
from langchain_kimi.redaction import escape_controls, is_secret_header, mask_bytes, mask_known, redact, secret_values

KEY = "p/ass+w\"o&rd'123"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})


@given(st.text())
def test_escaped_text_is_one_printable_line_and_text_without_controls_stays(text: str) -> None:
    shown = escape_controls(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()
    assert escape_controls(shown) == shown


def test_escapes_name_the_character() -> None:
    assert escape_controls("a\x1b[31m\r\n\x9b\u202e\ud800é中🙂") == "a\\x1b[31m\\r\\n\\x9b\\u202e\\ud800é中🙂"
    assert escape_controls("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"


@pytest.mark.parametrize("write", [str, json.dumps, repr, quote, lambda key: quote(key, safe="")])
def test_known_value_is_masked_in_every_notation(write: object) -> None:
    assert secret_values([("Authorization", f"Bearer {KEY}")]) == (KEY,)
    text = f"before {write(KEY)} after"  # type: ignore[operator]
    assert "ass" not in mask_known(text)
    assert "ass" not in mask_bytes(text.encode(), [KEY]).decode()
    assert mask_known(text).startswith("before ")
    assert mask_known(text).endswith(" after")


def test_placeholders_and_short_values_are_no_secrets() -> None:
    headers = [("authorization", "Bearer EMPTY"), ("x-api-key", "not-needed"), ("idempotency-key", "run-123456789")]
    assert secret_values(headers) == ()


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie", "X-Auth-Token", "CF-Access-Client-Secret"])
def test_names_of_secret_headers(name: str) -> None:
    assert is_secret_header(name)


@pytest.mark.parametrize("name", ["content-type", "x-ratelimit-remaining-tokens", "user-agent", "x-cache-key"])
def test_names_of_other_headers(name: str) -> None:
    assert not is_secret_header(name)


def test_a_process_with_many_keys_forgets_the_oldest() -> None:
    for number in range(1_001):
        secret_values([("authorization", f"Bearer tenant-key-{number:06}")])
    assert redact("tenant-key-001000") == "***"
    assert redact("tenant-key-000000") == "tenant-key-000000"


def test_text_of_a_host_is_one_line_without_controls_or_secrets() -> None:
    secret_values([("authorization", f"Bearer {KEY}")])
    body = {"error": {"message": f"bad\nINFO forged \x1b[2J {KEY}", "type": f"t\n{KEY}"}}
    error = from_response(400, body, host="h", headers={"x-request-id": f"r\x1b{KEY}"})
    assert str(error) == "h answered 400 t\\n***: bad\\nINFO forged \\x1b[2J ***"
    assert (error.type, error.request_id) == ("t\\n***", "r\\x1b***")
    page = from_response(502, f"<h1>No\x1b</h1>\n{KEY}", host="h", headers={})
    assert str(page) == "h answered 502: No\\x1b ***"


def test_errors_warnings_and_logs_show_neither_controls_nor_secrets(caplog: pytest.LogCaptureFixture) -> None:
    secret_values([("authorization", f"Bearer {KEY}")])
    assert str(KimiError(f"one\ntwo\x1b {KEY}")) == "one\ntwo\\x1b ***"
    with pytest.warns(KimiWarning) as told:
        warn(f"tool \x1b[1m{KEY}")
    assert str(told[0].message) == "tool \\x1b[1m***"
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("langchain_kimi").info("tool %s", f"x\nERROR forged\x1b {KEY}")
    assert caplog.messages == ["tool x\\nERROR forged\\x1b ***"]
