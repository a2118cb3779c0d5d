"""Words and forms by which texts are recognised, as data: TOML files that a person can read and add to.

Each entry names its source outside of our samples, and has examples that a test reads. They become named SQL macros:
no regular expression longer than a line stands in a detector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from halo_worker.analysis.lexicon import recognisers
from halo_worker.analysis.lexicon.files import quoted, read

Place = Literal["start", "line", "end"]
_AROUND = {
    "start": (r"(?is)^\s*(?:", ")"),
    "line": (r"(?im)^\s*(?:", ")"),
    "end": (r"(?im)(?:", r")\s*\z"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One form of a text. `sure`: nobody writes it but who means it; else it counts in short texts only."""

    place: Place
    sure: bool
    pattern: str
    source: str
    fails: tuple[str, ...]
    works: tuple[str, ...]
    language: str = ""  # of sentences; else it is the same in all


@cache
def entries(name: str) -> tuple[Entry, ...]:
    """Return the entries of a file, in its order. A pattern may be a list of parts, put together."""
    return tuple(
        Entry(**row | {"pattern": "".join(row["pattern"]), "fails": tuple(row["fails"]), "works": tuple(row["works"])})
        for row in read(name)["entry"]
    )


def matches(column: str, found: Iterable[Entry]) -> str:
    """Return SQL that says whether a text has the form of some entry; one expression for each place."""
    by_place: dict[Place, list[str]] = {}
    for entry in found:
        by_place.setdefault(entry.place, []).append(entry.pattern)
    tests = (f"regexp_matches({column}, {quoted(_whole(place, parts))})" for place, parts in by_place.items())
    return f"({' OR '.join(tests) or 'false'})"


def _whole(place: Place, patterns: Iterable[str]) -> str:
    before, after = _AROUND[place]
    return before + "|".join(f"(?:{pattern})" for pattern in patterns) + after


def inspects(column: str) -> str:
    """Return SQL that says of a tool's name whether the tool reads what may speak of failures, a log for example."""
    words = read("tools")
    verbs, reads, nouns = (
        "|".join(map(re.escape, words[part])) for part in ("inspecting_verbs", "reading_verbs", "inspected_nouns")
    )
    joined = f"regexp_replace({column}, '([a-z0-9])([A-Z])', '\\1_\\2', 'g')"
    spelled = f"lower(regexp_replace({joined}, '[^A-Za-z0-9]+', '_', 'g'))"
    forms = (f"({verbs})(_|$)", f"({reads})_(.*_)?({nouns})(_|$)", f"({nouns})(_({reads}|lookup|details))?$")
    return f"regexp_matches({spelled}, '^_?({'|'.join(forms)})')"


def macros() -> Iterator[str]:
    """Give the statements that make the macros of all recognisers."""
    failed = entries("failed_result")
    forms = {
        "inspects": inspects("said"),
        "starts_as_failed": matches("said", (entry for entry in failed if entry.sure and entry.place == "start")),
        "ends_as_failed": matches("said", (entry for entry in failed if entry.sure and entry.place == "end")),
        "speaks_of_failure": matches("said", (entry for entry in failed if not entry.sure)),
    }
    for name, expression in forms.items():
        yield f"CREATE OR REPLACE TEMP MACRO {name}(said) AS {expression}"
    yield from recognisers.macros()
