"""Detectors that a model wrote, run again without one: a failure mode it found is measured in every window after.

They come from the published reports and from nowhere else. Each runs like any SQL of a model does: checked, locked,
bounded, in a process of its own. One that fails is said and skipped; one that has shown nothing for long expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis.affected_spans import Affected, first_of_traces, of_rule
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.report.issue import Issue
from halo_worker.report.model import Evidence
from halo_worker.rlm.tool import ToolError

MAX_LEARNED = 50  # of one window: those seen last
EXPIRES_AFTER = 30  # windows without a trace of it
QUOTES = 3
QUOTE_CHARACTERS = 300

_QUOTED = ("error_message", "status_message", "output_text", "input_text", "name")


def learned(issues: Sequence[Issue]) -> list[Issue]:
    """Return the issues whose detector is to be run: written by a model, neither expired nor called wrong."""
    kept = [
        issue
        for issue in issues
        if issue.finding.source == "rlm"
        and issue.finding.detector is not None
        and issue.finding.detector.sql
        and not issue.standing.wrong_as_a_whole
        and not _expired(issue)
    ]
    return sorted(kept, key=lambda issue: -issue.last_seen)[:MAX_LEARNED]


def _expired(issue: Issue) -> bool:
    newest = issue.history[-EXPIRES_AFTER:]
    return len(newest) == EXPIRES_AFTER and not any(point.traces for point in newest)


def remeasure(
    reader: Reader, issues: Sequence[Issue], temp_dir: Path, *, threads: int = 2
) -> tuple[list[DraftFinding], list[str]]:
    """Run their detectors over the window; return what they find, and what could not be measured."""
    wanted = learned(issues)
    return asyncio.run(_remeasure(reader, wanted, temp_dir, threads)) if wanted else ([], [])


async def _remeasure(
    reader: Reader, issues: Sequence[Issue], temp_dir: Path, threads: int
) -> tuple[list[DraftFinding], list[str]]:
    questions = Questions.of(reader, temp_dir, threads=threads)
    desk = Desk(questions)
    findings, notes = [], []
    try:
        traces = (await questions.rows("SELECT count(*) AS n FROM traces")).rows[0]["n"]
        for issue in issues:
            assert issue.finding.detector is not None
            named = await of_rule(desk, issue.finding.detector.sql or "", traces)
            if isinstance(named, str):
                notes.append(f"{issue.issue_id} was not measured: {named}")
                continue
            excluded = {trace for decision in issue.standing.wrong for trace in decision.traces}
            if kept := [one for one in named.occurrences if one.trace_id not in excluded]:
                findings.append(await _finding(questions, issue, Affected(kept, named.left_out)))
    except ToolError as error:
        notes.append(f"{len(issues)} detectors of earlier reports were not run: {error}")
    finally:
        await questions.close()
    return findings, notes


async def quoted(questions: Questions, named: Affected) -> list[Evidence]:
    """Return quotes of the first affected spans, one of each trace."""
    texts = ", ".join(f"left({name}, {QUOTE_CHARACTERS}) AS {name}" for name in _QUOTED)
    shown = await questions.rows(
        f"SELECT trace_id, span_id, {texts} FROM spans WHERE list_contains(?, trace_id || '/' || span_id)",
        [[f"{one.trace_id}/{one.symptom_span_id}" for one in first_of_traces(named.occurrences)[:QUOTES]]],
    )
    evidence = []
    for row in shown.rows:
        name = next((name for name in _QUOTED if (row[name] or "").strip()), None)
        if name is not None:
            evidence.append(Evidence(trace_id=row["trace_id"], span_id=row["span_id"], field=name, quote=row[name]))
    return evidence


async def _finding(questions: Questions, issue: Issue, named: Affected) -> DraftFinding:
    known = issue.finding
    return DraftFinding(
        title=known.title,
        description=known.description,
        category=known.category,
        source="rlm",
        confidence=known.confidence,
        key=known.title,
        detector_name="rlm",
        sql=known.detector.sql if known.detector else None,
        occurrences=named.occurrences,
        spans_left_out=named.left_out,
        evidence=await quoted(questions, named),
        root_cause=known.root_cause,
        fix_summary=known.fix.summary,
        fix_validation=known.fix.validation,
        issue_id=issue.issue_id,
    )
