"""Days of one shop: a hundred traces each, of an agent whose refund tool fails in some of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from halo_worker import inputs
from halo_worker.report.model import iso_nano
from halo_worker.window import SECOND, Window
from tests.worker.analysis.windows import write

HOUR, DAY = 3600, 86_400
FIRST = 1_795_413_600  # 2026-11-23 06:00 UTC, the end of the window before the first
TRACES = 100
# The detector that names this failure, and how.
FOUND_BY, TITLE = "error_other", 'refund fails: "InsufficientFunds: the account cannot be charged back"'

Started = Literal["inside", "before"]


def window(day: int) -> Window:
    """The window of one day, counted from 0."""
    return Window((FIRST + day * DAY) * SECOND, (FIRST + (day + 1) * DAY) * SECOND)


def trace_id(day: int, number: int) -> str:
    return f"{day + 1:016x}{number:016x}"


def import_day(data_dir: Path, day: int, failing: int, *, started: Started = "inside", version: str = "1.0") -> None:
    """Put a day's traces into the store; they end half an hour before their window does.

    `started`: the failing ones began within a second of their end, or more than an hour before the window's end.
    """
    file = write(traffic(day, failing, started, version), data_dir.parent / f"day{day}.jsonl")
    inputs.import_files([str(file)], data_dir, now_ns=window(day).end_ns, arrival="span-time", say=lambda _: None)


def traffic(day: int, failing: int, started: Started = "inside", version: str = "1.0") -> Iterator[dict[str, Any]]:
    """The flat lines of a day."""
    for number in range(TRACES):
        trace = trace_id(day, number)
        end = FIRST + (day + 1) * DAY - HOUR / 2
        begin = end - (HOUR if started == "before" and number < failing else 1)
        error = "InsufficientFunds: the account cannot be charged back" if number < failing else ""
        yield _span(trace, 0, begin, end, version, name="agent", kind="AGENT")
        yield _span(trace, 1, begin, end, version, name="refund", kind="TOOL", error=error)


def _span(
    trace: str, number: int, begin: float, end: float, version: str, *, name: str, kind: str, error: str = ""
) -> dict[str, Any]:
    return {
        "trace_id": trace, "span_id": f"{trace[-14:]}{number:02x}", "name": name, "kind": "SPAN_KIND_INTERNAL",
        "parent_span_id": "" if number == 0 else f"{trace[-14:]}00",
        "start_time": iso_nano(int(begin * SECOND)), "end_time": iso_nano(int(end * SECOND)),
        "status": {"code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK", "message": error},
        "resource": {"attributes": {"service.name": "shop", "service.version": version}},
        "scope": {"name": "test", "version": "1"},
        "attributes": {
            "openinference.span.kind": kind, "output.value": "" if error else "refunded", "tool.name": "refund",
        },
    }  # fmt: skip
