"""Verifies what a model claims: quotes are looked up, detectors run over the whole window, numbers and ids compared
with the store. Problems are first told to the model; in the end only what is verified is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis import answer as answers
from halo_worker.analysis import evidence, numbers
from halo_worker.analysis.answer import Claimed
from halo_worker.analysis.draft import DraftFinding, Occurrence
from halo_worker.analysis.hypotheses import Hypotheses, confirmed, same_failure
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.report.model import Evidence
from halo_worker.rlm.tool import ToolError

MAX_OCCURRENCES = 200_000  # traces that one detector may name
CORRECTED_CHARACTERS = 8  # a shorter quote may be found anywhere by chance
MAX_PROBLEMS = 25  # told to the model at once
TOO_WIDE = 0.9  # share of traces beyond which a detector tells nothing apart
FEW_TRACES = 20  # in a window of fewer, it may

OCCURRENCES = (
    "SELECT trace_id, min(span_id) AS span_id FROM (SELECT trace_id, span_id FROM ({sql}) _named) _ids "
    "SEMI JOIN spans USING (trace_id, span_id) GROUP BY trace_id ORDER BY trace_id"
)


@dataclass(slots=True)
class VerifiedAnswer:
    """What of an answer is verified, and the problems with the rest."""

    answer: str | None = None
    findings: list[DraftFinding] = field(default_factory=list)
    confirmed: dict[str, DraftFinding] = field(default_factory=dict)  # by hypothesis
    problems: list[str] = field(default_factory=list)
    citations: int = 0  # quotes that were not found
    dropped: int = 0  # findings without a quote that was found
    reasons: list[str] = field(default_factory=list)


class ClaimVerifier:
    """Verifies answers about one window. Needs the tables of the detectors' pass for nothing but its totals."""

    def __init__(self, reader: Reader, desk: Desk, hypotheses: Hypotheses, *, traces: int, needs_answer: bool) -> None:
        self._spans = evidence.Spans(reader)
        self._lock = asyncio.Lock()  # the reader's connection serves one question at a time
        self._desk = desk
        self._hypotheses = hypotheses
        self._traces = traces
        self._needs_answer = needs_answer
        self._known: dict[str, VerifiedAnswer] = {}

    async def verify(self, arguments: dict[str, Any]) -> VerifiedAnswer:
        """Verify the arguments of a `final_answer`. Never raises for what they hold."""
        key = json.dumps(arguments, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = await self._verify(arguments)
        return self._known[key]

    async def _verify(self, arguments: dict[str, Any]) -> VerifiedAnswer:
        read = answers.read(arguments)
        verified = VerifiedAnswer(problems=list(read.problems))
        await self._fetch(read.findings)
        standing = []
        for claimed in read.findings:
            problems: list[str] = [*claimed.problems]
            found = await self._finding(claimed, problems, verified)
            verified.problems += [f"finding '{claimed.title[:60]}': {problem}" for problem in problems]
            verified.reasons += [f"{claimed.title[:80]}: {problem}" for problem in problems]
            if found is None:
                verified.dropped += 1
            else:
                standing.append((claimed, found))
        self._place(standing, verified)
        verified.answer = await self._text(read.answer, verified)
        if self._needs_answer and not read.answer:
            verified.problems.append("answer is empty: answer the question")
        del verified.problems[MAX_PROBLEMS:]
        return verified

    async def _fetch(self, findings: list[Claimed]) -> None:
        wanted = {(q.trace_id, q.span_id) for one in findings for q in (*one.evidence, *one.counter_evidence)}
        async with self._lock:
            await asyncio.to_thread(self._spans.fetch, wanted)

    async def found_quotes(self, quotes: list[Evidence]) -> list[Evidence]:
        """Return the quotes that are found in their spans, each as it is found."""
        async with self._lock:
            await asyncio.to_thread(self._spans.fetch, {(quote.trace_id, quote.span_id) for quote in quotes})
        return [found for quote in quotes if isinstance(found := self._quote(quote), Evidence)]

    def _quote(self, quote: Evidence) -> Evidence | str:
        """Return the quote as it is found in its span, or why it is not.

        A quote that is copied from JSON may keep its escapes, and may be in another text of the span than it says:
        what is found verbatim somewhere in that span is corrected, what is not is refused.
        """
        problem = evidence.problem_of(self._spans, quote)
        if problem is None:
            return quote
        if len(quote.quote) < CORRECTED_CHARACTERS:
            return problem
        for text in (quote.quote, _unescaped(quote.quote)):
            for name in (quote.field, *evidence.PLAIN_FIELDS):
                corrected = quote.model_copy(update={"field": name, "quote": text})
                if text.strip() and evidence.problem_of(self._spans, corrected) is None:
                    return corrected
        return problem

    async def _finding(self, claimed: Claimed, problems: list[str], verified: VerifiedAnswer) -> DraftFinding | None:
        kept: dict[str, list[Evidence]] = {"evidence": [], "counter_evidence": []}
        for name, into in kept.items():
            for quote in getattr(claimed, name):
                stands = self._quote(quote)
                if isinstance(stands, Evidence):
                    into.append(stands.model_copy(update={"quote": stands.quote[: answers.MAX_QUOTE_CHARACTERS]}))
                else:
                    verified.citations += 1
                    problems.append(stands)
        if not kept["evidence"]:
            return None
        occurrences = [
            Occurrence(quote.trace_id, quote.span_id, quote.span_id) for quote in _of_traces(kept["evidence"])
        ]
        sql = None
        if claimed.detector:
            named = await self._detector(claimed.detector, {quote.trace_id for quote in kept["evidence"]})
            if isinstance(named, str):
                problems.append(named)
            else:
                sql, occurrences = claimed.detector, named
        quoted = "\n".join(quote.quote for quotes in kept.values() for quote in quotes)
        hypothesis = self._hypotheses.get(claimed.hypothesis or "")
        computed = {float(len(occurrences)), float(self._traces), *self._desk.seen_numbers}
        rates = [len(occurrences) / self._traces] if self._traces else []
        if hypothesis is not None:
            affected = len({one.trace_id for one in hypothesis.occurrences})
            computed.add(float(affected))
            rates.append(affected / self._traces if self._traces else 0.0)
        texts = {}
        for name in ("title", "description", "root_cause", "fix", "validation"):
            text = getattr(claimed, name)
            wrong = numbers.unverified(text, computed, rates, quoted)
            if wrong and name in ("title", "description", "root_cause"):
                problems.append(
                    f"its {name} says {', '.join(repr(one) for one in wrong[:3])}; computed are {len(occurrences)} of "
                    f"{self._traces} traces: leave counts out"
                )
                text, _ = numbers.without_unverified(text, computed, rates, quoted)
            texts[name] = text
        found = DraftFinding(
            title=texts["title"],
            description=texts["description"],
            category=claimed.category,
            source="rlm",
            confidence=claimed.confidence,
            key=claimed.title,
            detector_name="rlm",
            sql=sql,
            occurrences=occurrences,
            evidence=kept["evidence"],
            counter_evidence=kept["counter_evidence"],
            root_cause=texts["root_cause"],
            fix_summary=texts["fix"],
            fix_validation=texts["validation"],
            severity_hint=claimed.severity,
        )
        if sql is not None and not found.counter_evidence:
            found.counter_evidence.extend(await self._counter_evidence(occurrences))
        if claimed.hypothesis and hypothesis is None:
            problems.append(f"there is no hypothesis {claimed.hypothesis}")
        return found

    async def _detector(self, sql: str, quoted: set[str]) -> list[Occurrence] | str:
        """Run a detector over the whole window; return the problem when it cannot be used."""
        named = await named_by(self._desk, sql, self._traces)
        if isinstance(named, str):
            return named
        if not named:
            return "its detector names no span of the window"
        if not quoted & {one.trace_id for one in named}:
            return "its detector names none of the traces that are quoted"
        return named

    async def _counter_evidence(self, occurrences: list[Occurrence]) -> list[Evidence]:
        """Return quotes of traces that the detector names and that went well, where others of it failed."""
        found = await self._desk.questions.rows(
            "WITH named AS (SELECT unnest(?) AS trace_id, unnest(?) AS span_id), "
            "judged AS (SELECT trace_id, span_id, error_count > 0 OR status_code = 'ERROR' AS failed FROM traces "
            "JOIN named USING (trace_id)) "
            "SELECT trace_id, span_id, name, left(output_text, 200) AS output_text, (SELECT count(*) FROM judged WHERE "
            "failed) AS failing FROM judged JOIN spans USING (trace_id, span_id) WHERE NOT failed ORDER BY trace_id",
            [[one.trace_id for one in occurrences], [one.symptom_span_id for one in occurrences]],
            max_rows=2,
        )
        quotes = []
        for row in found.rows if found.rows and found.rows[0]["failing"] else []:
            name = "output_text" if (row["output_text"] or "").strip() else "name"
            quotes.append(Evidence(trace_id=row["trace_id"], span_id=row["span_id"], field=name, quote=row[name]))
        return await self.found_quotes(quotes)

    def _place(self, standing: list[tuple[Claimed, DraftFinding]], verified: VerifiedAnswer) -> None:
        """Separate findings that confirm a hypothesis from new ones, and drop duplicates."""
        for claimed, found in standing:
            name = confirmed(self._hypotheses, claimed.hypothesis, found)
            if name is not None:
                verified.confirmed.setdefault(name, found)
            elif not any(same_failure(found, other) for other in verified.findings):
                verified.findings.append(found)

    async def _text(self, text: str, verified: VerifiedAnswer) -> str | None:
        """Return the answer without the ids and numbers that are not verified, and add a problem for each."""
        if not text:
            return None
        unknown = await self._unknown(numbers.ids_in(text))
        if unknown:
            verified.problems.append(f"the answer names ids that the window does not hold: {', '.join(unknown[:5])}")
            verified.reasons += [f"answer: there is no trace or span {one}" for one in unknown]
            verified.citations += len(unknown)
            text = numbers.mark_ids(text, unknown, lambda one: f"[unknown id {one[:8]}…]")
        every = [*verified.findings, *verified.confirmed.values()]
        computed: Collection[float] = {
            float(self._traces),
            *self._desk.seen_numbers,
            *(float(len(one.occurrences)) for one in every),
        }
        rates = [len(one.occurrences) / self._traces for one in every] if self._traces else []
        quoted = "\n".join(quote.quote for one in every for quote in one.evidence)
        wrong = numbers.unverified(text, computed, rates, quoted)
        if wrong:
            verified.problems.append(
                f"the answer says {', '.join(repr(one) for one in wrong[:5])}, which no tool returned: count first"
            )
            verified.reasons += [f"answer: {one!r} is not verified" for one in wrong]
            text, _ = numbers.without_unverified(text, computed, rates, quoted)
        return text

    async def _unknown(self, ids: list[str]) -> list[str]:
        if not ids:
            return []
        found = await self._desk.questions.rows(
            "SELECT id FROM (SELECT unnest(?) AS id) WHERE id IN (SELECT trace_id FROM traces) OR id IN "
            "(SELECT span_id FROM spans WHERE list_contains(?, span_id))",
            [ids, ids],
        )
        known = {row["id"] for row in found.rows}
        return [one for one in ids if one not in known]

    async def verify_text(self, text: str | None) -> str | None:
        """Return what a model said without calling `final_answer`, checked like an answer."""
        return await self._text(text or "", VerifiedAnswer())


async def named_by(desk: Desk, sql: str, traces: int) -> list[Occurrence] | str:
    """Run a detector's SQL over the whole window; return the problem when it cannot be used or tells nothing apart."""
    named = await occurrences(desk.questions, sql)
    if not isinstance(named, str) and traces >= FEW_TRACES and len(named) > traces * TOO_WIDE:
        return f"its detector names {len(named)} of {traces} traces: it tells nothing apart"
    return named


async def occurrences(questions: Questions, sql: str) -> list[Occurrence] | str:
    """Run a detector's SQL over the whole window; return the problem when it cannot be run."""
    try:
        rows = await questions.select(
            sql,
            within=OCCURRENCES,
            needs=("trace_id", "span_id"),
            max_rows=MAX_OCCURRENCES,
            max_bytes=2**26,
            count=False,
        )
    except ToolError as error:
        return f"its detector cannot be run: {error}"
    if rows.more:
        return f"its detector names more than {len(rows.rows)} traces"
    return [Occurrence(row["trace_id"], row["span_id"], row["span_id"]) for row in rows.rows]


def _of_traces(quotes: list[Evidence]) -> list[Evidence]:
    return list({quote.trace_id: quote for quote in reversed(quotes)}.values())[::-1]


def _unescaped(text: str) -> str:
    try:
        value = json.loads(f'"{text}"')
    except ValueError:
        return text
    return value if isinstance(value, str) else text
