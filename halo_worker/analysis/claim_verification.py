"""Verifies what a model claims: quotes are looked up, detectors run over the whole window, numbers and ids compared
with the store. Problems are first told to the model; in the end only what is verified is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis import affected_spans, answer_text, evidence, expectations, numbers, recurring, verdicts
from halo_worker.analysis import answer as answers
from halo_worker.analysis.affected_spans import Affected, traces_of
from halo_worker.analysis.answer import Claimed
from halo_worker.analysis.answer_text import VerifiedAnswer as VerifiedAnswer
from halo_worker.analysis.draft import DraftFinding, Occurrence
from halo_worker.analysis.expectations import Expectation
from halo_worker.analysis.hypotheses import Hypotheses, mode_of, same_failure
from halo_worker.analysis.json_quotes import meant
from halo_worker.analysis.recurring import Earlier
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.verdicts import Verdict
from halo_worker.report.model import Evidence

CORRECTED_CHARACTERS = 8  # a shorter quote may be found anywhere by chance
MAX_PROBLEMS = 25  # told to the model at once


class ClaimVerifier:
    """Verifies answers about one window. Needs the tables of the detectors' pass for nothing but its totals."""

    def __init__(
        self, reader: Reader, desk: Desk, hypotheses: Hypotheses, *, traces: int, needs_answer: bool,
        expected: Mapping[str, Expectation] | None = None, earlier: Earlier | None = None,
    ) -> None:  # fmt: skip
        self._spans = evidence.Spans(reader)
        self._lock = asyncio.Lock()  # the reader's connection serves one question at a time
        self._desk = desk
        self._hypotheses = hypotheses
        self._traces = traces
        self._needs_answer = needs_answer
        self._expected, self._earlier = expected or {}, earlier or {}
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
        stated, unread = verdicts.read(arguments.get("hypotheses"), self._hypotheses, answers.quotes_in)
        verified.problems += unread
        await self._fetch([*read.findings, *stated])
        for one in stated:
            await self._verdict(one, verified)
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
        verified.answer = await answer_text.checked(self._desk, read.answer, verified, self._traces)
        if self._needs_answer and not read.answer:
            verified.problems.append("answer is empty: answer the question")
        del verified.problems[MAX_PROBLEMS:]
        return verified

    async def _fetch(self, claims: Sequence[Claimed | verdicts.Stated]) -> None:
        quotes = [quote for one in claims for quote in (*one.evidence, *getattr(one, "counter_evidence", ()))]
        wanted = {(quote.trace_id, quote.span_id) for quote in quotes}
        async with self._lock:
            await asyncio.to_thread(self._spans.fetch, wanted)

    async def located(self, quotes: Sequence[tuple[str, str, str]]) -> list[Evidence | str]:
        """Return where in its span each (trace, span, quote) is found, or why it is not."""
        async with self._lock:
            await asyncio.to_thread(self._spans.fetch, {(trace, span) for trace, span, _ in quotes})
        found: list[Evidence | str] = []
        for trace, span, quote in quotes:
            texts = meant(quote[: answers.MAX_QUOTE_CHARACTERS])
            located = next(filter(None, (self._spans.locate(trace, span, text) for text in texts)), None)
            found.append(
                located or ("the quote is not in the span" if quote else "it has no quote, and the span has text")
            )
        return found

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
        for text in meant(quote.quote):
            corrected = quote.model_copy(update={"quote": text})
            if text.strip() and evidence.problem_of(self._spans, corrected) is None:
                return corrected
            if text.strip() and (found := self._spans.locate(quote.trace_id, quote.span_id, text)):
                return found
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
        for name in claimed.notes:
            if (note := self._desk.notes.notes.get(name)) is None:
                problems.append(f"there is no note {name[:20]}")
            elif len(kept["evidence"]) < answers.MAX_QUOTES:
                kept["evidence"].append(note.evidence)
        if not kept["evidence"]:
            return None
        sql, affected = await self._affected(claimed, kept["evidence"], problems, verified)
        traces = len(affected.traces)
        quoted = "\n".join(quote.quote for quotes in kept.values() for quote in quotes)
        named, unknown = verdicts.names_in(claimed.hypothesis, self._hypotheses)
        problems += [f"there is no hypothesis {one}" for one in unknown]
        computed = {float(traces), float(len(affected.occurrences)), float(self._traces), *self._desk.seen_numbers}
        rates = [traces / self._traces] if self._traces else []
        for name in named:
            hit = len(traces_of(self._hypotheses[name].occurrences))
            computed.add(float(hit))
            rates.append(hit / self._traces if self._traces else 0.0)
        texts = {}
        expected = expectations.named(claimed.expectation, claimed.title, self._expected)
        for name in ("title", "description", "root_cause", "fix", "validation"):
            text = "" if expected and name == "title" else getattr(claimed, name)  # the operator's words are no claim
            wrong = numbers.unverified(text, computed, rates, quoted)
            if wrong and name in ("title", "description", "root_cause"):
                problems.append(
                    f"its {name} says {', '.join(repr(one) for one in wrong[:3])}; computed are {traces} of "
                    f"{self._traces} traces: leave counts out"
                )
                text, _ = numbers.without_unverified(text, computed, rates, quoted)
            texts[name] = text
        made = DraftFinding(
            title=texts["title"],
            description=texts["description"],
            category=claimed.category,
            source="rlm",
            confidence=claimed.confidence,
            key=claimed.title,
            detector_name="rlm",
            sql=sql,
            occurrences=affected.occurrences,
            spans_left_out=affected.left_out,
            evidence=kept["evidence"],
            counter_evidence=kept["counter_evidence"],
            root_cause=texts["root_cause"],
            fix_summary=texts["fix"],
            fix_validation=texts["validation"],
            severity_hint=claimed.severity,
            judged=bool(sql or claimed.affected or claimed.notes),
        )
        return recurring.identified(made, claimed, self._expected, self._earlier, problems)

    async def _verdict(self, stated: verdicts.Stated, verified: VerifiedAnswer) -> None:
        """Keep a verdict whose quotes stand, one of them of a trace that it is about."""
        where = f"verdict on {', '.join(stated.names[:3])}"
        quotes, problems = [], []
        for quote in stated.evidence:
            stands = self._quote(quote)
            if isinstance(stands, Evidence):
                quotes.append(stands)
            else:
                verified.citations += 1
                problems.append(stands)
        names = self._quoted(stated.names, quotes)
        if len(names) < len(stated.names):
            unproven = [name for name in stated.names if name not in names]
            problems.append(f"it quotes no trace of {', '.join(unproven[:5])}: quote at least one, verbatim")
        if names and not stated.why and stated.verdict != "confirmed":
            problems.append("it does not say why")
            names = []
        why, _ = numbers.without_unverified(
            stated.why, {float(self._traces), *self._desk.seen_numbers}, [], "\n".join(quote.quote for quote in quotes)
        )
        for name in names:
            kept = await verdicts.applied(self._desk, stated, self._hypotheses[name])
            if isinstance(kept, str):
                problems.append(kept)
            else:
                verified.verdicts[name] = Verdict(stated.verdict, kept, why, quotes)
        verified.problems += [f"{where}: {problem}" for problem in problems]
        verified.reasons += [f"{where}: {problem}" for problem in problems]

    def _quoted(self, names: Sequence[str], quotes: Sequence[Evidence]) -> list[str]:
        """Return the hypotheses that quotes prove: one speaks for those of its kind that are named with it, alone."""
        traces = {quote.trace_id for quote in quotes}
        modes = {name: mode_of(name, self._hypotheses[name]) for name in names}
        proven = {modes[name] for name in names if traces & traces_of(self._hypotheses[name].occurrences)}
        return [name for name in names if modes[name] in proven]

    async def _affected(
        self, claimed: Claimed, quotes: list[Evidence], problems: list[str], verified: VerifiedAnswer
    ) -> tuple[str | None, Affected]:
        """Return the rule that can be used, and the spans that it and the list name; without them those quoted."""
        sql, found = None, Affected()
        quoted = {quote.trace_id for quote in quotes}
        known = self._desk.notes.notes
        noted = [(known[one].said.trace_id, known[one].said.span_id) for one in claimed.notes if one in known]
        if claimed.affected or noted:
            found, unknown = await affected_spans.of_list(self._desk, [*claimed.affected, *noted])
            if unknown:
                problems.append(affected_spans.unknown_spans(unknown))
                verified.citations += len(unknown)
        if claimed.detector:
            named = await affected_spans.of_rule(self._desk, claimed.detector, self._traces)
            if isinstance(named, str):
                problems.append(named)
            elif not named.occurrences:
                problems.append("its detector names no span of the window")
            elif not quoted & named.traces:
                problems.append("its detector names none of the traces that are quoted")
            else:
                sql = claimed.detector
                found = Affected([*found.occurrences, *named.occurrences], found.left_out + named.left_out)
        if not found.occurrences:
            found = Affected([Occurrence(quote.trace_id, quote.span_id, quote.span_id) for quote in quotes])
        elif not quoted & found.traces:
            problems.append("its affected list names none of the traces that are quoted")
        return sql, Affected(list(dict.fromkeys(found.occurrences)), found.left_out)

    def _place(self, standing: list[tuple[Claimed, DraftFinding]], verified: VerifiedAnswer) -> None:
        """Separate findings that name a hypothesis from new ones. Nothing is merged that was not named."""
        for claimed, found in standing:
            problems: list[str] = []
            if found.issue_id:  # a broken expectation, or known from earlier: a finding of its own
                verified.findings.append(found)
                continue
            said = verdicts.names_in(claimed.hypothesis, self._hypotheses)[0]
            quoted = self._quoted(said, found.evidence)
            named = [one for one in said if self._may_confirm(one, quoted, verified, problems)]
            for name in named:
                verified.confirmed[name] = found
            verified.led.update(named[:1])
            if not named:
                problems += self._covered(found, claimed.description, verified)
                verified.findings.append(found)
            verified.problems += [f"finding '{claimed.title[:60]}': {problem}" for problem in problems]

    def _may_confirm(self, name: str, quoted: Sequence[str], verified: VerifiedAnswer, problems: list[str]) -> bool:
        verdict = verified.verdicts.get(name)
        if verdict is not None and verdict.verdict == "refuted":
            problems.append(f"it names {name}, which is refuted")
        elif name not in quoted:
            problems.append(f"it names {name} and quotes none of its traces")
        elif name in verified.confirmed:
            problems.append(f"another finding names {name}, too")
        else:
            return True
        return False

    def _covered(self, found: DraftFinding, description: str, verified: VerifiedAnswer) -> list[str]:
        """Say which hypotheses and findings cover the same traces as a finding that does not speak of them."""
        told = {name for name, one in verified.verdicts.items() if one.verdict == "refuted"}
        told.update(verdicts.names_in(description, self._hypotheses)[0])
        same = [name for name, one in self._hypotheses.items() if name not in told and same_failure(found, one)]
        problems = []
        if same:
            problems.append(f"covers the same traces as {', '.join(same[:5])}: name it, or say how it differs")
        other = next((one for one in verified.findings if not one.issue_id and same_failure(found, one)), None)
        if other is not None:
            problems.append(f"covers the same traces as '{other.title[:60]}': say how it differs, or leave one out")
        return problems

    async def verify_text(self, text: str | None) -> str | None:
        """Return what a model said without calling `final_answer`, checked like an answer."""
        return await answer_text.checked(self._desk, text or "", VerifiedAnswer(), self._traces)
