"""`reports/`: published whole or not at all, read back by everything that needs to know what was found before."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from halo_receiver import permissions
from halo_worker.display import named
from halo_worker.errors import HaloError, ReportError
from halo_worker.report.affected import AffectedSpan
from halo_worker.report.decisions import Decisions
from halo_worker.report.model import Report
from halo_worker.report.shared import ALONE, Alone
from halo_worker.report.verification import Verifications

REPORT_FILE = "report.json"
AFFECTED_FILE = "affected.jsonl"
HEAD_CHARACTERS = 2000
_SCHEDULE = re.compile(r'^  "schedule": (null|".*"),?$', re.MULTILINE)


def new_run_id(now_ns: int) -> str:
    """Return an id that sorts by time, such as 20261124T060000Z-k3f2qa."""
    suffix = base64.b32encode(secrets.token_bytes(5)).decode().lower()[:6]
    return f"{datetime.fromtimestamp(now_ns // 1_000_000_000, UTC):%Y%m%dT%H%M%SZ}-{suffix}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder that holds no readable report, and why."""

    name: str
    reason: str


class Archive:
    """The published reports of one directory."""

    def __init__(self, directory: Path, *, outside: bool = False, shared: Alone = ALONE) -> None:
        """`outside` the data directory, reports have the permissions that the caller's umask asks for.

        `shared` is asked before anything is published, decided or delivered.
        """
        self.directory = directory
        self.shared = shared
        self._outside = outside
        self._read: dict[str, tuple[int, Report]] = {}

    @property
    def decisions(self) -> Decisions:
        """What people decided about the issues of these reports."""
        return Decisions(self.directory, self.shared)

    @property
    def verifications(self) -> Verifications:
        """What was verified of the issues of these reports."""
        return Verifications(self.directory, self.shared)

    def publish(
        self,
        report: Report,
        documents: Mapping[str, str],
        *,
        affected: Iterable[AffectedSpan] = (),
        trajectory: Path | None = None,
        sinks: Iterable[str] = (),
        again: bool = False,
    ) -> Path:
        """Write a report's folder, and only then give it its name; return the folder.

        `documents` are further files by name (report.md, briefs/ISSUE.md); `affected` every affected span. For each of
        `sinks` a receipt that waits is part of the report, so that a kill before its delivery loses none.
        `again`: a run that was resumed takes the place of what it had published as partial; else nothing is ever
        published over another. Raises ReportError when the disk refuses, LeaseTaken where another host was to report.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        making = self.directory / f".{report.id}.making"
        folder = self.directory / report.id
        try:
            shutil.rmtree(making, ignore_errors=True)
            (making / "receipts").mkdir(parents=True)
            for name, text in documents.items():
                (making / name).parent.mkdir(exist_ok=True)
                (making / name).write_text(text, encoding="utf-8")
            for sink in sinks:
                # Its run delivers it at once; whoever looks for receipts that wait leaves it a minute for that.
                due = report.created_at / 1e9 + 60
                waiting = json.dumps({"state": "waiting", "next": due, "attempts": 0})
                (making / "receipts" / f"{sink}.json").write_text(waiting, encoding="utf-8")
            with (making / AFFECTED_FILE).open("w", encoding="utf-8") as file:
                for span in affected:
                    file.write(json.dumps(span.as_row()) + "\n")
            if trajectory is not None and trajectory.exists():
                shutil.copyfile(trajectory, making / "trajectory.jsonl")
            with (making / REPORT_FILE).open("w", encoding="utf-8") as file:
                file.write(report.to_json())
            self.give(making)
            for path in [*making.rglob("*"), making]:
                _sync(path)
            self.shared.publish(report, making, again=again)
            if again and folder.exists():
                shutil.rmtree(folder)
            making.rename(folder)
            _sync(self.directory)
        except HaloError:
            shutil.rmtree(making, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise ReportError(
                f"cannot publish {folder}: {error.strerror}", hint="free some disk, or name another place with --out"
            ) from None
        return folder

    def ids(self) -> list[str]:
        """Return the ids of the published reports, newest first."""
        try:
            with os.scandir(self.directory) as entries:  # asked for by every view: a tenth of what a glob takes
                folders = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((one.name for one in folders if os.path.exists(f"{one.path}/{REPORT_FILE}")), reverse=True)

    def until(self, now_ns: int) -> list[str]:
        """Return the ids of the reports that were made until now, newest first: a wrong clock dates some later."""
        now = f"{datetime.fromtimestamp(now_ns // 1_000_000_000, UTC):%Y%m%dT%H%M%SZ}~"
        return [run_id for run_id in self.ids() if run_id <= now]

    def stamps_of(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Return when each of these reports was written (mtime in nanoseconds): a resumed run writes its own again."""
        found = {}
        for run_id in run_ids:
            with contextlib.suppress(OSError):
                found[run_id] = (self.directory / run_id / REPORT_FILE).stat().st_mtime_ns
        return found

    def load(self, run_id: str) -> Report:
        """Read one report; a unique beginning of its id is enough. Raises ReportError."""
        matching = [known for known in self.ids() if known.startswith(run_id)]
        if len(matching) != 1:
            what = "there is no report" if not matching else "more than one report begins with"
            raise ReportError(f"{what} {run_id} in {self.directory}", hint="'halo reports' lists them")
        path = self.directory / matching[0] / REPORT_FILE
        try:
            stamp = path.stat().st_mtime_ns
            if matching[0] not in self._read or self._read[matching[0]][0] != stamp:
                self._read[matching[0]] = (stamp, Report.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError, ValueError) as error:
            raise ReportError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        report = self._read[matching[0]][1]
        if report.id != matching[0]:  # paths are made of it
            raise ReportError(f"{path} cannot be read: its id {named(report.id)} is not the name of its folder")
        return report

    def affected(self, run_id: str, issue_id: str = "") -> Iterator[tuple[str, str, str]]:
        """Read the affected spans of a report, of one issue or of all: (issue, trace, span); none it cannot read."""
        with contextlib.suppress(OSError), (self.directory / run_id / AFFECTED_FILE).open("rb") as file:
            for line in file:
                row = _row(line) if issue_id.encode() in line else {}
                place = (
                    row.get("issue_id"),
                    row.get("trace_id"),
                    row.get("symptom_span_id") or row.get("span_id") or "",
                )
                if all(isinstance(part, str) for part in place) and issue_id in ("", place[0]):
                    yield place  # type: ignore[misc]

    def affected_rows(self, run_id: str, trace_id: str) -> Iterator[dict[str, Any]]:
        """Read the rows of affected.jsonl of one trace; none that it cannot read."""
        with contextlib.suppress(OSError), (self.directory / run_id / AFFECTED_FILE).open("rb") as file:
            yield from (
                row for line in file if trace_id.encode() in line and (row := _row(line)).get("trace_id") == trace_id
            )

    def affected_traces(self, run_id: str, issue_id: str) -> set[str]:
        """Return the traces in which a report saw an issue; none where that cannot be read."""
        return {trace_id for _, trace_id, _ in self.affected(run_id, issue_id)}

    def reports(self, *, newest: int | None = None) -> tuple[list[Report], list[Broken]]:
        """Read the newest reports, all without a number, newest first; name the folders that hold none to be read."""
        return self.reports_of(self.ids()[:newest])

    def reports_of(self, run_ids: Iterable[str]) -> tuple[list[Report], list[Broken]]:
        """Read the reports of these ids, newest first; name those that cannot be read."""
        reports, broken = [], []
        for run_id in run_ids:
            try:
                reports.append(self.load(run_id))
            except ReportError as error:
                broken.append(Broken(run_id, str(error)))
        reports.sort(key=lambda report: (report.created_at, report.id), reverse=True)
        return reports, broken

    def watermark(self, schedule: str, *, now_ns: int | None = None) -> int | None:
        """Return where the last published window of a schedule ended; None before its first.

        Windows that end after `now_ns` do not count: they are of a time when the clock was wrong. Only as many reports
        are read as there are newer ones of other schedules, and of those the beginning alone.
        """
        for run_id in self.ids():
            if self._may_be_of(run_id, schedule):
                try:
                    report = self.load(run_id)
                except ReportError:
                    continue
                if report.schedule == schedule and (now_ns is None or report.window.end <= now_ns):
                    return report.window.end
        return None

    def _may_be_of(self, run_id: str, schedule: str) -> bool:
        """Look at the first lines of a report, where its schedule stands as we write it."""
        try:
            with (self.directory / run_id / REPORT_FILE).open(encoding="utf-8", errors="replace") as file:
                head = file.read(HEAD_CHARACTERS)
        except OSError:
            return False
        found = _SCHEDULE.search(head)
        return found is None or found[1] == json.dumps(schedule, ensure_ascii=False)

    def write_beside(self, name: str, text: str) -> None:
        """Write a page beside the reports, such as their index; whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / f".{name}.new"
        temporary.write_text(text, encoding="utf-8")
        self.give(temporary)
        temporary.rename(self.directory / name)

    def give(self, path: Path) -> None:
        """Give a file or folder of this archive, before it has its name, the permissions that are its place's."""
        if self._outside:
            permissions.give(path)


def _row(line: bytes) -> dict[str, Any]:
    """Read a line of affected.jsonl; one that is damaged costs itself alone."""
    try:
        row = orjson.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
