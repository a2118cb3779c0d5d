"""What other stores keep → spans and evaluations, the same from their APIs and from their export files."""

from __future__ import annotations

from typing import Any

import orjson

from halo_receiver.decode.flat import flat_span, nanoseconds
from halo_receiver.decode.repair import Repair, Undecodable
from halo_receiver.span import LogRecord, Rejection, Scope, Span

Record = dict[str, Any]
EVALUATION = "gen_ai.evaluation.result"


def dict_of(value: Any) -> Record:
    """Return an object, or an empty one; a JSON text of one counts as it."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """Return a list, or an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str | None:
    """Return a text as it is, anything else as JSON; None for nothing."""
    if value is None or isinstance(value, str):
        return value or None
    return orjson.dumps(value, default=str).decode()


def span(
    repair: Repair, *, scope: str, trace_id: Any, span_id: Any, parent: Any, name: Any, start: Any, end: Any,
    attributes: Record, error: str | None = None, failed: bool = False, resource: Record | None = None,
    events: list[Record] | None = None, status: str = "UNSET", kind: str = "INTERNAL",
) -> Span | Rejection:  # fmt: skip
    """Return a span; attributes that are None are left out. A rejection where it has no ids."""
    line = {
        "trace_id": trace_id, "span_id": span_id, "parent_span_id": parent, "name": name, "start_time": start,
        "end_time": end, "kind": kind, "scope": {"name": scope}, "events": events or [],
        "status": {"code": "ERROR" if failed else status, "message": error or ""},
        "attributes": {key: value for key, value in attributes.items() if value is not None},
        "resource": {"attributes": {key: value for key, value in (resource or {}).items() if value is not None}},
    }  # fmt: skip
    try:
        return flat_span(line, repair=repair)
    except Undecodable as why:
        return Rejection(1, str(why))


def evaluation(
    repair: Repair, *, scope: str, trace_id: Any, span_id: Any = "", name: Any, score: Any = None, label: Any = None,
    explanation: Any = None, source: Any = None, time: Any = None,
) -> LogRecord:  # fmt: skip
    """Return what somebody or something said of a trace, as OpenTelemetry's event of an evaluation.

    `analysis.outcomes` reads it: a truth value is a label, a number a score.
    """
    if isinstance(score, bool):
        score, label = float(score), label or ("true" if score else "false")
    if not isinstance(score, (int, float)):
        score, label = None, label if label is not None else score
    values = {
        "gen_ai.evaluation.name": text_of(name),
        "gen_ai.evaluation.score.value": score,
        "gen_ai.evaluation.score.label": text_of(label),
        "gen_ai.evaluation.explanation": text_of(explanation),
        "gen_ai.evaluation.source": text_of(source),
    }
    return LogRecord(
        Scope(name=scope),
        time_unix_nano=nanoseconds(time, repair),
        trace_id=str(trace_id or ""),
        span_id=str(span_id or ""),
        event_name=EVALUATION,
        attributes={
            key: repair.string(value) if isinstance(value, str) else value
            for key, value in values.items()
            if value is not None
        },
    )
