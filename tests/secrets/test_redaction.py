"""Control characters are escaped and known secrets are masked, whatever form they are written in."""

import asyncio
import json
import logging
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from langchain_kimi import KimiError
from langchain_kimi import _redaction as redaction
from langchain_kimi._error_responses import from_response
from langchain_kimi._redaction import (
    escape_controls,
    is_secret_header,
    mask_bytes,
    mask_known,
    mask_values,
    redact,
    secret_values,
)
from langchain_kimi.chat_model import amedia_block, media_block
from langchain_kimi.errors import KimiWarning, warn
from langchain_kimi.testing import KimiServer, said
from tests.conftest import FOUR_WAYS, kimi

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


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("Authorization", f"Negotiate {KEY}", (KEY,)),
        ("Authorization", KEY, (KEY,)),
        ("Cookie", f"session-of-the-user={KEY}; theme=dark", (KEY,)),
        ("Proxy-Authorization", f"Basic {KEY}", (KEY,)),
        ("Authorization", f"Bearer  {KEY} ", (KEY,)),
        ("X-Auth-Token", f"Bearer {KEY}", (KEY,)),
        ("Authorization", " ", ()),
        (
            "Cookie",
            "session-of-the-user=first-key-of-two; theme=dark; other-session=second-key-of-two",
            ("first-key-of-two", "second-key-of-two"),
        ),
    ],
)
def test_a_scheme_or_a_name_is_no_secret(name: str, value: str, secrets: tuple[str, ...]) -> None:
    assert secret_values([(name, value)]) == secrets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-api-key", "longfirst second"),
        ("x-api-key", "Negotiate longfirst"),
        ("CF-Access-Client-Secret", "my pass word is longfirst"),
        ("Authorization", "longfirst longsecond"),
        ("Authorization", "Bearer longfirst longsecond"),
        ("X-Auth-Token", "longfirst\tsecond"),
        ("Cookie", "longfirst second"),
    ],
)
def test_every_word_of_a_secret_with_white_space_is_masked(name: str, value: str) -> None:
    values = secret_values([(name, value)])
    assert "longfirst" not in mask_known(f"x longfirst y {value} z")
    assert "longfirst" not in mask_values(f"the host repeats {value}", values)


def test_a_secret_of_short_words_is_masked_as_a_whole() -> None:
    assert secret_values([("x-api-key", "my pass word")]) == ("my pass word",)


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


FORGED = "add\nERROR forged \x1b[2J"


@FOUR_WAYS
async def test_a_tools_name_forges_no_line_of_a_warning_a_log_or_an_error(
    way: str, serve: Callable[..., KimiServer], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG, "langchain_kimi")
    call = {"name": FORGED, "args": {}, "id": "call\n1", "type": "tool_call"}
    history = [HumanMessage("Hi"), AIMessage("", tool_calls=[call]), HumanMessage("And?")]
    tool = {"type": "function", "function": {"name": FORGED, "parameters": {"type": "object", "properties": {}}}}
    broken = {"type": "function", "function": {"name": FORGED, "parameters": {"type": "array"}}}
    shown: list[str] = []
    for strict in (False, True):
        model = kimi(serve([said("ok")]), strict_tools=strict).bind_tools([tool, broken])
        try:
            if way == "invoke":
                model.invoke(history)
            elif way == "ainvoke":
                await model.ainvoke(history)
            elif way == "stream":
                list(model.stream(history))
            else:
                [piece async for piece in model.astream(history)]
        except KimiError as error:
            shown.append(str(error))
    shown += [str(each.message) for each in recwarn] + caplog.messages
    assert any("forged" in text for text in shown)
    assert not [text for text in shown if "\nERROR" in text or "\x1b" in text]


@pytest.mark.parametrize("fetching", [lambda url: media_block(url), lambda url: asyncio.run(amedia_block(url))])
def test_a_signed_address_of_a_picture_is_not_shown(fetching: Callable[[str], object]) -> None:
    with pytest.raises(KimiError) as caught:
        fetching("http://user:hunter2hunter2@127.0.0.1:9/cat.png?X-Amz-Signature=0123456789abcdef")
    assert "http://127.0.0.1:9/cat.png?… could not be fetched" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("hunter2", "0123456789abcdef"))
