"""What a host is to the lake when it is lost, and when its disk fills while the lake is away.

The other rows of "When things fail" (docs/lake.md): retries to another host and services that are away, test_hosts;
publishers that are killed or stopped, test_publishing; workers, test_workers; parts, test_parts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import grpc
import pytest

from tests.fixtures_receiver import ReceiverProcess, eventually, small_disk, trace_request
from tests.lake.conftest import Host, Lake
from tests.lake.services import S3, Postgres

pytestmark = pytest.mark.lake

LATER = {"HALO_LAKE_PUBLISH_SECONDS": "3600"}  # what comes after its start is not published before it is lost
KEPT_FREE = 16 * 2**20
# The disk is small: it is looked at more often than once in 64 MiB, and less may wait beside what is free.
LOOKS = "import halo_receiver.intake as intake\nintake.SMALL_BACKLOG_BYTES, intake.DISK_LOOK_SECONDS = 2**22, 0.02"


def refusal(receiver: ReceiverProcess, number: int, *, size: int = 0) -> str:
    """Export a trace of one span; why it was refused, or nothing."""
    try:
        receiver.export(trace_request((number, number), size=size))
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return ""


def taken(receiver: ReceiverProcess, number: int, *, size: int = 0) -> bool:
    """Whether a trace of one span is acknowledged."""
    return not refusal(receiver, number, size=size)


def traces(host: Host) -> list[int]:
    """The numbers of the traces that the lake shows, one for each span."""
    return sorted(int(row["trace_id"], 16) for row in host.query("SELECT trace_id FROM spans", "--lake"))


def test_a_disk_that_fills_while_the_lake_is_away_loses_and_doubles_nothing(
    make_lake: Callable[..., Lake], s3: S3, postgres: Postgres
) -> None:
    """The receiver takes what its disk takes, then tells clients to come back; what the lake has goes first. When the
    lake is back, the disk empties itself into it, and what clients send again is taken."""
    company = make_lake()
    desk, edge = company.host("desk"), company.host("edge")
    desk("lake", "init")
    acknowledged, refused = list(range(1, 41)), set[str]()

    def full() -> bool:
        """Send until a request is refused: for want of room, and not because loading is behind for a moment."""
        while not (why := refusal(receiver, acknowledged[-1] + 1, size=100_000)):
            acknowledged.append(acknowledged[-1] + 1)
        refused.add(why.split()[0])
        return "the disk is full" in why

    with small_disk(edge.data_dir, "size=48m"):
        receiver = edge.receive(patch=LOOKS, HALO_RECEIVER_MIN_FREE_BYTES=str(KEPT_FREE))
        assert all(taken(receiver, number, size=100_000) for number in acknowledged)
        eventually(lambda: company.spans() == len(acknowledged), seconds=60)
        published = {path.name for path in (edge.data_dir / "segments").glob("*.duckdb")}
        assert published, "what is published is kept here for a while"
        s3.stop()
        postgres.stop()
        eventually(full, seconds=60)
        eventually(lambda: "publication failed" in receiver.log(), seconds=60)
        eventually(lambda: not any((edge.data_dir / "segments" / name).exists() for name in published))
        eventually(full, seconds=60)
        assert refused == {"UNAVAILABLE"}
        s3.start()
        postgres.start()
        eventually(lambda: taken(receiver, acknowledged[-1] + 1), seconds=60)
        acknowledged.append(acknowledged[-1] + 1)
        eventually(lambda: company.spans() >= len(acknowledged), seconds=60)
        assert traces(desk) == acknowledged
        assert company.spans() == len(acknowledged)
        receiver.kill()


def test_a_receiver_that_is_killed_and_keeps_its_disk_has_lost_nothing(company: Lake) -> None:
    """Neither what it had sealed, nor what lay in its spool: all of it is published once when it is back."""
    host = company.hosts[0]
    receiver = host.receive(**LATER)
    assert all(taken(receiver, number) for number in range(1, 31))
    receiver.kill()
    assert company.spans() == 0
    assert taken(host.receive(), 31)
    eventually(lambda: company.spans() == 31, seconds=60)
    assert traces(host) == list(range(1, 32))


def test_a_receiver_that_loses_its_disk_costs_what_it_had_not_published(company: Lake) -> None:
    """And no more: what it had published stays, and who comes in its place is another one of the lake."""
    host = company.hosts[0]
    receiver = host.receive()
    assert all(taken(receiver, number) for number in (1, 2))
    eventually(lambda: company.spans() == 2, seconds=60)
    receiver.terminate()
    receiver = host.receive(**LATER)
    assert taken(receiver, 3)
    receiver.kill()
    shutil.rmtree(host.data_dir)
    assert taken(host.receive(), 4)
    eventually(lambda: company.spans() == 3, seconds=60)
    assert traces(host) == [1, 2, 4]
    [status] = json.loads(host("lake", "status", "--format", "json"))
    assert [one["data_dir"] for one in status["receivers"]] == [str(host.data_dir)] * 2
