"""Regular expressions over text in linear time: DuckDB's RE2, however a pattern is written.

Python's `re` goes back and tries again: `(\\w+\\s*)+$` on one line of 400 letters runs for longer than anybody waits,
and nothing can stop it. RE2 reads each letter once, and a running query can be interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from halo_receiver.errors import InputError

MEMORY = "512MiB"
LINE_CHARACTERS = 500  # of a line that matches; the rest is cut

_LINES = f"""
SELECT text_number, line_number, left(rtrim(line, chr(13)), {LINE_CHARACTERS + 1}) FROM (
  SELECT text_number, unnest(lines) AS line, unnest(range(1, len(lines) + 1)) AS line_number
  FROM (SELECT text_number, string_split(text, chr(10)) AS lines FROM _texts)
) WHERE regexp_matches(line, $1) ORDER BY text_number, line_number LIMIT $2"""


class Pattern:
    """One regular expression, in RE2's syntax. Raises InputError with RE2's own words when it is not one."""

    def __init__(self, regex: str) -> None:
        self.regex = regex
        self._connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY})
        self._connection.execute("SET enable_external_access = false")
        try:
            self._connection.execute("SELECT regexp_matches('', $1)", [regex]).fetchall()
        except duckdb.Error as error:
            self._connection.close()
            raise InputError(
                f"{regex!r} is not a regular expression: {str(error).splitlines()[0]}",
                hint="RE2's syntax has no look-around and no back-references; escape ( [ { . with a backslash",
            ) from None

    def matching(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the texts in which it is found."""
        self._register(texts)
        rows = self._connection.execute(
            "SELECT text_number FROM _texts WHERE regexp_matches(text, $1) ORDER BY 1", [self.regex]
        ).fetchall()
        return [row[0] for row in rows]

    def lines(self, texts: Sequence[str], *, limit: int) -> list[tuple[int, int, str]]:
        """Return (number of the text, number of the line from 1, the line) of the first `limit` lines that match."""
        self._register(texts)
        return self._connection.execute(_LINES, [self.regex, limit]).fetchall()

    def _register(self, texts: Sequence[str]) -> None:
        numbers = pa.array(range(len(texts)), pa.int64())
        self._connection.register(
            "_texts", pa.table({"text_number": numbers, "text": pa.array(texts, pa.large_string())})
        )

    def interrupt(self) -> None:
        """End what is running, from another thread: it raises there."""
        self._connection.interrupt()

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()
