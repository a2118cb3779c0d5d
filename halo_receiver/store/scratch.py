"""Tables that a run makes for itself, as large as the window: in a file beside the spill, not in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb


class Scratch:
    """Makes tables in a database file of its own, which is there from the first table to `close`.

    A table in memory that does not fit is written out by whatever statement needs the room, and again by the next one,
    uncompressed: over ten million spans the detectors' statements, each of which reads that table, took 1.8 times as
    much CPU a span as over one million. In a file it is written once, compressed, and let go of for nothing.
    A window that is known to be small is compressed for nothing: `in_memory` makes plain tables (a third less CPU for
    `_s` over 100,000 spans), `stay_in_memory` those that are made after the largest one. `keep` names the file, which
    stays: what `save` wrote is there again when it is opened.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, in_memory: bool = False, keep: Path | None = None
    ) -> None:
        self._connection = connection
        self._in_memory = in_memory
        self._keep = keep
        self._attached = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if keep is not None:
            self._attach()

    def table(self, name: str, select: str) -> None:
        """Make a table of a SELECT, or make it anew. It is called by its name alone."""
        if self._in_memory:
            self._connection.execute(f"CREATE OR REPLACE TABLE memory.main.{name} AS {select}")
            return
        if not self._attached:
            self._attach()
        self._connection.execute(f"CREATE OR REPLACE TABLE scratch.{name} AS {select}")

    def stay_in_memory(self) -> None:
        """Make the tables from here on in memory, unless the file is kept: beside few spans they are small."""
        self._in_memory = self._keep is None

    def has(self, name: str) -> bool:
        """Say whether the file that is kept holds a table."""
        sql = "SELECT 1 FROM duckdb_tables() WHERE database_name = 'scratch' AND table_name = $1"
        return self._keep is not None and self._connection.execute(sql, [name]).fetchone() is not None

    def save(self) -> None:
        """Write into the file that is kept all tables made so far, the temporary ones too."""
        execute = self._connection.execute
        sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'temp'"
        for (name,) in execute(sql).fetchall():
            execute(f'CREATE OR REPLACE TABLE scratch."{name}" AS FROM temp."{name}"')
        execute("CHECKPOINT scratch")

    def _attach(self) -> None:
        self._attached = True
        if self._keep is None:
            self._folder = tempfile.TemporaryDirectory(prefix="halo-scratch-", ignore_cleanup_errors=True)
        file = self._keep or Path(self._folder.name if self._folder else "") / "scratch.duckdb"
        quoted = str(file).replace("'", "''")
        # Nobody goes on with it after a crash: no log is written ahead, and nothing is tidied up at the end.
        self._connection.execute(
            f"ATTACH '{quoted}' AS scratch (STORAGE_VERSION 'latest', RECOVERY_MODE 'no_wal_writes')"
        )
        self._connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        self._connection.execute("SET search_path = 'memory.main,scratch.main'")
        if self._keep is None:  # it goes on without its name: its room is free again however the process ends
            file.unlink()

    def close(self) -> None:
        """Remove the folder. The connection must be closed by then."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
