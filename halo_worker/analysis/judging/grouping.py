"""Labels become failure modes: the root model groups them by note ids, from which spans and quotes follow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from halo_worker.analysis import prompts, routes
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.expectations import CATEGORY, Expectation, named
from halo_worker.analysis.labels import Note
from halo_worker.analysis.routes import Worked
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.fit import cut, take
from halo_worker.rlm.agent.session import Session

REDUCE_BYTES = 60_000  # of notes in the prompt that groups them
WHAT_CHARACTERS, QUOTE_CHARACTERS = 240, 80  # of one note there


async def grouped(
    session: Session, desk: Desk, verifier: ClaimVerifier, worked: Worked, names: Collection[str], *,
    read: int, traces: int, task: str, rules: str, expected: Mapping[str, Expectation],
) -> None:  # fmt: skip
    """Have the root model group the notes `names`, which `read` of `traces` traces gave; nothing of them is lost.

    Broken expectations are findings of their own. What does not fit the prompt, or what nobody could group, is a
    finding for each category.
    """
    every = {name: desk.notes.notes[name] for name in names}
    broken = broken_expectations(every, expected)
    told = {name for finding in broken for name in finding["affected"]}
    notes = {name: note for name, note in every.items() if name not in told}
    shown = take([_line(name, note) for name, note in notes.items()], REDUCE_BYTES)
    rest = dict(list(notes.items())[len(shown) :])
    prompt = prompts.GROUP.format(
        untrusted=prompts.UNTRUSTED, read=read, traces=traces, task=task, rules=rules,
        data=prompts.marked("\n".join(orjson.dumps(line).decode() for line in shown)) if shown else "none",
    )  # fmt: skip
    await routes.final(session, verifier, prompt, worked, more=[*broken, *by_category(rest)])
    if worked.verified is None and every:  # the labels stand, whoever could not group them
        worked.verified = await verifier.verify({"answer": "", "findings": [*broken, *by_category(notes)]})
    if worked.verified is not None:
        worked.verified.citations += len(desk.notes.rejected)
        worked.verified.reasons += desk.notes.rejected


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


def unreported(
    notes: dict[str, Note], expected: Mapping[str, Expectation], arguments: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return what labels of the loop establish and its answer does not say: broken expectations that it left out.

    Without an answer all labels count, by category, as on the route `judge`.
    """
    given = [one for one in (arguments or {}).get("findings") or [] if isinstance(one, dict)]
    said = {one.id for item in given if (one := named(item.get("expectation"), str(item.get("title")), expected))}
    broken = broken_expectations(notes, expected.keys() - said)
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
