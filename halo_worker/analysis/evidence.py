"""The law of the report: quotes are looked up, counts are computed. What fails is dropped and counted.

Nothing an engine says of numbers is used. A finding stands on the traces its detector names, or on those its
verified quotes are from.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from halo_worker.analysis.affected_spans import Affected, arranged
from halo_worker.analysis.draft import Draft, DraftFinding, Occurrence
from halo_worker.analysis.json_quotes import recorded
from halo_worker.display import VALUE_CHARACTERS, one_line
from halo_worker.report.model import Breakdown, Evidence, Prevalence, Rejected, SpanRef
from halo_worker.report.statistics import benjamini_hochberg, fisher_exact, wilson

MAX_AFFECTED_SHOWN = 50
MAX_EVIDENCE = 5
MAX_REASONS = 50
MAX_QUOTE = 2000
MAX_BREAKDOWN = 12
MIN_COMPARED = 3  # affected traces with a value, below which it is not compared with the rest

PLAIN_FIELDS = ("name", "input_text", "output_text", "status_message", "error_message")
_ATTRIBUTE = re.compile(r'attributes\["(.+)"\]', re.DOTALL)
_EVENT = re.compile(r'events\[(\d+)\]\.attributes\["(.+)"\]', re.DOTALL)


@dataclass(slots=True)
class VerifiedFinding:
    """A finding whose quotes were found and whose counts were computed."""

    draft: DraftFinding
    evidence: list[Evidence]
    counter_evidence: list[Evidence]
    occurrences: list[Occurrence]
    prevalence: Prevalence
    breakdown: list[Breakdown]
    first_seen_ns: int
    last_seen_ns: int
    failed_traces: int  # affected traces whose root ended in ERROR
    recovered_traces: int = 0  # affected traces that hold an error and whose root did not end in one
    spans_left_out: int = 0  # affected spans that `occurrences` lacks

    @property
    def affected(self) -> list[SpanRef]:
        """The first affected spans, as the report shows them."""
        refs = dict.fromkeys((item.trace_id, item.span_id) for item in self.occurrences if item.span_id)
        return [SpanRef(trace_id=trace, span_id=span) for trace, span in list(refs)[:MAX_AFFECTED_SHOWN]]


@dataclass(slots=True)
class Verified:
    """What may be shipped, and an account of what may not."""

    findings: list[VerifiedFinding] = field(default_factory=list)
    rejected: Rejected = field(default_factory=Rejected)


def decoded_text(value: Any) -> str | None:
    """Return the text of a JSON value as a person reads it: strings as they are, the rest as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


class Spans:
    """Looks fields of spans up, a few at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[str, str], dict[str, Any] | None] = {}

    def text(self, trace_id: str, span_id: str, field_name: str) -> str | None:
        """Return the decoded text of a field; None when there is no such span, field or value."""
        if field_name in PLAIN_FIELDS:
            row = self._row(trace_id, span_id)
            return None if row is None else decoded_text(row[field_name])
        if match := _ATTRIBUTE.fullmatch(field_name):
            row = self._row(trace_id, span_id)
            return None if row is None else decoded_text((row["attributes"] or {}).get(match[1]))
        if match := _EVENT.fullmatch(field_name):
            row = self._row(trace_id, span_id)
            events = row["events"] if row else []
            index = int(match[1])
            return decoded_text((events[index]["attributes"] or {}).get(match[2])) if index < len(events) else None
        return None

    def fetch(self, wanted: set[tuple[str, str]]) -> None:
        """Read many spans at once: one scan of the window instead of one a span."""
        rows = sorted(wanted - self._known.keys())
        self._known.update(dict.fromkeys(rows))
        columns = ", ".join(("trace_id", "span_id", *PLAIN_FIELDS, "attributes", "events"))
        found = queries.spans_of(self._reader, columns, rows)
        self._known.update({(row["trace_id"], row["span_id"]): row for row in found})

    def locate(self, trace_id: str, span_id: str, quote: str) -> Evidence | None:
        """Return a quote with the field that holds it; of a span without texts, and without a quote, its name."""
        row = self._row(trace_id, span_id)
        if row is None:
            return None
        texts = {name: decoded_text(row[name]) for name in PLAIN_FIELDS if name != "name"}
        if not quote.strip():
            spoken = any((text or "").strip() for text in texts.values())
            return None if spoken else Evidence(trace_id=trace_id, span_id=span_id, field="name", quote=row["name"])
        texts["name"] = row["name"]
        texts |= {f'attributes["{key}"]': decoded_text(value) for key, value in (row["attributes"] or {}).items()}
        for number, event in enumerate(row["events"] or []):
            named = (event["attributes"] or {}).items()
            texts |= {f'events[{number}].attributes["{key}"]': decoded_text(value) for key, value in named}
        spoken_in = ((name, quote) for name, text in texts.items() if text and quote in text)
        as_json = ((name, found) for name, text in texts.items() if text and (found := recorded(quote, text)))
        name, quote = next(itertools.chain(spoken_in, as_json), ("", ""))
        return Evidence(trace_id=trace_id, span_id=span_id, field=name, quote=quote) if name else None

    def exists(self, trace_id: str, span_id: str) -> bool:
        """Say whether the window has that span."""
        return self._row(trace_id, span_id) is not None

    def _row(self, trace_id: str, span_id: str) -> dict[str, Any] | None:
        key = (trace_id, span_id)
        if key not in self._known:
            columns = ", ".join((*PLAIN_FIELDS, "attributes", "events"))
            rows = queries.json_rows(
                self._reader, f"SELECT {columns} FROM spans WHERE trace_id = $1 AND span_id = $2", [trace_id, span_id]
            )[1]
            self._known[key] = rows[0] if rows else None
        return self._known[key]


def problem_of(spans: Spans, evidence: Evidence) -> str | None:
    """Say why a quote does not stand; None when it does."""
    where = f"{evidence.trace_id}/{evidence.span_id}"
    if not evidence.quote.strip():
        return f"{where}: the quote is empty"
    text = spans.text(evidence.trace_id, evidence.span_id, evidence.field)
    if text is None:
        if not spans.exists(evidence.trace_id, evidence.span_id):
            return f"{where}: there is no such span in the window"
        return f"{where}: the span has no {evidence.field}"
    if evidence.quote not in text:
        return f"{where}: the quote is not in {evidence.field}"
    return None


def verify(reader: Reader, draft: Draft) -> Verified:
    """Check every finding of a draft against the window, largest first. Needs `overview.prepare`."""
    spans = Spans(reader)
    verified = Verified()
    citations, findings, reasons = draft.rejected_citations, draft.rejected_findings, list(draft.rejected_reasons)
    total = reader.query("SELECT count(*) AS n FROM _t")[0]["n"]
    quotes = [quote for item in draft.findings for quote in (*item.evidence, *item.counter_evidence)]
    spans.fetch({(quote.trace_id, quote.span_id) for quote in quotes})
    standing: list[tuple[DraftFinding, dict[str, list[Evidence]], list[Occurrence]]] = []
    for item in draft.findings:
        kept: dict[str, list[Evidence]] = {"evidence": [], "counter_evidence": []}
        for name, into in kept.items():
            for quote in getattr(item, name):
                problem = problem_of(spans, quote)
                if problem is None:
                    into.append(quote)
                else:
                    citations += 1
                    reasons.append(one_line(f"{item.title[:80]}: {problem}"))
        # A model's SQL has been run by then, where it can do no harm (`claim_verification`); it is not run here.
        occurrences = list(item.occurrences)
        if not occurrences:
            occurrences = [Occurrence(quote.trace_id, quote.span_id, quote.span_id) for quote in kept["evidence"]]
        if not kept["evidence"] or not occurrences:
            findings += 1
            reasons.append(f"{item.title[:80]}: dropped, no quote of it stands")
            continue
        standing.append((item, kept, occurrences))
    affected = arranged(reader, [(item, occurrences) for item, _, occurrences in standing])
    verified.findings = _measure(
        reader, [(item, kept, found) for (item, kept, _), found in zip(standing, affected, strict=True)], total
    )
    verified.findings.sort(key=lambda found: -found.prevalence.traces)
    verified.rejected = Rejected(citations=citations, findings=findings, reasons=reasons[:MAX_REASONS])
    return verified


_Standing = tuple[DraftFinding, dict[str, list[Evidence]], Affected]


def _measure(reader: Reader, standing: list[_Standing], total: int) -> list[VerifiedFinding]:
    """Count all findings at once: two passes over the window, however many findings there are."""
    named = [(number, trace) for number, (*_, affected) in enumerate(standing) for trace in sorted(affected.traces)]
    reader.connection.execute(
        "CREATE OR REPLACE TEMP TABLE _named AS "
        "SELECT unnest(?::INTEGER[]) AS finding, unnest(?::VARCHAR[]) AS trace_id",
        [[number for number, _ in named], [trace for _, trace in named]],
    )
    rows = reader.query(
        "SELECT finding, count(*) AS n, coalesce(epoch_ns(min(start_time)), 0) AS first, "
        "coalesce(epoch_ns(max(coalesce(end_time, start_time))), 0) AS last, "
        "count(*) FILTER (status_code = 'ERROR') AS failed, "
        "count(*) FILTER (error_count > 0 AND status_code IS DISTINCT FROM 'ERROR') AS recovered "
        "FROM _t JOIN _named USING (trace_id) GROUP BY finding"
    )
    facts = {row["finding"]: row for row in rows}
    breakdowns = _breakdowns(reader, total)
    findings = []
    for number, (item, kept, affected) in enumerate(standing):
        fact = facts.get(number, {"n": 0, "first": 0, "last": 0, "failed": 0, "recovered": 0})
        low, high = wilson(fact["n"], total)
        rate = fact["n"] / total if total else 0.0
        findings.append(
            VerifiedFinding(
                draft=item,
                evidence=kept["evidence"][:MAX_EVIDENCE],
                counter_evidence=kept["counter_evidence"][:MAX_EVIDENCE],
                occurrences=affected.occurrences,
                spans_left_out=affected.left_out,
                prevalence=Prevalence(traces=fact["n"], of=total, rate=rate, low=low, high=high),
                breakdown=breakdowns.get(number, []),
                first_seen_ns=fact["first"],
                last_seen_ns=fact["last"],
                failed_traces=fact["failed"],
                recovered_traces=fact["recovered"],
            )
        )
    return findings


def _breakdowns(reader: Reader, total: int) -> dict[int, list[Breakdown]]:
    """Say in which agents, models, versions, tools and services the named traces are, against all `total` traces."""
    rows = reader.query(f"""
        WITH whole AS (SELECT dimension, value, count(*) AS of_ FROM _dimensions GROUP BY ALL),
        hits AS (
          SELECT finding, dimension, value, count(*) AS hit FROM _named JOIN _dimensions USING (trace_id) GROUP BY ALL
        )
        SELECT finding, dimension, value, hit, of_ FROM hits JOIN whole USING (dimension, value)
        QUALIFY row_number() OVER (PARTITION BY finding, dimension ORDER BY hit / of_ DESC, hit DESC, value)
          <= {MAX_BREAKDOWN}
        ORDER BY finding, hit / of_ DESC, hit DESC, dimension, value
    """)
    sizes = {
        row["finding"]: row["n"] for row in reader.query("SELECT finding, count(*) AS n FROM _named GROUP BY finding")
    }
    compared = {n: table for n, row in enumerate(rows) if (table := _against_rest(row, sizes[row["finding"]], total))}
    q_values = dict(
        zip(compared, benjamini_hochberg([fisher_exact(*table) for table in compared.values()]), strict=True)
    )
    breakdowns: dict[int, list[Breakdown]] = {}
    for number, row in enumerate(rows):
        rate, ratio = row["hit"] / row["of_"], None
        if number in compared:
            _, _, rest, rest_without = compared[number]
            ratio = rate / (rest / (rest + rest_without)) if rest else None
        breakdowns.setdefault(row["finding"], []).append(
            Breakdown(
                dimension=row["dimension"],
                value=one_line(row["value"], VALUE_CHARACTERS),
                traces=row["hit"],
                of=row["of_"],
                rate=rate,
                risk_ratio=ratio,
                q_value=q_values.get(number),
            )
        )
    return breakdowns


def _against_rest(row: dict[str, Any], affected: int, total: int) -> tuple[int, int, int, int] | None:
    """Return the table of a value against the traces without it; None where there is too little to compare."""
    hit, of = row["hit"], row["of_"]
    if hit < MIN_COMPARED or of >= total:
        return None
    rest = max(0, affected - hit)
    return hit, of - hit, rest, max(0, total - of - rest)
