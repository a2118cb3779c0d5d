"""Judges traces one by one with the sub model; a trace that was judged before comes from the cache of sub-calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halo_worker.analysis import prompts, rubric
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.expectations import Expectation
from halo_worker.analysis.labels import COLUMNS, JUDGED, SECOND_LOOK, Note, Said, read
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.steps import Page, pages
from halo_worker.rlm.agent.session import SubResult

PAGE_BYTES = 40_000  # of one prompt
MAX_PAGES = 8  # of one trace; the steps behind are said to be unread
Batch = Callable[..., Awaitable[list[SubResult]]]


@dataclass(slots=True)
class Judged:
    """What one round of judging did."""

    traces: int = 0
    unread: dict[str, str] = field(default_factory=dict)  # trace → why
    note_ids: list[str] = field(default_factory=list)
    withdrawn: int = 0  # labels that did not stand when they were asked again


@dataclass(slots=True)
class Judge:
    """The judging of one run. `batch` asks the sub model; `rules` are the operator's own, in words."""

    desk: Desk
    verifier: ClaimVerifier
    batch: Batch
    rules: str = ""
    expected: Mapping[str, Expectation] = field(default_factory=dict)

    async def judge(self, trace_ids: Sequence[str], extra: str = "") -> Judged:
        """Judge traces and keep the labels that stand; `extra` is a rubric beside the categories."""
        done = Judged()
        shown = await asyncio.gather(*(pages(self.desk, one, PAGE_BYTES) for one in trace_ids))
        asked = [(trace, page) for trace, every in zip(trace_ids, shown, strict=True) for page in every[:MAX_PAGES]]
        results = await self.batch(
            [prompts.marked(page.text) for _, page in asked], schema=JUDGED, system=self._system(extra)
        )
        said: list[tuple[Said, Page]] = []
        notes = self.desk.notes
        for (trace, page), result in zip(asked, results, strict=True):
            if result.error is not None:
                done.unread[trace] = str(result.error.get("message") or result.error.get("type"))[:300]
                continue
            outcome, labels, problems = read(result.value, trace, page.spans)
            if notes.outcomes.get(trace) != "wrong":
                notes.outcomes[trace] = outcome
            notes.rejected += problems
            said += [(label, page) for label in labels]
        for trace, every in zip(trace_ids, shown, strict=True):
            read_to = every[:MAX_PAGES][-1]
            if read_to.last < read_to.total:
                done.unread.setdefault(trace, f"its steps after {read_to.last} of {read_to.total} were not read")
        judged = [trace for trace in trace_ids if trace in notes.outcomes]
        self.desk.opened.update(judged)
        done.traces = len(judged)
        standing = await self._second_look(await self._verified(said), done)
        done.note_ids = [notes.add(note) for note in standing]
        self.desk.questions.set_table("labels", COLUMNS, notes.rows())
        return done

    def _system(self, extra: str) -> str:
        rules = "\n".join(filter(None, (self.rules, extra)))
        return rubric.JUDGE.format(
            untrusted=prompts.UNTRUSTED, marks=rubric.MARKS, categories=rubric.categories(),
            no_failure=rubric.NO_FAILURE, rubric=f"What the operator asks for:\n{rules}" if rules else "",
        )  # fmt: skip

    async def _verified(self, said: Sequence[tuple[Said, Page]]) -> list[tuple[Note, Page]]:
        """Keep the labels whose quotes are found in the span of their step."""
        found = await self.verifier.located([(one.trace_id, one.span_id, one.quote) for one, _ in said])
        kept = []
        for (one, page), evidence in zip(said, found, strict=True):
            if isinstance(evidence, str):
                self.desk.notes.rejected.append(f"label on trace {one.trace_id}, {one.step}: {evidence}")
            else:
                kept.append((Note(one, evidence), page))
        return kept

    async def _second_look(self, notes: Sequence[tuple[Note, Page]], done: Judged) -> list[Note]:
        """Ask again about labels of traces that look clean: the counter question, which costs trust where it is not."""
        suspected = {trace for traces in self.desk.hypotheses.values() for trace in traces}
        clean = await self._clean({note.said.trace_id for note, _ in notes} - suspected)
        doubtful = [(note, page) for note, page in notes if note.said.trace_id in clean]
        asked = [self._counter(note, page) for note, page in doubtful]
        results = await self.batch(asked, schema=SECOND_LOOK) if asked else []
        gone = {
            id(note)
            for (note, _), result in zip(doubtful, results, strict=True)
            if result.error is None and result.value.get("stands") is False
        }
        done.withdrawn = len(gone)
        return [note for note, _ in notes if id(note) not in gone]

    def _counter(self, note: Note, page: Page) -> str:
        broken = self.expected.get(note.said.expectation)
        return rubric.COUNTER.format(
            untrusted=prompts.UNTRUSTED, data=prompts.marked(page.text), step=note.said.step, what=note.said.what,
            no_failure=rubric.NO_FAILURE,
            expectation=f"It breaks what the operator expects, {broken.line()}\n" if broken else "",
        )  # fmt: skip

    async def _clean(self, traces: set[str]) -> set[str]:
        if not traces:
            return set()
        rows = await self.desk.questions.rows(
            "SELECT trace_id FROM traces WHERE list_contains(?, trace_id) AND error_count = 0 "
            "AND status_code IS DISTINCT FROM 'ERROR'",
            [sorted(traces)],
        )
        return {row["trace_id"] for row in rows.rows}


def summary(judge: Judge, done: Judged) -> dict[str, Any]:
    """Say what judging came to, for whoever asked for it."""
    notes = judge.desk.notes
    outcomes: dict[str, int] = {}
    for outcome in notes.outcomes.values():
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    said: dict[str, Any] = {"judged": done.traces, "outcomes": outcomes, "labels": len(done.note_ids)}
    if done.withdrawn:
        said["withdrawn_at_second_look"] = done.withdrawn
    if done.unread:
        said["unread"] = dict(list(done.unread.items())[:5])
    return said
