"""Control flow that is recorded as an error: pauses, hand-offs, closed streams, aborts (`control_flow.toml`).

None of it is a failure. How often it happens is counted for each kind (`totals`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from halo_receiver.store.reader import Reader

MAX_DEPTH = 64  # spans above one that repeat its exception
ENDS_THE_RUN = ("paused", "handed_off", "guarded", "closed", "aborted")  # what comes after is not missing


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to tell: classes of exceptions, or a pattern of whole messages."""

    kind: str
    types: tuple[str, ...]
    message: str | None
    unless: str | None
    source: str


@cache
def table() -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Return the entries, and the classes that only group other exceptions."""
    text = resources.files(__package__).joinpath("control_flow.toml").read_text("utf-8")
    data = tomllib.loads(text)
    entries = tuple(
        Entry(one["kind"], tuple(one.get("types", ())), one.get("message"), one.get("unless"), one["source"])
        for one in data["entry"]
    )
    return entries, tuple(data["groups"]["types"])


def prepare(reader: Reader) -> None:
    """Fill in `control` of the spans in `_s` whose error is control flow, and make `_stopped` of their traces.

    `_stopped` (trace_id) are traces that ended on purpose in the middle of their work. Needs `_s`.
    """
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _raised AS {_RAISED}")
    execute(f"CREATE OR REPLACE TEMP TABLE _control AS {_RECOGNISED.format(kind=_kind())}")
    groups = ", ".join(_quoted(name) for name in table()[1])
    for _ in range(MAX_DEPTH):
        found = execute(f"INSERT INTO _control {_REPEATING.format(groups=groups)}").fetchone()
        if not found or not found[0]:
            break
    execute("UPDATE _s SET control = c.kind FROM _control c WHERE _s.trace_id = c.trace_id AND _s.span_id = c.span_id")
    ends = ", ".join(_quoted(kind) for kind in ENDS_THE_RUN)
    execute(f"CREATE OR REPLACE TEMP TABLE _stopped AS SELECT DISTINCT trace_id FROM _control WHERE kind IN ({ends})")


def _kind() -> str:
    """Return the expression that names the kind of `class`, `said` (what the error says); NULL for a failure."""
    branches = []
    for entry in table()[0]:
        tests = []
        if entry.types:
            tests.append(f"class IN ({', '.join(_quoted(name) for name in entry.types)})")
        if entry.message:
            tests.append(f"regexp_full_match(said, {_quoted(f'(?is){entry.message}')})")
        test = " OR ".join(tests)
        if entry.unless:
            test = f"({test}) AND NOT regexp_full_match(coalesce(said, ''), {_quoted(f'(?is){entry.unless}')})"
        branches.append(f"WHEN {test} THEN '{entry.kind}'")
    return f"CASE {' '.join(branches)} END"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# The class is the error type's, else the one that the message begins with: `langgraph.errors.GraphInterrupt(…`.
_RAISED = r"""
SELECT trace_id, span_id, parent_span_id, error_type,
  trim(coalesce(nullif(trim(error_message), ''), status_message, '')) AS said,
  concat_ws(' ', error_type, error_message, status_message) AS all_said,
  coalesce(error_type, regexp_extract(said, '^(?:[A-Za-z_]\w*(?:\.|::))*([A-Za-z_]\w*)\s*(?:[:(]|$)', 1)) AS class
FROM _s WHERE failed
"""
_RECOGNISED = """
SELECT trace_id, span_id, parent_span_id, kind, class
FROM (SELECT *, {kind} AS kind FROM _raised) WHERE kind IS NOT NULL
"""

# A span that failed because of what was raised below it says the same class or nothing, and nothing else failed there.
_REPEATING = """
WITH failures AS (
  SELECT DISTINCT trace_id, parent_span_id FROM _raised ANTI JOIN _control USING (trace_id, span_id)
)
SELECT p.trace_id, p.span_id, any_value(p.parent_span_id), any_value(c.kind), any_value(c.class)
FROM _raised p JOIN _control c ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id
ANTI JOIN _control k ON k.trace_id = p.trace_id AND k.span_id = p.span_id
ANTI JOIN failures f ON f.trace_id = p.trace_id AND f.parent_span_id = p.span_id
WHERE p.error_type IN ({groups}) OR p.error_type IS NULL AND p.said = ''
  OR c.class <> '' AND contains(p.all_said, c.class)
GROUP BY p.trace_id, p.span_id
"""
