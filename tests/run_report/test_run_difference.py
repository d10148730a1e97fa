"""Two runs side by side: which messages correspond to each other, and what is marked."""

from dataclasses import replace

import pytest

from langchain_kimi._recorded_runs import MessagePart, RecordedRun, RunMessage
from langchain_kimi._run_report import difference_page
from langchain_kimi._run_report.run_difference import RunDifference, marked_differences
from tests.run_report.outline import Outline
from tests.run_report.runs import team_run, text, whole_run


def pairs(difference: RunDifference) -> list[tuple[int | None, int | None, bool]]:
    return [
        (pair.first.number if pair.first else None, pair.second.number if pair.second else None, pair.is_same)
        for pair in difference.pairs
    ]


def test_a_run_does_not_differ_from_itself() -> None:
    difference = RunDifference(whole_run(), whole_run())
    assert pairs(difference) == [(number, number, True) for number in range(1, 6)]
    assert difference.changes == 0
    assert {row.change for row in difference.sums} == {""}


def test_what_changed_is_marked_on_both_sides() -> None:
    other = whole_run(lambda text: text.replace("Two at once.", "Two at the same time.").replace('"/a"', '"/<b>"'))
    difference = RunDifference(whole_run(), other)
    assert [pair.number for pair in difference.pairs if not pair.is_same] == [2]
    texts = {one.label: (str(one.first), str(one.second)) for one in difference.pairs[1].texts}
    assert texts["Thinking"] == ("Two at <del>once</del>.", "Two at <ins>the same time</ins>.")
    assert "<del>a</del>" in texts["Call 1"][0]
    assert "&lt;b&gt;" in texts["Call 1"][1]
    assert texts["Text"] == ("I look.", "I look.")


def test_hostile_text_is_escaped_where_it_differs_and_where_it_does_not() -> None:
    hostile = "<b>&"
    assert marked_differences(hostile, hostile) == ("&lt;b&gt;&amp;",) * 2
    first, second = marked_differences(f"{hostile} one", f"{hostile} {hostile}")
    assert first == "&lt;b&gt;&amp; <del>one</del>"
    assert second == "&lt;b&gt;&amp; <ins>&lt;b&gt;&amp;</ins>"


def test_another_model_is_a_difference_with_its_money() -> None:
    run = whole_run()
    first, *others = run.model_calls
    other = replace(run, model_calls=(replace(first, model="kimi-k2.6"), *others))
    difference = RunDifference(run, other)
    assert [pair.settings for pair in difference.pairs if pair.settings] == [(("model", "kimi-k3", "kimi-k2.6"),)]
    row = next(row for row in difference.sums if row.name == "boss: USD")
    assert row == ("boss: USD", "$0.0045", "$0.00135", "−$0.00315 (−70%)")  # 1,000 in and 100 out at 3/15 and 0.95/4


def conversation(*texts: str) -> RecordedRun:
    roles = ("user", "assistant")
    messages = tuple(text(number, roles[number % 2 - 1], one) for number, one in enumerate(texts, 1))
    return RecordedRun("run", "thread", messages)


def test_messages_that_only_one_run_has_stand_alone() -> None:
    one, two = conversation("a", "b", "c", "d"), conversation("a", "b", "c", "d", "e", "f")
    assert pairs(RunDifference(one, two)) == [
        *((at, at, True) for at in range(1, 5)),
        (None, 5, False),
        (None, 6, False),
    ]
    two = conversation("a", "b", "x", "y", "c", "d")
    assert pairs(RunDifference(one, two)) == [
        *((1, 1, True), (2, 2, True), (None, 3, False), (None, 4, False), (3, 5, True), (4, 6, True))
    ]
    two = conversation("a", "z", "c", "d")
    assert pairs(RunDifference(one, two)) == [(1, 1, True), (2, 2, False), (3, 3, True), (4, 4, True)]


def test_parallel_sub_agents_are_compared_call_by_call_however_they_interleaved() -> None:
    one, two = team_run(), team_run()
    researchers = [message for message in two.messages if message.caller]
    assert {message.caller for message in researchers} == {1, 2}
    swapped = {1: 2, 2: 1}
    calls = two.tool_calls
    reordered = replace(
        two,
        messages=tuple(replace(one, caller=swapped.get(one.caller, one.caller)) for one in two.messages),  # type: ignore[arg-type]
    )
    assert RunDifference(one, two).changes == 0
    assert RunDifference(one, reordered).changes == 2  # their tasks
    assert calls[0].sub_agent == calls[1].sub_agent == "researcher"


def test_pictures_are_compared_without_being_shown() -> None:
    def pictured(data: str) -> RecordedRun:
        return RecordedRun("run", "thread", (RunMessage(1, "user", (MessagePart("picture", data),), None),))

    one, two = pictured("data:image/png;base64," + "A" * 300), pictured("data:image/png;base64," + "B" * 300)
    assert RunDifference(one, one).changes == 0
    assert RunDifference(one, two).changes == 1
    assert "A" * 200 not in difference_page(one, two)


@pytest.mark.parametrize("size", [10, 5_000, 60_000])
def test_long_texts_are_compared_in_time(size: int) -> None:
    one = "".join(f"line {number}\n" for number in range(size))
    first, second = marked_differences(one, one.replace("line 7\n", "line seven\n"))
    assert "<del>" in first
    assert "<ins>" in second
    assert second.unescape() != one


def test_the_page_of_two_runs_is_sound() -> None:
    other = whole_run(lambda text: text + "<script>alert(1)</script>")
    html = difference_page(whole_run(), other)
    outline = Outline(html)
    assert "5 of 5 messages differ." in outline.text
    assert html.count("<script>") == 2
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
