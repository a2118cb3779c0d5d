"""The route `judge`: every trace judged by itself, then the labels grouped into failure modes by their note ids."""

from __future__ import annotations

from typing import Any

from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.judging.grouping import grouped
from halo_worker.analysis.judging.judge import Judge, Judged
from halo_worker.analysis.routes import MAP_TRACES, Size, Worked, map_tokens
from halo_worker.analysis.tools import Desk
from halo_worker.rlm.agent.session import Session

CANDIDATES = 20_000  # traces that a sample is drawn from
TOKENS_OF_TRACE = 4_000  # where nobody counted


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
    await grouped(
        session, desk, verifier, worked, list(dict.fromkeys(done.note_ids)), read=done.traces, traces=size.traces,
        task=task, rules=rules, expected=judge.expected,
    )  # fmt: skip
    return worked


def affordable(size: Size, max_tokens: int | None) -> int:
    """Return how many traces a map may read within its share of the run's tokens."""
    each = size.tokens / max(1, size.traces) if size.tokens is not None else TOKENS_OF_TRACE
    return max(1, min(MAP_TRACES, int(map_tokens(max_tokens) / max(each, 1))))


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
