"""The page over HTTP: what it shows, who may see it and act on it, and that strangers' text stays text."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from halo_worker.config import load_settings
from halo_worker.errors import ConfigError
from halo_worker.page import security
from halo_worker.page.paging import Paging
from halo_worker.report.archive import Archive
from halo_worker.report.decisions import Decisions
from tests.builders import finding, report
from tests.end_to_end.conftest import environment, eventually
from tests.page.conftest import HOSTILE_ISSUE, HOSTILE_TRACE, STEADY, Served, reports_of, token_in
from tests.worker.report.test_pages import UNSEEN, Elements

LAST = "20261122T060000Z-aaaaaa"
VIEWS = (
    "/", "/reports", f"/reports/{LAST}", "/issues?state=all", f"/issues/{HOSTILE_ISSUE}", "/traces",
    f"/traces/{HOSTILE_TRACE}", f"/traces/{HOSTILE_TRACE}?view=span", "/sql", "/health",
)  # fmt: skip
AGENTS = ("claude-cli://", "cursor://", "codex://")  # on this machine
READ, OPERATE = "read-key-1234", "operator-key-1234"


@pytest.mark.parametrize("path", VIEWS)
def test_a_view_shows_text_of_strangers_as_text(served: Served, path: str) -> None:
    with served.client() as visitor:
        answer = visitor.get(path)
    assert answer.status_code == 200
    page = Elements(answer.text)
    own = [value for name, value in page.attributes if name == "src"]
    assert all(str(value).startswith("/static/") for value in own)
    assert page.tags.count("script") == len(own)
    assert not {name for name, _ in page.attributes if name.startswith("on") or name == "style"}
    links = {str(value) for name, value in page.attributes if name == "href"}
    assert {link for link in links if not link.startswith(("/", "#", *AGENTS))} == set()
    assert not UNSEEN.search(answer.text)
    assert "'unsafe" not in answer.headers["Content-Security-Policy"]
    assert len(answer.content) < 400_000


def test_a_page_of_another_site_can_do_nothing(served: Served) -> None:
    """No token, a wrong one, another origin, another host name: each alone is refused, and nothing is recorded."""
    decisions = Decisions(served.data_dir / "reports")
    before = decisions.read()
    where = f"/issues/{STEADY}/decide"
    with served.client() as visitor:
        token = token_in(visitor.get("/issues").text)
        form = {"action": "note", "note": "x", "token": token}
        tries = [
            visitor.post(where, data={**form, "token": ""}),
            visitor.post(where, data={**form, "token": "0" * 64}),
            visitor.post(where, data=form, headers={"Origin": "https://evil.example"}),
            visitor.post(where, data=form, headers={"Sec-Fetch-Site": "cross-site"}),
        ]
        assert [answer.status_code for answer in tries] == [403] * 4
        assert visitor.get("/", headers={"Host": "evil.example"}).status_code == 421
        assert visitor.put("/issues").status_code == 405
    with served.client() as other:
        assert other.post(where, data=form).status_code == 403, "the token is one visitor's"
    assert decisions.read() == before


def test_decisions_are_those_of_the_command_line_with_both_writing_at_once(served: Served) -> None:
    decisions = Decisions(served.data_dir / "reports")
    with served.client() as visitor:
        token = token_in(visitor.get("/issues").text)

        def note(number: int) -> int:
            form = {"action": "note", "note": f"page {number}", "by": "Ada", "token": token}
            return visitor.post(f"/issues/{STEADY}/decide", data=form).status_code

        def append(number: int) -> int:
            decisions.append(STEADY, "note", now_ns=number, note=f"command line {number}")
            return 303

        with ThreadPoolExecutor(8) as pool:
            codes = [*pool.map(note, range(10)), *pool.map(append, range(10))]
        assert codes == [303] * 20
        kept = {(item.note, item.by) for item in decisions.read()[STEADY] if item.by == "Ada"}
        assert kept == {(f"page {number}", "Ada") for number in range(10)}
        for action, state in (("resolve", "resolved"), ("mute", "muted"), ("wrong", "wrong"), ("reopen", "new")):
            form = {"action": action, "note": "because", "release": "2.1", "token": token}
            shown = visitor.post(f"/issues/{STEADY}/decide", data=form, follow_redirects=True)
            assert f'state-{state}">{state}' in shown.text
        assert next(item.release for item in decisions.read()[STEADY] if item.action == "resolve") == "2.1"
        refused = visitor.post(f"/issues/{STEADY}/decide", data={"action": "wrong", "token": token})
        assert (refused.status_code, "Say why in the note" in refused.text) == (400, True)
    assert "command line 9" in shown.text


def test_what_comes_while_the_page_runs_is_shown(serve_page: Callable[..., Served], tmp_path: Path) -> None:
    """From an empty directory, which says what to do, to a new report."""
    empty = serve_page(tmp_path)
    with empty.client() as visitor:
        said = [visitor.get(path).text for path in ("/", "/reports", "/issues")]
        assert all("halo run" in text or "/health" in text for text in said)
        reports_of(tmp_path)
        assert STEADY in visitor.get("/issues").text
        later = report(finding("HALO-000000ff", text="quite another failure"), day=5, schedule="daily")
        Archive(tmp_path / "reports").publish(later, {"report.md": "# x"})
        assert "quite another failure" in visitor.get("/").text
        assert [visitor.get(f"/reports/{later.id}/{kind}").status_code for kind in ("json", "md", "html")] == [
            200,
            200,
            404,
        ]
        assert visitor.get("/reports/nothing").status_code == 404
        assert visitor.get("/issues?state=new&severity=high&q=another").text.count("data-row") == 1
        assert "fits these filters" in visitor.get("/issues?q=zzz").text


def test_reports_of_a_wrong_clock_are_not_the_last_and_one_that_is_written_again_is_read_again(
    serve_page: Callable[..., Served], tmp_path: Path
) -> None:
    """Only what came is read; a report that is written again is no addition, and everything is."""
    reports_of(tmp_path)
    archive = Archive(tmp_path / "reports")
    days = (datetime.now(UTC) - datetime(2026, 11, 20, tzinfo=UTC)).days
    late = report(finding("HALO-000000ff", text="of tomorrow"), day=days + 2, schedule="daily")
    archive.publish(late, {"report.md": "# x"})
    served = serve_page(tmp_path)
    with served.client() as visitor:
        shown = visitor.get("/").text
        assert f'href="/reports/{LAST}"' in shown.partition("Open issues")[0]
        assert "1 report dated later" in visitor.get("/health").text
        again = report(finding(STEADY, text="said otherwise"), day=2, schedule="daily")
        archive.publish(again, {"report.md": "# x"}, again=True)
        assert "said otherwise" in visitor.get(f"/issues/{STEADY}").text
        assert "HALO-000000ff" in visitor.get("/issues").text


def test_sql_is_one_select_and_hands_out_rows(served: Served) -> None:
    with served.client() as visitor:
        token = token_in(visitor.get("/sql").text)

        def ask(sql: str, form: str = "table") -> httpx.Response:
            return visitor.post("/sql", data={"sql": sql, "over": "all", "format": form, "token": token})

        shown = ask("SELECT name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1")
        assert shown.status_code == 200
        assert "&lt;script&gt;" in shown.text
        assert shown.text.count("<tr>") == 3
        rows = json.loads(ask("SELECT count(*) AS n FROM spans", "json").text)
        assert rows == [{"n": 20}]
        table = list(csv.reader(io.StringIO(ask("SELECT trace_id, 1 AS one FROM traces", "csv").text)))
        assert (table[0], len(table)) == (["trace_id", "one"], 11)
        for sql in ("DELETE FROM spans", "SELECT * FROM read_csv('/etc/passwd')", "SELECT nonsense FROM spans"):
            refused = ask(sql)
            assert (refused.status_code, 'role="alert"' in refused.text) == (400, True)
        assert "count(*) AS n FROM spans GROUP BY" in visitor.get("/sql").text, "what was asked before"
    with served.client() as other:
        assert "Asked before" not in other.get("/sql").text


def test_a_key_is_asked_for_once_and_says_what_one_may(
    serve_page: Callable[..., Served], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports_of(tmp_path)
    guarded = serve_page(tmp_path, auth={"read_keys": [READ], "operator_keys": [OPERATE]})
    where = f"/issues/{STEADY}/decide"
    for key, code in ((READ, 403), (OPERATE, 303)):
        with guarded.client() as visitor:
            asked = visitor.get("/issues?q=time")
            assert (asked.status_code, asked.headers["Location"]) == (303, "/sign-in?next=/issues?q%3Dtime")
            form = {"token": token_in(visitor.get("/sign-in").text), "next": "/issues?q=time"}
            assert visitor.post("/sign-in", data={**form, "key": "wrong-key-1234"}).status_code == 401
            entered = visitor.post("/sign-in", data={**form, "key": key})
            assert (entered.status_code, entered.headers["Location"]) == (303, "/issues?q=time")
            cookie = entered.headers["Set-Cookie"]
            assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax"))
            assert key not in cookie
            issue = visitor.get(f"/issues/{STEADY}").text
            assert ("operator_keys" in issue) == (key == READ)
            decided = visitor.post(where, data={"action": "note", "note": "n", "token": token_in(issue)})
            assert decided.status_code == code
            visitor.post("/sign-out", data={"token": token_in(issue)})
            assert visitor.get("/issues").status_code == 303
            foreign = visitor.post("/sign-in", data={
                "token": token_in(visitor.get("/sign-in").text), "next": "//evil.example", "key": key,
            })  # fmt: skip
            assert foreign.headers["Location"] == "/"
    assert not any(key in caplog.text for key in (READ, OPERATE))


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({}, "TLS and without a key"),
        ({"auth": {"read_keys": [READ]}}, "TLS"),
        ({"receiver": {"tls_cert_file": "c.pem", "tls_key_file": "k.pem"}}, "a key"),
        ({"auth": {"read_keys": [READ]}, "receiver": {"tls_cert_file": "c.pem", "tls_key_file": "k.pem"}}, None),
        ({"auth": {"operator_keys": [READ]}, "page": {"behind_tls_proxy": True}}, None),
    ],
)
def test_beyond_this_machine_a_page_needs_tls_and_a_key(sections: dict[str, dict[str, object]], missing: str) -> None:
    page = {"endpoint": "0.0.0.0:4320", **sections.get("page", {})}
    settings = load_settings(environment={}, overrides={**sections, "page": page})
    if missing is None:
        security.check(settings)
        return
    with pytest.raises(ConfigError, match=f"without {missing}"):
        security.check(settings)


def test_messages_lead_to_the_report_on_the_page() -> None:
    def to_report(**page: object) -> str | None:
        settings = load_settings(environment={}, overrides={"page": page})
        return settings.links_in_messages().to_report("r1")

    assert to_report() == "http://127.0.0.1:4320/reports/r1"
    assert to_report(url="https://halo.example.com/") == "https://halo.example.com/reports/r1"
    assert to_report(endpoint="off") is None


def test_pages_of_a_list_keep_its_filters() -> None:
    paging = Paging("/issues", {"q": "a b", "page": "2"}, 2, 10).over(25)
    assert (paging.pages, paging.newer, paging.older) == (3, "/issues?q=a+b", "/issues?q=a+b&page=3")
    assert paging.cut(range(25)) == list(range(10, 20))


def test_the_page_loads_neither_arrow_nor_what_delivers_reports() -> None:
    """Each is tens of MiB in a process that stays."""
    heavy = ("pyarrow", "pandas", "openai", "pygal", "slack_sdk", "httpx", "opentelemetry")
    code = f"import sys, halo_worker.page.server; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_command_says_where_and_ends_when_asked(tmp_path: Path) -> None:
    """A process of its own, whose address is left in the data directory while it runs."""
    log = tmp_path / "log"
    words = ["page", "--data-dir", str(tmp_path), "--config", "/dev/null", "--endpoint", "127.0.0.1:0"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-P", "-m", "halo_worker", *words], env=environment(), stderr=file)
    left = tmp_path / "page.json"
    try:
        eventually(lambda: left.exists() or process.poll() is not None, what=lambda: log.read_text())
        url = json.loads(left.read_text())["url"]
        assert f"page:        {url}/" in eventually(
            lambda: "page:  " in (text := log.read_text()) and text, what="said"
        )
        assert httpx.get(url, timeout=60, trust_env=False).status_code == 200
    finally:
        process.terminate()
        code = process.wait(60)
    assert (code, left.exists()) == (0, False)
