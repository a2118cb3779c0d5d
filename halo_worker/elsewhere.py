"""A window of another store → segments here: of one run, or of the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from halo_worker import inputs
from halo_worker.config_sources import SourceConfig
from halo_worker.moments import seconds_of
from halo_worker.source import clickhouse
from halo_worker.source.clickhouse import WHOLE, Part
from halo_worker.window import SECOND, Window


def count(source: SourceConfig, window: Window) -> int:
    """Return how many spans `copy` writes. Raises as it does."""
    with _table(source) as table:
        return table.count(window, max_rows=source.max_rows, margin_ns=_margin_ns(source))


def copy(
    source: SourceConfig,
    window: Window,
    directory: Path,
    *,
    now_ns: int,
    arrival: inputs.Arrival = "span-time",
    part: Part = WHOLE,
    count: int | None = None,
    say: Callable[[str], None] | None = None,
    step: inputs.Step = lambda _: None,
) -> inputs.Imported:
    """Write the spans of the traces that ended in the window, or of a hash part of them, as segments.

    With `say`, into the store of the data directory `directory`; else they are left in it as they are. `count`: what
    `count` returned. Raises ConfigError, InputError or StoreUnavailable.
    """
    with _table(source) as table:
        requests = table.window(window, max_rows=source.max_rows, margin_ns=_margin_ns(source), part=part, count=count)
        if say is None:
            return inputs.write_requests(requests, directory, now_ns=now_ns, arrival=arrival, step=step)
        return inputs.import_requests(requests, directory, now_ns=now_ns, arrival=arrival, say=say, step=step)


def left_out(rejected: int) -> list[str]:
    """Say of a copy what it could not take; nothing where it took all."""
    return [f"{rejected} spans have no usable ids and were left out"] if rejected else []


def _table(source: SourceConfig) -> clickhouse.ClickHouse:
    password = source.password.get_secret_value() if source.password else ""
    return clickhouse.ClickHouse(clickhouse.address(source.url.get_secret_value(), password))


def _margin_ns(source: SourceConfig) -> int:
    return int(seconds_of(source.margin) * SECOND)
