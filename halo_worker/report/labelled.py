"""The rows of labels.jsonl: what a model said of single steps, and which issue each label became.

Later windows read them: a reader of tomorrow's labels sees what yesterday's were grouped into.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from halo_worker.report.affected import AffectedSpan
from halo_worker.report.issue import Issue

LABELS_FILE = "labels.jsonl"
MAX_REPORTS = 14  # newest that issues were seen in
MAX_EARLIER = 5_000  # labels of earlier windows
_TEXTS = ("trace_id", "span_id", "step", "category", "what", "quote")


@dataclass(frozen=True, slots=True)
class Label:
    """One category that a model gave a step; `issue_id` is None where no finding of the report took it."""

    trace_id: str
    span_id: str
    step: str
    category: str
    what: str
    quote: str
    issue_id: str | None = None


def with_issues(labels: Iterable[Label], affected: Iterable[AffectedSpan]) -> list[Label]:
    """Name the issue of each label: of the finding that has its span, first of those in its own category."""
    issue_of: dict[tuple[str, str | None, str], str] = {}
    for row in affected:
        for span in (row.origin_span_id, row.symptom_span_id):
            issue_of.setdefault((row.trace_id, span, row.category), row.issue_id)
            issue_of.setdefault((row.trace_id, span, ""), row.issue_id)

    def issue(one: Label) -> str | None:
        places = ((one.trace_id, one.span_id, category) for category in (one.category, ""))
        return next((issue_of[place] for place in places if place in issue_of), None)

    return [replace(one, issue_id=issue(one)) for one in labels]


def files(labels: Sequence[Label], affected: Iterable[AffectedSpan]) -> dict[str, str]:
    """Return the file of a report's labels; none where nothing was judged."""
    rows = (orjson.dumps(asdict(one)).decode() + "\n" for one in with_issues(labels, affected))
    return {LABELS_FILE: "".join(rows)} if labels else {}


def earlier(reports: Path, issues: Iterable[Issue]) -> list[Label]:
    """Read the labels of the windows in which issues were seen, newest first; of a damaged file what can be read."""
    run_ids = sorted({point.run_id for issue in issues for point in issue.history if point.traces}, reverse=True)
    found: list[Label] = []
    for run_id in run_ids[:MAX_REPORTS]:
        found += _read(reports / run_id / LABELS_FILE)
    return found[:MAX_EARLIER]


def _read(path: Path) -> Iterator[Label]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                row = orjson.loads(line)
                if isinstance(row, dict) and all(isinstance(row.get(name), str) for name in _TEXTS):
                    issue_id = row.get("issue_id")
                    known = issue_id if isinstance(issue_id, str) else None
                    yield Label(**{name: row[name] for name in _TEXTS}, issue_id=known)
