"""One store of many hosts, from `halo lake init` to a report."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from halo_worker.page.server import ADDRESS_FILE
from tests.fixtures_receiver import eventually, trace_request
from tests.lake.conftest import HALO, Host, Lake

pytestmark = pytest.mark.lake


@contextlib.contextmanager
def page_of(host: Host) -> Iterator[str]:
    """Serve the page of a host; give its address."""
    host.data_dir.mkdir(exist_ok=True)
    address = host.data_dir / ADDRESS_FILE
    words = ["page", "--data-dir", str(host.data_dir), "--endpoint", "127.0.0.1:0"]
    process = subprocess.Popen([*HALO, *words], env={**os.environ, **host.lake.environment})
    try:
        eventually(lambda: address.exists() and address.read_text().endswith("}"), seconds=60)
        yield json.loads(address.read_text())["url"]
    finally:
        process.kill()
        process.wait()


def test_a_receiver_publishes_and_everybody_asks_the_lake(company: Lake) -> None:
    """The first minutes with a lake: init, receive, status, query, trace, page, doctor; `halo run` is in test_hosts."""
    first, desk = company.hosts[0], company.host("desk")
    receiver = first.receive()
    receiver.export(trace_request(*((trace, span) for trace in range(1, 6) for span in range(1, 4))))
    eventually(lambda: company.spans() == 15, seconds=60)
    assert str(first.data_dir) in desk("lake", "status")
    assert desk.query("SELECT count(*) AS n FROM spans", "--lake") == [{"n": 15}]
    assert desk.query("SELECT count(*) AS n FROM traces", "--lake", "--last", "1h") == [{"n": 5}]
    reads = desk.attempt("query", "--lake", "SELECT * FROM read_text('/etc/hosts')")
    assert (reads.returncode, "read_text is not allowed" in reads.stderr) == (2, True), reads.stderr
    trace = f"{3:032x}"
    assert [row["trace_id"] for row in json.loads(desk("trace", trace, "--format", "json"))] == [trace] * 3
    with page_of(desk) as url, urllib.request.urlopen(f"{url}/traces/{trace}", timeout=60) as answer:
        shown = answer.read().decode()
    assert all(f"{span:016x}" in shown for span in range(1, 4)), shown
    doctor = desk("doctor")
    assert "DuckDB 1.5.5 with ducklake" in doctor
    assert f"{first.data_dir} has published up to" in doctor


def test_what_was_published_may_go_here_and_expires_there(company: Lake) -> None:
    """A host keeps what the lake does not have, and nothing else for long; a person's data goes from both."""
    host = company.hosts[0]
    receiver = host.receive(HALO_LAKE_KEEP_LOCAL_HOURS="0.00001")
    receiver.export(trace_request((1, 1), (1, 2), (2, 1)))
    eventually(lambda: company.spans() == 3, seconds=60)
    eventually(lambda: not list((host.data_dir / "segments").glob("*.duckdb")), seconds=60)
    receiver.terminate()
    trace = f"{1:032x}"
    assert json.loads(host("delete", "--trace", trace, "--yes", "--format", "json"))["lake_spans"] == 2
    assert host.query("SELECT trace_id FROM spans", "--lake") == [{"trace_id": f"{2:032x}"}]
    host("lake", "merge")
    host("lake", "retain", HALO_LAKE_RETENTION_DAYS="0.0000001")
    assert host.query("SELECT count(*) AS n FROM spans", "--lake") == [{"n": 0}]
    assert json.loads(host("lake", "status", "--format", "json"))[0]["receivers"] == [], "reports speak of it no more"


def test_a_start_without_a_lake_says_what_is_missing(make_lake: Callable[..., Lake]) -> None:
    host = make_lake().host("desk")
    for words in (("lake", "status"), ("run", "--last", "1h")):
        done = host.attempt(*words)
        assert (done.returncode, "halo lake init" in done.stderr) == (2, True), done.stderr
