"""`halo demo`: from nothing to a report, without a key, in under a minute."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Halo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Halo, str, float]:
    """One demo for all tests here: its halo, what it printed, how long it took."""
    directory = tmp_path_factory.mktemp("demo")
    halo = Halo(directory, directory / "halo-demo")
    started = time.monotonic()
    said = halo("demo", timeout=300)
    return halo, said, time.monotonic() - started


@pytest.fixture(scope="module")
def report(demo: tuple[Halo, str, float]) -> dict[str, Any]:
    """The report of the last day."""
    halo, said, _ = demo
    [path] = re.findall(r"\S+report\.html", said)
    folder = (halo.directory / path).parent
    document: dict[str, Any] = json.loads((folder / "report.json").read_text())
    document["folder"] = folder
    return document


def test_it_says_what_fails_since_when_and_three_causes(demo: tuple[Halo, str, float]) -> None:
    _, said, seconds = demo
    assert re.search(r"^Since \w{3} \d\d:\d\d issue_refund fails in support-agent", said, re.MULTILINE), said
    assert len(re.findall(r"^\d  \S", said, re.MULTILINE)) == 3, said
    assert seconds < 150, "a minute on two idle cores; the rest is room for busy ones"


def test_every_day_has_a_report(demo: tuple[Halo, str, float]) -> None:
    halo, _, _ = demo
    assert len(json.loads(halo("reports", "--format", "json"))) == 5


def test_the_regression_of_today_is_among_the_first_three_and_new(report: dict[str, Any], demo: Any) -> None:
    truth = planted(demo[0])
    first = [
        f for f in report["findings"][:3] if {one["trace_id"] for one in f["affected"]} <= truth["refund_in_cents"]
    ]
    assert {finding["state"] for finding in first} == {"new"}, "it, and the refund that is claimed all the same"


def test_what_was_planted_today_is_found(report: dict[str, Any], demo: Any) -> None:
    """Each mode of today is the affected traces of some finding, at least in its larger part."""
    truth = planted(demo[0])
    affected: dict[str, set[str]] = {}
    for line in (report["folder"] / "affected.jsonl").read_text().splitlines():
        item = json.loads(line)
        affected.setdefault(item["issue_id"], set()).add(item["trace_id"])
    last_day = "SELECT trace_id FROM traces WHERE start_time > (SELECT max(end_time) - INTERVAL 24 HOUR FROM traces)"
    today = {row["trace_id"] for row in demo[0].query(last_day)}
    missed = []
    for mode, traces in truth.items():
        here = traces & today
        if len(here) >= 3 and not any(2 * len(here & found) > len(here) for found in affected.values()):
            missed.append(mode)
    assert missed == []


def test_healthy_traces_are_left_alone(report: dict[str, Any], demo: Any) -> None:
    """Of what the findings name, nearly all was planted: hard negatives are in the traffic."""
    truth = set().union(*planted(demo[0]).values())
    named = {json.loads(line)["trace_id"] for line in (report["folder"] / "affected.jsonl").read_text().splitlines()}
    assert len(named - truth) <= 0.02 * report["totals"]["traces"]


def test_issues_remember_what_came_and_went(demo: tuple[Halo, str, float]) -> None:
    states = {issue["state"] for issue in json.loads(demo[0]("issues", "--format", "json"))}
    assert {"new", "resolved"} <= states
    assert states & {"ongoing", "worsening", "improving"}


def test_the_report_opens_offline(report: dict[str, Any]) -> None:
    page = (report["folder"] / "report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_a_second_demo_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")
    refused = Halo(tmp_path, tmp_path / "data").attempt("demo")
    assert refused.returncode == 2
    assert "not an earlier demo" in refused.stderr.decode()
    assert (tmp_path / "data" / "precious.txt").read_text() == "mine"


def planted(halo: Halo) -> dict[str, set[str]]:
    return {mode["key"]: set(mode["trace_ids"]) for mode in json.loads((halo.data_dir / "demo.json").read_text())}
