"""What is usual in a window, as counts that add up: kept beside its report, and compared with until the next one.

The tables of `kind = "counts"`. A look of the alerts holds the traces of a few minutes; rules that compare traces with
each other then compare them with those of the last report as well, without reading those again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halo_receiver.store.reader import Reader

BASELINES_FILE = "baselines.json"
VERSION = 1  # of the file; of another one nothing is read
MAX_ROWS = 20_000  # of one table, the largest: a megabyte
EARLIER = "earlier"  # the column that tells rows of the last report


@dataclass(frozen=True, slots=True)
class Baselines:
    """The counts of one report: rows by table, each with its columns by name."""

    report_id: str
    tables: Mapping[str, Sequence[Mapping[str, Any]]]

    def add(self, reader: Reader, table: str) -> None:
        """Add the rows of a table of counts to those of the window. What has other columns is left out."""
        if not (rows := self.tables.get(table)):
            return
        columns = [name for name in _columns(reader, table) if name != EARLIER]
        given = [[row[name] for name in columns] for row in rows if row.keys() == set(columns)]
        if given:
            marks = ", ".join("?" * len(columns))
            into = f"{table} ({', '.join(columns)}, {EARLIER})"
            reader.connection.executemany(f"INSERT INTO {into} VALUES ({marks}, true)", given)


def files(reader: Reader, tables: Iterable[str]) -> dict[str, str]:
    """Return the file of a window, whose tables of counts are made; none where nothing was counted."""
    counted = {name: _rows(reader, name) for name in tables}
    if not any(one["rows"] for one in counted.values()):
        return {}
    return {BASELINES_FILE: json.dumps({"version": VERSION, "tables": counted}, ensure_ascii=False) + "\n"}


def read(report: Path) -> Baselines | None:
    """Read the file in the folder of a report; None where there is none, or none that this build reads."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        found = json.loads((report / BASELINES_FILE).read_text("utf-8"))
        if found["version"] == VERSION:
            rows = {name: [dict(zip(one["columns"], row, strict=True)) for row in one["rows"]]
                    for name, one in found["tables"].items()}  # fmt: skip
            return Baselines(report.name, rows)
    return None


def last(folders: Iterable[Path]) -> Baselines | None:
    """Return the first that can be read, of folders of reports from the newest on."""
    return next((found for folder in folders if (found := read(folder)) is not None), None)


def _columns(reader: Reader, table: str) -> list[str]:
    return [row["column_name"] for row in reader.query(f"DESCRIBE {table}")]


def _rows(reader: Reader, table: str) -> dict[str, Any]:
    """Return the columns and rows of a table, the numbers of equal keys added up, the largest first."""
    described = reader.query(f"DESCRIBE {table}")
    numbers = [row["column_name"] for row in described if row["column_type"] in ("BIGINT", "HUGEINT")]
    keys = [row["column_name"] for row in described if row["column_name"] not in (*numbers, EARLIER)]
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in numbers)
    rows = reader.connection.execute(
        f"FROM (SELECT {', '.join(keys)}, {sums} FROM {table} GROUP BY ALL) "
        f"ORDER BY {' + '.join(numbers)} DESC, {', '.join(keys)} LIMIT {MAX_ROWS}"
    ).fetchall()
    return {"columns": [*keys, *numbers], "rows": rows}
