"""The rows of affected.jsonl: every affected span of every finding; report.json shows the first of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AffectedSpan:
    """One affected span: the span that caused it and the span where it showed, where they are known."""

    issue_id: str
    trace_id: str
    origin_span_id: str | None = None
    symptom_span_id: str | None = None

    @property
    def span_id(self) -> str | None:
        """The span to look at first: what caused it, else where it showed. report.json names the same."""
        return self.origin_span_id or self.symptom_span_id

    def as_row(self) -> dict[str, Any]:
        """Return the row as affected.jsonl holds it."""
        return {**asdict(self), "span_id": self.span_id}
