"""The loader in the test's own process, on a spool that the test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from halo_receiver import spool
from halo_receiver.loader import Loader
from halo_receiver.set_aside import DIRECTORY as ASIDE
from halo_receiver.store import schema
from halo_receiver.store.reader import Reader
from halo_receiver.store.text_folding import unfolded
from tests.fixtures_receiver import trace_request

ARRIVAL = 1_790_000_000_000_000_000


def append(
    data_dir: Path,
    *bodies: bytes,
    kind: str = "traces",
    encoding: str = "protobuf",
    compression: str = "none",
    arrival_ns: int = ARRIVAL,
) -> list[spool.Position]:
    """Acknowledge requests as a start of the server does, in a spool file of their own; return where each ends."""
    writer = spool.SpoolWriter(data_dir / "spool")
    ends = [
        writer.append(
            [spool.encode(kind=kind, encoding=encoding, compression=compression, arrival_ns=arrival_ns, body=body)]
        )
        for body in bodies
    ]
    writer.close()
    return ends


def append_spans(data_dir: Path, *numbers: int, **options: Any) -> list[spool.Position]:
    """Acknowledge one request for each number, of one span in a trace of that number."""
    return append(data_dir, *(trace_request((number, number)) for number in numbers), **options)


def open_loader(data_dir: Path, **options: Any) -> Loader:
    """Start a loader, which recovers."""
    settings = {
        "rotate_seconds": 60, "rotate_bytes": 2**27, "max_request_bytes": 2**26, "max_attribute_bytes": 2**20,
        "memory_limit_bytes": 2**28, "threads": 1,
    }  # fmt: skip
    return Loader(data_dir, **{**settings, **options})


def load(data_dir: Path, *, before_seal: Callable[[Loader], None] = lambda _: None, **options: Any) -> Loader:
    """Load all that is spooled, and seal."""
    append(data_dir)  # the next start's file: what is in the earlier ones is whole, or torn for good
    loader = open_loader(data_dir, **options)
    loader.step()
    loader.commit()
    before_seal(loader)
    loader.seal()
    loader.segments.close()
    return loader


def numbers(data_dir: Path) -> list[int]:
    """The traces that a reader sees, one for each of its spans."""
    with Reader.open(data_dir) as reader:
        return [int(row["trace_id"], 16) for row in reader.query("SELECT trace_id FROM spans ORDER BY 1")]


def aside(data_dir: Path) -> list[str]:
    """What was set aside from the spool."""
    return sorted(path.name for path in (data_dir / "spool" / ASIDE).glob("*"))


def made_version_1(path: Path) -> None:
    """Store a sealed segment as schema 1 did: each text in its column."""
    with duckdb.connect(str(path)) as connection:
        for view in ("spans", "traces", "logs"):
            connection.execute(f"DROP VIEW {view}")
        connection.execute(f"CREATE TABLE before AS {unfolded('span_rows')}")
        connection.execute("DROP TABLE span_rows")
        connection.execute("ALTER TABLE before RENAME TO span_rows")
        connection.execute(f"CREATE VIEW spans AS {schema.spans_view('span_rows')}")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
