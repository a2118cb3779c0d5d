"""The list of traces: by an index that is derived, filtered by the address, searched, and live."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from halo_receiver.store import manifest
from halo_receiver.store.segment import listed
from halo_worker.page import segment_traces, trace_index
from halo_worker.page.trace_index import INDEX_FILE, TraceIndex, Wanted
from tests.fixtures_receiver import ReceiverProcess, eventually
from tests.page.conftest import Served
from tests.page.stored_traces import QUESTION, store, trace, trace_id
from tests.receiver.test_tail import agent_trace

IDS = re.compile(r'<tr data-row data-id="([^"]*)"')


@pytest.fixture(scope="module")
def listing(serve_page: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """120 traces in two segments; one has a part in each."""
    data_dir = tmp_path_factory.mktemp("traces") / "data"
    late = trace(60)
    store(data_dir, *(trace(number) for number in range(1, 60)), late[:2], at=1)
    store(data_dir, late[2:], *(trace(number, agent="Coder") for number in range(61, 121)), at=2)
    return serve_page(data_dir)


def ids(served: Served, address: str) -> list[str]:
    with served.client() as client:
        answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return IDS.findall(answer.text)


def test_pages_hold_each_trace_once_newest_first(listing: Served) -> None:
    found, address = [], "/traces"
    with listing.client() as client:
        eventually(lambda: "120 stored" in client.get("/traces").text)
        while address:
            text = client.get(address).text
            found += IDS.findall(text)
            [address] = re.findall(r'rel="next" href="([^"]+)"', text) or [""]
    assert found == [trace_id(number) for number in range(120, 0, -1)]


@pytest.mark.parametrize(
    ("address", "numbers"),
    [
        ("agent=clerk&min_tokens=5800", [60, 59, 58]),  # in any case; the one in two segments is put together
        ("service=SHOP&session=session-2", [8, 7, 6]),
        ("status=failed&tool=refund&user=user-1&agent=Coder", [115, 105, 95, 85, 75, 65]),
        ("status=error", []),
        ("agent=nobody", []),
        ("min_seconds=600", []),
        ("q=RESULT+77", [77]),
        ("q=result+77&agent=clerk", []),
        ("q=no such order&agent=clerk&session=session-5", [15]),
    ],
)
def test_filters_are_in_the_address(listing: Served, address: str, numbers: list[int]) -> None:
    assert ids(listing, f"/traces?{address}") == [trace_id(number) for number in numbers]


def test_a_search_goes_on_where_a_page_ends(listing: Served) -> None:
    found, address = [], "/traces?q=blue+coat"
    with listing.client() as client:
        while address:
            text = client.get(address).text
            found += IDS.findall(text)
            [address] = [one.replace("&amp;", "&") for one in re.findall(r'<a href="([^"]+)">search on', text)] or [""]
    assert set(found) == {trace_id(number) for number in range(1, 121)}
    assert len(found) <= 121  # the one in two segments may come twice


@pytest.mark.parametrize("address", ["min_cost=cheap", "status=odd", "finding=HALO-nosuch"])
def test_what_cannot_be_asked_is_said(listing: Served, address: str) -> None:
    with listing.client() as client:
        answer = client.get(f"/traces?{address}")
    assert answer.status_code in (400, 404)
    assert address.partition("=")[2] in answer.text


def test_the_index_follows_the_segments_and_is_made_again_when_it_is_lost(tmp_path: Path) -> None:
    store(tmp_path, trace(1), at=1)
    store(tmp_path, trace(1)[:1], trace(2), at=2)
    index = TraceIndex(tmp_path)
    index.refresh()
    assert [row["span_count"] for row in index.page(Wanted(), 9)] == [3, 4]
    listed(tmp_path / "segments")[0].unlink()
    index.refresh()
    assert [(row["trace_id"], row["span_count"]) for row in index.page(Wanted(), 9)] == [
        (trace_id(2), 3),
        (trace_id(1), 1),
    ]
    beside = TraceIndex(tmp_path)  # another page has the file, or this one does
    beside.refresh()
    assert beside.count() == 2
    beside.close()
    index.close()
    (tmp_path / "cache" / INDEX_FILE).write_bytes(b"no database")
    again = TraceIndex(tmp_path)
    again.refresh()
    assert again.count() == 2
    again.close()


def test_large_segments_are_read_beside_the_page_and_one_that_cannot_be_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_traces, "SMALL_BYTES", 0)
    monkeypatch.setattr(trace_index, "MOST_TOGETHER", 1)
    for at, part in enumerate((slice(0, 1), slice(1, 4), slice(0, 0)), 1):
        store(tmp_path, trace(1)[part], trace(2)[part], trace(10 + at), at=at)
    lost = listed(tmp_path / "segments")[-1]
    manifest.load(tmp_path / "segments", listed(tmp_path / "segments"))
    lost.write_bytes(b"no database".ljust(lost.stat().st_size))
    index = TraceIndex(tmp_path)
    index.refresh()
    assert index.faults.keys() == {lost.name}
    assert {row["trace_id"]: row["span_count"] for row in index.page(Wanted(), 9)} == {
        trace_id(number): len(trace(number)) for number in (1, 2, 11, 12)
    }
    index.close()


class Viewer:
    """Reads server-sent events on a thread."""

    def __init__(self, client: httpx.Client, address: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self.states: list[str] = []
        self._client, self._address = client, address
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the test has ended
            self._follow()

    def _follow(self) -> None:
        kind = ""
        with self._client.stream("GET", self._address) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "traces":
                    self.rows += json.loads(value)["rows"]
                elif name == "data":
                    self.states.append(json.loads(value)["text"])


def test_traces_come_live_by_one_stream_and_nothing_is_sealed(
    serve_page: Callable[..., Served], tmp_path: Path
) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    served = serve_page(receiver.data_dir)
    clients = [served.client() for _ in range(3)]
    try:
        everyone = [Viewer(client, "/traces/live") for client in clients[:2]]
        filtered = Viewer(clients[2], "/traces/live?agent=coder&status=failed")
        eventually(lambda: all(viewer.states for viewer in (*everyone, filtered)))
        receiver.export(agent_trace(1))
        receiver.export(agent_trace(2, agent="coder", failed=True))
        for viewer in everyone:
            eventually(lambda viewer=viewer: {row["id"][-1] for row in viewer.rows} == {"1", "2"})
        eventually(lambda: {row["id"][-1] for row in filtered.rows} == {"2"})
        assert sum(thread.name == "tail" for thread in threading.enumerate()) == 1
        assert not listed(receiver.data_dir / "segments")
        with served.client() as client:  # opening one seals, for only sealed files can be read
            assert QUESTION.split()[0] not in client.get(f"/traces/{everyone[0].rows[0]['id']}").text
        assert listed(receiver.data_dir / "segments")
        receiver.kill()
        eventually(lambda: any("receiver" in state for state in filtered.states))
    finally:
        receiver.kill()
        for client in clients:
            client.close()
