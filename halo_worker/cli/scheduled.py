"""The schedules of a process: what runs them, and what it says in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from halo_receiver.logs import event
from halo_worker import issues
from halo_worker import run as conductor
from halo_worker.analysis.work import Progress
from halo_worker.config import Settings
from halo_worker.delivery.courier import Courier, Delivery
from halo_worker.errors import HaloError, LakeUnavailable, LeaseTaken
from halo_worker.report import formats
from halo_worker.scheduler import Scheduler
from halo_worker.turns import LeasedTurns, Turns
from halo_worker.window import Window

log = logging.getLogger("halo.worker")


def reason(error: Exception) -> dict[str, str]:
    """Return the fields of a log event that say why."""
    if not isinstance(error, HaloError):
        return {"reason": f"{type(error).__name__}: {error}"}
    return {"reason": str(error)} | ({"hint": error.hint} if error.hint else {})


def say_deliveries(deliveries: Iterable[Delivery]) -> None:
    """Log how deliveries stand."""
    for item in deliveries:
        fields = {"reason": item.reason} if item.reason else {}
        fields |= {"kept_for": "halo deliver"} if item.state == "failed" else {}
        level = logging.ERROR if item.state == "failed" else logging.INFO
        event(log, f"delivery {item.state}", level=level, report=item.report_id, sink=item.sink, **fields)


def scheduler_of(
    current: Settings,
    ran: Callable[[str, str], None] = lambda *_: None,
    progress: Callable[[Progress | str], None] = lambda _: None,
) -> Scheduler:
    """Return what runs the schedules. `ran` is told how each run ended, `progress` how far it is."""
    turns = _turns(current)

    def work(name: str, window: Window) -> bool:
        try:
            event(
                log,
                "run started",
                schedule=name,
                since=formats.minute(window.start_ns),
                until=formats.minute(window.end_ns),
            )
            result = conductor.run_schedule(
                current, name, window, now_ns=time.time_ns(), progress=progress, shared=turns.shared
            )
        except LakeUnavailable:  # the scheduler tries it again
            ran(name, "failed")
            raise
        except LeaseTaken as error:
            event(log, "run discarded", level=logging.WARNING, schedule=name, reason=error)
            return False
        except Exception as error:  # noqa: BLE001 - one failing run must not end the worker; the next one is tried
            event(log, "run failed", level=logging.ERROR, schedule=name, **reason(error))
            ran(name, "failed")
            return False
        report = result.report
        ran(name, report.status)
        event(log, "run published", schedule=name, status=report.status, says=report.summary, report=result.folder)
        for problem in result.problems:
            event(log, "run noted", level=logging.WARNING, schedule=name, problem=problem)
        say_deliveries(result.deliveries)
        if unanswered := formats.unanswered(report):
            event(log, "run noted", schedule=name, problem=unanswered)
        return report.status != "failed" and not (report.prompt and report.unanswered)

    return Scheduler(
        current.schedules,
        data_dir=current.store.data_dir,
        work=work,
        watermark=issues.watermarks(current),
        clock=time.time_ns,
        say=partial(event, log),
        turns=turns,
    )


def _turns(current: Settings) -> Turns:
    """Return which schedules are this worker's: those whose leases it has, where there is a lake."""
    if not current.lake.on:
        return Turns()
    return LeasedTurns(
        current.lake, issues.reports_dir(current), current.schedules, interrupted=conductor.interrupted,
        say=partial(event, log),
    )  # fmt: skip


def courier_of(current: Settings, scheduler: Scheduler) -> Courier:
    """Return what tries deliveries again: those of the schedules that are this worker's, and of runs by hand."""
    return conductor.courier(current, issues.archive(current, scheduler.turns.shared))
