"""Recognisers of short texts (answers, requests, results, names of tools), as named SQL macros over data files.

A file holds recognisers, a table each; `answers.toml` says how they are written. Each becomes a macro NAME(text), true
where some entry matches, and NAME_text(text), what matched first. `error_class(text)` names the class of an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from halo_worker.analysis.lexicon.files import quoted, read

FILES = ("answers", "requests", "results", "arguments", "corruption", "secrets", "tools")
LANGUAGES = ("de", "es", "fr", "ja", "pt", "zh")  # files of `languages/`, which add to the recognisers of the others


@dataclass(frozen=True, slots=True)
class Form:
    """Alternatives from one source, in one language; `example` must be recognised, `counter_example` must not."""

    any: tuple[str, ...]
    source: str
    examples: tuple[str, ...]
    counter_examples: tuple[str, ...]
    language: str = ""  # left empty: the same in all
    around: tuple[str, str] = ("", "")

    @property
    def pattern(self) -> str:
        """The alternatives as one pattern."""
        return _surrounded(self.around, self.any)


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A named set of forms. `flags` are RE2's."""

    name: str
    forms: tuple[Form, ...]
    flags: str = "i"

    @property
    def pattern(self) -> str:
        """All forms as one pattern. Those that stand in the same surroundings share them, since classes of Unicode
        take most of the time to compile: each use of a macro is compiled three times when its statement is planned."""
        alike: dict[tuple[str, str], tuple[str, ...]] = {}
        for one in self.forms:
            alike[one.around] = (*alike.get(one.around, ()), *one.any)
        return _flagged(self.flags, (_surrounded(around, any_) for around, any_ in alike.items()))


def _surrounded(around: tuple[str, str], alternatives: tuple[str, ...]) -> str:
    return f"{around[0]}(?:{'|'.join(alternatives)}){around[1]}"


def _flagged(flags: str, patterns: Iterator[str]) -> str:
    return (f"(?{flags})" if flags else "") + "|".join(patterns)


def form(row: dict[str, Any], around: list[Any]) -> Form:
    """Read an entry; `around` is its recogniser's. A pattern may be a list of parts, put together."""
    before, after = row.get("around", around)
    return Form(
        any=tuple("".join(part) for part in row["any"]),
        source=row["source"],
        examples=tuple(row["is"]),
        counter_examples=tuple(row["is_not"]),
        language=row.get("language", ""),
        around=("".join(before), "".join(after)),
    )


@cache
def _of_languages() -> dict[str, tuple[Form, ...]]:
    """Return what each language adds, by recogniser; `language`, `source` and `around` of a file are of all in it."""
    found: dict[str, tuple[Form, ...]] = {}
    for code in LANGUAGES:
        table = read(f"languages/{code}")
        common = {key: table[key] for key in ("language", "source")}
        for name, rows in table.items():
            if isinstance(rows, list) and name != "around":
                found[name] = (*found.get(name, ()), *(form(common | row, table["around"]) for row in rows))
    return found


@cache
def recognisers() -> tuple[Recogniser, ...]:
    """Return all recognisers, by file."""
    return tuple(
        Recogniser(
            name,
            (*(form(row, table.get("around", ["", ""])) for row in table["entry"]), *_of_languages().get(name, ())),
            table.get("flags", "i"),
        )
        for file in FILES
        for name, table in read(file).items()
        if isinstance(table, dict) and "entry" in table
    )


def _status(numbers: str) -> str:
    """Match an HTTP status where it stands as one: after a word for it, at the start of a line, or before its name."""
    words = r"(https?|status|code|error|response|returned|answered)(/[\d.]+)?"
    names = "client|server|error|unauthori|forbidden|not found|too many|internal|bad|service|gateway"
    return (
        rf"\b{words}\W{{0,3}}(code|status|error)?\W{{0,3}}({numbers})\b"
        rf"|^\W*({numbers})\b|\b({numbers})\W{{1,2}}({names})"
    )


@cache
def error_classes() -> tuple[tuple[str, Form], ...]:
    """Return the classes of errors with their form, in the order they are tried."""
    found = []
    for row in read("errors")["entry"]:
        status = [_status(row["http"])] if "http" in row else []
        found.append((row["class"], form({**row, "any": [*status, *row["any"]]}, ["", ""])))
    return tuple(found)


def macros() -> Iterator[str]:
    """Give the statements that make the macros."""
    for one in recognisers():
        pattern = quoted(one.pattern)
        yield f"CREATE OR REPLACE TEMP MACRO {one.name}(said) AS regexp_matches(said, {pattern})"
        yield f"CREATE OR REPLACE TEMP MACRO {one.name}_text(said) AS regexp_extract(said, {pattern})"
    tests = (
        f"WHEN regexp_matches(said, {quoted('(?im)' + form.pattern)}) THEN {quoted(name)}"
        for name, form in error_classes()
    )
    yield f"CREATE OR REPLACE TEMP MACRO error_class(said) AS CASE {' '.join(tests)} ELSE 'other' END"
    unknown = quoted("(?i)" + dict(error_classes())["unknown_tool"].pattern)
    yield f"CREATE OR REPLACE TEMP MACRO denies_tool(said) AS regexp_matches(said, {unknown})"
