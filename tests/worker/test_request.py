"""What a run leaves behind so that it can be gone on with, and for how long."""

from __future__ import annotations

from pathlib import Path

from halo_worker.report.archive import new_run_id
from halo_worker.request import KEPT_NS, REQUEST_FILE, forget_old
from halo_worker.window import SECOND

NOW = 1_900_000_000 * SECOND  # years from the date that the files of this test get


def test_a_run_can_be_gone_on_with_for_a_while_by_the_clock_that_named_it(tmp_path: Path) -> None:
    kept, old = new_run_id(NOW - KEPT_NS + 2 * SECOND), new_run_id(NOW - KEPT_NS - 2 * SECOND)
    for run_id in (kept, old):
        (tmp_path / run_id).mkdir()
        (tmp_path / run_id / REQUEST_FILE).write_text("{}")
    (tmp_path / "someone-s-own").mkdir()
    forget_old(tmp_path, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {kept, "someone-s-own"}
