"""Regular expressions over text in linear time: DuckDB's RE2, however a pattern is written.

Python's `re` goes back and tries again: `(\\w+\\s*)+$` on one line of 400 letters runs for longer than anybody waits,
and nothing can stop it. RE2 reads each letter once, and a running query can be interrupted.
"""

from __future__ import annotations

import re
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


# What Python's classes mean in RE2, whose own know ASCII alone: by itself, and inside of brackets.
_LETTER, _SPACE = r"\pL\pM\pN_", r"\s\x0b\x1c-\x1f\x{85}\pZ"
_ALONE = {"w": f"[{_LETTER}]", "W": f"[^{_LETTER}]", "s": f"[{_SPACE}]", "S": f"[^{_SPACE}]", "d": r"\p{Nd}",
          "D": r"\P{Nd}", "Z": r"\z"}  # fmt: skip
_IN_BRACKETS = {"w": _LETTER, "s": _SPACE, "d": r"\p{Nd}", "D": r"\P{Nd}"}
_CLASS = re.compile(r"(\[\^?\]?(?:\\.|[^\]\\])*\])|\\(.)", re.DOTALL)


def every_script(regex: str) -> str:
    """Write a regular expression so that `\\w`, `\\d` and `\\s` know the letters, digits and spaces of every script.

    `\\b` stays as RE2 has it, between ASCII letters and the rest.
    """

    def written(found: re.Match[str]) -> str:
        if found[1]:
            return re.sub(r"\\(.)", lambda one: _IN_BRACKETS.get(one[1], one[0]), found[1])
        return _ALONE.get(found[2], found[0])

    return _CLASS.sub(written, regex)


def _connect(regexes: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """Return a connection for these regular expressions. Raises InputError in RE2's words for one that is none."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY})
    connection.execute("SET enable_external_access = false")
    for regex in regexes:
        try:
            connection.execute("SELECT regexp_matches('', $1)", [regex]).fetchall()
        except duckdb.Error as error:
            connection.close()
            raise InputError(
                f"{regex!r} is not a regular expression: {str(error).splitlines()[0]}",
                hint="RE2's syntax has no look-around and no back-references; escape ( [ { . with a backslash",
            ) from None
    return connection


def matches_empty(regex: str) -> bool:
    """Say whether a regular expression, written for `every_script`, is found in the empty text. Raises InputError."""
    with _connect([regex := every_script(regex)]) as connection:
        row = connection.execute("SELECT regexp_matches('', $1)", [regex]).fetchone()
    return bool(row and row[0])


def _register(connection: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> None:
    numbers = pa.array(range(len(texts)), pa.int64())
    connection.register("_texts", pa.table({"text_number": numbers, "text": pa.array(texts, pa.large_string())}))


class Replacements:
    """Regular expressions, in RE2's syntax, each with what takes the place of its matches (`\\1` is its first group).

    They are made one after the other. Raises InputError with RE2's own words when one is no regular expression.
    """

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        self._connection = _connect([regex for regex, _ in rules])
        self._parameters = [part for rule in rules for part in rule]
        made = "text"
        for number in range(1, len(self._parameters), 2):
            made = f"regexp_replace({made}, ${number}, ${number + 1}, 'g')"
        self._sql = f"SELECT {made} FROM _texts ORDER BY text_number"

    def made(self, texts: Sequence[str]) -> list[str]:
        """Return the texts with all replacements made; lone halves of surrogate pairs become '?'."""
        with self._connection.cursor() as cursor:  # of its own, for a connection serves one thread at a time
            _register(cursor, [text.encode("utf-8", "replace").decode() for text in texts])
            return [row[0] for row in cursor.execute(self._sql, self._parameters).fetchall()]


class Pattern:
    """One regular expression, in RE2's syntax. Raises InputError with RE2's own words when it is not one."""

    def __init__(self, regex: str) -> None:
        self.regex = regex
        self._connection = _connect([regex])

    def matching(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the texts in which it is found."""
        _register(self._connection, texts)
        rows = self._connection.execute(
            "SELECT text_number FROM _texts WHERE regexp_matches(text, $1) ORDER BY 1", [self.regex]
        ).fetchall()
        return [row[0] for row in rows]

    def lines(self, texts: Sequence[str], *, limit: int) -> list[tuple[int, int, str]]:
        """Return (number of the text, number of the line from 1, the line) of the first `limit` lines that match."""
        _register(self._connection, texts)
        return self._connection.execute(_LINES, [self.regex, limit]).fetchall()

    def interrupt(self) -> None:
        """End what is running, from another thread: it raises there."""
        self._connection.interrupt()

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()
