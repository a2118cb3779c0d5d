"""The tables of a window in words: what a model is told of before it writes SQL."""

from __future__ import annotations

from halo_receiver.store.reader import Reader
from halo_worker.analysis import hypotheses

# Columns that a model is not told of: they are rarely asked for, and every turn would carry them.
_UNTOLD = {
    "trace_state", "flags", "scope_name", "scope_version", "scope_attributes", "links", "dropped_attributes",
    "dropped_events", "dropped_links", "resource_schema_url", "scope_schema_url", "resource_dropped_attributes",
    "scope_dropped_attributes", "cost_estimated", "convention", "received_at", "tool_definitions", "max_output_tokens",
    "reasoning_tokens", "observed_time", "severity_number",
}  # fmt: skip


def described(reader: Reader) -> str:
    """Return the contract's tables and columns in a line each; types where they are not text."""
    lines = []
    for view in ("spans", "traces", "logs") if reader.query("SELECT 1 FROM logs LIMIT 1") else ("spans", "traces"):
        columns = [
            row["column_name"] + _type(row["column_type"])
            for row in reader.query(f"DESCRIBE {view}")
            if row["column_name"] not in _UNTOLD
        ]
        lines.append(f"{view}({', '.join(columns)})")
    lines.append(f"hypotheses({', '.join(hypotheses.COLUMNS)})")
    return "\n".join(lines) + "\nattributes->>'key'; span_type is agent, llm, tool, retriever …"


def _type(name: str) -> str:
    """Mark what is not plain; numbers and times tell themselves by their names."""
    return "[]" if name.endswith("[]") else ":JSON" if name == "JSON" else ""
