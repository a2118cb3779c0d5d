"""One issue counted on both sides of a change, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass

from halo_worker.display import named
from halo_worker.errors import InputError
from halo_worker.report.comparison import Counts, Standardised, compare
from halo_worker.report.formats import plural
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.states import UNKNOWN_RULE, not_all_false
from halo_worker.report.verification import Basis, Rate, Verification, verification
from halo_worker.verify import measure, sides
from halo_worker.verify.groups import Groups, Shift
from halo_worker.verify.history import told
from halo_worker.verify.measure import Found
from halo_worker.window import SECOND, Window

DAY_NS = 86_400 * SECOND


@dataclass(slots=True)
class Opened:
    """Both sides, measured. `began` is when a trace of the side before started."""

    sides: sides.Sides
    began: dict[str, int | None]
    after: set[str]
    groups: Groups | None = None

    def before(self, issue: Issue) -> set[str]:
        """Return the traces before that could have had an issue: since the day on which it was first seen."""
        since = presence(issue, self.sides)
        return {trace for trace, began in self.began.items() if began is None or began >= since}


@dataclass(frozen=True, slots=True)
class Counted:
    """One issue on both sides, before the verdict."""

    issue: Issue
    found: Found
    before: Counts
    after: Counts
    basis: Basis
    shift: Shift | None
    blind: list[str]
    warnings: list[str]

    @property
    def standardised(self) -> Standardised | None:
        return self.shift.deciding if self.shift else None


def presence(issue: Issue, opened: sides.Sides) -> int:
    """Return since when traces before are compared: the day on which the issue was first seen, in unix nanoseconds."""
    if opened.before_given or issue.first_seen >= opened.split_ns:
        return 0
    return issue.first_seen // DAY_NS * DAY_NS


def which(side: str) -> str:
    """Write a side after 'no trace': '… arrived …', '… is of release …'."""
    return side if side.startswith("arrived") else f"is of {side}"


def counted(opened: Opened, issue: Issue, found: Found) -> Counted:
    """Count an issue on both sides. Raises InputError where nothing is known of the side before."""
    before_ids, warnings = opened.before(issue), list(opened.sides.problems)
    before = Counts(len(found.traces & before_ids), len(before_ids))
    after = Counts(len(found.traces & opened.after), len(opened.after))
    basis: Basis = "traces"
    rule = found.rule if found.rule != "sql" else UNKNOWN_RULE
    start = max(opened.sides.start_ns, presence(issue, opened.sides))
    held, split = opened.sides.held, max(start, opened.sides.split_ns)
    history = [] if found.judged else issue.history  # reports judged by other words, and other traces
    gone = told(history, Window(start, max(start, min(split, held.start_ns if held else split))), rule)
    if gone.incomparable:
        warnings.append(f"{plural(gone.incomparable, 'report')} measured by another version of the rule: not counted")
    if gone.counts.of > before.of:
        past = told(issue.history, Window(start, split), rule)
        before, basis = past.counts, "reports"
        warnings.append(f"traces before are not stored any more: counted from {plural(past.windows, 'report')}")
    if not before.of:
        raise InputError(
            f"the side before is empty: no stored trace {which(opened.sides.before)}, and no report tells of one",
            hint=f"{sides.stored(held)}; --before A..B names another",
        )
    shift, blind = None, []
    if basis == "traces" and after.of:
        opened.groups = opened.groups or Groups(opened.sides.reader)
        shift = opened.groups.shift(before_ids, opened.after, found.traces)
        warnings += _of_shift(shift)
    if after.of and not after.traces:
        blind = measure.blind(opened.sides.reader, found.rule, "after")
    return Counted(issue, found, before, after, basis, shift, blind, warnings)


def _of_shift(shift: Shift) -> list[str]:
    """Say what shifted between the sides, and what that means for the rates."""
    said = []
    if shift.lost_agents:
        agents = ", ".join(named(agent) for agent in shift.lost_agents[:3])
        said.append(f"most of it was before in traces of {agents}, of which none came after")
    if shift.by and shift.standardised is None:
        said.append(
            f"{' and '.join(shift.by)} shifted: most traces before have no like after, so the rates cannot be "
            "standardised; what shifted may explain the difference"
        )
    return said


def verdict(one: Counted, opened: Opened, now_ns: int, q_value: float | None = None) -> Verification:
    """Compare an issue that was counted; `q_value` is its p-value, adjusted for the number of issues."""
    before, after, finding = one.before, one.after, one.issue.finding
    compared = compare(
        before, after, sure=not_all_false(after.traces, finding.confidence), standardised=one.standardised,
        q_value=q_value,
    )  # fmt: skip
    warnings = list(one.warnings)
    lost = one.shift is not None and one.shift.lost_agents
    if compared.verdict in ("fixed", "improved") and (one.blind or lost):
        compared = compared._replace(verdict="too few", needed=None)
        if one.blind:
            warnings.append(f"the traces after lack {' and '.join(one.blind)}: {one.found.rule} cannot see there")
    if not after.of:
        newest = f"; the newest that was sent is {named(opened.sides.newest)}" if opened.sides.newest else ""
        warnings.append(f"no trace {which(opened.sides.after)} yet{newest}")
    elif compared.verdict == "too few" and after.traces:
        warnings.append(f"it is still seen in {after.traces} of {after.of} traces after")
    if not before.traces:
        warnings.append(f"it was in none of the {plural(before.of, 'trace')} before: --before A..B names another side")
    shift = one.shift
    return verification(
        (one.issue.issue_id, titled(finding)),
        (Rate.of_counts(before, opened.sides.before, one.basis), Rate.of_counts(after, opened.sides.after)),
        compared, rule=one.found.rule, at_ns=now_ns, warnings=warnings, release=opened.sides.plan.release,
        standardised=(shift.by, shift.standardised) if shift and shift.standardised else None,
    )  # fmt: skip
