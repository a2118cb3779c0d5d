"""Reports as tests need them: whole, valid, and of any size."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from halo_worker.report.briefs import brief_of
from halo_worker.report.model import (
    Breakdown,
    Contrast,
    Coverage,
    Detector,
    Engine,
    Evidence,
    Finding,
    Fix,
    GroupTotals,
    Outcome,
    Prevalence,
    Rejected,
    Report,
    ReportWindow,
    SpanRef,
    Totals,
)
from halo_worker.report.page_data import Glance, Scene, TraceRow, key_of, quote_key
from halo_worker.report.states import Point
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


def everything(text: str) -> tuple[Report, Scene]:
    """A report and its scene with `text` in every place that can hold words: in fields of tomorrow too."""
    made = report(
        finding(),
        finding("HALO-00000002", source="rlm", detector=None, state="resolved", severity="low"),
        prompt="x", answer="x", schedule="x", summary="x", status="partial", stopped_by="error",
        engine=Engine(mode="rlm", model="x", route="x", route_reason="x", turns=3),
        coverage=Coverage(traces=9, sampled=True, not_examined=["x"], unsupported=["x"]),
        totals=Totals(traces=9, by_agent=[_group("x")], by_model=[_group("x")], by_service=[_group("x")]),
        outcomes=[
            Outcome(source="x", known=9, failed=3, tested=1, note="x"),
            Outcome(source="y", known=9, failed=3, tested=0, note="x"),
        ],
        contrasts=[
            Contrast(
                outcome="x", dimension="x", value="x", failed=3, of=4, rate=0.75, low=0.4, high=0.9, rest_failed=0,
                rest_of=5, rest_rate=0, support=1, risk_ratio=None, p_value=0.01, q_value=0.01, same_traces=["x"],
            )
        ],
        rejected=Rejected(citations=1, findings=1, reasons=["x"]),
    )  # fmt: skip
    poisoned = poison(made, text)
    [first, *_] = poisoned.findings
    origin, symptom = first.origin_span, first.symptom_span
    assert origin is not None
    assert symptom is not None
    glance = Glance(name=text, span_type=text, agent=text, model=text, given=text, gave=text, error=text, start_ns=1)
    rows = [span(ORIGIN, name=text), span(symptom.span_id, ORIGIN, name=text)]
    scene = Scene(
        traces={symptom.trace_id: rows}, spans={key_of(origin): glance, key_of(symptom): glance},
        excerpts={quote_key(item): f"{text}{text}{text}" for item in first.evidence},
        history={first.issue_id: [Point("r", START, 1, 9)]}, known_ids=[],
    )  # fmt: skip
    return poisoned, scene


def flat_failures(hostile: str) -> str:
    """Ten traces that fail the same way, in HALO's flat form, with `hostile` wherever a client may write."""
    lines = []
    for number in range(10):
        for span, parent, kind in (("root", "", "AGENT"), ("call", "root", "TOOL")):
            attributes = {
                "openinference.span.kind": kind, "input.value": hostile, "output.value": hostile,
                "tool.name": f"pay{hostile}", "agent.name": f"clerk{hostile}",
            }  # fmt: skip
            lines.append(
                {
                    "trace_id": f"{number:031x}{hostile}", "span_id": f"{number}-{span}{hostile}",
                    "parent_span_id": f"{number}-{parent}{hostile}" if parent else None, "name": f"{span} {hostile}",
                    "kind": "SPAN_KIND_INTERNAL", "start_time": "2026-11-24T06:00:00Z",
                    "end_time": "2026-11-24T06:00:01Z", "attributes": attributes,
                    "status": {"code": "STATUS_CODE_ERROR" if kind == "TOOL" else "STATUS_CODE_OK",
                               "message": f"refused: {hostile}" if kind == "TOOL" else ""},
                    "resource": {"attributes": {"service.name": f"shop{hostile}"}}, "scope": {"name": "x"},
                }
            )  # fmt: skip
    return "\n".join(json.dumps(line) for line in lines) + "\n"


def poison(part: Any, text: str) -> Any:
    """Write `text` into every string of a model that is not one of a few fixed words."""
    if isinstance(part, BaseModel):
        changed = {}
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            fixed = "Literal" in str(field.annotation) or name in ("issue_id", "id")
            changed[name] = value if fixed else poison(value, text)
        return part.model_copy(update=changed)
    if isinstance(part, list):
        return [poison(item, text) for item in part]
    return text if isinstance(part, str) else part


def _group(name: str) -> GroupTotals:
    return GroupTotals(name=name, traces=9)


def span(span_id: str, parent: str | None = None, name: str = "chat", start: int = START) -> TraceRow:
    return TraceRow(
        span_id=span_id, parent_span_id=parent, name=name, span_type="llm", start_ns=start, duration_ns=10**9
    )  # fmt: skip
