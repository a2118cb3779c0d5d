"""The route `judge`: every trace judged by itself, then the labels grouped into failure modes by their note ids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from halo_worker.analysis import prompts, routes
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.expectations import CATEGORY, named
from halo_worker.analysis.judging.judge import Judge, Judged
from halo_worker.analysis.labels import Note
from halo_worker.analysis.routes import MAP_SHARE, MAP_TOKENS, MAP_TRACES, Size, Worked
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.fit import cut, take
from halo_worker.rlm.agent.session import Session

CANDIDATES = 20_000  # traces that a sample is drawn from
TOKENS_OF_TRACE = 4_000  # where nobody counted
REDUCE_BYTES = 60_000  # of notes in the prompt that groups them
WHAT_CHARACTERS, QUOTE_CHARACTERS = 240, 80  # of one note there


async def judged(
    session: Session, desk: Desk, verifier: ClaimVerifier, *, task: str, rules: str, size: Size,
    judge: Judge, max_tokens: int | None,
) -> Worked:  # fmt: skip
    """Judge all traces that the budget allows, stratified, and have the root model group the labels."""
    worked = Worked()
    ids = await sample(desk, affordable(size, max_tokens))
    done = await judge.judge(ids)
    _account(worked, done, size)
    if not done.traces:
        worked.error = next(iter(done.unread.values()), "no trace was judged")
        return worked
    every = {name: desk.notes.notes[name] for name in dict.fromkeys(done.note_ids)}
    broken = broken_expectations(every, judge.expected)
    told = {name for finding in broken for name in finding["affected"]}
    notes = {name: note for name, note in every.items() if name not in told}
    shown = take([_line(name, note) for name, note in notes.items()], REDUCE_BYTES)
    rest = dict(list(notes.items())[len(shown) :])
    prompt = prompts.GROUP.format(
        untrusted=prompts.UNTRUSTED, read=done.traces, traces=size.traces, task=task,
        rules=rules,
        data=prompts.marked("\n".join(orjson.dumps(line).decode() for line in shown)) if shown else "none",
    )  # fmt: skip
    await routes.final(session, verifier, prompt, worked, more=[*broken, *by_category(rest)])
    if worked.verified is None and every:  # the labels stand, whoever could not group them
        worked.verified = await verifier.verify({"answer": "", "findings": [*broken, *by_category(notes)]})
    if worked.verified is not None:
        worked.verified.citations += len(desk.notes.rejected)
        worked.verified.reasons += desk.notes.rejected
    return worked


def affordable(size: Size, max_tokens: int | None) -> int:
    """Return how many traces a map may read within its share of the run's tokens."""
    tokens = MAP_TOKENS if max_tokens is None else int(max_tokens * MAP_SHARE)
    each = size.tokens / max(1, size.traces) if size.tokens is not None else TOKENS_OF_TRACE
    return max(1, min(MAP_TRACES, int(tokens / max(each, 1))))


async def sample(desk: Desk, count: int) -> list[str]:
    """Return so many traces, in turn of each kind: by outcome, first hypothesis and what they do."""
    found = await desk.questions.rows(
        "SELECT trace_id, error_count > 0 OR status_code = 'ERROR' AS failed, root_name FROM traces "
        f"ORDER BY hash(trace_id), trace_id LIMIT {CANDIDATES}",
        max_rows=CANDIDATES,
    )
    named = {trace: name for name, traces in reversed(list(desk.hypotheses.items())) for trace in traces}
    kinds: dict[tuple[Any, ...], list[str]] = {}
    for row in found.rows:
        kind = (named.get(row["trace_id"]), bool(row["failed"]), row["root_name"])
        kinds.setdefault(kind, []).append(row["trace_id"])
    turns: list[list[str]] = sorted(kinds.values(), key=len)
    chosen: list[str] = []
    for turn in range(max(map(len, turns), default=0)):
        chosen += [traces[turn] for traces in turns if turn < len(traces)]
        if len(chosen) >= count:
            break
    return chosen[:count]


def broken_expectations(notes: dict[str, Note], expected: Collection[str]) -> list[dict[str, Any]]:
    """Return a finding for each expectation that labels say is broken."""
    groups: dict[str, list[str]] = {}
    for name, note in notes.items():
        if note.said.expectation in expected:
            groups.setdefault(note.said.expectation, []).append(name)
    return [
        {"title": one, "expectation": one, "category": CATEGORY, "affected": names, "evidence": [],
         "description": f"A model judged it so. The first: {notes[names[0]].said.what}"}
        for one, names in groups.items()
    ]  # fmt: skip


def unreported(judge: Judge, arguments: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return what labels of the loop establish and its answer does not say: broken expectations that it left out.

    Without an answer all labels count, by category, as on the route `judge`.
    """
    notes = judge.desk.notes.notes
    given = [one for one in (arguments or {}).get("findings") or [] if isinstance(one, dict)]
    said = {one.id for item in given if (one := named(item.get("expectation"), str(item.get("title")), judge.expected))}
    broken = broken_expectations(notes, judge.expected.keys() - said)
    if arguments is not None:
        return broken
    told = {name for finding in broken for name in finding["affected"]}
    return [*broken, *by_category({name: note for name, note in notes.items() if name not in told})]


def by_category(notes: dict[str, Note]) -> list[dict[str, Any]]:
    """Return a finding for each category of labels that no model grouped, so that none is lost."""
    groups: dict[str, list[str]] = {}
    for name, note in notes.items():
        for category in note.said.categories:
            groups.setdefault(category, []).append(name)
    return [
        {
            "title": f"{category}, as labelled", "category": category, "affected": names, "evidence": [],
            "description": f"Labels that were not grouped further. The first: {notes[names[0]].said.what}",
        }
        for category, names in groups.items()
    ]  # fmt: skip


def _line(name: str, note: Note) -> Sequence[Any]:
    said = note.said
    quote = cut(note.evidence.quote, QUOTE_CHARACTERS)
    return [name, said.trace_id[:8], list(said.categories), cut(said.what, WHAT_CHARACTERS), quote]


def _account(worked: Worked, done: Judged, size: Size) -> None:
    """Say what was not judged, and what did not stand."""
    if size.traces > done.traces:
        worked.sampled = True
        worked.not_examined.append(
            f"{size.traces - done.traces} of {size.traces} traces were not judged; those that were are of every kind"
        )
    for why in list(dict.fromkeys(done.unread.values()))[:3]:
        worked.not_examined.append(f"some steps or traces were not judged: {why}")
    if done.withdrawn:
        worked.not_examined.append(f"{done.withdrawn} labels on clean traces were withdrawn at a second look")
