"""Which findings are seen in the same traces: one cause often shows in several ways, and a reader wants to know."""

from __future__ import annotations

from collections.abc import Mapping, Set

SHARED = 0.8  # of the traces of both findings together, from which they are said to be seen together
MIN_TRACES = 3  # fewer may fall together by chance


def seen_together(traces: Mapping[str, Set[str]]) -> dict[str, list[str]]:
    """Return for each finding the others whose traces are nearly the same, the closest first.

    `traces`: issue id → its trace ids. Two findings are seen together when their intersection is SHARED of their
    union (Jaccard). It says nothing about which of them causes the other.
    """
    sizes = sorted((len(ids), issue_id) for issue_id, ids in traces.items() if len(ids) >= MIN_TRACES)
    by_size = [issue_id for _, issue_id in sizes]
    found: dict[str, list[tuple[float, str]]] = {issue_id: [] for issue_id in traces}
    for place, smaller in enumerate(by_size):
        for larger in by_size[place + 1 :]:
            if len(traces[smaller]) < SHARED * len(traces[larger]):
                break  # the rest is larger still: what both share cannot be enough of it
            both = len(traces[smaller] & traces[larger])
            share = both / (len(traces[smaller]) + len(traces[larger]) - both)
            if share >= SHARED:
                found[smaller].append((share, larger))
                found[larger].append((share, smaller))
    return {issue_id: [other for _, other in sorted(near, reverse=True)] for issue_id, near in found.items() if near}
