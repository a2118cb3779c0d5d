"""One look at what arrived: the rules of the alerts over the traces that settled, and the certain part over the others.

Alerts that look at the same time share a pass. A trace is counted in the look in which it settles, once; what has not
settled is looked at only by rules that nothing can take back which still arrives (`Unit.early`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker.alerts.eligible import wanted
from halo_worker.alerts.journal import Look
from halo_worker.analysis import detectors, overview
from halo_worker.analysis.decision_scope import traces_since
from halo_worker.analysis.detectors import Own, Unit
from halo_worker.analysis.detectors.baselines import Baselines
from halo_worker.analysis.detectors.own import Ran
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.exclusions import Exclusions
from halo_worker.analysis.identities import identity, joined
from halo_worker.config import Settings
from halo_worker.config_alerts import AlertConfig
from halo_worker.report.memory import IssueMemory
from halo_worker.window import SECOND, Window

MEMORY_BYTES = 1 << 30  # that DuckDB may use for a look
SMALL_NS = 3600 * SECOND  # a window whose tables may be made in memory; a longer one comes after downtime


@dataclass(frozen=True, slots=True)
class Found:
    """What the rules named in a window, by issue, and which ran."""

    drafts: Mapping[str, DraftFinding]
    units: Mapping[str, Unit]
    ran: Ran

    @property
    def rules(self) -> dict[str, str]:
        """The rule of each issue."""
        return {issue_id: draft.detector_name for issue_id, draft in self.drafts.items()}

    @property
    def least(self) -> dict[str, int]:
        """The traces that each issue takes, by its rule."""
        return {issue_id: self.units[draft.detector_name].min_traces for issue_id, draft in self.drafts.items()}


def open_window(current: Settings, window: Window, *, unsettled: bool = True) -> Reader:
    """Open the traces that settled in a window, and those that have not and of which something arrived in it."""
    settle = Settle(
        int(current.analysis.settle_seconds * SECOND), int(current.analysis.settle_max_seconds * SECOND), unsettled
    )
    return Reader.open(
        current.store.data_dir,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        settle=settle,
        memory_limit=f"{min(MEMORY_BYTES, current.analysis.memory_limit_bytes)}B",
        threads=1,
        in_memory=window.end_ns - window.start_ns <= SMALL_NS,
    )


def find(
    reader: Reader,
    current: Settings,
    units: Mapping[str, Unit],
    known: IssueMemory,
    work_dir: Path,
    earlier: Baselines | None = None,
) -> Found:
    """Run the rules. Makes the tables that they read, and leaves out hits that people called wrong.

    `earlier` are the counts of the last report, with which rules compare that look at more than one trace. The least
    traces of a finding are those of an alert's window, which `decide` counts, not of one look.
    """
    if not units or not reader.query("SELECT count(*) AS n FROM memory.main._chosen")[0]["n"]:
        return Found({}, units, Ran())  # nothing to count: a pass over nothing takes half a second
    ours = [replace(unit, min_traces=1) for unit in units.values() if unit in detectors.DETECTORS]
    strangers = sorted({Path(unit.path) for unit in units.values() if unit not in detectors.DETECTORS})
    own = Own(strangers, frozenset(current.detectors.mute), work_dir, 1, min_traces=1) if strangers else None
    drafts, ran = detectors.every_finding(reader, Exclusions(known), own, ours, earlier=earlier, told=False)
    named = [draft for draft in drafts if draft.detector_name in units]
    return Found({identity(draft, known)[0]: draft for draft in joined(named, known)}, units, ran)


def looks(
    reader: Reader, found: Found, name: str, config: AlertConfig, known: IssueMemory, edges: Sequence[int]
) -> list[Look]:
    """Count what an alert saw between each two of `edges`, in unix nanoseconds, ascending."""
    settled = _settled(reader, config) if found.ran.units else {}
    times = sorted(at for at in settled.values() if at is not None)
    rules = wanted(config, found.units)
    ran = tuple(sorted(rules.keys() & {unit.name for unit in found.ran.units})) if settled else None
    pieces: list[Look] = [
        Look(name, start, end, bisect_left(times, end) - bisect_left(times, start), rules=ran)
        for start, end in pairwise(edges)
    ]
    for issue_id, draft in found.drafts.items():
        if draft.detector_name not in rules:
            continue
        hit = {one.trace_id for one in draft.occurrences} & settled.keys()
        for place, traces in _placed(hit, settled, edges).items():
            number = _counted(reader, config, issue_id, traces, known)
            if number and place:  # 0: it settled before, and an earlier look has counted it
                pieces[place - 1].found[issue_id] = number
            elif number and place is None and rules[draft.detector_name].early:
                pieces[-1].early[issue_id] = number
    return pieces


def _settled(reader: Reader, config: AlertConfig) -> dict[str, int | None]:
    """Return the traces that an alert is about, and when each settled; None of those that have not."""
    conditions, given = ["true"], []
    if config.agents or config.services:
        overview.dimensions(reader)
    for dimension, values in (("agent", config.agents), ("service", config.services)):
        if values:
            given.append(values)
            conditions.append(
                f"trace_id IN (SELECT trace_id FROM _dimensions WHERE dimension = '{dimension}' "
                f"AND list_contains(${len(given)}, value))"
            )
    rows = reader.connection.execute(
        "SELECT trace_id, settled_ns FROM _t JOIN memory.main._chosen USING (trace_id) "
        f"WHERE {' AND '.join(conditions)}",
        given,
    )
    return dict(rows.fetchall())


def _placed(hit: set[str], settled: Mapping[str, int | None], edges: Sequence[int]) -> dict[int | None, set[str]]:
    """Sort traces by the piece in which they settled, counted from 1; None of those that have not."""
    places: dict[int | None, set[str]] = {}
    for trace in hit:
        at = settled[trace]
        places.setdefault(None if at is None else bisect_right(edges, at), set()).add(trace)
    return places


def _counted(reader: Reader, config: AlertConfig, issue_id: str, traces: set[str], known: IssueMemory) -> int:
    """Count traces; of what a person resolved, only those that can show whether it is back."""
    issue = known.issues.get(issue_id)
    decision = issue.standing.resolved if issue else None
    if config.when != "regressed" or decision is None:
        return len(traces)
    releases = dict(known.releases)
    for release in overview.releases(reader):
        key = (release.service, release.version)
        releases[key] = min(release.first_seen, releases.get(key, release.first_seen))
    return traces_since(reader, traces, decision, releases)
