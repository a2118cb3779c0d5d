"""The detectors' findings as a model sees them: listed by mode, and whole in a table."""

from __future__ import annotations

import json
from pathlib import Path

from halo_worker.analysis import hypotheses as guesses
from halo_worker.analysis.draft import DraftFinding, Occurrence
from tests.scripted_model import Say
from tests.worker.analysis.claims import final
from tests.worker.analysis.test_runs import Run
from tests.worker.analysis.windows import span_id, trace_id


def found(number: int, detector: str = "error", category: str = "Timeout Issues") -> DraftFinding:
    seen = [Occurrence(trace_id(number), None, span_id(number, 1))]
    return DraftFinding(f"tool {number} times out", "d", category, "detector", 0.9, "k", detector, occurrences=seen)


def test_what_one_rule_found_is_one_line_with_its_ids() -> None:
    many = [found(0), found(1, "leak", "Data Leak"), *(found(n) for n in range(2, 70))]
    text = guesses.listed(guesses.named(many))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("[")]
    assert lines[0][:4] == ["D1 D3-D70", "tool 0 times out (and 68 of its kind)", "Timeout Issues", 69]
    assert [line[0] for line in lines] == ["D1 D3-D70", "D2"]


def test_a_model_that_is_asked_once_is_shown_more_of_them_than_one_that_has_sql() -> None:
    many = guesses.named([found(number, f"rule_{number}") for number in range(90)])
    shown, once = (text.splitlines() for text in (guesses.listed(many), guesses.listed(many, once=True)))
    assert len(shown) == 1 + 30 + 2
    assert "rarer ones: SELECT" in shown[-1]
    assert [json.loads(line)[0] for line in once if line.startswith("[")] == list(many)


def test_all_of_them_can_be_asked_for_in_sql_and_code(tmp_path: Path) -> None:
    sql = (
        "SELECT h.id, h.symptom_span_id, s.name, h.quote_span_id, h.quote_field FROM hypotheses h "
        "JOIN spans s ON s.span_id = h.symptom_span_id"
    )
    script = [
        Say(calls=[("query_sql", {"sql": sql})]),
        Say(calls=[("run_code", {"code": f"print(len(query_sql(sql={sql!r})['rows']))"})]),
        final(answer="Nothing."),
    ]
    halo_run = Run(tmp_path)
    report = halo_run(script, route="loop")
    spans = sum(one["affected_spans"] for one in report["findings"])
    shown = json.loads(halo_run.requests[1].texts[-2].splitlines()[1])
    assert [span_id(3, 2), "refund", span_id(3, 2), "error_message"] in [row[1:] for row in shown["rows"]]
    assert f'"stdout":"{spans}' in halo_run.requests[2].texts[-2]
