"""One trace: laid out in time, beside what was said; a span whole; as it was sent."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from halo_receiver.store.reader import Reader
from halo_worker import inputs
from halo_worker.errors import StoreError
from halo_worker.page import trace as view
from halo_worker.page.kept_rows import Laid
from halo_worker.page.trace_view import Mark, lay_out
from halo_worker.report.affected import AffectedSpan
from halo_worker.report.archive import Archive
from halo_worker.report.memory import IssueMemory
from tests.builders import finding, report
from tests.fixtures_receiver import eventually
from tests.page.conftest import Served
from tests.page.stored_traces import LONG, store, trace, trace_id
from tests.worker.report.test_pages import UNSEEN

ISSUE = "HALO-0000000b"
SPANS = 1200


@pytest.fixture(scope="module")
def traces(serve_page: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Three traces of a session; the second one is long, and a report found its tool's failure."""
    data_dir = tmp_path_factory.mktemp("trace") / "data"
    store(data_dir, trace(3), trace(4, spans=SPANS, answer=LONG), trace(5))
    marked = AffectedSpan(ISSUE, trace_id(4), span_id(4, 2), span_id(4, 3))
    Archive(data_dir / "reports").publish(
        report(finding(ISSUE, text="refunds fail"), schedule="daily"), {}, affected=[marked]
    )
    return serve_page(data_dir)


def span_id(number: int, place: int) -> str:
    return f"{number:06x}{place:010x}"


def drawn(span: str, parent: str | None = None, start: int = 1, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("span_type", "agent_name", "model", "tool_name", "input_tokens", "output_tokens", "cost_usd")
    )
    return {
        **empty, "span_id": span, "parent_span_id": parent, "name": span, "kind": "INTERNAL", "start_ns": start,
        "duration_ns": 10, "status_code": "OK", "error": "", **fields,
    }  # fmt: skip


def test_every_span_is_drawn_once_below_its_parent() -> None:
    spans = [
        drawn("root", agent_name="clerk", duration_ns=100), drawn("child", "root", 51), drawn("below", "child", 51),
        drawn("orphan", "lost", 60), drawn("one", "two", 70), drawn("two", "one", 80), drawn("timeless", "root", 0),
    ]  # fmt: skip
    rows = lay_out(spans, {"child": [Mark("culprit", "HALO-1", "x")]})
    assert [(row.span["span_id"], row.depth, row.agent) for row in rows] == [
        ("root", 0, "clerk"), ("child", 1, "clerk"), ("below", 2, "clerk"), ("timeless", 1, "clerk"), ("orphan", 0, ""),
        ("one", 0, ""), ("two", 1, ""),
    ]  # fmt: skip
    by_id = {row.span["span_id"]: row for row in rows}
    assert (by_id["root"].left, by_id["root"].width) == (0, 100)
    assert (by_id["child"].left, by_id["child"].width) == (50, 10)
    assert by_id["child"].roles == ["culprit"]
    assert "not here" in by_id["orphan"].note
    assert "circle" in by_id["one"].note


def test_the_title_is_sent_before_the_spans_are_read(traces: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to somebody who comes for the first time: with the cookie, without which no form would be taken."""
    may_read, whole = threading.Event(), view._whole
    monkeypatch.setattr(view, "_whole", lambda *given: may_read.wait(60) and whole(*given))
    with traces.client() as client, client.stream("GET", f"/traces/{trace_id(3)}") as answer:
        chunks = answer.iter_text()
        head = next(chunks)
        while "<h1" not in head:
            head += next(chunks)
        may_read.set()
        rest = "".join(chunks)
    assert (answer.headers["content-encoding"], "w-row" in head, "w-row" in rest) == ("gzip", False, True)
    assert "set-cookie" in answer.headers
    assert rest.rstrip().endswith("</html>")


def test_spans_that_went_meanwhile_and_what_cannot_be_read_are_said(
    traces: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise error

        return fail

    with traces.client() as client:
        monkeypatch.setattr(view, "_whole", lambda *_: (Laid([], (), IssueMemory([])), {}))
        assert "Its spans are not here any more" in client.get(f"/traces/{trace_id(3)}").text
        monkeypatch.setattr(view, "_whole", failing(StoreError("the disk is gone", hint="look at the disk")))
        text = client.get(f"/traces/{trace_id(3)}").text
        assert ("the disk is gone" in text, "look at the disk" in text) == (True, True)
        monkeypatch.setattr(view, "_whole", failing(ZeroDivisionError()))
        assert "The page met an error" in client.get(f"/traces/{trace_id(3)}").text
        monkeypatch.setattr(
            view, "_chunks", lambda *_: itertools.chain([b"{}"], map(failing(ZeroDivisionError()), [1]))
        )
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/traces/{trace_id(3)}/otlp.json")


def test_the_conversation_says_what_is_new_and_the_calls_with_their_results(traces: Served) -> None:
    with traces.client() as client:
        text = client.get(f"/traces/{trace_id(3)}").text
    panel = text.partition('id="panel"')[2]
    assert "system: You sell coats." in panel
    assert "refund({&#34;order&#34;: 17})" in panel or "refund({&#34;order&#34;:17})" in panel
    assert "result 3" in panel
    assert re.search(r"session.*\(1 of 3\).*next ›", text, re.DOTALL)


def test_findings_are_marked_and_a_span_shows_what_was_sent_and_what_it_means(traces: Served) -> None:
    with traces.client() as client:
        text = client.get(f"/traces/{trace_id(4)}?span={span_id(4, 2)}").text
        answer = client.get(f"/traces/{trace_id(4)}/spans/{span_id(4, 1)}/text?name=output_text")
        missing = client.get(f"/traces/{trace_id(4)}/spans/{span_id(4, 1)}/text?name=nothing")
    assert "refunds fail" in text
    assert text.count('class="mark culprit"') >= 2
    assert 'class="mark symptom"' in text
    assert "<dt>llm.model_name</dt>" in text
    assert "<dt>convention</dt>" in text
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text == LONG
    assert missing.status_code == 404


def test_without_a_script_there_are_200_spans_a_page(traces: Served) -> None:
    seen: list[str] = []
    with traces.client() as client:
        for page in range(1, 7):
            text = client.get(f"/traces/{trace_id(4)}?page={page}").text
            seen += re.findall(r'<li class="w-row[^"]*"><a [^>]*data-span="(\w+)"', text)
    assert len(seen) == len(set(seen)) == SPANS - 1
    assert "spans 1–200 of 1,199" in client_text(traces, f"/traces/{trace_id(4)}")


def client_text(served: Served, address: str) -> str:
    with served.client() as client:
        return client.get(address).text


def test_what_is_downloaded_is_what_was_sent(traces: Served, tmp_path: Path) -> None:
    with traces.client() as client:
        answer = client.get(f"/traces/{trace_id(3)}/otlp.json")
        assert client.get("/traces/nosuch/otlp.json").status_code == 404
    assert "attachment" in answer.headers["Content-Disposition"]
    file = tmp_path / "one.json"
    file.write_bytes(answer.content)
    inputs.import_files([str(file)], tmp_path / "data", now_ns=1, arrival="now", say=lambda _: None)
    columns = (
        "span_id, parent_span_id, name, kind, start_time, end_time, status_code, status_message, attributes, "
        "scope_name, scope_version, resource_attributes, input_text, output_text, tool_name, model"
    )
    sql = f"SELECT {columns} FROM spans WHERE trace_id = '{trace_id(3)}' ORDER BY span_id"
    with Reader.open(traces.data_dir) as stored, Reader.open(tmp_path / "data") as again:
        assert again.query(sql) == stored.query(sql)


def test_text_of_strangers_stays_text_and_their_ids_open(served: Served) -> None:
    """Ten traces whose every text is markup, their ids too."""
    with served.client() as client:
        found = re.findall(r'<td class="t-what"><a href="([^"]+)"', client.get("/traces").text)
        assert found
        for address in (found[0], f"{found[0]}?view=span", f"{found[0]}?view=logs", "/traces?q=%3Cscript%3E"):
            answer = client.get(address)
            assert answer.status_code == 200, unquote(address)
            assert "<script>window" not in answer.text
            assert not UNSEEN.search(answer.text)
            assert "style-src 'self'" in answer.headers["Content-Security-Policy"]
        assert client.get(f"{found[0]}/spans.json").status_code == 200
        assert client.get("/traces/nosuch").status_code == 404


@pytest.mark.browser
def test_in_a_browser_a_long_trace_is_read(browser: Any, traces: Served) -> None:
    """What is seen is drawn; a span opens beside it; a long text is whole at a click; by keyboard; at three widths."""
    for width, scheme in ((390, "light"), (900, "dark"), (1600, "light")):
        context = browser.new_context(
            base_url=traces.url, viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        page, said = context.new_page(), []
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on(
            "console", lambda line, said=said: said.append(line.text) if line.type in ("error", "warning") else None
        )
        page.goto(f"/traces/{trace_id(4)}")
        page.wait_for_selector(".w-list.virtual")
        assert page.locator(".w-row").count() < 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 1600:
            page.locator(".w-scroll").evaluate("box => { box.scrollTop = box.scrollHeight; }")
            page.locator(f".w-row a[data-span='{span_id(4, SPANS - 1)}']").click()
            page.wait_for_selector("#panel h3")
            assert span_id(4, SPANS - 1) in page.url
            page.keyboard.press("k")
            page.wait_for_url(f"**{span_id(4, SPANS - 2)}")
            page.locator("#panel .tabs a", has_text="Conversation").click()
            page.get_by_text("Show all 50,000 characters").first.click()
            whole = page.locator("#panel .s-returns pre").first
            eventually(lambda whole=whole: len(whole.text_content()) == len(LONG))
        assert said == []
        context.close()
