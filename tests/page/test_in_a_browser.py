"""The page as a person uses it: three widths, dark and light, by keyboard, with and without a script."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_receiver import ReceiverProcess
from tests.page.conftest import HOSTILE_ISSUE, STEADY, Served, reports_of, spans_of
from tests.page.test_page import VIEWS
from tests.receiver.test_tail import agent_trace

pytestmark = pytest.mark.browser

SIZES = ((390, "light"), (900, "dark"), (1600, "light"))


def watched(browser: Any, served: Served, **options: Any) -> tuple[Any, list[str]]:
    """Open a tab, and what it complains of."""
    context = browser.new_context(base_url=served.url, **options)
    page, said = context.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    return page, said


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_every_view_fits_and_runs_nothing_foreign(browser: Any, served: Served, width: int, scheme: str) -> None:
    page, said = watched(browser, served, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path in VIEWS:
        page.goto(path)
        assert page.evaluate("window.owned") is None, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("h1").count() == 1, path
    assert said == []
    page.context.close()


def test_the_live_list_fits_is_paused_and_opens_a_trace_by_keyboard(
    browser: Any, serve_page: Callable[..., Served], tmp_path: Path
) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    served = serve_page(receiver.data_dir)
    try:
        for number, (width, scheme) in enumerate(SIZES, 1):
            page, said = watched(browser, served, viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto("/traces")
            page.get_by_text("Live", exact=True).wait_for()
            receiver.export(agent_trace(number))
            page.locator(f'tr[data-id="{number:032x}"]').wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            button = page.locator("#live")
            button.click()
            receiver.export(agent_trace(number + 10))
            page.get_by_text("Paused; 1 changed").wait_for()
            assert page.locator(f'tr[data-id="{number + 10:032x}"]').count() == 0
            button.click()
            page.locator(f'tr[data-id="{number + 10:032x}"]').wait_for()
            if (width, scheme) == SIZES[-1]:
                receiver.kill()
                page.get_by_text("Not live").wait_for()
                assert button.is_hidden(), "there is nothing to pause"
                page.keyboard.press("j")
                page.keyboard.press("Enter")
                page.wait_for_url("**/traces/0*")
            assert [line for line in said if "404" not in line] == []
            page.context.close()
    finally:
        receiver.kill()


def test_a_person_finds_an_issue_decides_and_finds_it_decided(
    browser: Any, serve_page: Callable[..., Served], tmp_path: Path
) -> None:
    """By keyboard as far as it goes: list, issue, note, mute, reopen; a deep link into the report; SQL; a run now."""
    reports_of(tmp_path)
    spans_of(tmp_path)
    served = serve_page(tmp_path)
    page, said = watched(browser, served, timezone_id="Asia/Tokyo")
    page.goto("/issues")
    page.keyboard.press("/")
    page.keyboard.type("time out")
    page.keyboard.press("Enter")
    page.wait_for_url("**/issues?q=time+out")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/issues/{STEADY}")
    assert page.locator("figure svg .ci").count() == 3
    page.locator("#note").fill("known, waits for the vendor")
    page.get_by_role("button", name="Mute", exact=True).click()
    page.wait_for_url("**?done=mute")
    assert "known, waits for the vendor" in page.locator(".log").first.inner_text()
    page.get_by_role("button", name="Reopen").click()
    page.wait_for_url("**?done=reopen")
    page.get_by_role("link", name="in report").click()
    page.wait_for_url(f"**#{STEADY}")
    assert page.locator(f"#{STEADY}").evaluate("card => card.open")
    page.goto("/reports")
    first = page.locator("tbody time").first
    assert (first.inner_text()[-5:], first.get_attribute("title")[-9:]) == ("15:00", "06:00 UTC")
    page.goto("/sql")
    page.locator("#sql").fill("SELECT count(*) AS n FROM spans")
    page.locator("select[name=over]").select_option("all")
    page.locator("#sql").press("Control+Enter")
    page.wait_for_selector("table.result")
    assert page.locator("table.result td").inner_text() == "20"
    page.goto("/health")
    page.get_by_role("button", name="Run now").click()
    page.wait_for_selector("[data-running=no]", timeout=120_000)
    assert "done" in page.locator(".run h3").inner_text()
    assert "run published" in page.locator(".run pre").inner_text()
    page.wait_for_selector(".checks li", timeout=120_000)
    assert said == []
    page.context.close()


def test_without_a_script_filters_and_decisions_work(browser: Any, served: Served) -> None:
    page, _ = watched(browser, served, java_script_enabled=False)
    page.goto("/issues")
    page.locator("select[name=state]").select_option("all")
    page.get_by_role("button", name="Filter").click()
    page.locator(f'a[href="/issues/{HOSTILE_ISSUE}"]').click()
    page.locator("#note").fill("seen without a script")
    page.get_by_role("button", name="Note", exact=True).click()
    assert page.get_by_text("seen without a script").count() == 1
    page.context.close()


@pytest.mark.peer
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1600, "light")])
def test_axe_finds_nothing(browser: Any, served: Served, width: int, scheme: str) -> None:
    """WCAG 2 A and AA, by axe-core: contrast, names, order, focus."""
    folder = os.environ.get("HALO_PEERS")
    if not folder or not (Path(folder) / "node_modules" / "axe-core").is_dir():
        pytest.skip("SKIPPED, contrast and names are not checked: HALO_PEERS has no axe-core; .ci/run installs it")
    axe = (Path(folder) / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    page, _ = watched(
        browser, served, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )  # fmt: skip
    found = {}
    for path in VIEWS:
        page.goto(path)
        page.evaluate(axe)
        result = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
        for one in result["violations"]:
            found[path, one["id"]] = [node["html"][:200] for node in one["nodes"]][:3]
    assert found == {}
    page.context.close()
