"""A receiver in trouble: what its clients are told, what its operator sees, and that it goes on by itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from halo_receiver.intake import Refusals
from halo_worker import segments_client
from tests.fixtures_receiver import (
    EXPORT,
    RawHttp2,
    ReceiverProcess,
    eventually,
    post,
    small_disk,
    trace_request,
)

COUNT = "SELECT count(*) AS n, count(DISTINCT trace_id) AS different FROM spans"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
IMPATIENT = "import halo_receiver.loader_client as client\nclient.SILENT_SECONDS, client.LOOK_SECONDS = 3.0, 0.1\n"


def health(receiver: ReceiverProcess) -> int:
    with grpc.insecure_channel(receiver.grpc) as channel:
        return int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status)


def ready(receiver: ReceiverProcess) -> tuple[int, str]:
    status, _, body = post(f"{receiver.http}/readyz", None, method="GET")
    return status, body.decode()


def test_a_disk_below_its_reserve_is_unavailable_with_when_to_come_back(tmp_path: Path) -> None:
    """Collectors retry UNAVAILABLE, so trouble of ours costs delay and never spans."""
    receiver = ReceiverProcess(
        tmp_path / "data", HALO_RECEIVER_MIN_FREE_BYTES=str(2**60), HALO_RECEIVER_RETRY_SECONDS="7.5"
    )
    try:
        with pytest.raises(grpc.RpcError) as caught:
            receiver.export(trace_request((1, 1)))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        retry = error_details_pb2.RetryInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(retry)
        assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (7, 500_000_000)
        for content_type in ("application/x-protobuf", "application/json"):
            body = trace_request((1, 1)) if "proto" in content_type else b"{}"
            status, headers, _ = post(f"{receiver.http}/v1/traces", body, Content_Type=content_type)
            assert (status, headers["Retry-After"]) == (503, "8")
        status, why = ready(receiver)
        assert status == 503
        assert "the disk is full" in why
        eventually(lambda: health(receiver) == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert receiver.metric("halo_refused_requests_total") == 3
        assert receiver.metric("halo_ready") == 0
    finally:
        receiver.kill()


def test_a_backlog_over_its_limit_is_unavailable_until_the_loader_has_caught_up(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_MAX_BACKLOG_BYTES=str(2**20))
    try:
        loader = receiver.loader
        os.kill(loader, signal.SIGSTOP)
        taken, refusals = 0, []

        def refused() -> bool:
            nonlocal taken
            try:
                receiver.export(trace_request((taken + 1, 1), size=2**18))
            except grpc.RpcError as error:
                refusals.append(f"{error.code().name}: {error.details()}")
                return True
            taken += 1
            return False

        eventually(refused)
        assert refusals[0].startswith("UNAVAILABLE: ")
        assert "wait to be loaded" in refusals[0]
        assert receiver.metric("halo_spool_backlog_bytes") > 2**20
        os.kill(loader, signal.SIGCONT)
        eventually(lambda: receiver.metric("halo_ready") == 1)
        receiver.export(trace_request((taken + 1, 1)))
        assert receiver.rows(COUNT) == [{"n": taken + 1, "different": taken + 1}]
    finally:
        receiver.kill()


BURST = """
import halo_receiver.intake as intake, shutil
intake.SMALL_BACKLOG_BYTES, intake.DISK_LOOK_BYTES, intake.DISK_LOOK_SECONDS = 2**20, 2**19, 3600
free = {free}
intake.shutil = type("Disk", (), {{"disk_usage": staticmethod(lambda _: shutil._ntuple_diskusage(0, 0, free))}})
"""


@pytest.mark.parametrize(
    ("free", "absorbed"),
    [
        pytest.param(2**40, True, id="the spool takes a burst of 40 MiB while nothing is loaded"),
        pytest.param(266 * 2**20, False, id="no more than is free beside it: it could not be loaded"),
    ],
)
def test_a_burst_is_absorbed_as_far_as_the_disk_goes(tmp_path: Path, free: int, absorbed: bool) -> None:
    receiver = ReceiverProcess(tmp_path / "data", patch=BURST.format(free=free))
    try:
        os.kill(receiver.loader, signal.SIGSTOP)
        taken, why = 0, ""
        with grpc.insecure_channel(receiver.grpc) as channel:
            export = channel.unary_unary(EXPORT)
            for number in range(1, 21):
                try:
                    export(trace_request((number, 1), size=2 * 2**20), timeout=20)
                    taken += 1
                except grpc.RpcError as error:
                    why = f"{error.code().name}: {error.details()}"
        assert (taken == 20) == absorbed
        if not absorbed:
            assert 5 <= taken <= 6  # 256 MiB are kept free, so ten are left, and the disk is looked at often enough
            assert why == "UNAVAILABLE: 10 MiB wait to be loaded, 10 are allowed; please retry"
        os.kill(receiver.loader, signal.SIGCONT)
        assert receiver.rows(COUNT) == [{"n": taken, "different": taken}]
    finally:
        receiver.kill()


def test_a_stopped_loader_is_seen_and_started_again_and_loses_nothing(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", patch=IMPATIENT)
    try:
        receiver.export(trace_request((1, 1)))
        first = receiver.loader
        os.kill(first, signal.SIGSTOP)
        receiver.export(trace_request((2, 1)))
        eventually(lambda: "silent" in ready(receiver)[1])
        eventually(lambda: receiver.metric("halo_loader_lag_seconds") > 0.5)
        eventually(lambda: receiver.metric("halo_loader_stuck_total") == 1)
        receiver.export(trace_request((3, 1)))
        assert receiver.rows(COUNT) == [{"n": 3, "different": 3}]
        assert receiver.loader != first
        eventually(lambda: ready(receiver) == (200, "ok\n"))
        eventually(lambda: health(receiver) == health_pb2.HealthCheckResponse.SERVING)
        assert "loader stuck" in receiver.log()
    finally:
        receiver.kill()


def test_a_seal_outlasts_the_death_of_the_loader(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        for number in (1, 2, 3):
            receiver.export(trace_request((number, 1)))
            os.kill(receiver.loader, signal.SIGKILL)
            assert receiver.rows(COUNT) == [{"n": number, "different": number}]
        assert receiver.metric("halo_loader_restarts_total") == 3
    finally:
        receiver.kill()


def test_a_request_that_kills_every_loader_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    """As a bug in a native library would: the process is gone before any handler runs."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'halo_receiver.loader_process' in ' '.join(sys.orig_argv):\n"
        "    from halo_receiver import batch_tables\n"
        "    as_it_is = batch_tables.Tables.add\n"
        "    def die(made, kind, encoding, body, arrival_ns):\n"
        "        if b'poison' in body: os._exit(139)\n"
        "        return as_it_is(made, kind, encoding, body, arrival_ns)\n"
        "    batch_tables.Tables.add = die\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    receiver = ReceiverProcess(tmp_path / "data", PYTHONPATH=path)
    try:
        receiver.export(trace_request((1, 1)))
        receiver.export(trace_request((2, 2), name="poison"))
        receiver.export(trace_request((3, 3)))
        eventually(lambda: receiver.metric("halo_loader_restarts_total") >= 3, seconds=60)
        assert receiver.rows(COUNT) == [{"n": 2, "different": 2}]
        aside = list((tmp_path / "data" / "spool" / "set-aside").iterdir())
        assert [path.read_bytes() for path in aside] == [trace_request((2, 2), name="poison")]
    finally:
        receiver.kill()


def test_the_loader_ends_with_a_receiver_that_is_killed_even_when_it_is_stopped(tmp_path: Path) -> None:
    """Two loaders on one directory would be two writers."""
    receiver = ReceiverProcess(tmp_path / "data")
    receiver.export(trace_request((1, 1)))
    loader = receiver.loader
    os.kill(loader, signal.SIGSTOP)
    receiver.process.kill()
    receiver.process.wait()
    eventually(lambda: not receiver.children("halo_receiver.loader_process"))
    second = ReceiverProcess(tmp_path / "data")
    try:
        assert second.rows(COUNT) == [{"n": 1, "different": 1}]
    finally:
        second.kill()


def test_while_it_drains_clients_are_told_to_come_back_and_the_drain_has_a_bound(tmp_path: Path) -> None:
    """A client that never ends its request, and a loader that is stopped, do not keep it for ever."""
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_DRAIN_SECONDS="3")
    receiver.export(trace_request((1, 1)))
    os.kill(receiver.loader, signal.SIGSTOP)
    hanging = RawHttp2(receiver.grpc)
    hanging.request(EXPORT, b"", end=False)
    with grpc.insecure_channel(receiver.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
        receiver.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert receiver.process.wait(30) == 0
    assert time.monotonic() - started < 12
    assert "drained=False" in receiver.log()
    second = ReceiverProcess(tmp_path / "data")
    try:
        assert second.rows(COUNT) == [{"n": 1, "different": 1}]
    finally:
        second.kill()


def test_what_was_acknowledged_by_an_earlier_start_and_waits_is_seen_as_backlog(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    os.kill(receiver.loader, signal.SIGSTOP)
    receiver.export(trace_request((1, 1), size=1000))
    receiver.kill()
    second = ReceiverProcess(tmp_path / "data")
    try:
        assert "backlog found" in second.log()
        assert second.rows(COUNT) == [{"n": 1, "different": 1}]
        eventually(lambda: second.metric("halo_spool_backlog_bytes") == 0)
    finally:
        second.kill()


def test_a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=48m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(30 * 2**20))
        receiver = ReceiverProcess(disk / "data", HALO_RECEIVER_MIN_FREE_BYTES="0")
        try:
            acknowledged, refused = set(), []
            for number in range(1, 2000):
                try:
                    receiver.export(trace_request((number, number), size=100_000))
                    acknowledged.add(number)
                except grpc.RpcError as error:
                    refused.append(error.code().name)
                    if len(refused) > 20:
                        break
            assert set(refused) == {"UNAVAILABLE"}
            assert acknowledged
            ballast.unlink()
            eventually(lambda: receiver.export(trace_request((5000, 1))) is not None)
            stored = {int(row["trace_id"], 16) for row in receiver.rows("SELECT trace_id FROM spans")}
            assert acknowledged <= stored
            assert len(receiver.rows("SELECT trace_id FROM spans")) == len(stored)
        finally:
            receiver.kill()


def test_a_seal_under_load_is_quick_and_complete(tmp_path: Path) -> None:
    """Everything acknowledged before the call is readable after it. How quick: benchmarks/README.md."""
    receiver = ReceiverProcess(tmp_path / "data")
    stop = threading.Event()
    acknowledged = 0

    def load() -> None:
        nonlocal acknowledged
        with grpc.insecure_channel(receiver.grpc) as channel:
            export = channel.unary_unary(EXPORT)
            while not stop.is_set():
                export(trace_request(*((acknowledged + 1, n) for n in range(1, 101)), size=300), timeout=20)
                acknowledged += 1

    thread = threading.Thread(target=load)
    try:
        thread.start()
        for _ in range(4):
            before = acknowledged
            eventually(lambda before=before: acknowledged > before + 3)
            before = acknowledged
            rows = receiver.rows("SELECT max(trace_id) AS last, count(*) AS n FROM spans")
            assert int(rows[0]["last"], 16) >= before
            assert rows[0]["n"] >= before * 100
    finally:
        stop.set()
        thread.join()
        receiver.kill()


def test_a_receiver_without_grpc_is_asked_on_a_port_of_its_own(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", "--grpc-endpoint", "off")
    try:
        assert post(f"{receiver.http}/v1/traces", trace_request((1, 1)), **PROTOBUF)[0] == 200
        assert receiver.rows(COUNT) == [{"n": 1, "different": 1}]
        address = segments_client.ReceiverAddress.read(receiver.data_dir)
        assert address
        status = segments_client.status(address)
        assert isinstance(status, segments_client.Status)
        assert (status.trouble, "halo_accepted_total" in status.metrics) == ("", True)
    finally:
        receiver.kill()


REFUSED_DISK = """
import errno, os
from pathlib import Path
real = {name: getattr(os, name) for name in ("fdatasync", "writev", "ftruncate")}
def failing(name):
    def call(*arguments):
        if name in Path("CONTROL").read_text().split():
            raise OSError(errno.EIO, "Input/output error")
        return real[name](*arguments)
    return call
for name in real:
    setattr(os, name, failing(name))
"""


@pytest.mark.parametrize("calls", ["fdatasync", "writev", "fdatasync ftruncate"])
def test_while_the_disk_refuses_every_write_the_receiver_is_not_ready_and_recovers_by_itself(
    tmp_path: Path, calls: str
) -> None:
    """A probe that says ready would have a load balancer send what nobody takes; and nobody is sent to who is not."""
    control = tmp_path / "control"
    control.write_text("")
    receiver = ReceiverProcess(tmp_path / "data", patch=REFUSED_DISK.replace("CONTROL", str(control)))
    try:
        receiver.export(trace_request((1, 1)))
        assert ready(receiver)[0] == 200
        control.write_text(calls)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                receiver.export(trace_request((2, 1)))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            status, why = ready(receiver)
            assert status == 503
            assert "the spool cannot be written: Input/output error" in why
        eventually(lambda: health(receiver) == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert receiver.metric("halo_ready") == 0
        control.write_text("")
        eventually(lambda: ready(receiver)[0] == 200)  # without a request: probes alone find out
        eventually(lambda: health(receiver) == health_pb2.HealthCheckResponse.SERVING)
        receiver.export(trace_request((3, 1)))
        stored = {int(row["trace_id"], 16) for row in receiver.rows("SELECT trace_id FROM spans")}
        assert stored >= {1, 3}, "what was refused may be there too, where the disk let nothing be taken back"
    finally:
        receiver.kill()


def test_every_export_refused_for_a_while_is_not_ready_until_one_is_taken_or_none_comes() -> None:
    now = [100.0]
    refusals = Refusals(clock=lambda: now[0])
    refusals.note("too much waits")
    assert refusals.reason() is None, "one refusal is no outage"
    now[0] += 4
    refusals.note("too much waits")
    assert refusals.reason() == "every export is refused: too much waits"
    refusals.note(None)
    assert refusals.reason() is None
    for _ in range(2):
        refusals.note("too much waits")
        now[0] += 4
    assert refusals.reason() is not None
    now[0] += 10
    assert refusals.reason() is None, "who is sent nobody would never be found to have recovered"
