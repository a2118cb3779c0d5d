"""Issue memory: a failure mode keeps its identity across windows, and people's decisions about it.

Everything is derived from the published reports and from what people decided (`decisions.jsonl`): first and last seen,
the history of the rate, the state (`states`). Nothing else is stored, so nothing can disagree.

A memory is that of one schedule, or of the runs by hand that were told to remember. Other runs by hand are known by
their ids alone: their issues can be named, shown and muted, and have no history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import EllipsisType

from halo_worker.errors import ReportError
from halo_worker.report.decisions import Decision, standing
from halo_worker.report.fixes import FixCheck
from halo_worker.report.identity import SIMILAR, alike, fingerprint, mask, tokens
from halo_worker.report.issue import Assessment, Issue, Scope, Seen
from halo_worker.report.model import Finding, Report
from halo_worker.report.states import UNKNOWN_RULE, Derived, Point, back_after_decision, derive, resolves


class IssueMemory:
    """The issues that one scope has seen; without one (`...`), each issue as the scope sees it that saw it last.

    `reports` are remembered in the order of their windows; `precedes` says which of them come before the window that is
    asked about. `replaced` names for each rule of earlier builds the one that measures the same today.
    """

    def __init__(
        self,
        reports: Sequence[Report],
        decisions: Mapping[str, list[Decision]] | None = None,
        *,
        scope: Scope | EllipsisType = ...,
        precedes: Callable[[Report], bool] = lambda _: True,
        replaced: Mapping[str, str] | None = None,
        traces_of: Callable[[str, str], set[str]] | None = None,
    ) -> None:
        self._replaced = dict(replaced or {})
        self.issues: dict[str, Issue] = {}
        self.others: dict[str, Issue] = {}  # seen by runs by hand that remember nothing
        self.releases: dict[tuple[str, str], int] = {}
        self.leads: dict[str, str] = {}  # issue → the lead of its group, in the last window
        self.fixes: dict[str, list[FixCheck]] = {}  # what windows of this scope said of resolved issues, oldest first
        self.windows = 0  # that precede the one asked about, with traces, in this scope
        self.continued: dict[str, str] = {}  # issue of an earlier rule → the one that continues it
        self._histories: dict[tuple[str, Scope], list[Point]] = {}
        self._regressed: dict[tuple[str, Scope], int] = {}
        self._traces_of = traces_of
        self._scope = scope
        self.last = (0, 0)  # end of the last window, and when it was reported
        self._remember(reports, precedes)
        self.decide(decisions or {})

    def extended(self, reports: Sequence[Report], decisions: Mapping[str, list[Decision]]) -> IssueMemory:
        """Return the memory with further reports, all of them later than `last`; this one stays as it is."""
        made = copy(self)
        for name in ("issues", "others"):
            setattr(made, name, {issue_id: replace(issue) for issue_id, issue in getattr(self, name).items()})
        for name in ("fixes", "_histories"):
            setattr(made, name, {key: list(values) for key, values in getattr(self, name).items()})
        for name in ("releases", "continued", "_regressed"):
            setattr(made, name, dict(getattr(self, name)))
        made._remember(reports, lambda _: True)
        made.decide(decisions)
        return made

    def _remember(self, reports: Sequence[Report], precedes: Callable[[Report], bool]) -> None:
        scope = self._scope
        for report in sorted(reports, key=order):
            self.last = max(self.last, order(report))
            if report.status == "failed":
                continue
            self._know(report)
            if report.is_remembered and precedes(report):
                self._learn(report, current=isinstance(scope, EllipsisType) or report.scope == scope)
        for old in self.continued:
            self.issues.pop(old, None)
        for issue in (*self.issues.values(), *self.others.values()):
            if not isinstance(scope, EllipsisType):
                issue.scope = scope

    def decide(self, decisions: Mapping[str, list[Decision]]) -> None:
        """Take what people decided about the issues, by issue id, in the place of what was known of it."""
        for issue_id, issue in (*self.issues.items(), *self.others.items()):
            names = [issue_id, *(old for old, new in self.continued.items() if new == issue_id)]
            said = [decision for name in names for decision in decisions.get(name, [])]
            issue.decisions = sorted(said, key=lambda one: one.at_ns) if len(names) > 1 else said
            issue.regressed_ns = self._regressed.get((issue_id, issue.scope), 0)
            history = self._histories.get((issue_id, issue.scope), [])
            issue.history = [_as_decided(point, issue, self._traces_of) for point in history]

    @property
    def scopes(self) -> set[str]:
        """The schedules that have a history here."""
        return {scope for _, scope in self._histories if scope is not None}

    def _know(self, report: Report) -> None:
        """Keep the identities of a report's findings, and when releases were first seen."""
        known = self.issues if report.is_remembered else self.others
        for finding in report.findings:
            issue = known.get(finding.issue_id)
            if issue is None:
                known[finding.issue_id] = Issue(
                    finding.issue_id, finding, finding.first_seen, finding.last_seen, report.scope
                )
            elif finding.state != "resolved" or finding.prevalence.traces:
                issue.finding, issue.scope = finding, report.scope
                issue.last_seen = max(issue.last_seen, finding.last_seen)
            if report.is_remembered:
                self.others.pop(finding.issue_id, None)
                self.continued.update(dict.fromkeys(finding.replaces, finding.issue_id))
        for release in report.totals.releases:
            key = (release.service, release.version)
            self.releases[key] = min(release.first_seen, self.releases.get(key, release.first_seen))

    def _learn(self, report: Report, *, current: bool) -> None:
        """Add a window to the history of every issue that it could have held."""
        scope = report.scope
        present = {finding.issue_id: finding for finding in report.findings if finding.prevalence.traces}
        for issue_id, finding in present.items():
            self._histories.setdefault((issue_id, scope), [])
            if finding.state == "regressed":
                self._regressed[issue_id, scope] = report.created_at
        refuted = {item.issue_id for item in report.set_aside if item.verdict == "refuted"}
        for issue_id, issue in self.issues.items():
            if issue_id in refuted:
                continue  # seen by its rule, and no failure in the eyes of a model: neither there nor gone
            history = self._histories.get((issue_id, scope))
            found = present.get(issue_id)
            rule = rule_of(found) if found else self._rule_in(report, issue.finding)
            if history is None or rule is None:
                continue  # this scope has never seen it, or what measures it did not run
            history.append(
                Point(
                    report.id,
                    report.window.end,
                    found.prevalence.traces if found else 0,
                    report.totals.traces,
                    state=found.state if found else "",
                    rule=rule,
                    made_ns=report.created_at,
                )
            )
        if current and report.totals.traces:
            self.windows += 1
            for fix in report.fixes:
                self.fixes.setdefault(fix.issue_id, []).append(fix)
            self.leads = {item.issue_id: item.group_id for item in report.findings if item.group_id}

    def _rule_in(self, report: Report, finding: Finding) -> str | None:
        """Return what measured an absent issue in a window; None when nothing there could have."""
        if finding.detector is None or finding.source == "rlm":
            measured = bool(finding.detector and finding.detector.sql)
            return UNKNOWN_RULE if measured or report.engine.mode == "rlm" else None
        return self.rule_of_today(finding, report.engine.rules)

    def rule_of_today(self, finding: Finding, rules: Mapping[str, int]) -> str | None:
        """Return which of `rules` (name → version) measures a detector's finding; None when none does."""
        if not rules:
            return UNKNOWN_RULE
        name = finding.detector.name if finding.detector else ""
        today = self._today(name)
        return next((rule_name(one, rules[one]) for one in (name, today) if one in rules), None)

    def _today(self, name: str) -> str:
        """Return the rule that took the place of one, over several steps; itself where none did."""
        for _ in range(len(self._replaced)):
            if name not in self._replaced:
                break
            name = self._replaced[name]
        return name

    def identify(self, category: str, detector: str, key: str) -> tuple[str, list[str]]:
        """Return the id of a failure mode, and the ids of other known issues that it continues.

        The id is that of a known one with nearly the same signature, else a new one. A rule that takes the place of
        others keeps their ids, also where it puts them in another category.
        """
        own = fingerprint(category, detector, key)
        if own in self.issues:
            return own, []
        test = self._same_claim(category, key) if detector == "rlm" else self._same_check(category, detector, key)
        same = [issue_id for issue_id, issue in (self.issues | self.others).items() if test(issue.finding)]
        return (same[0], same[1:]) if same else (own, [])

    def _same_claim(self, category: str, title: str) -> Callable[[Finding], bool]:
        """Compare what a model found by its title: nearly the same words."""
        words = set(tokens(title))

        def same(finding: Finding) -> bool:
            other = set(tokens(finding.title))
            alike_enough = bool(words) and len(words & other) >= SIMILAR * len(words | other)
            return finding.source == "rlm" and finding.category == category and alike_enough

        return same

    def _same_check(self, category: str, detector: str, key: str) -> Callable[[Finding], bool]:
        """Compare what a detector found by its signature, if this detector or one that it replaces measured it."""
        said, masked = tokens(key), mask(key)

        def same(finding: Finding) -> bool:
            if finding.source != "detector" or finding.detector is None:
                return False
            before = finding.detector.name
            if before == detector:
                return finding.category == category and alike(said, tokens(finding.signature))
            moved = self._today(before) == detector
            return moved and (finding.signature == masked or alike(said, tokens(finding.signature)))

        return same

    def assess(self, issue_id: str, seen: Seen) -> Assessment:
        """Compare a finding with the windows before."""
        issue = self.issues.get(issue_id)
        if issue is None:
            other = self.others.get(issue_id)
            return Assessment(issue_id, Derived("new"), seen.first_seen, [], muted=other is not None and other.muted)
        if not issue.history and not self._ever(issue_id):  # only windows that do not precede this one held it
            return Assessment(issue_id, Derived("new"), seen.first_seen, [], muted=issue.muted)
        first = min(issue.first_seen, seen.first_seen)
        if issue.muted:
            return Assessment(issue_id, Derived("ongoing"), first, issue.history, muted=True)
        found = derive(issue.history, traces=seen.traces, of=seen.of, rule=seen.rule)
        decision = issue.standing.resolved
        if decision is None or seen.since is None:
            return Assessment(issue_id, found, first, issue.history)
        since = seen.since(decision)
        back = back_after_decision(issue.history, traces=since, confidence=seen.confidence)
        found = found._replace(state="regressed" if back else "resolved")
        return Assessment(issue_id, found, first, issue.history, resolution=decision, since=since)

    def _ever(self, issue_id: str) -> bool:
        """Say whether a window before this one held an issue, in any scope."""
        return any(known == issue_id for known, _ in self._histories)

    def wrong(self, issue_id: str) -> tuple[Decision, ...]:
        """Return the decisions that hits of an issue are no failure, oldest first."""
        issue = self.issues.get(issue_id) or self.others.get(issue_id)
        return issue.standing.wrong if issue else ()

    def resolved_now(self, present: set[str], *, of: int, rules: Mapping[str, int] | None = None) -> list[Issue]:
        """Return the issues of which this window shows that they are gone: it had enough traces to hold them."""
        gone = []
        for issue in self.issues.values():
            now = issue.standing
            if issue.issue_id in present or now.muted or now.wrong_as_a_whole:
                continue
            rule = self.rule_of_today(issue.finding, rules or {}) if issue.finding.source == "detector" else ""
            if rule is not None and resolves(issue.history, of=of, rule=rule):
                gone.append(issue)
        return gone

    def find(self, issue_id: str) -> Issue:
        """Return one issue; a unique beginning of its id, with or without 'HALO-', is enough. Raises ReportError."""
        wanted = issue_id.upper().removeprefix("HALO-").lower()
        known = self.issues | self.others
        known |= {old: known[new] for old, new in self.continued.items() if new in known}
        short = {one.removeprefix("HALO-"): issue for one, issue in known.items()}
        if wanted in short:
            return short[wanted]
        matching = {issue.issue_id: issue for one, issue in short.items() if one.startswith(wanted)}
        if len(matching) != 1:
            what = "there is no issue" if not matching else "more than one issue begins with"
            hint = "'halo issues' lists them; one that an alert told of comes with the next report that finds it"
            raise ReportError(f"{what} {issue_id}", hint=hint)
        return next(iter(matching.values()))


def order(report: Report) -> tuple[int, int]:
    """Say where a report stands among others: by the end of its window, then by when it was made."""
    return report.window.end, report.created_at


def rule_of(finding: Finding) -> str:
    """Name what measured a finding: its detector with the version; a model's SQL has none."""
    if finding.detector is None or finding.source == "rlm":
        return UNKNOWN_RULE
    return rule_name(finding.detector.name, finding.detector.version, judged=finding.judged)


def rule_name(name: str, version: int, *, judged: bool = False) -> str:
    """Write a rule with its version; what a model chose of its spans is not comparable with all of them."""
    return f"{name}@{version}{' judged' if judged else ''}"


def _as_decided(point: Point, issue: Issue, traces_of: Callable[[str, str], set[str]] | None) -> Point:
    """Mark a window in which an issue was muted, or whose hits a person has called wrong since."""
    then, now = standing(issue.decisions, until_ns=point.made_ns), standing(issue.decisions)
    struck = bool(now.wrong_as_a_whole or then.wrong_as_a_whole)
    named = {trace for decision in now.wrong if decision.at_ns >= point.made_ns for trace in decision.traces}
    if not struck and named and point.traces and traces_of is not None:
        struck = bool(named & traces_of(point.run_id, issue.issue_id))
    muted = then.muted is not None
    return replace(point, muted=muted, struck=struck) if muted or struck else point
