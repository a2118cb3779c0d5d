"""`halo up`, `halo receive`, `halo work` and `halo schedules`: what keeps running."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from halo_receiver import children
from halo_receiver.store.lock import DirectoryLock
from halo_worker import run as conductor
from halo_worker import schedule
from halo_worker.cli.common import everywhere, fail, nearest, print_rows, settings, talk
from halo_worker.config import Settings
from halo_worker.delivery.courier import Delivery, make_sink, unreachable
from halo_worker.errors import HaloError, InputError
from halo_worker.report import words
from halo_worker.report.model import iso_nano
from halo_worker.window import Window


def _endpoints(command: Any) -> Any:
    for option in (
        click.option(
            "--http-endpoint", metavar="HOST:PORT", help="OTLP/HTTP; 'off' for none.  [default: 127.0.0.1:4318]"
        ),
        click.option(
            "--grpc-endpoint", metavar="HOST:PORT", help="OTLP/gRPC; 'off' for none.  [default: 127.0.0.1:4317]"
        ),
    ):
        command = option(command)
    return command


def _receiver_arguments(current: Settings, config: Path | None) -> list[str]:
    words = ["--data-dir", str(current.store.data_dir)]
    words += ["--grpc-endpoint", current.receiver.grpc_endpoint, "--http-endpoint", current.receiver.http_endpoint]
    return [*words, "--config", str(config)] if config else words


@click.command("receive")
@_endpoints
@everywhere
def receive_command(
    grpc_endpoint: str | None, http_endpoint: str | None, data_dir: Path | None, config: Path | None
) -> None:
    """Receive OTLP and keep it, until SIGTERM or Ctrl-C: then drain, seal and end."""
    current = settings(data_dir, config, receiver={"grpc_endpoint": grpc_endpoint, "http_endpoint": http_endpoint})
    sys.stdout.flush()
    children.become("halo-receiver", "halo_receiver", *_receiver_arguments(current, config))


@click.command("work")
@click.option("--once", is_flag=True, help="Run every schedule that is due now, then end.")
@everywhere
def work_command(once: bool, data_dir: Path | None, config: Path | None) -> int:
    """Run the schedules on a data directory, until SIGTERM or Ctrl-C."""
    current = settings(data_dir, config)
    _check(current)
    with _worker_lock(current):
        if once:
            return _work_once(current)
        return _until_stopped(current, receiver=None)


@click.command("up")
@_endpoints
@everywhere
def up_command(grpc_endpoint: str | None, http_endpoint: str | None, data_dir: Path | None, config: Path | None) -> int:
    """Run the receiver and the scheduled worker together on one data directory.

    Ctrl-C and SIGTERM drain, seal and leave nothing half done; a second start continues.
    """
    current = settings(data_dir, config, receiver={"grpc_endpoint": grpc_endpoint, "http_endpoint": http_endpoint})
    _check(current)
    with _worker_lock(current):
        # In a session of its own, so that Ctrl-C reaches this process alone, which then ends both in order.
        receiver = children.start(
            "halo-receiver", "halo_receiver", *_receiver_arguments(current, config),
            env=children.environment(settings=True), ends_by=signal.SIGTERM, start_new_session=True,
        )  # fmt: skip
        return _until_stopped(current, receiver=receiver)


@click.command("schedules")
@click.argument("action", type=click.Choice(["list", "run"]), default="list")
@click.argument("name", required=False)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def schedules_command(action: str, name: str | None, form: str, data_dir: Path | None, config: Path | None) -> int:
    """List the schedules with their last window and next run, or run one NAME now."""
    current = settings(data_dir, config)
    if action == "run":
        if name not in current.schedules:
            raise InputError(
                f"there is no schedule '{name}'" if name else "which schedule?",
                hint=nearest(name or "", current.schedules),
            )
        _check(current)
        ran = _scheduler(current).run_now(name)
        return 1 if ran.failed or ran.skipped else 0
    reports = conductor.last_reports(current)
    planned = schedule.plan(current.schedules, conductor.watermarks(current), time.time_ns())
    rows = [
        {
            "name": item.name,
            "when": item.when,
            "last_run": iso_nano(reports[item.name].created_at) if item.name in reports else None,
            "last_report": reports[item.name].id if item.name in reports else None,
            "last_window_end": iso_nano(item.last_window_end) if item.last_window_end else None,
            "next_run": iso_nano(item.next_run) if item.next_run else None,
            "sinks": current.schedules[item.name].sinks,
        }
        for item in planned
    ]
    if form == "table":
        rows = [
            {
                "name": row["name"],
                "when": row["when"],
                "last run": _minute(row["last_run"]) or "never",
                "next run": _minute(row["next_run"]) or "never",
                "sinks": ", ".join(current.schedules[str(row["name"])].sinks) or "none",
            }
            for row in rows
        ]
    print_rows(rows, form)
    return 0


def _minute(moment: object) -> str:
    return f"{str(moment)[:16].replace('T', ' ')} UTC" if moment else ""


def _check(current: Settings) -> None:
    """Refuse to start with what no later run could mend; of what may pass, say that it is so."""
    schedule.check(current)
    for name, config in current.sinks.items():
        make_sink(name, config)


def _say_unreachable(current: Settings) -> None:
    for name, error in unreachable(current.sinks):
        _log(f"sink unreachable name={name} reason={error}{f' hint={error.hint}' if error.hint else ''}")


def _log(event: str) -> None:
    talk(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {event}")


def _say_deliveries(deliveries: Iterable[Delivery]) -> None:
    for item in deliveries:
        reason = f" reason={item.reason}" if item.reason else ""
        kept = " kept_for='halo deliver'" if item.state == "failed" else ""
        _log(f"delivery {item.state} report={item.report_id} sink={item.sink}{reason}{kept}")


def _worker_lock(current: Settings) -> DirectoryLock:
    return DirectoryLock(current.store.data_dir / "reports" / "worker.lock", "a worker")


def _scheduler(current: Settings) -> schedule.Scheduler:
    def work(name: str, window: Window) -> bool:
        try:
            result = conductor.run_schedule(current, name, window, now_ns=time.time_ns())
        except HaloError as error:
            _log(f"run failed schedule={name} reason={error}{f' hint={error.hint}' if error.hint else ''}")
            return False
        except Exception as error:  # noqa: BLE001 - one failing run must not end the worker; the next one is tried
            _log(f"run failed schedule={name} reason={type(error).__name__}: {error}")
            return False
        report = result.report
        _log(f"run published schedule={name} status={report.status} says={report.summary!r} report={result.folder}")
        for problem in result.problems:
            _log(f"run noted schedule={name} problem={problem}")
        _say_deliveries(result.deliveries)
        return report.status != "failed"

    return schedule.Scheduler(
        current.schedules,
        data_dir=current.store.data_dir,
        work=work,
        watermark=conductor.watermarks(current),
        clock=time.time_ns,
        say=_log,
    )


def _work_once(current: Settings) -> int:
    """Run what is due of every schedule, and one that has never run."""
    scheduler = _scheduler(current)
    watermark, now = conductor.watermarks(current), time.time_ns()
    ran = [
        scheduler.run_now(name) if watermark(name, now) is None else scheduler.run_due(name)
        for name in current.schedules
    ]
    deliveries = conductor.courier(current).retry()
    _say_deliveries(deliveries)
    failed = sum(one.failed for one in ran)
    talk(f"{words.plural(sum(one.windows for one in ran), 'run')} done" + (f", {failed} failed" if failed else ""))
    return 1 if failed else 0


def _until_stopped(current: Settings, *, receiver: subprocess.Popen[bytes] | None) -> int:
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    scheduler = _scheduler(current)
    courier = conductor.courier(current)
    code = 0
    try:
        if receiver is not None and not _wait_ready(current, receiver, stopping):
            return receiver.wait() or 1
        scheduler.start()
        # Beside the work: a host that answers nothing takes its time-out.
        threading.Thread(target=_say_unreachable, args=(current,), daemon=True).start()
        while not stopping.wait(1.0):
            _say_deliveries(courier.retry(stop=stopping.is_set))
            if receiver is not None and receiver.poll() is not None:
                talk(f"receiver ended unexpectedly code={receiver.returncode}")
                code = 1
                break
    finally:
        conductor.interrupt()
        scheduler.stop()
        if receiver is not None and receiver.poll() is None:
            receiver.send_signal(signal.SIGTERM)
            try:
                receiver.wait(current.receiver.drain_seconds + 30)
            except subprocess.TimeoutExpired:
                receiver.kill()
                fail(HaloError("the receiver did not drain in time; what it acknowledged is in the spool"), code=1)
            code = code or receiver.returncode
    return code


def _wait_ready(current: Settings, receiver: subprocess.Popen[bytes], stopping: threading.Event) -> bool:
    """Wait until the child has left its address. False when it ended instead: it has said why."""
    from halo_worker.segments_client import ReceiverAddress

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not stopping.is_set():
        address = ReceiverAddress.read(current.store.data_dir)
        if address is not None and address.pid == receiver.pid:
            return True
        if receiver.poll() is not None:
            return False
        stopping.wait(0.05)
    return stopping.is_set() or fail(HaloError("the receiver did not start within 60 s"), code=1)
