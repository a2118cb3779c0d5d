"""CSV and Parquet files of other programs → rows, read by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import duckdb
import orjson

from halo_receiver.errors import InputError

Form = Literal["csv", "parquet"]
ROWS = 256  # fetched at a time: one may hold whole conversations
MEMORY = "1GiB"
MAX_LINE_BYTES = 64 * 2**20  # of CSV
_READ = {
    "csv": f"read_csv($1, all_varchar = true, header = true, max_line_size = {MAX_LINE_BYTES}, "
           f"buffer_size = {2 * MAX_LINE_BYTES}, quote = '\"', escape = '\"', delim = ',', null_padding = true, "
           "parallel = false, strict_mode = false)",
    "parquet": "read_parquet($1)",
}  # fmt: skip


def rows(path: Path, form: Form) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file without what is NULL in them; of CSV all values are text, of Parquet times are.

    Raises InputError when it cannot be read, also after rows.
    """
    with duckdb.connect(":memory:", config={"memory_limit": MEMORY, "threads": 1}) as connection:
        connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        try:
            # A glob in the name would be expanded: it is the path of one file.
            quoted = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
            found = connection.execute(f"SELECT to_json(t)::VARCHAR FROM {_READ[form]} t", [quoted])
            while some := found.fetchmany(ROWS):
                for (text,) in some:
                    yield {key: value for key, value in orjson.loads(text).items() if value is not None}
        except (duckdb.Error, orjson.JSONDecodeError) as error:
            raise InputError(f"is no {form.upper()} that can be read: {str(error).splitlines()[0]}") from None
