"""What the workers of a lake agree on, in tables of its catalog: reports, receipts of deliveries, decisions.

A report of a schedule counts when one transaction has looked at the schedule's lease and its epoch and written it: a
worker that was stopped longer than its lease and woken writes nothing. There is one report for each end of a window.
Transactions that write hold one lock, so that `change` is the order in which they were committed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from halo_receiver.errors import LeaseTaken
from halo_receiver.store.lake_state import LakeState

WRITE_LOCK = 0x68616C70  # an advisory lock of transactions that write here
SCHEDULE = "schedule:"  # begins the name of a schedule's lease
_RECEIPT = (
    "INSERT INTO halo.receipts AS r VALUES (%s, %s, %s, nextval('halo.changes')) "
    "ON CONFLICT (report, sink) DO UPDATE SET note = excluded.note, change = excluded.change"
)
_COLUMNS = {"reports": "id, writer", "records": "file, line", "receipts": "report, sink, note"}
_LEVEL = 1  # of zlib: reports shrink to a fifth by it already


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which something is written, and the epoch that it has to have still."""

    lease: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What was committed after a number and up to `until`, in that order."""

    until: int
    reports: list[tuple[str, str]]  # id and writer
    records: list[tuple[str, str]]  # file and line
    receipts: list[tuple[str, str, str]]  # report, sink and note


class LakeReports(LakeState):
    """One connection to these tables."""

    @contextmanager
    def _writing(self, fence: Fence | None = None) -> Iterator[None]:
        """Hold a transaction that writes. Raises LeaseTaken where the lease went to another worker."""
        with self._transaction():
            self._rows("SELECT pg_advisory_xact_lock(%s)", WRITE_LOCK)
            if fence is not None:
                sql = "SELECT 1 FROM halo.leases WHERE name = %s AND epoch = %s FOR UPDATE"
                if not self._rows(sql, fence.lease, fence.epoch):
                    raise LeaseTaken(f"another worker has taken over {fence.lease.removeprefix(SCHEDULE)!r} meanwhile")
            yield

    def schedules(self) -> dict[str, tuple[str, int]]:
        """Return who runs which schedule: holder and epoch by name."""
        return {
            name.removeprefix(SCHEDULE): (holder, epoch)
            for name, holder, epoch in self.leases()
            if name.startswith(SCHEDULE)
        }

    def publish(
        self, report: str, schedule: str | None, window_end_ns: int, *, writer: str,
        files: Iterable[tuple[str, bytes]], receipts: Mapping[str, str], fence: Fence | None, again: bool = False,
    ) -> None:  # fmt: skip
        """Write a report with its files by name, and receipts that wait by sink; `again` in the place of its first one.

        Written a second time, as after an answer that was lost, it stays as it is. Raises LeaseTaken where the window
        has a report of another worker.
        """
        with self._writing(fence):
            if again:
                self._rows("DELETE FROM halo.reports WHERE id = %s", report)
            sql = "SELECT id FROM halo.reports WHERE id = %s OR (schedule = %s AND window_end_ns = %s)"
            for (known,) in self._rows(sql, report, schedule, window_end_ns):
                if known == report:
                    return
                raise LeaseTaken(f"another worker has reported this window of schedule {schedule!r}: {known}")
            sql = "INSERT INTO halo.reports VALUES (%s, %s, %s, %s, nextval('halo.changes'))"
            self._rows(sql, report, schedule, window_end_ns, writer)
            self._write_files(report, files)
            for sink, note in receipts.items():
                sql = "INSERT INTO halo.receipts VALUES (%s, %s, %s, nextval('halo.changes')) ON CONFLICT DO NOTHING"
                self._rows(sql, report, sink, note)

    def _write_files(self, report: str, files: Iterable[tuple[str, bytes]]) -> None:
        for name, content in files:
            sql = "INSERT INTO halo.report_files VALUES (%s, %s, %s)"
            self._rows(sql, report, name, zlib.compress(content, _LEVEL))

    def replace(self, report: str, writer: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Write the files of a report anew, where it is here: its hosts get them again."""
        with self._writing():
            sql = "UPDATE halo.reports SET writer = %s, change = nextval('halo.changes') WHERE id = %s RETURNING id"
            if self._rows(sql, writer, report):
                self._rows("DELETE FROM halo.report_files WHERE report = %s", report)
                self._write_files(report, files)

    def files(self, report: str) -> list[tuple[str, bytes]]:
        """Return the files of a report: name and content."""
        rows = self._rows("SELECT name, content FROM halo.report_files WHERE report = %s ORDER BY name", report)
        return [(str(name), zlib.decompress(content)) for name, content in rows]

    def record(self, file: str, line: str) -> None:
        """Append a line to what all hosts have of a file."""
        with self._writing():
            self._rows("INSERT INTO halo.records VALUES (nextval('halo.changes'), %s, %s)", file, line)

    def rewrite(self, file: str, clean: Callable[[str], str]) -> None:
        """Write the lines of a file anew, each as `clean` returns it; hosts that have them already keep theirs."""
        with self._writing():
            for change, line in self._rows("SELECT change, line FROM halo.records WHERE file = %s", file):
                if (new := clean(line)) != line:
                    self._rows("UPDATE halo.records SET line = %s WHERE change = %s", new, change)

    def receipt(self, report: str, sink: str) -> tuple[str, int] | None:
        """Return the note of a delivery and its number."""
        rows = self._rows("SELECT note, change FROM halo.receipts WHERE report = %s AND sink = %s", report, sink)
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def begin(self, report: str, sink: str, note: str, *, known: int | None, fence: Fence | None) -> bool:
        """Note that a delivery begins, if its note is still the one of that number. Of several one is told True."""
        with self._writing(fence):
            return bool(self._rows(f"{_RECEIPT} WHERE r.change = %s RETURNING change", report, sink, note, known))

    def settle(self, report: str, sink: str, note: str) -> None:
        """Note how a delivery ended."""
        with self._writing():
            self._rows(_RECEIPT, report, sink, note)

    def changes(self, after: int) -> Changes:
        """Return what was committed after a number, all of it as of one moment."""
        with self._transaction():
            self._rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reports, records, receipts = (
                self._rows(f"SELECT change, {columns} FROM halo.{table} WHERE change > %s ORDER BY change", after)
                for table, columns in _COLUMNS.items()
            )
        until = max((row[0] for row in (*reports, *records, *receipts)), default=after)
        return Changes(
            until,
            [(str(a), str(b)) for _, a, b in reports],
            [(str(a), str(b)) for _, a, b in records],
            [(str(a), str(b), str(c)) for _, a, b, c in receipts],
        )
