"""Which findings have one cause: the one place that groups them, of both engines. It changes nothing of its members.

Three steps, each of which joins what the one before left:

1. **Template**: findings of one detector whose errors read alike without names of agents, models and services, numbers
   and the class of the exception. A tool's name stays: another tool is another cause.
2. **Kind**: what is left of a detector in a few traces each is one row, where the detector says itself what is wrong.
3. **Overlap**: findings of the same spans (ahead of the kind), or of nearly the same traces, or of traces that lie
   within those of the other, are one event told twice.

A model's finding is joined with others of its category alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

from halo_worker.report.affected import AffectedSpan
from halo_worker.report.model import Finding

SHARED = 0.8  # of the traces of both findings together, or of the spans of the smaller, from which they are one event
MIN_TRACES = 3  # fewer may fall together by chance
OWN_ROW, OWN_SHARE = 5, 0.01  # traces, and share of the window, from which a cause has a row of its own
BY_CHANCE = 1e-3  # that so many traces of one finding would be of another by chance, up to which they are one event
# Detectors whose name says nothing of the cause: only the text does, or a model wrote them.
BY_TEXT = ("error_other", "swallowed_error", "cause_not_known")

# Detectors that tell of one kind of failure by other evidence: the error where there is one, else how the run goes.
SAME_KIND = {
    "stopped_at_limit": "error_turn_limit",
    "task_handed_again": "handoff_ping_pong",
    "context_pressure": "error_context_length",
}
TOLD = "told_not_served"  # its signature is the class of the error

_EXCEPTION = re.compile(r"^[\w.]*(error|exception|exceeded|limit|interrupt|warning)\b\s*:?\s*")
_SUFFIX = re.compile(r"\|([a-z]+)$")  # of a key: what of a subject is meant, such as "|arguments"
_NAMED = "<name>"


@dataclass(frozen=True, slots=True)
class Member:
    """What grouping looks at. `names`: of agents, models and services that the finding speaks of."""

    issue_id: str
    detector: str | None  # None: a model's own finding
    category: str
    signature: str
    names: frozenset[str]
    traces: frozenset[str]
    spans: frozenset[str]
    alone: bool = False  # muted: it leads nobody, and is led by nobody of its kind


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


def template(member: Member) -> str:
    """Return what a finding's error says without the class of the exception, names and numbers."""
    text = _EXCEPTION.sub("", member.signature.lower()) or member.signature.lower()
    for name in sorted(member.names, key=len, reverse=True):
        if len(name) > 1:
            text = re.sub(rf"(?<!\w){re.escape(name.lower())}(?!\w)", _NAMED, text)
    return text


def in_groups(findings: Sequence[Finding], affected: Iterable[AffectedSpan], leads: Mapping[str, str]) -> list[Finding]:
    """Say of each finding which others are seen in its traces, and who leads those of one cause."""
    traces: dict[str, set[str]] = {item.issue_id: set() for item in findings}
    spans: dict[str, set[str]] = {item.issue_id: set() for item in findings}
    for row in affected:
        traces[row.issue_id].add(row.trace_id)
        spans[row.issue_id] |= {span for span in (row.origin_span_id, row.symptom_span_id) if span}
    together = seen_together(traces)
    members = [_member(item, traces[item.issue_id], spans[item.issue_id]) for item in findings]
    groups = grouped(members, leads, of=max((item.prevalence.of for item in findings), default=0))
    lead_of = {member: lead for lead, symptoms in groups.items() for member in (lead, *symptoms)}
    return [
        item.model_copy(
            update={
                "seen_with": together.get(item.issue_id, []),
                "group_id": lead_of.get(item.issue_id),
                "symptoms": groups.get(item.issue_id, []),
            }
        )
        for item in findings
    ]


def _member(item: Finding, traces: set[str], spans: set[str]) -> Member:
    return Member(
        issue_id=item.issue_id,
        detector=item.detector.name if item.detector and item.source == "detector" else None,
        category=item.category,
        signature=item.signature,
        names=frozenset(one.value for one in item.breakdown if one.dimension in ("agent", "model", "service")),
        traces=frozenset(traces),
        spans=frozenset(spans),
        alone=item.muted or item.state == "resolved",
    )


def grouped(members: Sequence[Member], leads: Mapping[str, str], *, of: int) -> dict[str, list[str]]:
    """Return the groups of two and more: the issue that leads each, and the others of it.

    `members` with the most important first; `of`: traces in the window; `leads` the lead of each issue in the window
    before: one that led then leads again while others are still with it.
    """
    sets = [[member] for member in members]
    sets = _joined(
        sets, [None if one.alone or one.detector is None else (one.detector, template(one)) for one in members]
    )
    sets = _joined(sets, _events(sets, _same_spans))
    sets = _joined(sets, [_kind(one, max(OWN_ROW, OWN_SHARE * of)) for one in sets])
    sets = _joined(sets, _events(sets, partial(_same_traces, of=of)))
    place = {member.issue_id: number for number, member in enumerate(members)}
    found: dict[str, list[str]] = {}
    for ids in (sorted((one.issue_id for one in some), key=place.__getitem__) for some in sets):
        if len(ids) > 1:
            lead = next((issue_id for issue_id in ids if leads.get(issue_id) == issue_id), ids[0])
            found[lead] = [issue_id for issue_id in ids if issue_id != lead]
    return found


_Set = list[Member]


def _joined(sets: Sequence[_Set], keys: Sequence[object]) -> list[_Set]:
    """Join the sets of equal keys; None joins nothing."""
    joined: dict[object, _Set] = {}
    for number, (key, members) in enumerate(zip(keys, sets, strict=True)):
        joined.setdefault(("alone", number) if key is None else key, []).extend(members)
    return list(joined.values())


def _traces(members: Iterable[Member]) -> frozenset[str]:
    return frozenset().union(*(one.traces for one in members))


def _spans(members: Iterable[Member]) -> frozenset[str]:
    return frozenset().union(*(one.spans for one in members))


def _events(sets: Sequence[_Set], same: Callable[[_Set, _Set], bool]) -> list[object]:
    """Return a key for each set: the place of the largest other that it is the same as, else its own."""
    order = sorted(range(len(sets)), key=lambda number: -len(_traces(sets[number])))
    keys: dict[int, int] = {}
    for place, number in enumerate(order):
        near = (other for other in order[:place] if keys[other] == other and _may(sets[other], sets[number], same))
        keys[number] = next(near, number)
    return [keys[number] for number in range(len(sets))]


def _may(one: _Set, other: _Set, same: Callable[[_Set, _Set], bool]) -> bool:
    models = any(member.detector is None for member in (*one, *other))
    return not (models and len({member.category for member in (*one, *other)}) > 1) and same(one, other)


def _same_spans(one: _Set, other: _Set) -> bool:
    spans, others = _spans(one), _spans(other)
    return bool(spans & others) and len(spans & others) >= SHARED * min(len(spans), len(others))


def _same_traces(one: _Set, other: _Set, *, of: int) -> bool:
    traces, others = sorted((_traces(one), _traces(other)), key=len)
    both = len(traces & others)
    if len(traces) < MIN_TRACES or both < SHARED * len(traces):
        return False
    return both >= SHARED * len(traces | others) or (len(others) / of) ** both <= BY_CHANCE


def _kind(members: _Set, own_row: float) -> object:
    """Return what a small set is of; None for one that stands for itself."""
    told = next((one for one in members if not (one.detector or "error_").startswith("error_")), members[0])
    kind = told.detector and (f"error_{told.signature}" if told.detector == TOLD else told.detector)
    if kind is None or kind in BY_TEXT or told.alone or len(_traces(members)) >= own_row:
        return None
    suffix = _SUFFIX.search(told.signature)
    return (SAME_KIND.get(kind, kind), suffix[1] if suffix else "")
