"""Which issue a model's finding is, where it says so: a broken expectation, or a failure mode of an earlier window.

A model words the same failure in another way each night; what it named goes on as one issue, and is counted as one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import orjson

from halo_worker.analysis import expectations
from halo_worker.analysis.answer import Claimed
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.expectations import Expectation
from halo_worker.analysis.prompts import EARLIER, marked
from halo_worker.analysis.tools.fit import cut, take
from halo_worker.report.issue import Issue
from halo_worker.report.labelled import Label

MAX_TOLD = 30  # failure modes, those seen last
TOLD_BYTES = 3_000
TITLE_CHARACTERS = 120
EXAMPLES, WHAT_CHARACTERS = 2, 120  # labels of one, and of each

Earlier = Mapping[str, Issue]  # by id


def earlier(issues: Sequence[Issue], expected: Collection[Expectation]) -> dict[str, Issue]:
    """Return the issues that only a model can find again: it found them, and stated no rule that measures them."""
    ruled = {one.issue_id for one in expected}
    kept = [
        one
        for one in issues
        if one.finding.source == "rlm"
        and not (one.finding.detector and one.finding.detector.sql)
        and not one.standing.wrong_as_a_whole
        and one.issue_id not in ruled
    ]
    return {one.issue_id: one for one in sorted(kept, key=lambda one: -one.last_seen)[:MAX_TOLD]}


def told(known: Earlier, labels: Sequence[Label] = ()) -> str:
    """Write them for a model, as data, with what labels of earlier windows said of each; empty without any."""
    said: dict[str, dict[str, None]] = {}
    for label in labels:
        if label.issue_id is not None and label.issue_id in known:
            said.setdefault(label.issue_id, {})[cut(label.what, WHAT_CHARACTERS) or ""] = None
    lines = take(
        [
            [name, cut(one.finding.title, TITLE_CHARACTERS), one.finding.category, *list(said.get(name, ()))[:EXAMPLES]]
            for name, one in known.items()
        ],
        TOLD_BYTES,
    )
    return EARLIER.format(data=marked("\n".join(orjson.dumps(line).decode() for line in lines))) if lines else ""


def identified(
    found: DraftFinding, claimed: Claimed, expected: Mapping[str, Expectation], known: Earlier, problems: list[str]
) -> DraftFinding:
    """Return a finding as the issue that it says it is; what it names and is not there is a problem."""
    one = expectations.named(claimed.expectation, claimed.title, expected)
    if one is not None:
        return expectations.broken(found, one)
    if claimed.expectation:
        problems.append(f"there is no expectation {claimed.expectation}")
    if claimed.issue in known and not claimed.hypothesis:
        return replace(found, issue_id=claimed.issue)
    if claimed.issue and claimed.issue not in known:
        problems.append(f"there is no issue {claimed.issue} of an earlier window")
    return found
