"""The first message of the loop: the window, the hypotheses, the commits and the question."""

from __future__ import annotations

from typing import Any

import orjson

from halo_worker.analysis import hypotheses as guesses
from halo_worker.analysis import prompts
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.repository import commits_of
from halo_worker.analysis.tools.fit import cut, take
from halo_worker.analysis.work import Work
from halo_worker.report.model import iso_nano

COMMITS_BYTES = 1_500  # for the commits in the window, and for those before it


async def _commits(work: Work) -> str:
    """Say which commits of the agents' source lie in the window, and which are the last before it."""
    path = work.analysis.repo_path
    near = await commits_of(path, start_ns=work.window.start_ns, end_ns=work.window.end_ns) if path else None
    if near is None:
        return ""
    inside = take([_commit(one) for one in near["in_window"]], COMMITS_BYTES)
    before = take([_commit(one) for one in near["before"]], COMMITS_BYTES)
    more = near["more_in_window"] or len(inside) < len(near["in_window"])
    return prompts.COMMITS.format(
        inside=orjson.dumps(inside).decode() + (" and more: git_log" if more else ""),
        before=orjson.dumps(before).decode(),
    )


def _commit(commit: dict[str, Any]) -> list[str]:
    return [commit["sha"], commit["committed_at"], cut(commit["subject"], 100) or ""]


async def written(
    work: Work, found: Draft, hypotheses: guesses.Hypotheses, overview: dict[str, Any], earlier: str
) -> str:
    """Write the message. `overview`: of `get_dataset_overview`; `earlier`: what models found in earlier windows."""
    return prompts.FIRST.format(
        start=iso_nano(max(0, work.window.start_ns)),
        end=iso_nano(work.window.end_ns),
        overview=prompts.marked(orjson.dumps(overview).decode()),
        traces=overview["traces"],
        hypotheses=guesses.listed(hypotheses),
        unsupported="; ".join(found.unsupported) or "nothing that is known of",
        commits=await _commits(work),
        earlier=earlier,
        question=prompts.question(work.prompt),
    )
