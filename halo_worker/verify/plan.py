"""Which traces are before a change and which after, as a person names them or as a decision implies."""

from __future__ import annotations

from dataclasses import dataclass

from halo_worker.errors import InputError
from halo_worker.moments import moment
from halo_worker.report.formats import minute
from halo_worker.report.issue import Issue
from halo_worker.window import SECOND, Window

RELEASE_KEY = "service.version"
BEFORE_NS = 14 * 86_400 * SECOND  # how far before a change traces are compared, unless --before says otherwise
CHOICES = "--since T, --release V, --attribute KEY=VALUE, --before A..B --after C..D, or --input FILE"


@dataclass(frozen=True, slots=True)
class Plan:
    """The two sides. After: a window, the traces of a release, or files; before: a window, or what precedes.

    `later`: releases that came after the named one count as after, too. `open_end`: traffic is still to come, so that
    an empty side after is too little and not a mistake.
    """

    before: Window | None = None
    after: Window | None = None
    key: str | None = None  # the attribute that names releases
    value: str = ""
    later: bool = False
    decided_ns: int = 0  # when the release was named, by a decision
    files: tuple[str, ...] = ()
    open_end: bool = False

    @property
    def release(self) -> str | None:
        """The release, where one is meant."""
        return self.value if self.key == RELEASE_KEY else None


def plan_of(
    *, since: str | None, release: str | None, attribute: str | None, before: str | None, after: str | None,
    files: tuple[str, ...], now_ns: int,
) -> Plan | None:  # fmt: skip
    """Read the options; None when none names a side after. Raises InputError on what contradicts itself."""
    given = {
        "--since": since, "--release": release, "--attribute": attribute, "--after": after, "--input": files or None,
    }  # fmt: skip
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} each name the side after", hint=f"give one of {CHOICES}")
    earlier = _window("--before", before, now_ns) if before is not None else None
    if since is not None:
        return _apart(Plan(earlier, Window(_time("--since", since, now_ns), now_ns + 1), open_end=True))
    if release is not None:
        return Plan(earlier, key=RELEASE_KEY, value=_text("--release", release))
    if attribute is not None:
        key, equals, value = attribute.partition("=")
        if not key.strip() or not equals or not value.strip():
            raise InputError(f"--attribute {attribute!r} is not KEY=VALUE", hint="such as --attribute prompt.version=7")
        return Plan(earlier, key=key.strip(), value=value.strip())
    if after is not None:
        return _apart(Plan(earlier, _window("--after", after, now_ns)))
    return Plan(earlier, files=files) if files else Plan(earlier) if earlier else None


def by_decision(issue: Issue, plan: Plan | None, now_ns: int) -> Plan:
    """Return the sides that the decision about an issue implies. Raises InputError without one."""
    earlier = plan.before if plan else None
    decision = issue.standing.resolved or next(
        (one for one in reversed(issue.decisions) if one.action == "resolve"), None
    )
    if decision is None:
        raise InputError(
            f"after what change? {issue.issue_id} was never resolved, and no side is named",
            hint=f"name one: {CHOICES}",
        )
    if decision.release:
        return Plan(
            earlier, key=RELEASE_KEY, value=decision.release, later=True, decided_ns=decision.at_ns, open_end=True
        )
    return _apart(Plan(earlier, Window(min(decision.at_ns, now_ns), now_ns + 1), open_end=True))


def _text(option: str, value: str) -> str:
    if not value.strip():
        raise InputError(f"{option} is empty", hint=f"give one of {CHOICES}")
    return value.strip()


def _time(option: str, text: str, now_ns: int) -> int:
    try:
        at = moment(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if at > now_ns:
        raise InputError(f"{option} {text} is in the future", hint="traces are compared that have arrived")
    return at


def _window(option: str, text: str, now_ns: int) -> Window:
    """Read A..B; an end that is left out is open."""
    first, dots, last = text.partition("..")
    if not dots:
        raise InputError(
            f"{option} {text!r} is not a range", hint=f"write {option} 2026-11-24..2026-11-25T06:00Z, end not included"
        )
    try:
        start = moment(first) if first.strip() else 0
        end = moment(last) if last.strip() else now_ns + 1
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if end <= start:
        raise InputError(f"{option} {text} is empty: its start is not before its end")
    return Window(start, end)


def _apart(plan: Plan) -> Plan:
    """Refuse sides that overlap: a trace would be on both."""
    before, after = plan.before, plan.after
    if before and after and before.start_ns < after.end_ns and after.start_ns < before.end_ns:
        raise InputError(
            f"the sides overlap: before is {span(before)}, after is {span(after)}", hint="a trace is on one side alone"
        )
    return plan


def span(window: Window) -> str:
    """Write a window for a person."""
    start = minute(window.start_ns) if window.start_ns > 0 else "the beginning"
    return f"{start} to {minute(window.end_ns)} UTC"
