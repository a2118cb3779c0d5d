"""Issue memory: a failure mode keeps its identity across windows.

Everything is derived from the published reports and an append-only file of decisions (`decisions.jsonl`): first and
last seen, the history of its rate, and its state. Nothing else is stored, so nothing can disagree.

States. `new`: never seen. `regressed`: seen, then gone from windows that had enough traces for it to show (three
expected at its last rate, so that chance alone hides it once in twenty), or resolved by a person, and back.
`worsening`, `improving`: the rate differs from the window before (Fisher's exact test, p < 0.01, by a quarter or more);
where that one holds fewer than ten affected traces, from the last up to seven together. `ongoing`: none of these, also
when there is too little to tell, which `enough` says. `resolved`: not seen since in windows that had enough
traces for it to show (five expected at its last rate).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Literal

from halo_worker.errors import ReportError
from halo_worker.report.model import Finding, Report, Severity, State
from halo_worker.report.statistics import could_differ, rates_differ
from halo_worker.report.words import percent

Action = Literal["mute", "resolve", "reopen", "note"]

P_CHANGED = 0.01
CHANGED_BY = 0.25  # relative change of the rate, below which a difference is not worth a word
EXPECTED_TO_RESOLVE = 5.0
EXPECTED_TO_REGRESS = 3.0  # rule of three: none seen of three expected has p = 0.05
SIMILAR = 0.8  # share of tokens (Jaccard) from which two signatures are one failure mode
CRITICAL = 5  # points of a severity
MIN_TOKENS = 4  # of a signature, below which only the very same one is the same
MAX_POOLED = 7  # earlier windows that are taken together where the last alone holds too little
MIN_HITS = 10  # affected traces before, below which an earlier window is added

_MASKED = re.compile(r"<[a-z_]+>|[0-9a-f]{8,}|\d+")
_TOKEN = re.compile(r"[a-z_]{2,}")


def mask(key: str) -> str:
    """Write a signature without what changes from day to day: ids, numbers, case, spacing."""
    return " ".join(_MASKED.sub("#", key.lower()).split())


@functools.lru_cache(maxsize=65_536)
def tokens(key: str) -> tuple[str, ...]:
    """Return the words of a signature, in order."""
    return tuple(_TOKEN.findall(mask(key)))


def alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Say whether two signatures, as tokens, are one failure mode: they begin alike and share most of their words."""
    mine, theirs = set(one), set(other)
    if min(len(mine), len(theirs)) < MIN_TOKENS or one[0] != other[0]:
        return False
    return len(mine & theirs) >= SIMILAR * len(mine | theirs)


def fingerprint(category: str, detector: str, key: str) -> str:
    """Return the issue id of a failure mode."""
    text = "\x1f".join((category.lower(), detector.lower(), mask(key)))
    return f"HALO-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Point:
    """One window of an issue's history."""

    run_id: str
    end_ns: int
    traces: int
    of: int

    @property
    def rate(self) -> float:
        """Affected of all."""
        return self.traces / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of an issue."""

    issue_id: str
    action: Action
    note: str
    at_ns: int


@dataclass(slots=True)
class Issue:
    """A failure mode over time, oldest window first."""

    issue_id: str
    finding: Finding  # as last reported
    first_seen: int
    last_seen: int
    history: list[Point] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def muted(self) -> bool:
        """Whether a person asked not to be told."""
        said = [item.action for item in self.decisions if item.action != "note"]
        return bool(said) and said[-1] == "mute"

    @property
    def resolved_at(self) -> int | None:
        """When a person said it was fixed, unless it was reopened since."""
        said = [item for item in self.decisions if item.action != "note"]
        return said[-1].at_ns if said and said[-1].action == "resolve" else None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the memory says of a finding of this window."""

    issue_id: str
    state: State
    first_seen: int
    previous_rate: float | None
    p_value: float | None
    history: list[Point]
    muted: bool
    enough: bool | None = None  # whether the counts could show a change at all; None without an earlier window


class IssueMemory:
    """The issues of one data directory.

    Schedules may look at different agents, and so at different traces: rates are compared, and issues missed, among
    the windows of one schedule. `schedule` is the one that asks (None for runs by hand); without it each issue has the
    history of the schedule that last saw it.
    """

    def __init__(
        self, reports: Sequence[Report], decisions_path: Path | None, *, schedule: str | EllipsisType | None = ...
    ) -> None:
        self._path = decisions_path
        self.issues: dict[str, Issue] = {}
        self._histories: dict[tuple[str, str | None], list[Point]] = {}
        self._seen_by: dict[str, str | None] = {}  # the schedule that last saw an issue
        self._tokens: dict[str, set[str]] = {}
        self._windows: list[Report] = sorted(reports, key=lambda report: (report.window.end, report.created_at))
        for report in self._windows:
            self._learn(report)
        for issue_id, issue in self.issues.items():
            asks = self._seen_by.get(issue_id) if isinstance(schedule, EllipsisType) else schedule
            issue.history = self._histories.get((issue_id, asks), [])
        for decision in self._decisions():
            if decision.issue_id in self.issues:
                self.issues[decision.issue_id].decisions.append(decision)

    def _learn(self, report: Report) -> None:
        if report.status == "failed":
            return
        present = {}
        for finding in report.findings:
            issue = self.issues.get(finding.issue_id)
            if issue is None:
                issue = Issue(finding.issue_id, finding, finding.first_seen, finding.last_seen)
                self.issues[finding.issue_id] = issue
            if finding.state != "resolved":
                issue.finding = finding
                issue.last_seen = max(issue.last_seen, finding.last_seen)
                present[finding.issue_id] = finding.prevalence.traces
                self._seen_by[finding.issue_id] = report.schedule
                self._histories.setdefault((finding.issue_id, report.schedule), [])
        total = report.totals.traces
        for issue_id, issue in self.issues.items():
            if report.engine.mode == "detectors" and _needs_a_model(issue.finding) and issue_id not in present:
                continue  # that engine could not have seen it
            history = self._histories.get((issue_id, report.schedule))
            if history is not None:  # this schedule has seen it before
                history.append(Point(report.id, report.window.end, present.get(issue_id, 0), total))

    def _decisions(self) -> list[Decision]:
        if self._path is None or not self._path.exists():
            return []
        decisions = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                item = json.loads(line)
                decisions.append(Decision(item["issue_id"], item["action"], item.get("note", ""), int(item["at_ns"])))
            except (ValueError, KeyError, TypeError):
                continue  # a torn last line
        return decisions

    def identify(self, category: str, detector: str, key: str) -> str:
        """Return the id of a failure mode: that of a known one with nearly the same signature, else a new one."""
        own = fingerprint(category, detector, key)
        if own in self.issues:
            return own
        said = tokens(key)
        for issue_id, issue in self.issues.items():
            finding = issue.finding
            if finding.category != category:
                continue
            if detector == "rlm":
                words, other = set(said), set(tokens(finding.title))
                if finding.source == "rlm" and words and len(words & other) >= SIMILAR * len(words | other):
                    return issue_id
            elif finding.detector and finding.detector.name == detector and alike(said, tokens(finding.signature)):
                return issue_id
        return own

    def assess(self, issue_id: str, *, traces: int, of: int, first_seen: int) -> Assessment:
        """Compare a finding with the windows before."""
        issue = self.issues.get(issue_id)
        if issue is None:
            return Assessment(issue_id, "new", first_seen, None, None, [], False)
        previous, absent_of = _last_present(issue)
        state: State = "ongoing"
        p_value = enough = None
        if previous is not None:
            previous = _pooled(issue, previous, traces=traces, of=of)
            p_value = rates_differ(traces, of, previous.traces, previous.of)
            enough = could_differ(traces, of, previous.traces, previous.of, P_CHANGED)
            rate = traces / of if of else 0.0
            resolved_at = issue.resolved_at
            if (resolved_at is not None and first_seen > resolved_at) or (
                previous.rate * absent_of >= EXPECTED_TO_REGRESS
            ):
                state = "regressed"
                if absent_of:  # the change is against the windows without it
                    previous = Point(previous.run_id, previous.end_ns, 0, absent_of)
                    p_value = rates_differ(traces, of, 0, absent_of)
                    enough = could_differ(traces, of, 0, absent_of, P_CHANGED)
            elif p_value is not None and p_value < P_CHANGED:
                if rate > previous.rate * (1 + CHANGED_BY):
                    state = "worsening"
                elif rate < previous.rate * (1 - CHANGED_BY):
                    state = "improving"
        return Assessment(
            issue_id,
            state,
            min(issue.first_seen, first_seen),
            previous.rate if previous else None,
            p_value,
            issue.history,
            issue.muted,
            enough,
        )

    def resolved_now(self, present: set[str], *, of: int) -> list[Issue]:
        """Return the issues of which this window makes sure that they are gone: it had traces enough to show them."""
        gone = []
        for issue in self.issues.values():
            previous, absent_of = _last_present(issue)
            if issue.issue_id in present or previous is None:
                continue
            if previous.rate * absent_of < EXPECTED_TO_RESOLVE <= previous.rate * (absent_of + of):
                gone.append(issue)
        return gone

    def find(self, issue_id: str) -> Issue:
        """Return one issue; a unique beginning of its id, with or without 'HALO-', is enough. Raises ReportError."""
        wanted = issue_id.upper().removeprefix("HALO-").lower()
        matching = [issue for known, issue in self.issues.items() if known.removeprefix("HALO-").startswith(wanted)]
        if len(matching) != 1:
            what = "there is no issue" if not matching else "more than one issue begins with"
            raise ReportError(f"{what} {issue_id}", hint="'halo issues' lists them")
        return matching[0]

    def decide(self, issue_id: str, action: Action, *, note: str, now_ns: int) -> None:
        """Append a decision to the file."""
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        row = {"issue_id": issue_id, "action": action, "note": note, "at_ns": now_ns}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _needs_a_model(finding: Finding) -> bool:
    """Whether only a model can see it again: what has a detector of its own is measured in every window."""
    return finding.source == "rlm" and not (finding.detector and finding.detector.sql)


def state_of(issue: Issue) -> str:
    """Return the state of an issue as the last window left it, decisions included."""
    if issue.muted:
        return "muted"
    if issue.resolved_at is not None and issue.last_seen <= issue.resolved_at:
        return "resolved"
    previous, absent_of = _last_present(issue)
    if previous is None or not absent_of:
        return issue.finding.state
    return "resolved" if previous.rate * absent_of >= EXPECTED_TO_RESOLVE else "ongoing"


def _last_present(issue: Issue) -> tuple[Point | None, int]:
    """Return the last window that held an issue, and how many traces were looked at since."""
    absent_of = 0
    for point in reversed(issue.history):
        if point.traces:
            return point, absent_of
        absent_of += point.of
    return None, absent_of


def _pooled(issue: Issue, previous: Point, *, traces: int, of: int) -> Point:
    """Take earlier windows together with the last one that held an issue, until a change could show, if one can."""
    hits, whole, pooled = previous.traces, previous.of, 1
    at = next(n for n, point in enumerate(issue.history) if point is previous)
    while at > 0 and pooled < MAX_POOLED and (hits < MIN_HITS or not could_differ(traces, of, hits, whole, P_CHANGED)):
        at, pooled = at - 1, pooled + 1
        hits, whole = hits + issue.history[at].traces, whole + issue.history[at].of
    return Point(previous.run_id, previous.end_ns, hits, whole)


def severity_of(
    *,
    rate: float,
    traces: int,
    failed_share: float,
    state: State,
    hint: Severity | None,
    recovered_share: float = 0.0,
) -> tuple[Severity, str]:
    """Weigh prevalence, outcome, trend and recovery; return the severity and the reason in words.

    `failed_share` are the affected traces whose root ended in ERROR, `recovered_share` those that hold an error and
    whose root did not.
    """
    score = 0
    reasons = [f"{traces} trace{'s' if traces != 1 else ''} affected ({percent(rate)})"]
    score += 3 if rate >= 0.1 else 2 if rate >= 0.02 else 1 if rate >= 0.005 else 0
    if failed_share >= 0.5:
        score += 1
        reasons.append(f"{percent(failed_share)} of them end in an error")
    elif recovered_share >= 0.9:
        score = min(score, CRITICAL - 2)  # the trend may still add to it
        reasons.append("the runs go on after it and do not end in an error")
    elif failed_share + recovered_share < 0.05:
        reasons.append("no error status shows it")
    if state in ("worsening", "regressed", "new"):
        score += 1
        reasons.append(
            {"worsening": "it is getting worse", "regressed": "it had gone and is back", "new": "it is new"}[state]
        )
    elif state == "improving":
        score -= 1
        reasons.append("it is getting better")
    level: Severity = "critical" if score >= CRITICAL else "high" if score >= 3 else "medium" if score >= 2 else "low"
    order: tuple[Severity, ...] = ("low", "medium", "high", "critical")
    if hint == "low" and level != "low":
        level = "low"
        reasons.append("it costs time or money, not answers")
    elif hint is not None and hint != "low" and order.index(level) < order.index(hint):
        level = hint
        reasons.append("users are misled" if hint in ("high", "critical") else "users get no answer")
    return level, "; ".join(reasons)
