"""A model's verdicts on what detectors found reach the report and its memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halo_worker.analysis.verdicts import names_in
from tests.scripted_model import Request, Say
from tests.worker.analysis.claims import QUOTE, TRUE, final
from tests.worker.analysis.test_runs import Run
from tests.worker.analysis.windows import span_id, trace_id


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def named(request: Request, title: str) -> str:
    """Return the id under which the first message names a hypothesis."""
    listed = next(
        line for text in request.texts for line in text.splitlines() if title in line and line.startswith("[")
    )
    return str(json.loads(listed)[0])


def test_verdicts_reach_the_report_with_their_reasons(halo_run: Run) -> None:
    before = halo_run([final(answer="Nothing.")], route="loop")
    limit = next(one for one in before["findings"] if one["prevalence"]["traces"] == 3)
    others = [one for one in before["findings"] if one["issue_id"] != limit["issue_id"]]

    def script(request: Request) -> Say:
        spans = [{"trace_id": trace_id(3), "span_id": span_id(3, 2)}]
        finding = TRUE | {"hypothesis": named(request, "refund"), "category": "Goal Deviation", "severity": "low",
                          "detector": None, "affected": spans}  # fmt: skip
        return Say(calls=[("final_answer", {"answer": "One.", "findings": [finding]})])

    report = halo_run(script, route="loop")
    found = next(one for one in report["findings"] if one["issue_id"] == limit["issue_id"])
    assert (found["title"], found["category"], found["source"]) == (TRUE["title"], "Goal Deviation", "detector")
    assert (found["prevalence"]["traces"], found["judged"]) == (1, True)
    assert found["root_cause"] == TRUE["root_cause"]
    assert len(report["findings"]) == 1 + len(others)


def test_what_is_refuted_is_shown_apart_with_its_reason(halo_run: Run) -> None:
    first = halo_run([final(answer="Nothing.")], route="loop", remember=True)
    limit = next(one for one in first["findings"] if one["prevalence"]["traces"] == 3)

    def script(request: Request) -> Say:
        verdict = {"id": named(request, "refund"), "verdict": "refuted", "why": "The refusal is the rule at work.",
                   "evidence": [QUOTE]}  # fmt: skip
        return Say(calls=[("final_answer", {"answer": "Nothing.", "hypotheses": [verdict]})])

    report = halo_run(script, route="loop", remember=True)
    [aside] = report["set_aside"]
    assert (aside["issue_id"], aside["traces"], aside["evidence"]) == (limit["issue_id"], 3, [QUOTE])
    assert limit["issue_id"] not in [one["issue_id"] for one in report["findings"]], "neither found nor resolved"
    for name in ("report.md", "report.html"):
        text = (halo_run.directory / "data" / "reports" / report["id"] / name).read_text()
        assert "Looked at and set aside" in text
        assert "The refusal is the rule at work." in text


@pytest.mark.parametrize(
    ("said", "names", "unknown"),
    [
        ("D3", ["D3"], []), ("D1, D3-D4", ["D1", "D3", "D4"], []), (["D2", "D5"], ["D2", "D5"], []),
        ("D4\u2013D7", ["D4", "D5"], ["D6", "D7"]), (None, [], []), ("the third", [], ["the third"]),
    ],
)  # fmt: skip
def test_hypotheses_are_named_one_by_one_or_by_range(said: Any, names: list[str], unknown: list[str]) -> None:
    assert names_in(said, ["D1", "D2", "D3", "D4", "D5"]) == (names, unknown)
