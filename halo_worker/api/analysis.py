"""`analyze`: the report of a window or of files, as an object. Nothing is published and nobody is told."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from halo_worker import config, config_schedules, moments, run
from halo_worker.api.settings import TracePaths, overrides_of, sources
from halo_worker.api.types import EngineConfig
from halo_worker.errors import InputError
from halo_worker.report.model import Report
from halo_worker.request import Request
from halo_worker.window import Window

Moment = datetime | str | int
Engine = Literal["auto", "detectors", "rlm"] | EngineConfig


def analyze(
    source: TracePaths,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    prompt: str | None = None,
    engine: Engine | None = None,
    budget: config_schedules.BudgetConfig | Mapping[str, Any] | None = None,
) -> Report:
    """Analyse files, or a data directory between two times of arrival, and return the report.

    Times are datetimes, ISO-8601 texts (naive means UTC) or unix nanoseconds; without them it is everything. `engine`
    as the setting of that name, or an EngineConfig, whose budget `budget` replaces in part. Issues of a data directory
    are known and measured against, and not changed. Raises ConfigError or InputError when it cannot begin.
    """
    files, data_dir = sources(source)
    if files and (since is not None or until is not None):
        raise InputError("since and until are for a data directory; with files the window is all that is in them")
    overrides = overrides_of(engine) if isinstance(engine, EngineConfig) else {}
    if isinstance(engine, EngineConfig):
        overrides["budget"] |= {
            "max_tokens": engine.maximum_tokens, "max_cost": engine.maximum_cost_usd,
            "max_seconds": engine.maximum_seconds,
        }  # fmt: skip
    if budget is not None:
        given = budget.model_dump() if isinstance(budget, config_schedules.BudgetConfig) else dict(budget)
        overrides["budget"] = overrides.get("budget", {}) | given
    now_ns = time.time_ns()
    with tempfile.TemporaryDirectory(prefix="halo-run-") as folder:
        overrides["store"] = {"data_dir": data_dir or Path(folder) / "data"}
        current = config.load_settings(overrides=overrides)
        request = Request(
            window=None if files else Window(_nano(since, 0), _nano(until, now_ns + 1)),
            paths=files,
            prompt=prompt,
            engine="rlm" if isinstance(engine, EngineConfig) else engine,
            out=Path(folder) / "reports",
            recall=data_dir is not None,
        )
        return run.run(current, request, now_ns=now_ns).report


def _nano(moment: Moment | None, default: int) -> int:
    if moment is None:
        return default
    if isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        try:
            return moments.moment(moment)
        except ValueError as error:
            raise InputError(str(error)) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
