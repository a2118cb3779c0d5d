"""Every affected span of a finding reaches the report, whether a rule, a list or a detector named it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.store.reader import Reader
from halo_worker.analysis import affected_spans, overview
from halo_worker.analysis.draft import DraftFinding, Occurrence
from tests.scripted_model import Say
from tests.worker.analysis.claims import TRUE, final
from tests.worker.analysis.test_runs import Run
from tests.worker.analysis.windows import ordinary, span, span_id, trace_id, window, write

CALL = "llm.output_messages.0.message.tool_calls.0.tool_call."
TWICE = (50, 51, 52)  # traces in which the refund fails three times, each time asked for by the model with an id


def asked_and_failed(trace: int) -> Iterator[dict[str, Any]]:
    yield span(trace, 0, name="agent", kind="AGENT", given="refund it", output="done")
    for number in range(3):
        asked = {f"{CALL}id": f"call_{number}", f"{CALL}function.name": "refund", f"{CALL}function.arguments": "{}"}
        yield span(trace, 1 + 2 * number, name="chat", parent=0, **asked)
        failed = {"error": f"refund {trace} exceeds the limit", "output": "", "tool_call.id": f"call_{number}"}
        yield span(trace, 2 + 2 * number, name="refund", kind="TOOL", parent=0, **failed)


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    write([*ordinary(30, failing=[3, 7, 9]), *(line for n in TWICE for line in asked_and_failed(n))], made.file)
    return made


def rows_of(halo_run: Run, report: dict[str, Any], source: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the findings of a source with their rows of affected.jsonl, which must say what the report says."""
    path = halo_run.directory / "out" / report["id"] / "affected.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = []
    for finding in report["findings"]:
        mine = [row for row in rows if row["issue_id"] == finding["issue_id"]]
        assert finding["affected_spans"] == len(mine)
        refs = list(dict.fromkeys((row["trace_id"], row["span_id"]) for row in mine))
        assert [(ref["trace_id"], ref["span_id"]) for ref in finding["affected"]] == refs[:50]
        assert finding["prevalence"]["traces"] == len({row["trace_id"] for row in mine})
        assert all(row["span_id"] == (row["origin_span_id"] or row["symptom_span_id"]) for row in mine)
        if finding["source"] == source:
            found.append((finding, mine))
    return found


RULE = "SELECT trace_id, span_id FROM spans WHERE status_message LIKE '%exceeds the limit%'"
LIST = [
    {"trace_id": trace_id(52), "span_ids": [span_id(52, 2), span_id(52, 1), span_id(52, 4)]},
    *({"trace_id": trace_id(n), "span_id": span_id(n, 2)} for n in (9, 3)),
]


def test_a_rule_names_every_span_of_a_trace_in_order_of_time(halo_run: Run) -> None:
    report = halo_run([final(TRUE | {"detector": RULE, "category": "Goal Deviation"})], route="loop")
    [(finding, rows)] = rows_of(halo_run, report, "rlm")
    expected = [*((n, 2) for n in (3, 7, 9)), *((n, k) for n in TWICE for k in (2, 4, 6))]
    assert [(row["trace_id"], row["span_id"]) for row in rows] == [(trace_id(n), span_id(n, k)) for n, k in expected]
    assert (finding["prevalence"]["traces"], finding["affected_spans"]) == (6, 12)
    assert rows_of(halo_run, report, "detector"), "the detectors' findings say the same in both files, too"


def test_a_list_is_as_good_as_a_rule_and_a_call_with_its_tool_span_is_one_row(halo_run: Run) -> None:
    """Also from within code, where a list is made by a program."""
    finding = TRUE | {"detector": None, "affected": LIST, "category": "Goal Deviation"}
    code = f"final_answer(answer='They fail.', findings=[{finding!r}])"
    report = halo_run([Say(calls=[("run_code", {"code": code})])], route="loop")
    [(found, rows)] = rows_of(halo_run, report, "rlm")
    assert [(row["trace_id"], row["origin_span_id"], row["symptom_span_id"]) for row in rows] == [
        (trace_id(3), span_id(3, 2), span_id(3, 2)),
        (trace_id(9), span_id(9, 2), span_id(9, 2)),
        (trace_id(52), span_id(52, 1), span_id(52, 2)),
        (trace_id(52), span_id(52, 4), span_id(52, 4)),
    ]
    assert found["detector"]["sql"] is None


def test_spans_that_do_not_exist_go_back_and_are_dropped(halo_run: Run) -> None:
    made_up = [*LIST, {"trace_id": trace_id(3), "span_id": "feedfacefeedface"}]
    report = halo_run([final(TRUE | {"detector": None, "affected": made_up, "category": "Goal Deviation"})] * 2,
                      route="loop")  # fmt: skip
    [(_, rows)] = rows_of(halo_run, report, "rlm")
    assert len(rows) == 4
    assert any("names spans that the window does not hold" in text for text in halo_run.requests[1].texts)
    assert report["rejected"]["citations"] == 1


def test_limits_are_told_when_they_are_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affected_spans, "MAX_SPANS_OF_TRACE", 2)
    lines = [line for n in TWICE for line in asked_and_failed(n)]
    occurrences = [Occurrence(trace_id(n), None, span_id(n, k)) for n in TWICE for k in (6, 4, 2)]
    finding = DraftFinding("t", "d", "Goal Deviation", "detector", 0.9, "k", "x", occurrences=occurrences)
    with window(lines, tmp_path) as reader:
        affected = _arranged(reader, finding)
    assert [one.symptom_span_id for one in affected.occurrences] == [span_id(n, k) for n in TWICE for k in (2, 4)]
    assert affected.left_out == 3


def _arranged(reader: Reader, finding: DraftFinding) -> affected_spans.Affected:
    overview.prepare(reader)
    [affected] = affected_spans.arranged(reader, [(finding, finding.occurrences)])
    return affected
