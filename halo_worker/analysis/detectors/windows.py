"""The context windows of the models that a window of traces names."""

from __future__ import annotations

from halo_receiver.conventions.cost import context_window
from halo_receiver.store.reader import Reader
from halo_worker.analysis.models import without_release

# The largest prompt of each model that was answered.
_TAKEN = """
  SELECT served_model AS model, any_value(provider) AS provider,
    max(input_tokens) FILTER (NOT failed AND r.span_id IS NULL) AS taken
  FROM _s LEFT JOIN _repeated r USING (trace_id, span_id)
  WHERE span_type = 'llm' AND served_model IS NOT NULL GROUP BY served_model
"""


def prepare(reader: Reader) -> None:
    """Make `_windows`, the context window of each model that has a known one."""
    reader.connection.execute("CREATE OR REPLACE TEMP TABLE _windows (served_model VARCHAR, size BIGINT)")
    if known := _windows(reader):
        reader.connection.executemany("INSERT INTO _windows VALUES (?, ?)", known)


def _windows(reader: Reader) -> list[tuple[str, int]]:
    """Return the context windows that are known. A model that took more has a larger one (by a header, or of another
    release), which is not known then."""
    rows = reader.query(_TAKEN)
    taken: dict[str, int] = {}
    for row in rows:
        name = without_release(row["model"])
        taken[name] = max(taken.get(name, 0), row["taken"] or 0)
    sizes = ((row["model"], context_window(row["model"], row["provider"])) for row in rows)
    return [(model, size) for model, size in sizes if size and size >= taken[without_release(model)]]
