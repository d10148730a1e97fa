"""The pages of reports, without a browser: what they show and what they leave out."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from langchain_kimi._recorded_runs import (
    MessagePart,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunMessage,
    TimeSpan,
    ToolCallRecord,
)
from langchain_kimi._recorded_runs.recorded_run import RunEventKind
from langchain_kimi._run_report import difference_page, remove_content, report_page, scrub_run
from langchain_kimi._run_report.formats import (
    format_clock_time,
    format_count,
    format_json,
    format_plain_json,
    format_seconds,
    format_share,
    format_text,
    format_usd,
)
from langchain_kimi._run_report.time_line import time_line
from tests.run_report.outline import Outline
from tests.run_report.runs import BEGIN, USAGE, span, team_run, whole_run


@pytest.mark.parametrize("run", [whole_run(), team_run(), RecordedRun("empty", "thread")])
def test_a_page_is_sound_and_every_link_leads_somewhere(run: RecordedRun) -> None:
    outline = Outline(report_page([run, run]))
    assert len(set(outline.ids)) == len(outline.ids)
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    for message in run.messages:
        assert {f"m{message.number}", f"r2-m{message.number}"} <= set(outline.ids)


def test_a_page_shows_everything_of_a_run() -> None:
    text = Outline(report_page([whole_run()])).text
    for part in (
        *("Look at both.", "I look.", "Two at once.", "word word", "Done.", "May I?", "Yes.", "Overloaded."),
        *("The agent ended the turn.", "A thread does not hold the system prompt.", "no JSON", "length", "error"),
        *("1,000 in", "100 out", "$0.0045", "unknown", "59 min 43 s"),
    ):
        assert part in text, part


def test_a_page_explains_cache_breaks_in_a_table_and_at_the_answer() -> None:
    html = report_page([whole_run()])
    text = Outline(html).text
    assert "tools changed: +look; other prompt_cache_key: b after a 1,000 256 600 $0.00162" in text
    assert "Cache break: tools changed: +look; other prompt_cache_key: b after a; 600 tokens again" in text
    (row,) = re.findall(r'<tr><th scope="row"><a href="#(\w+)">3</a>', html)
    assert row == "m5"
    assert "Cache break" not in report_page([replace(whole_run(), cache_breaks=())])


def test_the_policy_names_the_style_and_the_scripts_of_the_page_by_their_hashes() -> None:
    html = report_page([whole_run()])
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;; ")
    inline = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", html, re.DOTALL)
    assert len(inline) == 3
    for text in inline:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy.replace("&#43;", "+")


@pytest.mark.slow  # it loads the detector of secrets
def test_secrets_are_masked_as_in_cassettes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "open-sesame-42")
    secrets = ["sk-abcdefghijklmnopqrstuvwxyz", "open-sesame-42", "ghp_" + "a1B2" * 9]
    for secret in secrets:
        call = replace(whole_run().model_calls[0], settings={"user": f"call {secret}"})
        scrubbed = scrub_run(replace(whole_run(), model_calls=(call,)))
        assert secret not in difference_page(scrubbed, replace(scrubbed, model_calls=(replace(call, settings={}),)))
        html = report_page([scrub_run(whole_run(lambda text, secret=secret: f"{text} {secret}"))])  # type: ignore[misc]
        assert secret not in html
        assert html.count("&lt;secret:") > 10


@pytest.mark.slow  # it loads the detector of secrets
def test_a_picture_is_not_searched_for_secrets_and_stays_whole() -> None:
    data = "data:image/png;base64," + "sk-" * 30
    message = RunMessage(1, "user", (MessagePart("picture", data),), None, "boss")
    assert scrub_run(RecordedRun("r", "thread", (message,))).messages[0].parts[0].value == data


def test_without_content_only_names_and_numbers_stay() -> None:
    marked = whole_run(lambda text: f"{text} CONTENT")
    names = replace(
        marked, name="run", model_calls=tuple(replace(one, model=one.model.split()[0]) for one in marked.model_calls)
    )
    html = report_page([remove_content(names)], content=False)
    events = tuple(replace(event, text="") for event in names.events)
    assert "CONTENT" in html  # of the event, which the package itself wrote
    html = report_page([remove_content(replace(names, events=events))], content=False)
    assert "CONTENT" not in html
    text = Outline(html).text
    assert "tools changed: +look; other prompt_cache_key 1,000 256 600" in text
    for part in ("text of 13 characters", "(picture)", "20 characters", "1,000", "$0.0045", "look", "without content"):
        assert part in text, part
    assert "data:image" not in html


def test_without_content_events_and_settings_have_no_text() -> None:
    run = whole_run()
    kinds: tuple[RunEventKind, ...] = ("error", "unknown")
    events = tuple(RunEvent(kind, "boss", "CONTENT", BEGIN) for kind in kinds)
    calls = tuple(replace(one, settings={"user": "CONTENT"}) for one in run.model_calls)
    with_text, other = replace(run, events=events, model_calls=calls), replace(run, events=(), model_calls=())
    for page in (
        report_page([remove_content(with_text)], content=False),
        difference_page(remove_content(with_text), remove_content(other)),
        difference_page(remove_content(with_text), remove_content(run)),
    ):
        assert "CONTENT" not in page
    assert "CONTENT" in report_page([with_text])
    assert "CONTENT" in difference_page(with_text, run)


@pytest.mark.parametrize("url", ["data:image/svg+xml;base64,PHN2Zy8+", "https://example.com/a.png", "javascript:1"])
def test_only_pictures_without_scripts_that_a_message_holds_are_shown(url: str) -> None:
    message = RunMessage(1, "user", (MessagePart("picture", url),), None, "boss")
    html = report_page([RecordedRun("run", "thread", (message,))])
    assert "<img" not in html
    assert "Picture, not loaded" in html


def test_numbers_that_are_not_known_or_not_finite() -> None:
    assert [format_usd(value) for value in (None, float("inf"), float("nan"), 0, 0.0045, 1234.5)] == [
        *("unknown", "unknown", "unknown", "$0", "$0.0045", "$1,234.50")
    ]
    assert [format_count(value) for value in (None, float("inf"), 10**9)] == ["unknown", "unknown", "1,000,000,000"]
    assert [
        format_share(None),
        format_share(0.874),
        format_seconds(float("nan")),
        format_seconds(0.0123),
        format_seconds(61),
        format_seconds(7_322),
    ] == [*("", "87%", "", "12 ms", "1 min 1 s", "2 h 2 min")]
    assert [format_clock_time(value) for value in (None, 1e300, 0.0)] == ["", "", "1970-01-01 00:00:00 UTC"]


def test_a_run_of_an_unknown_model_with_odd_numbers_has_a_page() -> None:
    usage = {**USAGE, "input_tokens": 10**12}
    call = ModelCallRecord(1, "a", "who-knows", 1, usage=usage, time=TimeSpan(BEGIN, None))  # type: ignore[arg-type]
    message = RunMessage(1, "assistant", (), None, "a")
    text = Outline(report_page([RecordedRun("odd", "thread", (message,), (call,))])).text
    assert "1,000,000,000,000 in" in text
    assert "unknown" in text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"a":1.50,"b":[],"c":{}}', '{\n  "a": 1.50,\n  "b": [],\n  "c": {}\n}'),
        ('[[true,null],"x:{,"]', '[\n  [\n    true,\n    null\n  ],\n  "x:{,"\n]'),
        ("[]", "[]"),
        ('{"a": 1e400}', '{\n  "a": 1e400\n}'),
    ],
)
def test_json_is_shown_over_lines_as_it_was_written(text: str, lines: str) -> None:
    assert format_plain_json(text) == lines
    assert re.sub(r"<[^>]*>", "", str(format_json(text))).replace("&#34;", '"') == lines


@pytest.mark.parametrize("text", ["", "no", '"text"', "{", "[1, }", "[" * 100_000, '{"a": <b>}'])
def test_what_is_no_json_object_is_no_json(text: str) -> None:
    assert format_plain_json(text) is None
    assert format_json(text) is None


def test_the_text_of_json_is_escaped() -> None:
    assert "<b>" not in str(format_json('{"<b>": "<b>\u202e"}'))
    assert "\\u202e" in str(format_json('{"a": "\u202e"}'))
    assert format_text("a\r\nb\x00") == "a\nb\\x00"


def test_parallel_calls_stand_below_each_other_and_a_long_pause_is_cut() -> None:
    line = time_line(whole_run())
    assert line is not None
    assert [lane.agent for lane in line.lanes] == ["boss", "helper"]
    bars = {bar.target: bar for lane in line.lanes for bar in lane.bars}
    assert bars["call1"].left == bars["call2"].left
    assert bars["call1"].top != bars["call2"].top
    assert bars["m2"].left + bars["m2"].width == pytest.approx(bars["call1"].left)
    assert bars["request2"].kind == bars["call2"].kind == "failed"

    def calls_at(*starts: float) -> RecordedRun:
        calls = [ModelCallRecord(at, "a", "m", time=span(start, start + 1)) for at, start in enumerate(starts, 1)]
        return RecordedRun("run", "thread", model_calls=tuple(calls))

    line = time_line(calls_at(0, 1, 100_000))
    assert line is not None
    assert [tick.text for tick in line.ticks if tick.is_pause] == ["27 h 46 min pause"]
    assert all(bar.width > 30 for bar in line.lanes[0].bars)


def test_calls_after_each_other_share_a_row_and_a_parallel_one_has_its_own() -> None:
    spans = [span(0, 4), span(1, 2), span(2, 3), span(4, 5)]
    calls = tuple(ToolCallRecord(at, "a", "t", f"t:{at}", "{}", 1, time=time) for at, time in enumerate(spans, 1))
    line = time_line(RecordedRun("run", "thread", tool_calls=calls))
    assert line is not None
    tops = {bar.target: bar.top for bar in line.lanes[0].bars}
    assert tops["call1"] == tops["call4"] < tops["call2"] == tops["call3"]


def test_without_times_the_bars_stand_in_the_order_of_the_calls() -> None:
    run = whole_run()
    bare = replace(
        run,
        model_calls=tuple(replace(one, time=TimeSpan()) for one in run.model_calls),
        tool_calls=tuple(replace(one, time=TimeSpan()) for one in run.tool_calls),
        approvals=tuple(replace(one, time=TimeSpan()) for one in run.approvals),
    )
    line = time_line(bare)
    assert line is not None
    assert not line.has_times
    bars = sorted((bar for lane in line.lanes for bar in lane.bars), key=lambda bar: bar.left)
    assert [bar.target for bar in bars] == ["m2", "call1", "call2", "request2", "m5", "question1"]
    assert time_line(RecordedRun("empty", "thread")) is None
