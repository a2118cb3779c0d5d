"""`halo verify` as a person and as CI use it: a shop whose refund tool was fixed in a release."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from halo_worker import inputs, issues, run
from halo_worker.cli import verify as command
from halo_worker.cli.detectors import NEW
from halo_worker.config import load_settings
from halo_worker.errors import InputError
from halo_worker.report.archive import Archive
from halo_worker.report.model import Detector, iso_nano
from halo_worker.report.verification import Verifications
from halo_worker.verify import conductor, judged, sides, text
from halo_worker.verify.plan import Plan, by_decision, plan_of
from tests.scripted_model import Request, Say, ScriptedModel
from tests.worker.analysis.windows import write
from tests.worker.conftest import Halo
from tests.worker.days import DAY, FIRST, SECOND, import_day, trace_id, traffic, window
from tests.worker.test_decided import Shop

NOW = window(9).end_ns  # of the questions that are asked here
FIX = FIRST + 2 * DAY  # seconds; days 0 and 1 are before
NO_SIDE: dict[str, Any] = dict.fromkeys(("since", "release", "attribute", "before", "after")) | {"files": ()}


@pytest.fixture(scope="module")
def fixed_in_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten and twelve of a hundred fail under 1.0, then one of a hundred under 2.0, and none under 2.1."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.day(0, 10, version="1.0")
    shop.day(1, 12, version="1.0")
    import_day(shop.data_dir, 2, 1, version="2.0")
    import_day(shop.data_dir, 3, 0, version="2.1")
    return shop.data_dir.parent


@pytest.fixture(autouse=True)
def _at_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed here is typed at NOW."""
    monkeypatch.setattr(command, "time", SimpleNamespace(time_ns=lambda: NOW))


@pytest.fixture
def shop(fixed_in_two: Path, tmp_path: Path) -> Shop:
    """A copy of its own."""
    shutil.copytree(fixed_in_two, tmp_path / "shop")
    return Shop(tmp_path / "shop")


def issue_of(shop: Shop) -> str:
    [issue_id] = issues.memory(shop.settings).issues
    return issue_id


def at(seconds: float) -> str:
    return iso_nano(int(seconds * SECOND))[:19] + "Z"


def planned(*, now_ns: int = NOW, **given: Any) -> Plan | None:
    return plan_of(**NO_SIDE | given, now_ns=now_ns)


def asked(shop: Shop, issue_id: str | None, *, now_ns: int = NOW, **given: Any) -> conductor.Answer:
    question = conductor.Question(issue_id, planned(now_ns=now_ns, **given))
    return conductor.verify(shop.settings, question, now_ns=now_ns)


def sizes(shop: Shop, plan: Plan | None, now_ns: int = NOW) -> tuple[int, int]:
    """Traces before and after."""
    assert plan is not None
    with sides.opened(shop.settings, plan, sides.Filters(), now_ns) as both:
        [row] = both.reader.query("SELECT count(*) FILTER (NOT after) AS b, count(*) FILTER (after) AS a FROM _sides")
    return row["b"], row["a"]


def counts(answer: conductor.Answer) -> tuple[str, int, int, int, int]:
    one = answer.verified
    assert isinstance(one, conductor.Verification)
    return one.verdict, one.before.traces, one.before.of, one.after.traces, one.after.of


def store(shop: Shop, lines: Iterable[dict[str, Any]], *, day: int) -> None:
    file = write(lines, shop.data_dir.parent / "more.jsonl")
    inputs.import_files(
        [str(file)], shop.data_dir, now_ns=window(day).end_ns, arrival="span-time", say=lambda _: None
    )  # fmt: skip


def test_each_way_to_name_the_sides_takes_the_traces_it_means(shop: Shop) -> None:
    assert sizes(shop, planned(since=at(FIX))) == (200, 200)
    assert sizes(shop, planned(after=f"{at(FIX)}..{at(FIX + DAY)}")) == (200, 100)
    assert sizes(shop, planned(before=f"{at(FIRST)}..{at(FIRST + DAY)}", since=at(FIX))) == (100, 200)
    assert sizes(shop, planned(release="2.0")) == (200, 100)
    assert sizes(shop, planned(release="2.1", before=f"{at(FIX)}..{at(FIX + DAY)}")) == (100, 100)
    assert sizes(shop, planned(attribute="service.version=2.1")) == (300, 100)
    assert sizes(shop, planned(attribute="openinference.span.kind=TOOL")) == (0, 400), "no span of it came earlier"
    file = str(shop.data_dir.parent / "day1.jsonl")
    assert sizes(shop, planned(files=(file,)), window(1).end_ns) == (100, 100), "stored as well: after, not before"
    import_day(shop.data_dir, 4, 7, started="before")
    late = at(FIRST + 5 * DAY - 1801)  # seven traces began an hour earlier, all arrive a second later
    assert sizes(shop, planned(since=late))[1] == 93


def test_without_a_side_the_decision_says_what_changed(shop: Shop) -> None:
    """With a release, it and those after it; else the time of the decision. What is still to come is no mistake."""
    issue_id = issue_of(shop)
    shop.decide(1, "resolve", issue_id, release="2.0")
    assert sizes(shop, by_decision(issues.memory(shop.settings).find(issue_id), None, NOW)) == (200, 200)
    shop.decide(2, "resolve", issue_id)
    assert sizes(shop, by_decision(issues.memory(shop.settings).find(issue_id), None, NOW)) == (200, 200)
    verified = asked(shop, issue_id, now_ns=window(2).end_ns - 3599 * SECOND).verified
    assert isinstance(verified, conductor.Verification)
    assert (verified.verdict, verified.after.of, verified.needed) == ("too few", 0, 36)
    assert "no trace arrived" in verified.warnings[-1]


def test_the_command_line_answers_in_its_forms_and_exits_as_it_is_told(shop: Shop, halo: Halo) -> None:
    issue_id, where = issue_of(shop), ("--data-dir", str(shop.data_dir))
    said = halo("verify", issue_id, "--release", "2.0", "--fail-on", "not-fixed", "--format", "json", *where)
    document = json.loads(said.out)
    assert (said.code, document["verdict"], document["issue_id"]) == (0, "improved", issue_id)
    assert document["before"] | {"traces": 22, "of": 200, "rate": 0.11} == document["before"]
    assert document["after"] | {"traces": 1, "of": 100, "rate": 0.01} == document["after"]
    assert document["difference"]["low"] < document["difference"]["value"] < document["difference"]["high"] < 0
    assert 0 < document["p_value"] < 0.01
    assert document["smallest_detectable"] == pytest.approx(0.07)
    [kept] = Verifications(shop.data_dir / "reports").of(issue_id)
    assert json.loads(kept.model_dump_json()) == document
    ten = write(traffic(3, 0), Path("ten.jsonl")).read_text().splitlines()[:20]
    Path("ten.jsonl").write_text("\n".join(ten))
    days = f"{at(FIRST)}..{at(FIX)}"
    few = halo("verify", issue_id, "--before", days, "--input", "ten.jsonl", *where)
    assert (few.code, few.out.splitlines()[0]) == (0, f"{issue_id}  too few")
    assert max(map(len, few.out.splitlines())) <= 80
    assert "traces more are needed" in few.err
    assert halo("verify", issue_id, "--input", "ten.jsonl", "--before", days, "--fail-on", "too-few", *where).code == 3


def test_reports_stand_in_for_segments_that_are_gone(shop: Shop) -> None:
    for path in sorted((shop.data_dir / "segments").glob("*.duckdb"))[:2]:
        path.unlink()
    answer = asked(shop, issue_of(shop), since=at(FIX))
    one = answer.verified
    assert isinstance(one, conductor.Verification)
    assert counts(answer) == ("improved", 22, 200, 1, 200)
    assert (one.basis, one.before.basis, one.after.basis) == ("reports", "reports", "traces")
    assert "counted from 2 reports" in one.warnings[0]


def test_a_rate_that_fell_because_the_failing_agent_is_gone_is_no_fix(shop: Shop) -> None:
    store(shop, (_of_agent(line, "billing") for line in traffic(4, 0)), day=4)
    store(shop, (_of_agent(line, "refunds") for line in traffic(5, 20)), day=5)
    before, after = (f"{at(FIRST + day * DAY)}..{at(FIRST + (day + 1) * DAY)}" for day in (5, 4))
    answer = asked(shop, issue_of(shop), before=before, after=after)
    assert counts(answer) == ("too few", 20, 100, 0, 100)
    assert isinstance(answer.verified, conductor.Verification)
    assert "traces of refunds, of which none came after" in answer.verified.warnings[0]


def _of_agent(line: dict[str, Any], agent: str) -> dict[str, Any]:
    return line | {"attributes": line["attributes"] | {"agent.name": agent}}


def test_a_release_report_says_what_each_issue_did_and_what_is_new(shop: Shop, halo: Halo) -> None:
    lines = list(traffic(4, 10, version="2.1"))
    for line in lines:
        line["name"] = line["name"].replace("refund", "invoice")
        line["attributes"]["tool.name"] = "invoice"
        if line["status"]["message"]:
            line["status"]["message"] = "NumberTaken: this invoice exists already"
    store(shop, lines, day=4)
    where = ("--data-dir", str(shop.data_dir))
    done = halo("verify", "--all", "--release", "2.1", "--fail-on", "new", "--format", "json", *where)
    report = json.loads(done.out)
    assert [(one["issue_id"], one["verdict"]) for one in report["issues"]] == [(issue_of(shop), "fixed")]
    assert [(one["traces"], one["of"]) for one in report["new"]] == [(10, 200)]
    assert done.code == 3
    told = conductor.ReleaseReport.model_validate(report)
    assert max(map(len, text.release_text(told).splitlines())) <= 80
    assert f"| {issue_of(shop)} | fixed | 23 of 300 (7.7 %) | 0 of 200 (0.0 %) |" in text.release_markdown(told)


def test_what_cannot_be_compared_is_said_in_one_line(shop: Shop, halo: Halo) -> None:
    issue_id, where = issue_of(shop), ("--data-dir", str(shop.data_dir))
    halo("issues", *where)  # which closes the permissions of the copy, and says so
    for words, what, remedy in (
        (("HALO-99999999", "--since", at(FIRST)), "there is no issue HALO-99999999", "halo issues"),
        ((), "which issue?", "--all"),
        ((issue_id,), f"after what change? {issue_id} was never resolved", "--release V"),
        ((issue_id, "--release", "9.9"), "nobody sent release 9.9", "the newest are: 2.1, 2.0, 1.0"),
        ((issue_id, "--attribute", "color=red"), "nobody sent color = red", "--since T"),
        ((issue_id, "--attribute", "red"), "'red' is not KEY=VALUE", "prompt.version=7"),
        ((issue_id, "--after", "2020-01-01..2020-01-02"), "the side after is empty", "stored are traces of"),
        ((issue_id, "--since", "2020-01-01", "--release", "1.0"), "each name the side after", "give one of"),
        ((issue_id, "--before", "x..", "--since", "2020-01-01"), "'x' is not a time", ""),
        ((issue_id, "--since", "2999-01-01"), "is in the future", ""),
        ((issue_id, "--since", at(FIRST), "--schedule", "dayly"), 'no schedule "dayly"', "daily"),
        (("--all",), "--all needs a side", "--release V"),
        (("--all", issue_id), f"{issue_id} and --all", "give ISSUE"),
    ):  # fmt: skip
        done = halo("verify", *words, *where)
        assert (done.code, done.out) == (2, ""), words
        assert what in done.err.splitlines()[0], done.err
        assert remedy in done.err, done.err
    nowhere = halo("verify", issue_id, "--data-dir", "nowhere")
    assert (nowhere.code, nowhere.err.splitlines()[0]) == (2, "error: there is no data directory nowhere")


def found_by_a_model(shop: Shop) -> None:
    """Publish the issue as a model's, HALO-0000000a with SQL and HALO-0000000b without, and as an expectation's."""
    issue = issues.memory(shop.settings).find(issue_of(shop))
    sql = "SELECT trace_id, span_id FROM spans WHERE tool_name = 'refund' AND status_code = 'ERROR'"
    archive = Archive(shop.data_dir / "reports")
    report = archive.reports()[0][0]
    expected = Detector(name="expectation E2", sql=sql, version=7)
    for issue_id, source, detector in (
        ("HALO-0000000a", "rlm", Detector(name="rlm", sql=sql)), ("HALO-0000000b", "rlm", None),
        ("HALO-0000000c", "detector", expected),
    ):  # fmt: skip
        told = issue.finding.model_copy(update={"issue_id": issue_id, "source": source, "detector": detector})
        archive.publish(
            report.model_copy(update={"id": f"{report.id[:-6]}model{issue_id[-1]}", "findings": [told]}), {}
        )


def test_an_issue_that_a_model_found_is_measured_by_its_sql_or_has_no_rule(shop: Shop) -> None:
    found_by_a_model(shop)
    answer = asked(shop, "HALO-0000000a", since=at(FIX))
    assert counts(answer) == ("improved", 22, 200, 1, 200)
    expected = asked(shop, "HALO-0000000c", since=at(FIX))
    assert counts(expected) == counts(answer)
    assert isinstance(expected.verified, conductor.Verification)
    assert expected.verified.rule == "expectation E2@7"
    every = conductor.verify(shop.settings, conductor.Question(None, planned(since=at(FIX))), now_ns=NOW).verified
    assert isinstance(every, conductor.ReleaseReport)
    assert {"HALO-0000000a", "HALO-0000000c"} < {one.issue_id for one in every.issues}
    with pytest.raises(InputError, match="no rule: a model found HALO-0000000b"):
        asked(shop, "HALO-0000000b", since=at(FIX))


def test_without_a_rule_a_model_judges_a_sample_of_both_sides(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of each, with the failure as the only rubric; a quote that is not there counts for nothing."""
    found_by_a_model(shop)
    monkeypatch.setattr(judged, "MAX_JUDGED", 20)

    def judge(request: Request) -> Say:
        step = re.search(r"^(S\d+) .*InsufficientFunds", request.last, re.MULTILINE)
        quote = "InsufficientFunds" if step else "nobody said this"
        label = {"step": step[1] if step else "S1", "categories": ["Service Errors"], "what": "no funds",
                 "quote": quote, "expectation": "HALO-0000000b"}  # fmt: skip
        return Say(json.dumps({"outcome": "wrong", "labels": [label]}))

    told: list[str] = []
    with ScriptedModel(judge) as model:
        endpoint = {"name": "scripted", "base_url": model.base_url, "api_key": "none"}
        settings = load_settings(environment={}, overrides={"store": {"data_dir": shop.data_dir}, "model": endpoint})
        question = conductor.Question("HALO-0000000b", planned(since=at(FIX)))
        one = conductor.verify(settings, question, now_ns=NOW, say=told.append).verified
        again = conductor.verify(settings, question, now_ns=NOW).verified
    assert isinstance(one, conductor.Verification)
    assert isinstance(again, conductor.Verification)
    before = sorted((trace_id(day, n) for day in (0, 1) for n in range(100)), key=lambda t: (zlib.crc32(t.encode()), t))
    failing = {trace_id(day, n) for day, bad in ((0, 10), (1, 12)) for n in range(bad)}
    assert (one.before.traces, one.before.of, one.after.of) == (len(failing & set(before[:20])), 20, 20)
    assert one.rule == "judged by scripted"
    assert "a sample was judged: 20 of 200 before, 20 of 200 after" in one.warnings
    assert told == ["no rule: scripted judges traces of both sides"]
    assert "HALO-0000000b" in model.requests[0].texts[0]
    assert (again.before, len(model.requests)) == (one.before, 40), "what was judged before is not paid again"


def test_a_release_that_is_still_to_come_is_waited_for(shop: Shop) -> None:
    issue_id = issue_of(shop)
    shop.decide(4, "resolve", issue_id, release="3.0")
    plan = by_decision(issues.memory(shop.settings).find(issue_id), None, NOW)
    assert sizes(shop, plan)[1] == 0
    waiting = conductor.verify(shop.settings, conductor.Question(issue_id, None), now_ns=NOW).verified
    assert waiting.warnings[-1] == "no trace is of service.version 3.0 or later yet; the newest that was sent is 2.1"
    assert sizes(shop, replace(plan, value="2.1", later=False))[1] == 100


def test_a_resolution_is_checked_by_the_windows_after_it(shop: Shop, halo: Halo) -> None:
    """And the report says in which releases the issue was seen."""
    issue_id = issue_of(shop)
    seen = issues.memory(shop.settings).find(issue_id).finding
    assert [one and one.version for one in (seen.first_release, seen.last_release)] == ["1.0", "1.0"]
    shop.decide(2, "resolve", issue_id, release="2.1")
    checked = run.run_schedule(shop.settings, "daily", window(3), now_ns=window(3).end_ns + SECOND)
    [fix] = checked.report.fixes
    assert (fix.issue_id, fix.verdict, fix.release) == (issue_id, "fixed", "2.1")
    assert [(one.traces, one.of) for one in (fix.before, fix.window, fix.after)] == [(22, 200), (0, 100), (0, 100)]
    assert "fixed: 0 of 100 traces in release 2.1, 22 of 200 before" in (checked.folder / "report.md").read_text()
    assert "Fixes checked" in (checked.folder / "report.html").read_text()


def test_an_issue_of_the_users_own_rule_is_measured_by_it_and_not_said_to_be_gone_when_it_fails(shop: Shop) -> None:
    rule = NEW.format(name="refused_refund").replace(
        "span_type = 'tool' AND duration_ns > 60e9", "status_code = 'ERROR' AND name = 'refund'"
    )
    own = shop.data_dir.parent / "rules"
    own.mkdir()
    (own / "refused_refund.sql").write_text(rule)
    overrides: dict[str, Any] = {
        "store": {"data_dir": shop.data_dir}, "analysis": {"settle_seconds": 0}, "detectors": {"paths": [own]},
    }  # fmt: skip
    shop.settings = load_settings(environment={}, overrides=overrides)
    report = run.run_schedule(shop.settings, "daily", window(2), now_ns=window(2).end_ns + SECOND).report
    [found] = [one for one in report.findings if one.detector and one.detector.name == "refused_refund"]
    between = {"before": f"{at(FIRST)}..{at(FIX)}", "after": f"{at(FIX)}.."}
    assert counts(asked(shop, found.issue_id, **between)) == ("improved", 22, 200, 1, 200)
    (own / "refused_refund.sql").write_text(rule.replace("status_code", "status_kode"))
    with pytest.raises(InputError, match="was not measured: a detector was left out"):
        asked(shop, found.issue_id, **between)
    (own / "refused_refund.sql").unlink()
    with pytest.raises(InputError, match="no rule: there is no detector 'refused_refund'"):
        asked(shop, found.issue_id, **between)
