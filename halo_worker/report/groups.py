"""Findings of the same traces: one cause often shows in several ways, and is told once, with its symptoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

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


def grouped(
    together: Mapping[str, Sequence[str]], order: Sequence[str], leads: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the groups: the issue that leads each, and the others of it.

    `together` is what `seen_together` returns, `order` the issues with the most important first, `leads` the lead of
    each issue in the window before: one that led then leads again while others are still seen with it.
    """
    led = [issue_id for issue_id in order if leads.get(issue_id) == issue_id]
    groups: dict[str, list[str]] = {}
    taken: set[str] = set()
    for lead in dict.fromkeys((*led, *order)):
        if lead in taken:
            continue
        symptoms = [
            other for other in order if other in together.get(lead, ()) and other not in taken and other != lead
        ]
        if symptoms:
            groups[lead] = symptoms
            taken |= {lead, *symptoms}
    return groups
