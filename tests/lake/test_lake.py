"""One store of many hosts, from `halo lake init` to a report."""

from __future__ import annotations

import pytest

from tests.fixtures_receiver import eventually, trace_request
from tests.lake.conftest import Lake

pytestmark = pytest.mark.lake


def test_a_receiver_publishes_and_everybody_asks_the_lake(company: Lake) -> None:
    """The first minutes with a lake: init, receive, status, query, run."""
    first, desk = company.hosts[0], company.host("desk")
    receiver = first.receive()
    receiver.export(trace_request(*((trace, span) for trace in range(1, 6) for span in range(1, 4))))
    eventually(lambda: company.spans() == 15)
    assert str(first.data_dir) in desk("lake", "status")
    assert desk.query("SELECT count(*) AS n FROM spans", "--lake") == [{"n": 15}]
    assert desk.query("SELECT count(*) AS n FROM traces", "--lake", "--last", "1h") == [{"n": 5}]
    report = desk("run", "--last", "24h", "--detectors-only", "--format", "json")
    assert '"traces": 5' in report
