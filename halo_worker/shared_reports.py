"""The reports of a lake: the archive of a host is a copy of what the hosts have in common in the lake's catalog.

`reports/` keeps its form, and everything reads it. What is published, decided or delivered is written to the catalog
first (`lake_reports`); what other hosts wrote is copied from there: before a run, by each command that reads reports,
and again and again by a worker. `.lake.json` holds the name of this directory among the workers, and how far it knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halo_receiver.config import LakeConfig
from halo_receiver.logs import event
from halo_receiver.store.disk import write_durably
from halo_receiver.store.lake_reports import SCHEDULE, Changes, Fence, LakeReports
from halo_worker.errors import HaloError, LakeUnavailable, ReportError, StoreError
from halo_worker.report.model import Report
from halo_worker.report.record import append_line, read_lines
from halo_worker.report.shared import Alone

STATE_FILE = ".lake.json"
RECEIPTS = "receipts"
FRESH_SECONDS = 5.0  # for which what was copied is shown, where no run hangs on it
AWAY_SECONDS = 30.0  # for which a catalog that did not answer is not asked again for that
WAITS = (1.0, 30.0)  # between two attempts to publish, while the catalog does not answer: the first, and the longest
LOCK_SECONDS = 10.0  # for which another process of this host may copy
SETTLE_SECONDS = 60.0  # for which the end of a delivery is tried to be noted
SENDING_SECONDS = 600.0  # after which a delivery that began and has no end is taken for lost with its worker

log = logging.getLogger("halo.worker")
Fences = Callable[[str | None], Fence | None]
_next_look: dict[Path, float] = {}  # of this process, by directory


def never() -> bool:
    """Nobody interrupts."""
    return False


class SharedReports(Alone):
    """One directory of reports that is a copy. `fences`: under which lease a schedule's reports are written, if any."""

    def __init__(
        self, config: LakeConfig, directory: Path, *, fences: Fences = lambda _: None,
        interrupted: Callable[[], bool] = never,
    ) -> None:  # fmt: skip
        self._config = config
        self._directory = directory
        self._fences = fences
        self._interrupted = interrupted
        self._token = ""
        self._known: dict[tuple[str, str], int | None] = {}  # the numbers of receipts, as they were read

    @property
    def token(self) -> str:
        """The name of this directory among those of the lake."""
        if not self._token:
            with self._locked() as state:
                self._token = state["token"]
        return self._token

    @property
    def holder(self) -> str:
        """Who holds the leases of its worker: host, place and token, for the first two have namesakes."""
        return f"{socket.gethostname()}:{self._directory.parent.absolute()} ({self.token})"

    def look(self, *, at_once: bool = False) -> None:
        """Copy what is new, unless that was done a moment ago. Without the catalog what was copied before is shown."""
        if not at_once and time.monotonic() < _next_look.get(self._directory, 0.0):
            return
        _next_look[self._directory] = time.monotonic() + AWAY_SECONDS  # other threads do not wait for the same
        wait = FRESH_SECONDS
        try:
            self.refresh()
        except HaloError as error:
            wait = AWAY_SECONDS
            event(log, "reports of other hosts not read", level=logging.WARNING, reason=error)
        _next_look[self._directory] = time.monotonic() + wait

    def refresh(self) -> None:
        """Copy what is new in the catalog. Raises LakeUnavailable, StoreError or ReportError."""
        try:
            with self._locked() as state, LakeReports.open(self._config) as lake:
                changes = lake.changes(state["seen"])
                self._take(lake, changes, state["token"])
                state["seen"] = changes.until
        except OSError as error:
            raise ReportError(f"cannot copy reports to {self._directory}: {error.strerror}") from None

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Give what is known of the lake here, alone on this host; what the block changes of it is kept."""
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._directory / STATE_FILE
        with (self._directory / ".lake.lock").open("ab") as lock:
            _lock(lock.fileno(), self._directory)
            found = _read(file)
            state = {
                "token": str(found.get("token") or secrets.token_hex(4)),
                "lake": self._config.data,
                "seen": int(found.get("seen", 0)) if found.get("lake") == self._config.data else 0,
            }
            yield state
            if state != found:
                write_durably(file, json.dumps(state).encode())

    def _take(self, lake: LakeReports, changes: Changes, token: str) -> None:
        for report_id, writer in changes.reports:
            if writer != token or not (self._directory / report_id).is_dir():
                self._copy(lake, report_id)
        for file in dict(changes.records):
            path = self._directory / Path(file).name
            there = set(read_lines(path))
            for line in (text for name, text in changes.records if name == file):
                if line.encode() not in there:
                    append_line(path, line)
        for report_id, sink, note in changes.receipts:
            folder = self._directory / report_id / RECEIPTS
            if folder.is_dir():
                write_durably(folder / f"{Path(sink).name}.json", note.encode())

    def _copy(self, lake: LakeReports, report_id: str) -> None:
        """Give a report its name once it is here whole; receipts that were here stay."""
        name = Path(report_id).name
        folder, making = self._directory / name, self._directory / f".{name}.copying"
        shutil.rmtree(making, ignore_errors=True)
        (making / RECEIPTS).mkdir(parents=True)
        for file, content in lake.files(report_id):
            path = making / file
            if not path.resolve().is_relative_to(making.resolve()):
                raise ReportError(f"report {report_id} of the lake has a file {file!r}, which is outside of it")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, content)
        if folder.is_dir():
            if (folder / RECEIPTS).is_dir():
                shutil.copytree(folder / RECEIPTS, making / RECEIPTS, dirs_exist_ok=True)
            shutil.rmtree(folder)
        making.rename(folder)

    def publish(self, report: Report, making: Path, *, again: bool) -> None:
        receipts = {path.stem: path.read_text() for path in sorted((making / RECEIPTS).glob("*.json"))}
        writer = self.token

        def write() -> None:
            with LakeReports.open(self._config) as lake:
                lake.publish(
                    report.id, report.schedule, report.window.end, writer=writer, files=_files(making),
                    receipts=receipts, fence=self._fences(report.schedule), again=again,
                )  # fmt: skip

        self._patiently(write, f"publication of {report.id}")

    def _patiently(self, write: Callable[[], None], what: str, *, seconds: float = float("inf")) -> None:
        """Try again while the catalog does not answer, saying so: what was worked out is not given up for that."""
        wait, longest = WAITS
        deadline = time.monotonic() + seconds
        while True:
            try:
                return write()
            except LakeUnavailable as error:
                if self._interrupted() or time.monotonic() > deadline:
                    raise
                event(log, "lake away", level=logging.WARNING, waits=what, reason=error, again_in_seconds=wait)
            pause = time.monotonic() + wait
            while time.monotonic() < pause and not self._interrupted():
                time.sleep(min(0.2, wait))
            wait = min(longest, 2 * wait)

    def record(self, path: Path, line: str) -> None:
        with LakeReports.open(self._config) as lake:
            lake.record(path.name, line.encode("utf-8", "replace").decode())
        self.refresh()

    def delivers(self, schedule: str | None) -> bool:
        fence = self._fences(schedule)
        return fence is None or fence.epoch > 0

    def receipt(self, report_id: str, sink: str, note: dict[str, Any]) -> dict[str, Any]:
        with LakeReports.open(self._config) as lake:
            found = lake.receipt(report_id, sink)
        self._known[report_id, sink] = found[1] if found else None
        kept: dict[str, Any] = json.loads(found[0]) if found else note
        return kept

    def begin(self, report: Report, sink: str, note: dict[str, Any]) -> bool:
        sending = {**note, "sending": self.holder, "next": time.time() + SENDING_SECONDS}
        with LakeReports.open(self._config) as lake:
            return lake.begin(
                report.id, sink, json.dumps(sending), known=self._known.get((report.id, sink)),
                fence=self._fences(report.schedule),
            )  # fmt: skip

    def settle(self, report_id: str, sink: str, note: dict[str, Any]) -> None:
        def write() -> None:
            with LakeReports.open(self._config) as lake:
                lake.settle(report_id, sink, json.dumps(note))

        with contextlib.suppress(LakeUnavailable):  # it is taken for lost later, and never sent twice
            self._patiently(write, f"receipt of {report_id} from {sink}", seconds=SETTLE_SECONDS)

    def replaced(self, report_id: str) -> None:
        with LakeReports.open(self._config) as lake:
            lake.replace(report_id, self.token, _files(self._directory / report_id))

    def rewritten(self, file: str, clean: Callable[[str], str]) -> None:
        with LakeReports.open(self._config) as lake:
            lake.rewrite(file, clean)


def schedules_of(config: LakeConfig) -> dict[str, str]:
    """Say who runs which schedule of a lake, by name; nothing where there is none, or it does not answer."""
    if not config.on:
        return {}
    with contextlib.suppress(HaloError), LakeReports.open(config) as lake:
        return {name: holder for name, (holder, _) in lake.schedules().items()}
    return {}


def lease_of(schedule: str) -> str:
    """Return the name of a schedule's lease."""
    return SCHEDULE + schedule


def _lock(descriptor: int, directory: Path) -> None:
    """Wait for another process of this host, but not for one that was stopped."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreError(f"another process is copying the lake's reports to {directory}") from None
        time.sleep(0.02)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Read the files of a report, one after another; receipts are kept by themselves."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != RECEIPTS:
            yield str(name), path.read_bytes()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
