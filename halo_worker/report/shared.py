"""What is asked before something is published, decided or delivered, where several hosts share one archive.

`Alone` is the archive of one directory: there is nobody to ask. `shared_reports` asks the catalog of a lake.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from halo_worker.report.model import Report
from halo_worker.report.record import append_line


class Alone:
    """One host. Each method is called before its directory is changed; what it raises, nothing is changed by."""

    def look(self, *, at_once: bool = False) -> None:
        """Know what other hosts wrote, as of a moment ago, or of now."""

    def publish(self, report: Report, making: Path, *, again: bool) -> None:
        """Let a report count that lies in a folder, whole; `again` in the place of what it had published before."""

    def record(self, path: Path, line: str) -> None:
        """Append a line to one of the files beside the reports. Raises ReportError when the disk refuses."""
        append_line(path, line)

    def delivers(self, schedule: str | None) -> bool:
        """Say whether this process brings the reports of a schedule to their sinks."""
        return True

    def receipt(self, report_id: str, sink: str, note: dict[str, Any]) -> dict[str, Any]:
        """Return the note of a delivery, where the directory has `note`."""
        return note

    def begin(self, report: Report, sink: str, note: dict[str, Any]) -> bool:
        """Note that a delivery begins, after `receipt`. False where another host is at it."""
        return True

    def settle(self, report_id: str, sink: str, note: dict[str, Any]) -> None:
        """Note how a delivery ended."""

    def replaced(self, report_id: str) -> None:
        """Let other hosts have a report as it is in the directory now."""

    def rewritten(self, file: str, clean: Callable[[str], str]) -> None:
        """Let other hosts have the lines of a file beside the reports as `clean` writes them."""


ALONE = Alone()
