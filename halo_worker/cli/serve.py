"""`halo up`, `halo receive` and `halo work`: what keeps running."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from halo_receiver import child_processes
from halo_receiver.logs import event, set_up
from halo_receiver.store.lock import DirectoryLock
from halo_worker import issues, schedule
from halo_worker import run as conductor
from halo_worker.alerts import eligible
from halo_worker.alerts.thread import AlertThread
from halo_worker.alerts.watch import Watch
from halo_worker.cli.common import everywhere, given_data_dir, settings
from halo_worker.cli.console import talk
from halo_worker.cli.kept_child import PageChild, ReceiverChild
from halo_worker.cli.scheduled import courier_of, log, reason, say_deliveries, scheduler_of
from halo_worker.config import Settings
from halo_worker.delivery.courier import make_sink, unreachable
from halo_worker.metrics import MetricsServer, WorkerMetrics
from halo_worker.report import formats
from halo_worker.segments_client import ReceiverAddress


def _endpoints(command: Any) -> Any:
    for name, transport, port in (("http", "HTTP", 4318), ("grpc", "gRPC", 4317)):
        said = f"OTLP/{transport}; 'off' for none.  [default: 127.0.0.1:{port}]"
        command = click.option(f"--{name}-endpoint", metavar="HOST:PORT", help=said)(command)
    return command


def _receiver_arguments(current: Settings, config: Path | None) -> list[str]:
    words = ["--data-dir", str(current.store.data_dir)]
    words += ["--grpc-endpoint", current.receiver.grpc_endpoint, "--http-endpoint", current.receiver.http_endpoint]
    return [*words, "--config", str(config)] if config else words


def _page_arguments(current: Settings, config: Path | None) -> list[str]:
    words = ["page", "--data-dir", str(current.store.data_dir)]
    return [*words, "--config", str(config)] if config else words


@click.command("receive")
@click.option("--drain", is_flag=True, help="Receive nothing: load what waits in the spool, seal and end.")
@_endpoints
@everywhere
def receive_command(
    grpc_endpoint: str | None, http_endpoint: str | None, drain: bool, data_dir: Path | None, config: Path | None
) -> None:
    """Receive OTLP and keep it, until SIGTERM or Ctrl-C: then drain, seal and end."""
    current = settings(
        data_dir, config, make=True, receiver={"grpc_endpoint": grpc_endpoint, "http_endpoint": http_endpoint}
    )
    sys.stdout.flush()
    child_processes.become(
        "halo-receiver", "halo_receiver", *_receiver_arguments(current, config), *(["--drain"] if drain else [])
    )


@click.command("work")
@click.option("--once", is_flag=True, help="Run every schedule and look for every alert that is due now, then end.")
@everywhere
def work_command(once: bool, data_dir: Path | None, config: Path | None) -> int:
    """Run the schedules on a data directory, until SIGTERM or Ctrl-C."""
    current = settings(data_dir, config, make=True)
    check(current)
    with _worker_lock(current):
        if once:
            return _work_once(current)
        return _until_stopped(current, receiver=None)


@click.command("up")
@_endpoints
@everywhere
def up_command(grpc_endpoint: str | None, http_endpoint: str | None, data_dir: Path | None, config: Path | None) -> int:
    """Run the receiver, the scheduled worker and the page together on one data directory.

    Ctrl-C and SIGTERM drain, seal and leave nothing half done; a second start continues.
    """
    current = settings(
        data_dir, config, make=True, receiver={"grpc_endpoint": grpc_endpoint, "http_endpoint": http_endpoint}
    )
    check(current)
    from halo_worker.page import security  # loads aiohttp, which the worker alone does not need

    security.check(current)
    with _worker_lock(current):
        say = partial(event, log)
        receiver = ReceiverChild(current, _receiver_arguments(current, config), say=say)
        page = None if current.page.endpoint == "off" else PageChild(_page_arguments(current, config), say=say)
        return _until_stopped(current, receiver=receiver, page=page)


def check(current: Settings) -> None:
    """Set the log up, and refuse to start with what no later run could mend."""
    set_up(current.worker.log_level, current.worker.log_format)
    schedule.check(current)
    eligible.check(current)
    for name, config in current.sinks.items():
        make_sink(name, config)


def _say_unreachable(current: Settings) -> None:
    for name, error in unreachable(current.sinks):
        event(log, "sink unreachable", level=logging.WARNING, name=name, **reason(error))


def _worker_lock(current: Settings) -> DirectoryLock:
    return DirectoryLock(schedule.worker_lock(current.store.data_dir), "a worker")


def _work_once(current: Settings) -> int:
    """Run what is due of every schedule, and one that has never run."""
    scheduler = scheduler_of(current)
    watermark, now = issues.watermarks(current), time.time_ns()
    ran = [
        scheduler.run_now(name) if watermark(name, now) is None else scheduler.run_due(name)
        for name in current.schedules
    ]
    say_deliveries(courier_of(current, scheduler).retry())
    scheduler.stop()
    if current.alerts:
        _look_once(current)
    failed = sum(one.failed for one in ran)
    talk(f"{formats.plural(sum(one.windows for one in ran), 'run')} done" + (f", {failed} failed" if failed else ""))
    return 1 if failed else 0


def _look_once(current: Settings) -> None:
    """Look for every alert whose time has come since it looked last."""
    watch = Watch(current, clock=time.time_ns, say=partial(event, log))
    say_deliveries([*watch.recover(), *watch.turn()])


def _serve_metrics(current: Settings, metrics: WorkerMetrics) -> MetricsServer | None:
    """Listen for Prometheus. A port that is taken, as by the worker of another directory, ends no worker."""
    endpoint = current.worker.metrics_endpoint
    if endpoint == "off":
        return None
    try:
        server = MetricsServer(endpoint, metrics)
    except OSError as error:
        hint = "choose another with [worker] metrics_endpoint, or 'off'"
        event(log, "metrics not served", level=logging.WARNING, endpoint=endpoint, reason=error.strerror, hint=hint)
        return None
    event(log, "worker ready", metrics=server.address, data_dir=current.store.data_dir)
    return server


def _say_next(current: Settings) -> None:
    """Tell a person who has just started it what to do; a log of JSON lines has no place for that."""
    address = ReceiverAddress.read(current.store.data_dir)
    plan = schedule.plan(current.schedules, issues.watermarks(current), time.time_ns())
    due = min((item.next_run for item in plan if item.next_run), default=None)
    if address is not None and address.grpc:
        scheme = "https" if current.receiver.tls_cert_file else "http"
        talk(
            f"send spans:  export OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{address.grpc} OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        )
    elif address is not None and address.http:
        scheme = "https" if current.receiver.tls_cert_file else "http"
        talk(f"send spans:  export OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{address.http}")
    where = given_data_dir(None)
    flag = f" --data-dir {where}" if where else ""
    talk(f"see them:    halo traces{flag}, halo doctor{flag}")
    talk(f"report:      halo run --last 1h{flag} now" + (f"; on schedule at {formats.minute(due)} UTC" if due else ""))


def _until_stopped(current: Settings, *, receiver: ReceiverChild | None, page: PageChild | None = None) -> int:
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    metrics = WorkerMetrics(current, clock=time.time_ns)
    scheduler = scheduler_of(current, metrics.ran)
    courier = courier_of(current, scheduler)
    alerts = AlertThread(current, say=partial(event, log), delivered=say_deliveries)
    server, code = _serve_metrics(current, metrics), 0
    try:
        if receiver is not None and (ended := receiver.wait_ready(stopping)):
            return ended
        scheduler.start()
        alerts.start()
        if receiver is not None and current.worker.log_format == "text":
            _say_next(current)
        # Beside the work: a host that answers nothing takes its time-out.
        threading.Thread(target=_say_unreachable, args=(current,), daemon=True).start()
        while not stopping.wait(1.0):
            say_deliveries(courier.retry(stop=stopping.is_set))
            for child in filter(None, (receiver, page)):
                child.look()
    finally:
        conductor.interrupt()
        alerts.stop()
        scheduler.stop()
        if page is not None:
            page.stop()
        if server is not None:
            server.stop()
        if receiver is not None:
            code = receiver.stop()
    return code
