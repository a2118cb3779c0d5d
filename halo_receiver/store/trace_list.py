"""A list of traces, filtered as people ask: by agent, user, tool, a text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halo_receiver.errors import InputError
from halo_receiver.store.queries import json_rows
from halo_receiver.store.reader import Reader

ORDERS = {
    "newest": "start_time DESC NULLS LAST",
    "slowest": "duration_ns DESC NULLS LAST",
    "errors": "error_count DESC, start_time DESC",
    "tokens": "coalesce(input_tokens, 0) + coalesce(output_tokens, 0) DESC",
    "cost": "cost_usd DESC NULLS LAST",
}
INPUT_CHARACTERS = 200  # of a trace's first input
SUGGESTED = 3  # values named where a filter matches nothing

# Filter → the condition on `traces` for its parameter. A list column holds every value that the trace has.
_CONDITIONS = {
    "agent": "list_contains(list_transform(agent_names, lambda one: lower(one)), lower({}))",
    "service": "list_contains(list_transform(service_names, lambda one: lower(one)), lower({}))",
    "model": "list_contains(list_transform(models, lambda one: lower(one)), lower({}))",
    "session": "trace_id IN (SELECT trace_id FROM spans WHERE session_id = {})",
    "user": "trace_id IN (SELECT trace_id FROM spans WHERE user_id = {})",
    "tool": "trace_id IN (SELECT trace_id FROM spans WHERE lower(tool_name) = lower({}))",
    "status": "status_code = upper({})",
    "text": (
        "trace_id IN (SELECT trace_id FROM spans WHERE contains(lower("
        "concat_ws(chr(10), name, input_text, output_text, error_message, status_message)), lower({})))"
    ),
}

# Filter → every value there is, for a hint.
_VALUES = {
    "agent": "SELECT DISTINCT unnest(agent_names) FROM traces",
    "service": "SELECT DISTINCT unnest(service_names) FROM traces",
    "model": "SELECT DISTINCT unnest(models) FROM traces",
    "session": "SELECT DISTINCT session_id FROM traces",
    "user": "SELECT DISTINCT user_id FROM traces",
    "tool": "SELECT DISTINCT tool_name FROM spans",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a trace must be like; None asks nothing. Names compare without regard to case, `status` is the root's.

    `among`, where given, are the only traces that count.
    """

    agent: str | None = None
    service: str | None = None
    session: str | None = None
    user: str | None = None
    model: str | None = None
    tool: str | None = None
    status: str | None = None
    text: str | None = None
    errors: bool = False
    among: frozenset[str] | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the condition on `traces`, and its parameters."""
        parts, values = ["error_count > 0"] if self.errors else [], []
        for name, sql in _CONDITIONS.items():
            if (value := getattr(self, name)) is not None:
                values.append(value)
                parts.append(sql.format(f"${len(values)}"))
        if self.among is not None:
            values.append(sorted(self.among))
            parts.append(f"trace_id IN (SELECT unnest(${len(values)}::VARCHAR[]))")
        return " AND ".join(parts) or "true", values


def list_traces(
    reader: Reader, filters: Filters | None = None, *, order: str = "newest", limit: int = 50
) -> list[dict[str, Any]]:
    """Return the columns of `traces` of those that pass, with `input_text`: what the first span with an input was told.

    At most INPUT_CHARACTERS of it; None where no span has one.
    """
    condition, values = (filters or Filters()).condition()
    chosen = f"SELECT * FROM traces WHERE {condition} ORDER BY {ORDERS[order]}, trace_id LIMIT {int(limit)}"
    rows = json_rows(reader, chosen, values)[1]
    ids = [row["trace_id"] for row in rows]
    named = ", ".join(f"${number}" for number in range(1, len(ids) + 1))
    inputs = (
        f"SELECT trace_id, arg_min(left(input_text, {INPUT_CHARACTERS}), start_time) AS input_text FROM spans "
        f"WHERE trace_id IN ({named}) AND input_text <> '' GROUP BY trace_id"
    )
    first = {row["trace_id"]: row["input_text"] for row in (json_rows(reader, inputs, ids)[1] if ids else [])}
    return [{**row, "input_text": first.get(row["trace_id"])} for row in rows]


def with_text(reader: Reader, text: str) -> list[str]:
    """Return the traces that hold a text in a name, input, output or error of a span."""
    rows = reader.query(f"SELECT trace_id FROM traces WHERE {_CONDITIONS['text'].format('$1')}", [text])
    return [row["trace_id"] for row in rows]


def unmatched(reader: Reader, filters: Filters) -> InputError | None:
    """Say which name that was asked for no trace has, and what is like it; None where each is there."""
    for name, sql in _VALUES.items():
        asked = getattr(filters, name)
        if asked is None:
            continue
        known = sorted(str(value) for row in reader.query(sql) for value in row.values() if value is not None)
        if asked.lower() not in (value.lower() for value in known):
            return InputError(f"no trace has the {name} {asked!r}", hint=_like(asked, known))
    return None


def _like(asked: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(asked, known, n=SUGGESTED, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(known) - SUGGESTED} more" if len(known) > SUGGESTED else ""
    return f"there are: {', '.join(map(repr, known[:SUGGESTED]))}{more}" if known else "no trace has one"
