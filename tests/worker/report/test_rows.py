"""A cause is told once, with its symptoms, and muting is what the person meant."""

from __future__ import annotations

from halo_worker.report.model import Finding, State
from halo_worker.report.rows import Told, told
from tests.builders import finding


def group(*muted: str) -> list[Finding]:
    lead = finding("A", group_id="A", symptoms=["B", "C"], muted="A" in muted)
    return [lead, *(finding(one, group_id="A", muted=one in muted) for one in "BC"), finding("D", muted="D" in muted)]


def shape(said: Told) -> tuple[list[list[str]], list[list[str]]]:
    def ids(rows: Told, name: str) -> list[list[str]]:
        return [[row.lead.issue_id, *(one.issue_id for one in row.symptoms)] for row in getattr(rows, name)]

    return ids(said, "rows"), ids(said, "muted")


def test_symptoms_are_told_with_what_leads_them() -> None:
    assert shape(told(group())) == ([["A", "B", "C"], ["D"]], [])


def test_a_muted_lead_mutes_its_row_and_a_muted_symptom_itself_alone() -> None:
    assert shape(told(group("A"))) == ([["D"]], [["A", "B", "C"]])
    assert shape(told(group("B"))) == ([["A", "C"], ["D"]], [["B"]])


def test_a_symptom_whose_lead_a_sink_is_not_told_of_stands_alone() -> None:
    assert shape(told(group()[1:])) == ([["B"], ["C"], ["D"]], [])


def test_what_is_resolved_stands_apart() -> None:
    state: State = "resolved"
    said = told([finding("A", state=state), finding("B")])
    assert [one.issue_id for one in said.resolved] == ["A"]
    assert [one.issue_id for one in said.findings] == ["B", "A"]
