"""A window of another store → segments here: of one run, or of the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from halo_worker import inputs
from halo_worker.config_sources import SourceConfig
from halo_worker.moments import seconds_of
from halo_worker.source import clickhouse
from halo_worker.window import SECOND, Window


def copy(
    source: SourceConfig,
    window: Window,
    directory: Path,
    *,
    now_ns: int,
    arrival: inputs.Arrival = "span-time",
    say: Callable[[str], None] | None = None,
    step: inputs.Step = lambda _: None,
) -> inputs.Imported:
    """Write the spans of the traces that ended in the window as segments.

    With `say`, into the store of the data directory `directory`; else they are left in it as they are. Raises
    ConfigError, InputError or StoreUnavailable.
    """
    password = source.password.get_secret_value() if source.password else ""
    where = clickhouse.address(source.url.get_secret_value(), password)
    margin_ns = int(seconds_of(source.margin) * SECOND)
    with clickhouse.ClickHouse(where) as table:
        requests = table.window(window, max_rows=source.max_rows, margin_ns=margin_ns)
        if say is None:
            return inputs.write_requests(requests, directory, now_ns=now_ns, arrival=arrival, step=step)
        return inputs.import_requests(requests, directory, now_ns=now_ns, arrival=arrival, say=say, step=step)
