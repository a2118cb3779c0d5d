"""What a look of the alerts takes, beside a report's pass over the same window: `python -m benchmarks.alerts [SPANS]`.

Both run in one process after each other, a few times in turns; the least CPU of each is printed, and their ratio.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.detectors_scale import multiply, pool
from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker.alerts import eligible
from halo_worker.alerts.look import find, looks
from halo_worker.analysis.detectors import every_finding
from halo_worker.config import load_settings
from halo_worker.config_alerts import AlertConfig
from halo_worker.report.memory import IssueMemory
from tests.generator.load import store

ROUNDS = 3
WHOLE = (0, 2**62)


def look(segment: Path) -> None:
    """Do what a worker does every few minutes, over all of a segment."""
    settle = Settle(120 * 10**9, 3600 * 10**9, unsettled=True)
    with Reader([segment], start_ns=WHOLE[0], end_ns=WHOLE[1], settle=settle, threads=1, in_memory=True) as reader:
        config = AlertConfig.model_validate({"when": "new"})
        units = eligible.wanted(config, eligible.built_in())
        found = find(reader, load_settings(environment={}), units, IssueMemory([]), segment.parent)
        [counted] = looks(reader, found, "all", config, IssueMemory([]), WHOLE)
        assert counted.of
        assert counted.found


def whole_pass(segment: Path) -> None:
    """Run all detectors."""
    with Reader([segment], threads=1) as reader:
        every_finding(reader)


def cpu_seconds(work: Callable[[Path], None], segment: Path) -> float:
    """Return the CPU that it took."""
    busy = time.process_time()
    work(segment)
    return time.process_time() - busy


def main() -> None:
    """Build the window, then measure."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 110_000
    with tempfile.TemporaryDirectory() as folder:
        segment = Path(folder) / "spans-20260101T000000Z-000001.duckdb"
        spans = multiply(store(pool(), Path(folder) / "pool"), segment, wanted)
        rounds = [(cpu_seconds(look, segment), cpu_seconds(whole_pass, segment)) for _ in range(ROUNDS)]
    one, other = (min(times) for times in zip(*rounds, strict=True))
    print(
        f"{spans} spans: a look {one:.2f} s of CPU ({one / spans * 1e5:.2f} s each 100,000 spans), a report's pass "
        f"{other:.2f} s: {one / other:.2f} of it; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
