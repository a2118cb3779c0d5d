"""The route `map`: traces are read several at once, and what readers label is grouped as on the route `judge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halo_worker.analysis import prompts, rubric
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.expectations import Expectation
from halo_worker.analysis.judging.grouping import grouped
from halo_worker.analysis.labels import NOTED, Note, noted
from halo_worker.analysis.routes import BYTES_A_TOKEN, Size, Worked, map_tokens, texts_of
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.fit import size as size_of
from halo_worker.rlm.agent.session import Session

GROUP_BYTES = 24_000  # of traces in one prompt


async def mapped(
    session: Session, desk: Desk, verifier: ClaimVerifier, *, task: str, rules: str, size: Size,
    expected: Mapping[str, Expectation], max_tokens: int | None,
) -> Worked:  # fmt: skip
    """Read the traces in groups, many at once, and put together what was noted."""
    worked = Worked()
    texts = await texts_of(desk, GROUP_BYTES, int(map_tokens(max_tokens) * BYTES_A_TOKEN))
    groups = _grouped(texts)
    system = rubric.READ.format(
        untrusted=prompts.UNTRUSTED, steps=prompts.STEPS, task=task, marks=rubric.MARKS,
        categories=rubric.categories(), no_failure=rubric.NO_FAILURE,
    )  # fmt: skip
    results = await session.batch([prompts.marked("\n".join(group)) for group in groups], schema=NOTED, system=system)
    said: list[Any] = []
    unread, why = 0, ""
    for group, result in zip(groups, results, strict=True):
        if result.error is not None:
            unread += len(group)
            why = result.error.get("message", result.error.get("type", ""))[:300]
        else:
            said += result.value.get("notes", [])
    read = len(texts) - unread
    if size.traces > len(texts):
        worked.sampled = True
        worked.not_examined.append(
            f"{size.traces - len(texts)} of {size.traces} traces were not read by the model; "
            "those with errors came first"
        )
    if unread:
        worked.not_examined.append(f"{unread} of {size.traces} traces were not read by the model: {why}")
    if not read:
        worked.error = why
        return worked
    names = await _kept(desk, verifier, said)
    await grouped(
        session, desk, verifier, worked, names, read=read, traces=size.traces, task=task, rules=rules,
        expected=expected,
    )  # fmt: skip
    return worked


def _grouped(texts: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    used = 0
    for text in texts:
        if not groups or used + size_of(text) > GROUP_BYTES:
            groups.append([])
            used = 0
        groups[-1].append(text)
        used += size_of(text)
    return groups


async def _kept(desk: Desk, verifier: ClaimVerifier, said: Sequence[Any]) -> list[str]:
    """Keep the notes whose quotes are found in their spans; return their ids."""
    labels, problems = noted(said)
    desk.notes.rejected += problems
    found = await verifier.located([(one.trace_id, one.span_id, one.quote) for one in labels])
    names = []
    for one, evidence in zip(labels, found, strict=True):
        if isinstance(evidence, str):
            desk.notes.rejected.append(f"note on trace {one.trace_id[:40]}: {evidence}")
        else:
            names.append(desk.notes.add(Note(one, evidence)))
    return list(dict.fromkeys(names))
