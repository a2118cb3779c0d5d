"""What `final_answer` takes, and how it is read: with patience for form, with none for substance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halo_worker.analysis.categories import CATEGORIES, OTHER, category_of
from halo_worker.display import one_line, visible
from halo_worker.report.model import Evidence, Severity

MAX_FINDINGS = 40
MAX_QUOTES = 10  # of one finding, of each kind
MAX_QUOTE_CHARACTERS = 2000
MAX_TITLE = 200
MAX_TEXT = 4000
MAX_ANSWER = 40_000

_QUOTE: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("trace_id", "span_id", "field", "quote")},
    "required": ["trace_id", "span_id", "field", "quote"],
}
_TEXT: dict[str, Any] = {"type": ["string", "null"]}  # what a model leaves open it often sends as null
_SPANS: dict[str, Any] = {"type": ["array", "null"], "items": {}}  # {trace_id, span_id}, or note ids
FINDING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "description": {"type": "string"},
        "category": {"type": "string"},
        "severity": {"enum": ["high", "medium", "low", None]},
        "confidence": {"type": ["number", "null"]},
        "evidence": {"type": "array", "items": _QUOTE},
        "counter_evidence": {"type": ["array", "null"], "items": {"type": "object"}},
        "detector": {**_TEXT, "description": "SQL"},
        "affected": _SPANS,
        "hypothesis": _TEXT,
        "expectation": _TEXT,
        "issue": _TEXT,
        "root_cause": _TEXT,
        "fix": _TEXT,
        "validation": _TEXT,
    },
    "required": ["title", "description", "category", "evidence"],
}
FINAL_ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "description": "Markdown"},
        "findings": {"type": ["array", "null"], "items": FINDING},
        "hypotheses": {"type": ["array", "null"], "items": {"type": "object"}},
    },
    "required": ["answer"],
}


@dataclass(slots=True)
class Claimed:
    """One finding as a model claims it, in the form the checks work on."""

    title: str
    description: str
    category: str
    severity: Severity | None
    confidence: float
    evidence: list[Evidence]
    counter_evidence: list[Evidence]
    detector: str | None
    affected: list[tuple[str, str]]
    notes: list[str]  # of judging
    hypothesis: str | None
    expectation: str | None  # the id of the operator's that it breaks
    issue: str | None  # of an earlier window, which it continues
    root_cause: str
    fix: str
    validation: str
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """The arguments of a `final_answer`, read."""

    answer: str
    findings: list[Claimed]
    problems: list[str] = field(default_factory=list)


def read(arguments: dict[str, Any]) -> Answer:
    """Read the arguments, whatever they hold; what cannot be used is named in `problems`. Never raises."""
    answer = Answer(_text(arguments.get("answer"), MAX_ANSWER), [])
    findings = arguments.get("findings")
    if isinstance(findings, dict):
        findings = [findings]
    if findings is not None and not isinstance(findings, list):
        answer.problems.append("findings is a list of objects")
        findings = []
    for number, item in enumerate(findings or [], 1):
        if not isinstance(item, dict) or not _text(item.get("title"), MAX_TITLE):
            answer.problems.append(f"finding {number} is no object with a title")
            continue
        answer.findings.append(_claimed(item))
    if len(answer.findings) > MAX_FINDINGS:
        answer.problems.append(f"{len(answer.findings)} findings were given, the first {MAX_FINDINGS} are used")
        answer.findings = answer.findings[:MAX_FINDINGS]
    return answer


def _claimed(item: dict[str, Any]) -> Claimed:
    category = category_of(item.get("category"))
    severity = item.get("severity")
    claimed = Claimed(
        title=one_line(_text(item.get("title"), MAX_TITLE), MAX_TITLE),
        description=visible(_text(item.get("description"), MAX_TEXT)),
        category=category or OTHER,
        # A model's own word makes nothing critical: that takes prevalence, which is counted.
        severity={"critical": "high", "high": "high", "medium": "medium", "low": "low"}.get(str(severity).lower()),  # type: ignore[arg-type]
        confidence=_share(item.get("confidence")),
        evidence=quotes_in(item.get("evidence")),
        counter_evidence=quotes_in(item.get("counter_evidence")),
        detector=_sql(item.get("detector")),
        affected=_spans(item.get("affected")),
        notes=_note_ids(item.get("affected")),
        hypothesis=_names(item.get("hypothesis")),
        expectation=_text(item.get("expectation"), 40) or None,
        issue=_text(item.get("issue"), 40) or None,
        root_cause=visible(_text(item.get("root_cause"), MAX_TEXT)),
        fix=visible(_text(item.get("fix"), MAX_TEXT)),
        validation=visible(_text(item.get("validation"), MAX_TEXT)),
    )
    if category is None and not claimed.expectation:
        claimed.problems.append(f"category {str(item.get('category'))[:60]!r} is none of: {', '.join(CATEGORIES)}")
    if not claimed.evidence and not claimed.notes:
        claimed.problems.append("it has no evidence: quote at least one span, verbatim")
    return claimed


def _text(value: Any, most: int) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    return text.strip()[:most]


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.5
    share = float(value) / 100 if value > 1 else float(value)
    return min(1.0, max(0.0, share))


def _sql(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("sql")
    text = _text(value, 20_000)
    return text or None


def _names(value: Any) -> str | None:
    return _text(", ".join(str(one) for one in value) if isinstance(value, list) else value, 200) or None


def _spans(value: Any) -> list[tuple[str, str]]:
    """Read a list of spans: objects with `span_id`, or `span_ids` of one trace."""
    spans = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and isinstance(item.get("trace_id"), str):
            ids = item.get("span_ids") or [item.get("span_id")]
            spans += [(item["trace_id"], one) for one in ids if isinstance(one, str)]
    return spans


def _note_ids(value: Any) -> list[str]:
    return [one.strip() for one in value if isinstance(one, str)] if isinstance(value, list) else []


def quotes_in(value: Any) -> list[Evidence]:
    """Read a list of quotes; what is none is left out."""
    items = [value] if isinstance(value, dict) else value if isinstance(value, list) else []
    quotes = []
    for item in items[:MAX_QUOTES]:
        if isinstance(item, dict):
            named = {name: item.get(name) for name in ("trace_id", "span_id", "field", "quote")}
            if all(isinstance(part, str) and part for part in named.values()):
                quotes.append(Evidence(**named))  # type: ignore[arg-type]
    return quotes
