"""What people decided about issues: `reports/decisions.jsonl`, the one record of it and its one writer.

One JSON object a line, appended under a lock and synced, so that the command line, the page and MCP may write at once.
A line that cannot be read (torn by a crash, edited by hand, of a wrong type) costs itself alone; an action this build
does not know is kept and shown, and has no effect.

Actions. `mute`: measured, not reported; `unmute` ends it. `resolve`: fixed, optionally in a release; ends a mute.
`wrong`: what was found is no failure, for the named traces or, without any, for every hit of the issue. `reopen` takes
all of these back. `note` only records.
"""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from halo_worker.errors import InputError
from halo_worker.report.record import read_lines
from halo_worker.report.shared import ALONE, Alone

Action = Literal["mute", "unmute", "resolve", "reopen", "note", "wrong"]
ACTIONS: tuple[Action, ...] = get_args(Action)

DECISIONS_FILE = "decisions.jsonl"
RECORD_VERSION = 1
MAX_NOTE = 4_000  # characters
MAX_TRACES = 1_000
_LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the record. `note` is the reason where one was given; `at_ns` is unix nanoseconds."""

    issue_id: str
    action: str  # one of ACTIONS, or what a later build wrote
    note: str
    at_ns: int
    by: str = ""
    release: str | None = None
    traces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """The decisions on one issue that are in force."""

    muted: Decision | None = None
    resolved: Decision | None = None
    wrong: tuple[Decision, ...] = ()

    @property
    def wrong_as_a_whole(self) -> Decision | None:
        """The decision that no hit of the issue counts, if there is one."""
        return next((decision for decision in self.wrong if not decision.traces), None)


def standing(decisions: Iterable[Decision], *, until_ns: int = _LATEST) -> Standing:
    """Return what is in force of one issue's decisions, given in the order they were made, as of `until_ns`."""
    muted: Decision | None = None
    resolved: Decision | None = None
    wrong: list[Decision] = []
    for decision in decisions:
        if decision.at_ns > until_ns:
            continue
        match decision.action:
            case "mute":
                muted = decision
            case "unmute":
                muted = None
            case "resolve":
                muted, resolved = None, decision
            case "wrong":
                wrong.append(decision)
            case "reopen":
                muted, resolved, wrong = None, None, []
    return Standing(muted, resolved, tuple(wrong))


class Decisions:
    """The decisions of one directory of reports."""

    def __init__(self, directory: Path, shared: Alone = ALONE) -> None:
        self.path = directory / DECISIONS_FILE
        self._shared = shared

    def read(self) -> dict[str, list[Decision]]:
        """Return the decisions by issue id, in the order they were made. Raises ReportError when the disk refuses."""
        found: dict[str, list[Decision]] = {}
        for line in read_lines(self.path):
            decision = _parsed(line)
            if decision is not None:
                found.setdefault(decision.issue_id, []).append(decision)
        return found

    def append(
        self,
        issue_id: str,
        action: Action,
        *,
        now_ns: int,
        note: str = "",
        release: str | None = None,
        traces: Sequence[str] = (),
        by: str | None = None,
    ) -> Decision:
        """Record a decision and return it once it is on the disk. `by` defaults to the user this process runs as.

        Raises InputError when the action lacks or does not take what was given, ReportError when the disk refuses.
        """
        decision = Decision(
            issue_id, action, note.strip(), now_ns, _user() if by is None else by, release, tuple(dict.fromkeys(traces))
        )
        _check(decision)
        self._shared.record(self.path, json.dumps(_record(decision), ensure_ascii=False))
        return decision


def _check(decision: Decision) -> None:
    wrong = decision.action == "wrong"
    if decision.action not in ACTIONS:
        raise InputError(f"there is no action '{decision.action}'", hint=f"there are: {', '.join(ACTIONS)}")
    if wrong and not decision.note:
        raise InputError("'wrong' needs a reason", hint="--because TEXT: it is told to readers and to the model")
    if decision.action == "note" and not decision.note:
        raise InputError("the note is empty", hint="--note TEXT")
    if decision.release and decision.action != "resolve":
        raise InputError(f"'{decision.action}' takes no release", hint="--release goes with 'resolve'")
    if decision.traces and not wrong:
        raise InputError(f"'{decision.action}' takes no traces", hint="--trace goes with 'wrong'")
    if len(decision.note) > MAX_NOTE:
        raise InputError(f"the note has {len(decision.note):,} characters; at most {MAX_NOTE:,} are kept")
    if len(decision.traces) > MAX_TRACES:
        raise InputError(f"{len(decision.traces):,} traces are named; at most {MAX_TRACES:,} can be")


def _user() -> str:
    with contextlib.suppress(Exception):  # no such user in the container, no environment: the word is nobody's
        return getpass.getuser()
    return ""


def _record(decision: Decision) -> dict[str, Any]:
    record: dict[str, Any] = {
        "version": RECORD_VERSION, "issue_id": decision.issue_id, "action": decision.action, "note": decision.note,
        "at_ns": decision.at_ns, "by": decision.by,
    }  # fmt: skip
    if decision.release:
        record["release"] = decision.release
    if decision.traces:
        record["traces"] = list(decision.traces)
    return record


def _parsed(line: bytes) -> Decision | None:
    """Read one line, of any version; None when it is not a decision."""
    try:
        item = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(item, dict):
        return None
    issue_id, action, at_ns = item.get("issue_id"), item.get("action"), item.get("at_ns")
    if not isinstance(issue_id, str) or not isinstance(action, str) or not issue_id:
        return None
    if not isinstance(at_ns, int) or isinstance(at_ns, bool) or not 0 <= at_ns <= _LATEST:
        return None
    release, traces = item.get("release"), item.get("traces")
    if action == "wrong" and traces is not None and not _texts(traces):
        return None  # without its traces it would mean every hit
    return Decision(
        issue_id,
        action,
        _text(item.get("note")),
        at_ns,
        _text(item.get("by")),
        release if isinstance(release, str) and release else None,
        tuple(traces) if isinstance(traces, list) and _texts(traces) else (),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
