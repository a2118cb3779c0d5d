"""The page, the Markdown and the Slack message: inert whatever a span says, and inside every limit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halo_worker.report import slack
from halo_worker.report.html import render_html, render_index, waterfall
from halo_worker.report.markdown import render_markdown
from halo_worker.report.model import GroupTotals, Report, Totals
from tests.builders import ORIGIN, SYMPTOM, TRACE, finding, report, span

HOSTILE = (
    "<script>window.owned=1</script>",
    "</script><script>window.owned=1</script>",
    '"><img src=x onerror="window.owned=1">',
    "' onmouseover='window.owned=1",
    "<!--<script>window.owned=1//",
    "]]><svg/onload=window.owned=1>",
    "javascript:window.owned=1",
    "{{ 7*7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "&lt;script&gt;&#x3c;b&#x3e;",
    "\x00\x1b[2Jcleared",
)


class Elements(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def page_of(text: str) -> str:
    made = report(
        finding(text=text), prompt=text, answer=text,
        totals=Totals(traces=9, by_agent=[GroupTotals(name=text, traces=9)], timeline=[]),
    )  # fmt: skip
    rows = [span(ORIGIN, name=text), span(SYMPTOM, ORIGIN, name=text)]
    return render_html(made, traces={TRACE: rows})


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_traces_is_never_markup(text: str) -> None:
    """A page of hostile text has the elements of a page of plain text, and no handler of its own."""
    page, plain = Elements(page_of(text)), Elements(page_of("plain"))
    assert page.tags == plain.tags
    assert {name for name, _ in page.attributes} == {name for name, _ in plain.attributes}
    assert not any(name.startswith("on") for name, _ in page.attributes)
    shown = page_of(text)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", shown.split("<script>")[0])


def test_the_page_may_connect_nowhere_and_runs_only_its_own_scripts() -> None:
    page = page_of("plain")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    for text in scripts:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy[1].replace("&#43;", "+")
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_a_long_trace_is_cut_to_what_matters() -> None:
    rows = [span("0" * 16), *(span(f"{number:016x}", "0" * 16, start=number) for number in range(1, 400))]
    laid = waterfall(rows, f"{300:016x}", f"{301:016x}")
    assert len(laid) <= 60
    assert [row["span_id"] for row in laid if row["origin"]] == [f"{300:016x}"]


def test_a_trace_with_a_cycle_or_a_lost_parent_is_drawn() -> None:
    assert len(waterfall([span("1" * 16, "f" * 16), span("2" * 16, "1" * 16)], None, None)) == 2
    waterfall([span("1" * 16, "2" * 16), span("2" * 16, "1" * 16)], None, None)


def test_the_index_links_every_report() -> None:
    reports = [report(finding(), day=day) for day in range(3)]
    page = render_index(reports, [])
    assert re.findall(r'href="([^"]+)/report.html"', page) == [one.id for one in reports]


def test_markdown_keeps_a_quote_in_its_fence_and_a_title_in_its_line() -> None:
    text = "# x\n```\n| [a](javascript:1) <b>"
    page = render_markdown(report(finding(text=text)))
    assert "\n# x\n" not in page.split("````")[0]
    assert "````text" in page
    assert "<b>" not in page.split("````")[0].replace("\\<b\\>", "")


texts = st.text(max_size=4000) | st.sampled_from(["<!channel>", "&" * 4000, "```" * 900, "*_~`" * 700, ""])


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 80), text=texts, answer=st.none() | texts,
    link=st.none() | st.text(max_size=4000) | st.just("https://example.org/x"),
)  # fmt: skip
def test_slack_is_inside_every_limit_for_a_report_of_any_shape(
    count: int, text: str, answer: str | None, link: str | None
) -> None:
    made = report(*(finding(f"HALO-{n:08x}", text=text) for n in range(count)), prompt=text, answer=answer)
    messages = [slack.message(made, link=link), *(slack.detail(one) for one in made.findings[:1])]
    for fallback, blocks in messages:
        assert 0 < len(blocks) <= 50
        assert len(fallback) <= 3000
        for block in blocks:
            parts = block.get("elements") or [block["text"]]
            assert len(parts) <= 10
            for part in parts:
                assert 1 <= len(part["text"]) <= (150 if block["type"] == "header" else 3000)
                assert not re.search(r"<[!@#]", part["text"])
        json.dumps(blocks)


@pytest.fixture(scope="module")
def browser() -> object:
    playwright = pytest.importorskip("playwright.sync_api")
    path = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        )
        yield started
        started.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_in_a_browser_the_page_fits_runs_nothing_foreign_and_asks_nobody(
    browser: object, tmp_path: Path, width: int
) -> None:
    made: Report = report(*(finding(f"HALO-{n:08x}", text=text) for n, text in enumerate(HOSTILE)))
    file = tmp_path / "report.html"
    rows = [span(ORIGIN, name=HOSTILE[1]), span(SYMPTOM, ORIGIN, name="word " * 80)]
    file.write_text(render_html(made, traces={TRACE: rows}), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate("window.owned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("typeof window.Chart") == "function"
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()
