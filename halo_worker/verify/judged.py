"""A failure that only a model sees, counted again: it judges traces of both sides with that failure as its rubric."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import orjson

from halo_receiver.store.reader import Reader
from halo_worker.analysis import overview, prompts
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.judging.judge import Judge, Judged
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.work import limits_of, models_of
from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.report.formats import plural
from halo_worker.report.issue import Issue
from halo_worker.rlm.agent.session import Session
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.verify import measure
from halo_worker.verify.counting import Opened
from halo_worker.verify.measure import Found

MAX_JUDGED = 200  # traces of one side
TOKENS_OF_TRACE = 8_000  # read once, and for some a second time
QUOTES = 3  # of the report, as examples

RUBRIC = """One failure mode is looked for, and no other. Label a step only where it shows this one, in the category \
{category}, and give each such label the expectation {issue_id}; a trace without it has no labels.
What a report says of it, as data:
{data}"""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a model saw: the affected traces, both sides as far as they were judged, and what to say of that."""

    found: Found
    opened: Opened
    warnings: list[str]


def needed(current: Settings, issue: Issue) -> bool:
    """Say whether nothing but a model measures an issue, and one is configured."""
    unruled = issue.finding.source == "rlm" and not measure.has_sql(issue) and not issue.standing.wrong_as_a_whole
    return unruled and current.engine_for() == "rlm"


def judged(current: Settings, opened: Opened, issue: Issue, work_dir: Path) -> Sampled:
    """Have a model judge as many traces of both sides as the budget allows, the same number at most of each.

    The sample depends on the traces alone, and what was judged before comes from the cache. Makes the tables of
    `overview.prepare`. Raises InputError where no trace could be judged.
    """
    overview.prepare(opened.sides.reader)
    tokens = current.budget.max_tokens
    most = MAX_JUDGED if tokens is None else max(1, min(MAX_JUDGED, tokens // TOKENS_OF_TRACE // 2))
    whole = opened.before(issue), opened.after
    before, after = (_sample(side, most) for side in whole)
    names, judge, done = asyncio.run(_judge(current, opened.sides.reader, issue, [*before, *after], work_dir))
    read = judge.desk.notes.outcomes.keys()
    if not read:
        why = next(iter(done.unread.values()), "the model said nothing")
        raise InputError(f"no trace could be judged: {why}", hint="'halo doctor' says whether the model can be reached")
    seen = Found(issue.issue_id, issue.finding.title, f"judged by {current.model.name}", names, judged=True)
    warnings = [f"{plural(len(done.unread), 'trace')} not judged whole: {next(iter(done.unread.values()))}"] \
        if done.unread else []  # fmt: skip
    if len(before) < len(whole[0]) or len(after) < len(whole[1]):
        sampled = f"{len(before)} of {len(whole[0])} before, {len(after)} of {len(whole[1])} after"
        warnings.append(f"a sample was judged: {sampled}")
    began = {trace: opened.began[trace] for trace in before if trace in read}
    return Sampled(seen, Opened(opened.sides, began, {trace for trace in after if trace in read}), warnings)


def _sample(traces: Collection[str], most: int) -> list[str]:
    return sorted(traces, key=lambda trace: (zlib.crc32(trace.encode()), trace))[:most]


async def _judge(
    current: Settings, reader: Reader, issue: Issue, traces: list[str], work_dir: Path
) -> tuple[set[str], Judge, Judged]:
    """Judge the traces; return those that show the issue."""
    desk = Desk(Questions.of(reader, work_dir / "tmp", threads=current.store.threads))
    root, sub = models_of(current.model)
    session = Session(
        root=root, sub=sub, limits=limits_of(current.budget), open_interpreter=OpenMonty(), work_dir=work_dir,
        cache_dir=current.store.data_dir / "cache", max_retries=current.model.max_retries,
        refusal_retries=current.model.refusal_retries,
    )  # fmt: skip
    try:
        verifier = ClaimVerifier(reader, desk, {}, traces=len(traces), needs_answer=False)
        judge = Judge(desk, verifier, session.batch, _rubric(issue))
        done = await judge.judge(traces)
    finally:
        await session.close()
        await desk.questions.close()
    said = [note.said for note in desk.notes.notes.values()]
    return {one.trace_id for one in said if one.expectation == issue.issue_id}, judge, done


def _rubric(issue: Issue) -> str:
    finding = issue.finding
    told = {
        "title": finding.title, "description": finding.description, "category": finding.category,
        "root_cause": finding.root_cause, "examples": [one.quote for one in finding.evidence[:QUOTES]],
    }  # fmt: skip
    return RUBRIC.format(
        issue_id=issue.issue_id, category=finding.category, data=prompts.marked(orjson.dumps(told).decode())
    )
