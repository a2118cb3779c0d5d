"""What a model call asked for: an answer names the model that served it, a failed call only the one it asked for.

Compared by the name on the span, an alias would fail always and its dated releases never. Where a span says what it
asked for, that is its model. Where it does not, a dated name is folded into its alias, if the same service uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from halo_receiver.store.reader import Reader

MAX_NAMES = 10_000  # distinct (service, model) of one window

# Where conventions keep the model that was asked for: an attribute, and a member of it where its value is JSON.
REQUESTED = (
    ("gen_ai.request.model", None),  # OpenTelemetry GenAI, OpenLLMetry, Pydantic AI, Logfire, LangSmith
    ("llm.request.model_name", None),  # OpenInference
    ("ai.model.id", None),  # Vercel AI SDK
    ("llm.invocation_parameters", "model"),  # OpenInference: what the client library was called with
)

# What is put after a name to say which release it is: gpt-4o-2024-08-06, claude-sonnet-4-20250514, gpt-4-0613,
# command-r-08-2024, gemini-2.0-flash-001, claude-3-5-sonnet@20240620, anthropic.claude-3-haiku-20240307-v1:0.
_RELEASE = re.compile(r"[-@:_](\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{8}|\d{6}|\d{4}|\d{3}|v\d+:\d+|latest)$", re.IGNORECASE)


# Counted in `_model_names`.
NAMES = """
  SELECT service_name, model, asked_known, count(*) AS n FROM _s
  WHERE span_type IN ('llm', 'embedding') AND model IS NOT NULL GROUP BY ALL
"""


def fold(reader: Reader) -> None:
    """Give calls in `_s` that do not say what they asked for the alias of their model, if their service uses it.

    Needs `_model_names`, the counts of `NAMES`.
    """
    rows = reader.query(f"FROM _model_names ORDER BY n DESC, model LIMIT {MAX_NAMES}")
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        names.setdefault(row["service_name"], {})[row["model"]] = None
    folded = [
        (row["service_name"], row["model"], short)
        for row in rows
        if not row["asked_known"] and (short := alias(row["model"], names[row["service_name"]])) != row["model"]
    ]
    if folded:
        reader.connection.execute(
            "CREATE OR REPLACE TEMP TABLE _folded (service_name VARCHAR, model VARCHAR, short VARCHAR)"
        )
        reader.connection.executemany("INSERT INTO _folded VALUES (?, ?, ?)", folded)
        reader.connection.execute(
            "UPDATE _s SET model = f.short FROM _folded f WHERE NOT _s.asked_known AND _s.model = f.model "
            "AND _s.service_name IS NOT DISTINCT FROM f.service_name AND _s.span_type IN ('llm', 'embedding')"
        )


def requested() -> str:
    """Return the expression, over `_spans`, of the model that a span says it asked for; NULL where it says none."""
    parts = []
    for name, member in REQUESTED:
        value = f"(attribute_values[list_position(attribute_keys, '{name}')]->>'$')"
        parts.append(f"nullif({value}, '')" if member is None else f"(TRY_CAST({value} AS JSON)->>'$.{member}')")
    return f"CASE WHEN span_type IN ('llm', 'embedding') THEN coalesce({', '.join(parts)}) END"


def alias(model: str, names: Iterable[str]) -> str:
    """Return the name among `names`, the most used first, that `model` is a dated release of; else `model`."""
    stem = without_release(model)
    if stem == _bare(model):
        return model
    return next((name for name in names if without_release(name) == stem and name != model and not _dated(name)), model)


def _bare(model: str) -> str:
    return model.lower().rpartition("/")[2]  # routers write openai/gpt-4o


def without_release(model: str) -> str:
    """Return a model's name without its maker's prefix and its release: `openai/gpt-4o-2024-08-06` → `gpt-4o`."""
    name = _bare(model)
    while (shorter := _RELEASE.sub("", name)) != name:
        name = shorter
    return name


def _dated(model: str) -> bool:
    return without_release(model) != _bare(model).removesuffix("-latest")
