"""The lake: rows of many hosts' segments as Parquet in object storage, with a DuckLake catalog in PostgreSQL.

The only module that knows DuckLake. `span_rows` and `log_rows` have the columns of a segment's, and two more:
`publication`, the number of the attempt that wrote them (`lake_state`), by which everybody tells rows that count from
rows that do not; and `bucket`, by which files are split where the lake was made with `buckets`.
What is read for a run is pulled into segments of its own first; from then on the run needs no lake.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from halo_receiver.config import LakeConfig
from halo_receiver.errors import ConfigError
from halo_receiver.store import schema
from halo_receiver.store.attached import AttachedSegments, SetAside
from halo_receiver.store.lake_extensions import faults, load_extensions, quoted
from halo_receiver.store.lake_state import libpq_words

FORMAT = "1.0"  # of the catalog: read and written by every DuckLake since
TABLES = ("span_rows", "log_rows")
OWN_COLUMNS = "publication, bucket"  # that a segment does not have
# Of one file: rows and bytes of a row group, which is in memory until it is written; smaller where many files are open.
ROW_GROUP = (20_480, "32MB")
BUCKET_ROW_GROUP = (8_192, "16MB")
BUCKET_BYTES = 32 * 2**20  # of memory that one open file needs
UPLOAD_BYTES = "50GB"  # the largest file: a ten thousandth is in memory for each open one, of DuckDB's 800 GB 80 MB
# Rows that a thread holds back before it writes them to their buckets, and threads; the next where memory is short.
# DuckDB's own 524,288 rows may be gigabytes.
WRITING = ((32_768, None), (4_096, None), (512, 1))
COMMIT_RETRIES = 100  # writers collide on snapshot numbers; 10 are few for a hundred receivers
ORPHAN_DAYS = 1  # younger files may be of a publication that is going on


@dataclass(frozen=True, slots=True)
class Written:
    """What of a publication is in the lake; `unreadable` are segments that could not be opened."""

    spans: int
    logs: int
    unreadable: tuple[SetAside, ...] = ()


def attach(connection: duckdb.DuckDBPyConnection, config: LakeConfig, *, create: bool = False) -> None:
    """Attach the lake to a connection as `lake`. Raises ConfigError, LakeUnavailable or StoreError."""
    words = libpq_words(config.catalog_words() or "")
    load_extensions(connection, config)
    with faults("attaching it"):
        if config.data.startswith("s3://"):
            connection.execute(f"CREATE OR REPLACE SECRET halo_lake ({_secret(config)})")
            connection.execute(f"SET s3_uploader_max_filesize = '{UPLOAD_BYTES}'")
        options = [
            f"DATA_PATH {quoted(config.data.rstrip('/') + '/')}", "METADATA_SCHEMA 'halo_lake'",
            "DATA_INLINING_ROW_LIMIT 0", f"CREATE_IF_NOT_EXISTS {str(create).lower()}",
        ]  # fmt: skip
        if create and not duckdb.__version__.startswith("1."):  # DuckLake of 1.x knows no other format
            options.append(f"DUCKLAKE_VERSION {quoted(FORMAT)}")
        connection.execute(f"ATTACH {quoted(f'ducklake:postgres:{words}')} AS lake ({', '.join(options)})")
        connection.execute(f"SET ducklake_max_retry_count = {COMMIT_RETRIES}")


def _secret(config: LakeConfig) -> str:
    keys = config.keys()
    if not keys:
        raise ConfigError("there are no keys for S3", hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    words = ["TYPE s3", f"REGION {quoted(config.region())}", f"SCOPE {quoted(config.data)}"]
    words += [f"{name} {quoted(value)}" for name, value in keys.items()]
    if config.endpoint:
        scheme, _, host = config.endpoint.partition("://")
        words += [
            f"ENDPOINT {quoted(host.rstrip('/'))}",
            "URL_STYLE 'path'",
            f"USE_SSL {str(scheme == 'https').lower()}",
        ]
    return ", ".join(words)


@contextlib.contextmanager
def connected(
    config: LakeConfig, *, memory_limit: str = "1GiB", threads: int = 2, create: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection of its own with the lake attached.

    Rows that are split into buckets may not fit into memory: they go to the temporary directory, not to the working
    directory, where a service may not write.
    """
    spill = Path(tempfile.gettempdir()) / f"halo-spill-{secrets.token_hex(6)}"
    limits: dict[str, Any] = {"memory_limit": memory_limit, "threads": threads, "temp_directory": str(spill)}
    with duckdb.connect(":memory:", config=limits) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")  # as row groups that are limited in bytes ask for
        attach(connection, config, create=create)
        yield connection


def create(config: LakeConfig) -> list[str]:
    """Make the tables that are missing; return their names."""
    made = []
    with connected(config, create=True) as connection, faults("making its tables"):
        for sql in ("ATTACH ':memory:' AS shape", "USE shape", schema.SCHEMA_SQL, "USE memory"):
            connection.execute(sql)
        there = {row[0] for row in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'").fetchall()}  # fmt: skip
        for table in (name for name in TABLES if name not in there):
            connection.execute(
                f"CREATE TABLE lake.{table} AS SELECT 0::BIGINT AS publication, 0::SMALLINT AS bucket, * "
                f"FROM shape.{table} WHERE false"
            )
            if config.buckets > 1:
                connection.execute(f"ALTER TABLE lake.{table} SET PARTITIONED BY (bucket)")
            made.append(table)
        rows, bytes_ = BUCKET_ROW_GROUP if config.buckets > 1 else ROW_GROUP
        for name, value in {"compression": "zstd", "row_group_size": rows, "row_group_size_bytes": bytes_}.items():
            connection.execute(f"CALL lake.set_option('parquet_{name}', '{value}')")
    return made


def bucket_of(trace_id: str, buckets: int) -> str:
    """Return the number of the bucket of a trace: an expression over that of its id, the same in every DuckDB."""
    return f"coalesce(md5_number_lower({trace_id}) % {buckets}, 0)::SMALLINT" if buckets > 1 else "0::SMALLINT"


def publish(
    config: LakeConfig, number: int, segments: Sequence[Path], *, buckets: int, memory_limit: str, threads: int
) -> Written:
    """Write the rows of sealed segments into the lake, in one transaction, under the number of a publication.

    `buckets`: those that the lake was made with. The segments are read once for as many as memory allows to be written
    side by side (16 of 512 MiB). Where memory is short all the same it is tried again with less in memory at a time.
    """
    with connected(config, memory_limit=memory_limit, threads=threads) as connection, faults("publishing"):
        attached = AttachedSegments(connection)
        for path in segments:
            attached.attach(path)
        for rows, most_threads in WRITING:
            connection.execute(f"SET partitioned_write_flush_threshold = {rows}")
            connection.execute(f"SET threads = {most_threads or threads}")
            connection.execute("BEGIN")
            try:
                _insert(connection, attached, number, buckets)
                written = _counted(connection, number)
                connection.execute("COMMIT")
                return Written(*written, tuple(attached.set_aside))
            except duckdb.OutOfMemoryException as error:
                connection.execute("ROLLBACK")
                short = error
        raise short


def _insert(connection: duckdb.DuckDBPyConnection, attached: AttachedSegments, number: int, buckets: int) -> None:
    own = f"{number} AS publication, {bucket_of('trace_id', buckets)} AS bucket"
    for table in TABLES if attached.segments else ():
        rows = " UNION ALL BY NAME ".join(f"SELECT * FROM {attached.rows(place, table)}" for place in attached.places())
        for mine in _rounds(connection, buckets):
            connection.execute(f"INSERT INTO lake.{table} BY NAME SELECT {own}, * FROM ({rows}) WHERE {mine}")


def _rounds(connection: duckdb.DuckDBPyConnection, buckets: int) -> list[str]:
    """Return the conditions, one after another, under which the rows of all buckets are written."""
    row = connection.execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))").fetchone() or (0,)
    open_files = max(1, int(row[0]) // BUCKET_BYTES)
    if buckets <= open_files:
        return ["true"]
    firsts = range(0, buckets, open_files)
    return [f"bucket BETWEEN {first} AND {first + open_files - 1}" for first in firsts]


def written(config: LakeConfig, number: int) -> Written:
    """Return what the lake holds of a publication: all of it, or nothing."""
    with connected(config) as connection, faults("looking for a publication"):
        return Written(*_counted(connection, number))


def _counted(connection: duckdb.DuckDBPyConnection, number: int) -> tuple[int, int]:
    [spans, logs] = [
        (connection.execute(f"SELECT count(*) FROM lake.{table} WHERE publication = {number}").fetchone() or (0,))[0]
        for table in TABLES
    ]
    return spans, logs


def among(publications: Sequence[int]) -> str:
    """Return the condition that a row is of these publications; its bounds let DuckLake pass over whole files."""
    if not publications:
        return "false"
    first, last = min(publications), max(publications)
    bounds = f"publication BETWEEN {first} AND {last}"
    if last - first + 1 == len(set(publications)):
        return bounds
    return f"{bounds} AND publication IN ({', '.join(map(str, sorted(set(publications))))})"


def remove(
    config: LakeConfig, condition: str, *, traces: Sequence[str] = (), logs: tuple[str, dict[str, Any]] = ("false", {})
) -> int:
    """Delete the rows that a condition names, those of traces, and log records; return how many.

    `logs`: a further condition on log records with its parameters. Files stay until `tidy`.
    """
    gone = 0
    with connected(config) as connection, faults("deleting rows"):
        connection.execute("CREATE TEMP TABLE gone AS SELECT unnest($1::VARCHAR[]) AS trace_id", [list(traces)])
        connection.execute("BEGIN")
        for table, (own, given) in zip(TABLES, (("false", {}), logs), strict=True):
            found = connection.execute(
                f"DELETE FROM lake.{table} WHERE {condition} OR trace_id IN (FROM gone) OR ({own})", given or None
            ).fetchone()
            gone += int(found[0]) if found else 0
        connection.execute("COMMIT")
    return gone


def merge(config: LakeConfig, *, memory_limit: str, threads: int) -> int:
    """Write small neighbouring files as larger ones; return how many files were written."""
    made = 0
    with connected(config, memory_limit=memory_limit, threads=threads) as connection, faults("merging files"):
        for table in TABLES:
            rows = connection.execute(f"CALL ducklake_merge_adjacent_files('lake', '{table}')").fetchall()
            made += len(rows)
    return made


def tidy(config: LakeConfig, *, older_than_seconds: float) -> int:
    """Delete files that no row needs: of snapshots that old, and of publications that failed. Return how many.

    Files that no snapshot knows are a day old at least: younger ones may be of a publication that is going on.
    """
    rewrite = "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)"
    past = f"now() - INTERVAL '{older_than_seconds} seconds'"
    with connected(config) as connection, faults("deleting files"):
        connection.execute(rewrite)
        connection.execute(f"CALL ducklake_expire_snapshots('lake', older_than => {past})")
        gone = connection.execute(f"CALL ducklake_cleanup_old_files('lake', older_than => {past})").fetchall()
        gone += connection.execute(
            f"CALL ducklake_delete_orphaned_files('lake', older_than => now() - INTERVAL '{ORPHAN_DAYS} days')"
        ).fetchall()
    return len(gone)


def size(config: LakeConfig) -> tuple[int, int]:
    """Return how many files the lake's tables have, and their bytes."""
    with connected(config) as connection, faults("counting files"):
        row = connection.execute(
            "SELECT sum(file_count), sum(file_size_bytes) FROM ducklake_table_info('lake')"
        ).fetchone()
    return (int(row[0] or 0), int(row[1] or 0)) if row else (0, 0)
