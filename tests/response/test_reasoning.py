"""Reasoning under the keys of every host."""

import itertools
from typing import Any

import pytest

from langchain_kimi._response import ResponseDecoder
from tests.response.helpers import event, of, whole

TEXT_DETAIL = {"type": "reasoning.text", "text": "Erst ", "format": "unknown", "index": 0}


SUMMARY = {"type": "reasoning.summary", "summary": "dann.", "index": 1}


SEALED = {"type": "reasoning.encrypted", "data": "c2VhbA==", "index": 2}


def cut_detail(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """The detail in pieces of two letters."""
    key = next(key for key in ("text", "summary", "data") if key in detail)
    return [{**detail, key: detail[key][start : start + 2]} for start in range(0, len(detail[key]), 2)]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ({"reasoning_content": "Hm"}, {"reasoning_content": "Hm"}),
        (
            {"reasoning_content": "Hm", "reasoning": "Hm"},
            {"reasoning_content": "Hm", "kimi_reasoning_key": "both"},
        ),
        ({"reasoning": "Hm"}, {"reasoning_content": "Hm", "kimi_reasoning_key": "reasoning"}),
        (
            {"reasoning": "Hm", "reasoning_content": None},
            {"reasoning_content": "Hm", "kimi_reasoning_key": "reasoning"},
        ),
        ({"reasoning": None, "reasoning_details": []}, {}),
        (
            {"reasoning": "Erst dann.", "reasoning_details": [TEXT_DETAIL, SUMMARY]},
            {
                "reasoning_content": "Erst dann.",
                "kimi_reasoning_key": "reasoning",
                "kimi_reasoning_details": [TEXT_DETAIL, SUMMARY],
            },
        ),
        (
            {"reasoning_details": [TEXT_DETAIL, SUMMARY, SEALED]},
            {
                "reasoning_content": "Erst dann.",
                "kimi_reasoning_key": "reasoning_details",
                "kimi_reasoning_details": [TEXT_DETAIL, SUMMARY, SEALED],
            },
        ),
    ],
)
@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
def test_reasoning_is_read_under_every_hosts_key(message: dict[str, Any], kept: dict[str, Any], v1: bool) -> None:
    assert ResponseDecoder().decode_body(whole({"content": "x", **message}, "stop")).additional_kwargs == kept
    events = [event({key: value}) for key, value in message.items() if key != "reasoning_details" and value is None]
    texts = {key: value for key, value in message.items() if isinstance(value, str)}
    details = [piece for detail in message.get("reasoning_details", ()) for piece in cut_detail(detail)]
    pieces = [{key: value[start : start + 2] for key, value in texts.items()} for start in range(0, 10, 2)]
    for text, detail in itertools.zip_longest(pieces, details):
        said_now = {key: value for key, value in (text or {}).items() if value}
        events.append(event(said_now | ({"reasoning_details": [detail]} if detail else {})))
    streamed = of(*events, event({"content": "x"}), finish="stop", v1=v1)
    assert streamed.additional_kwargs == kept


def test_whole_details_stay_as_they_came() -> None:
    twins = [TEXT_DETAIL, dict(TEXT_DETAIL), {"type": "reasoning.text", "text": "x"}, "odd"]
    kept = ResponseDecoder().decode_body(whole({"content": "x", "reasoning_details": twins}, "stop")).additional_kwargs
    assert kept["kimi_reasoning_details"] == twins
    assert kept["reasoning_content"] == "Erst Erst x"
