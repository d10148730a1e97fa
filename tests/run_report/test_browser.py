"""Reports in a real browser, opened from disk, without a network."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi._recorded_runs import RecordedRun
from langchain_kimi._run_report import difference_page, report_page
from tests.run_report.runs import long_run, team_run, whole_run
from tests.services import chromium_path, no_chromium

pytestmark = pytest.mark.slow


@dataclass
class Opened:
    """A page that is open, and what it complained of and requested."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if reason := no_chromium():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield started
        started.close()


class Opener:
    """Writes pages to files and opens them."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self._browser, self._folder = browser, folder

    def __call__(self, html: str, width: int = 1_200, scheme: str = "light") -> Opened:
        path = self._folder / "run.html"
        path.write_text(html, encoding="utf-8")
        context = self._browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        return opened


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    yield Opener(browser, tmp_path)
    for context in browser.contexts:
        context.close()


def test_a_report_opens_from_disk_and_loads_nothing(open_page: Opener) -> None:
    opened = open_page(report_page([whole_run()]))
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:image/png;"))] == []
    assert opened.page.title() == "run – run report"
    assert opened.page.locator("img").evaluate("image => image.naturalWidth") == 5
    assert opened.page.locator("h1").inner_text() == "run"


HOSTILE = (
    "</script><script>window.evil = 1</script><img src='http://evil.invalid/x.png' onerror='window.evil = 1'>"
    "<svg onload='window.evil = 1'></svg></style>\"><iframe src='javascript:window.evil = 1'></iframe>{{ 7 * 7 }}"
    "\u202edesrever\x00\x1b[2J\ud800-->"
)


def test_hostile_content_stays_text(open_page: Opener) -> None:
    harmless, hostile = whole_run(), whole_run(lambda text: text + HOSTILE)
    plain, opened = open_page(report_page([harmless])), open_page(report_page([hostile]))
    count = "document.querySelectorAll(':not(details, summary, pre, p, span)').length"
    assert opened.page.evaluate(count) == pytest.approx(plain.page.evaluate(count), abs=3)
    assert opened.page.evaluate("window.evil") is None
    assert (
        opened.page.evaluate("document.querySelectorAll('iframe, [onerror], [onload], body script, svg svg').length")
        == 1
    )
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:image/png;"))] == []
    assert "{{ 7 * 7 }}\\u202edesrever\\x00\\x1b[2J" in opened.page.locator("#m1").inner_text()


def test_the_policy_forbids_what_the_page_did_not_bring(open_page: Opener) -> None:
    opened = open_page(report_page([whole_run()]))
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}))"
    )
    assert opened.page.evaluate("window.evil") is None
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_the_table_is_searched_and_sorted_with_the_keyboard(open_page: Opener) -> None:
    page = open_page(report_page([whole_run()])).page
    names = "rows => rows.filter(row => !row.hidden).map(row => row.cells[2].textContent)"
    rows = page.locator("table.sortable tbody tr")
    assert rows.evaluate_all(names) == ["kimi-k3", "look", "look", "kimi-k3", "question to a person", "m"]
    page.get_by_role("button", name="Time").focus()
    page.keyboard.press("Enter")
    assert rows.evaluate_all(names)[-1] == "question to a person"
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Time")
    page.keyboard.press("Space")
    assert rows.evaluate_all(names)[0] == "question to a person"
    page.get_by_label("Search calls and messages").focus()
    page.keyboard.type("done")
    assert rows.evaluate_all(names) == ["m"]
    assert page.get_by_role("status").inner_text() == "1 of 8 entries"
    assert page.locator("#m1").is_hidden()
    assert page.locator("#m5").is_visible()


def test_a_link_to_a_message_shows_it_although_a_search_hides_it(open_page: Opener) -> None:
    page = open_page(report_page([whole_run()])).page
    page.get_by_label("Search calls and messages").fill("nothing of the kind")
    assert page.locator("#m3").is_hidden()
    page.evaluate("location.hash = '#m3'")
    page.wait_for_function("!document.querySelector('#m3').hidden")
    assert page.evaluate("document.querySelector(':target').id") == "m3"


def test_thinking_and_long_results_are_folded_and_open_at_once(open_page: Opener) -> None:
    page = open_page(report_page([whole_run()])).page
    assert page.get_by_text("Two at once.").is_hidden()
    assert page.locator("#m3 pre").is_hidden()
    page.get_by_role("button", name="Open all").click()
    assert page.get_by_text("Two at once.").is_visible()
    assert page.locator("#m3 pre").is_visible()
    page.get_by_role("button", name="Close all").click()
    assert page.get_by_text("Two at once.").is_hidden()


def test_parallel_calls_overlap_in_the_time_line(open_page: Opener) -> None:
    page = open_page(report_page([whole_run()])).page
    boxes = page.locator(".bars svg a rect").evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
    targets = page.locator(".bars svg a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    by_target = dict(zip(targets, boxes, strict=True))
    one, other = by_target["#call1"], by_target["#call2"]
    assert one["left"] == pytest.approx(other["left"], abs=1.5)
    assert one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
    assert by_target["#m5"]["left"] > one["right"]
    names = page.locator(".names text").all_text_contents()
    assert names == ["boss", "helper"]
    width = page.locator(".bars svg").bounding_box()["width"]
    page.get_by_role("button", name="Zoom in").click()
    assert page.locator(".bars svg").bounding_box()["width"] == pytest.approx(2 * width, rel=0.01)


@pytest.mark.parametrize("width", [390, 1_200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_size_and_scheme_can_be_read(open_page: Opener, width: int, scheme: str) -> None:
    page = open_page(report_page([whole_run()]), width, scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    faint = page.evaluate(FAINT_TEXTS)
    assert faint == []


FAINT_TEXTS = """() => {
  // Texts with a contrast below 4.5 to what is behind them, as WCAG measures it.
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const own = colour(getComputedStyle(one).backgroundColor);
      if (own.length === 3 || own[3] === 1) return own;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const front = colour(element instanceof SVGElement ? style.fill : style.color);
    const [light, dark] = [luminance(front), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faint.push(`${element.tagName} ${element.className} ${contrast.toFixed(2)}`);
  }
  return [...new Set(faint)];
}"""


def test_everything_that_can_be_reached_has_a_name(open_page: Opener) -> None:
    page = open_page(report_page([team_run()])).page
    tree = page.locator("body").aria_snapshot()
    assert re.findall(r"- (?:button|link|searchbox|region|img)$", tree, re.MULTILINE) == []
    for part in ('heading "1" [level=1]', 'table "Usage by agent"', 'columnheader "Cached"', "Skip to the content"):
        assert part in tree, tree[:2_000]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


def test_on_paper_everything_is_unfolded(open_page: Opener, tmp_path: Path) -> None:
    page = open_page(report_page([whole_run()]), 750, "dark").page
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 750
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_by_text("Two at once.").is_visible()
    assert page.get_by_role("button", name="Open all").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.get_by_text("Two at once.").is_hidden()
    assert page.pdf().startswith(b"%PDF-")


@pytest.fixture(scope="module")
def rounds() -> RecordedRun:
    return long_run(300)


def test_300_rounds_open_in_under_two_seconds(open_page: Opener, rounds: RecordedRun) -> None:
    page = open_page(report_page([rounds])).page
    assert page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") > 0
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor: other work does not count
    page.reload()
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    assert 0.1 < metrics["TaskDuration"] < 2
    assert len(rounds.tool_calls) == 600
    rows = page.locator("table.sortable tbody tr")
    assert (rows.count(), rows.locator("visible=true").count()) == (900, 100)
    page.get_by_role("button", name="Show all 900 rows").click()
    assert rows.locator("visible=true").count() == 900


def test_the_differences_of_two_runs_are_found_one_after_the_other(open_page: Opener) -> None:
    other = whole_run(lambda text: text.replace("Two at once.", "Two at a time.").replace("Done.", "Done, all of it."))
    opened = open_page(difference_page(whole_run(), other), 390)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    visited = []
    for _ in range(3):
        page.get_by_role("button", name="Next difference").click()
        visited.append(page.evaluate("document.activeElement.id"))
    assert visited == ["d2", "d5", "d2"]
    assert page.locator("#d5 ins").inner_text() == ", all of it"
    assert page.locator("#d1 pre").first.is_hidden()
    assert page.evaluate(FAINT_TEXTS) == []
    clipped = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth).map(one => one.outerHTML)"
    assert page.locator(".pair *").evaluate_all(clipped) == []
    assert opened.complaints == []


def test_long_json_is_coloured_when_it_is_unfolded(open_page: Opener, rounds: RecordedRun) -> None:
    result = open_page(report_page([rounds])).page.locator("#m3")
    assert result.locator("pre span").count() == 0
    result.locator("summary").click()
    assert result.locator("pre span.jk").first.inner_text() == '"number"'
    assert result.locator("pre span.jn").first.inner_text() == "0"
    assert result.locator("pre").inner_text().startswith('{\n  "number": 0,\n  "rows": [\n    {\n')
