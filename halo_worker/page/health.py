"""Schedules with their last and next runs, runs now, and how receiver, disk and settings are."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from halo_receiver.store.lock import holder
from halo_worker import issues, schedule, status
from halo_worker.errors import HaloError, InputError
from halo_worker.page.data import DATA, Data
from halo_worker.page.rendering import render
from halo_worker.page.runs import Run, Runs, start_halo

LOOKED_THROUGH = 200  # newest reports, for the last of each schedule
CHECKS_SECONDS = 15.0  # for which what the checks said is shown again
DOCTOR_SECONDS = 60.0

RUNS = web.AppKey("runs", Runs)
Check = tuple[str, str, str]  # what, ok | note | problem, in words


@dataclass(slots=True)
class Checked:
    """What the checks said last, and when."""

    said: list[Check] = field(default_factory=list)
    at: float = -CHECKS_SECONDS
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


CHECKED = web.AppKey("checked", Checked)


async def show(request: web.Request) -> web.Response:
    """Show the schedules and how things stand; the checks, which ask other hosts, come after by themselves."""
    data = request.app[DATA]
    schedules, standing, problem = await data.blocking(_view, data)
    checks = await _checks(request.app) if "checks" in request.query else None
    return render(
        request, "health.html.j2", schedules=schedules, standing=standing, problem=problem, checks=checks,
        runs=_runs(request),
    )  # fmt: skip


def _view(data: Data) -> tuple[list[dict[str, Any]], list[status.Row], str]:
    current, now_ns = data.settings, data.clock()
    standing = list(status.rows(current, now_ns, known=data.memory()))
    try:
        planned = schedule.plan(current.schedules, issues.watermarks(current), now_ns)
    except HaloError as error:
        return [], standing, str(error)
    last: dict[str, Any] = {}
    for line in reversed(data.lines(data.archive.until(now_ns)[:LOOKED_THROUGH])):
        if line.schedule:
            last[line.schedule] = line
    rows = [
        {
            "is": item,
            "last": last.get(item.name),
            "running": holder(schedule.run_lock(data.directory, item.name).path) is not None,
            "sinks": current.schedules[item.name].sinks,
            "engine": current.engine_for(current.schedules[item.name].engine),
        }
        for item in planned
    ]
    return rows, standing, ""


async def checks(request: web.Request) -> web.Response:
    """Show what the checks of `halo doctor` say, as a part of the page."""
    return render(request, "checks.html.j2", checks=await _checks(request.app))


async def _checks(app: web.Application) -> list[Check]:
    """Ask `halo doctor`, in a process of its own: it reads a day of spans, and asks other hosts."""
    kept = app[CHECKED]
    async with kept.asking:
        if time.monotonic() - kept.at >= CHECKS_SECONDS:
            kept.said, kept.at = await _doctor(app[DATA].options), time.monotonic()
    return kept.said


async def _doctor(options: tuple[str, ...]) -> list[Check]:
    process = await start_halo("doctor", "--format", "json", *options, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), DOCTOR_SECONDS)
        return [(row["check"], row["state"], row["says"]) for row in json.loads(said)]
    except TimeoutError:
        process.kill()
        return [("checks", "problem", f"'halo doctor' took more than {DOCTOR_SECONDS:.0f} s")]
    except (ValueError, KeyError, TypeError):
        return [("checks", "problem", "'halo doctor' said nothing that can be read; run it in a terminal")]


async def run_now(request: web.Request) -> web.Response:
    """Start a run of a schedule, and lead back to where its progress is."""
    data, name = request.app[DATA], request.match_info["name"]
    if name not in data.settings.schedules:
        raise InputError(f"there is no schedule '{name}'", hint=f"there are: {', '.join(data.settings.schedules)}")
    request.app[RUNS].start(name, now_ns=data.clock())
    raise web.HTTPSeeOther("/health#runs")


async def runs(request: web.Request) -> web.Response:
    """Show the runs that were started here, as a part of the page that renews itself."""
    return render(request, "runs.html.j2", runs=_runs(request))


def _runs(request: web.Request) -> list[tuple[str, Run]]:
    return sorted(request.app[RUNS].last.items(), key=lambda item: -item[1].began_ns)


async def start(app: web.Application) -> None:
    """Have a place for runs and for what the checks said."""
    data = app[DATA]
    app[RUNS] = Runs(data.options)
    app[CHECKED] = Checked()


async def stop(app: web.Application) -> None:
    """End what runs."""
    await app[RUNS].close()


ROUTES = [
    web.get("/health", show),
    web.get("/health/checks", checks),
    web.get("/health/runs", runs),
    web.post("/health/run/{name}", run_now),
]
