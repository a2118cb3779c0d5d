"""Reports as tests need them: whole, valid, and of any size."""

from __future__ import annotations

from typing import Any

from halo_worker.report.briefs import brief_of
from halo_worker.report.model import (
    Breakdown,
    Coverage,
    Detector,
    Engine,
    Evidence,
    Finding,
    Fix,
    Prevalence,
    Report,
    ReportWindow,
    SpanRef,
    Totals,
)
from halo_worker.report.statistics import wilson

DAY = 86_400 * 10**9
START = 1_795_500_000 * 10**9
TRACE, ORIGIN, SYMPTOM = "a" * 32, "b" * 16, "c" * 16


def finding(issue_id: str = "HALO-00000001", *, traces: int = 19, of: int = 427, **changes: Any) -> Finding:
    low, high = wilson(traces, of)
    text = changes.pop("text", "refund amount exceeds the order total")
    made = Finding.model_validate(
        {
            "issue_id": issue_id, "title": text, "description": text, "category": "Unhandled Error",
            "severity": "high", "severity_reason": "19 traces affected", "confidence": 0.9, "source": "detector",
            "state": "new", "first_seen": START, "last_seen": START + DAY - 1,
            "detector": Detector(name="error_other"),
            "prevalence": Prevalence(traces=traces, of=of, rate=traces / of if of else 0, low=low, high=high),
            "breakdown": [Breakdown(dimension="agent", value=text, traces=traces, of=of, rate=traces / of)],
            "origin_span": SpanRef(trace_id=TRACE, span_id=ORIGIN),
            "symptom_span": SpanRef(trace_id=TRACE, span_id=SYMPTOM),
            "evidence": [Evidence(trace_id=TRACE, span_id=SYMPTOM, field="error_message", quote=text)],
            "counter_evidence": [Evidence(trace_id=TRACE, span_id=ORIGIN, field="output_text", quote=text)],
            "root_cause": text, "fix": Fix(summary=text, validation=text, brief=""),
        } | changes
    )  # fmt: skip
    return made.model_copy(update={"fix": made.fix.model_copy(update={"brief": brief_of(made)})})


def report(*findings: Finding, day: int = 0, of: int = 427, **changes: Any) -> Report:
    end = START + (day + 1) * DAY
    return Report.model_validate(
        {
            "id": f"202611{20 + day:02d}T060000Z-aaaaaa", "window": ReportWindow(start=end - DAY, end=end),
            "created_at": end, "engine": Engine(mode="detectors"), "coverage": Coverage(traces=of, spans=of * 7),
            "totals": Totals(traces=of, spans=of * 7, affected_traces=min(of, 19), cost_usd=1.5),
            "findings": list(findings),
        } | changes
    )  # fmt: skip


def span(span_id: str, parent: str | None = None, name: str = "chat", start: int = START) -> dict[str, Any]:
    return {
        "span_id": span_id, "parent_span_id": parent, "name": name, "span_type": "llm", "start_ns": start,
        "duration_ns": 10**9, "failed": False,
    }  # fmt: skip
