"""Trace filters, as HALO's engine has them and a few more, turned into a condition on traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from halo_worker.moments import moment
from halo_worker.rlm.tool import ToolError

FARTHEST = 2**62  # nanoseconds: beyond lies no time that a span can have
MAX_NAMES = 100  # of one list in a filter

FILTERS_SCHEMA: dict[str, Any] = {"type": "object"}  # what they are stands once, in the prompt

# Where the text of a span is; the fields a quote may come from.
TEXT_COLUMNS = ("name", "status_message", "error_message", "input_text", "output_text")

# Spans with a pattern in any of their texts, attributes and events included. Those are read as they are stored: putting
# the attributes together as the view shows them takes 11 s for a million spans, this takes 2 s.
MATCHING = (
    "SELECT trace_id, span_id FROM spans WHERE "
    + " OR ".join(f"regexp_matches({column}, ?)" for column in TEXT_COLUMNS)
    + " UNION SELECT trace_id, span_id FROM _span_rows WHERE regexp_matches(long_attributes, ?) "
    "OR regexp_matches(events, ?) OR regexp_matches(array_to_string(attribute_values, chr(10)), ?)"
)
MATCHING_PARAMETERS = len(TEXT_COLUMNS) + 3

Hypotheses = Mapping[str, Sequence[str]]  # trace ids of each


def _names(value: Any, name: str) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ToolError(f"the filter {name} is a list of names")
    if len(value) > MAX_NAMES:
        raise ToolError(f"the filter {name} takes at most {MAX_NAMES} names; use query_sql for more")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ToolError(f"the filter {name} is a number")
    return float(value)


def _time(value: Any, name: str) -> int:
    try:
        return max(-FARTHEST, min(FARTHEST, moment(str(value))))
    except ValueError as error:
        raise ToolError(f"the filter {name}: {error}") from None


_SPANS = "t.trace_id IN (SELECT trace_id FROM spans WHERE {})"

_SIMPLE: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "model_names": ("list_has_any(t.models, ?)", _names),
    "service_names": ("list_has_any(t.service_names, ?)", _names),
    "agent_names": ("list_has_any(t.agent_names, ?)", _names),
    "tool_names": (_SPANS.format("list_contains(?, tool_name)"), _names),
    "span_names": (_SPANS.format("list_contains(?, name)"), _names),
    "session_id": ("t.session_id = ?", lambda value, _: str(value)),
    "user_id": ("t.user_id = ?", lambda value, _: str(value)),
    "start_time_gte": ("t.start_time >= make_timestamp_ns(?)", _time),
    "end_time_lte": ("t.end_time <= make_timestamp_ns(?)", _time),
    "min_duration_ms": ("t.duration_ns >= ? * 1000000", _number),
    "min_tokens": ("coalesce(t.input_tokens, 0) + coalesce(t.output_tokens, 0) >= ?", _number),
    "min_spans": ("t.span_count >= ?", _number),
}

NAMES = ("has_errors", "project_id", "regex_pattern", "hypothesis", *_SIMPLE)


def condition(filters: Any, hypotheses: Hypotheses) -> tuple[str, list[Any]]:
    """Return the condition on `traces t`, all filters taken together, and its parameters in order.

    Raises ToolError for what is no filter, naming those there are.
    """
    if filters is None:
        return "true", []
    if not isinstance(filters, dict):
        raise ToolError('filters is an object, such as {"has_errors": true}')
    parts: list[str] = []
    parameters: list[Any] = []
    # What reads texts comes last: the plain conditions have narrowed by then.
    for name, value in sorted(filters.items(), key=lambda item: item[0] in ("project_id", "regex_pattern")):
        if value is None:
            continue
        if name == "has_errors":
            parts.append("t.error_count > 0" if value else "t.error_count = 0")
        elif name == "project_id":
            wanted = "coalesce(attributes->>'inference.project_id', resource_attributes->>'openinference.project.name')"
            parts.append(_SPANS.format(f"{wanted} = ?"))
            parameters.append(str(value))
        elif name == "hypothesis":
            if str(value) not in hypotheses:
                raise ToolError(f"there is no hypothesis {value}; there are {', '.join(hypotheses) or 'none'}")
            parts.append("t.trace_id IN (SELECT unnest(?))")
            parameters.append(list(hypotheses[str(value)]))
        elif name == "regex_pattern":
            parts.append(f"t.trace_id IN (SELECT trace_id FROM ({MATCHING}))")
            parameters += [str(value)] * MATCHING_PARAMETERS
        elif name in _SIMPLE:
            sql, read = _SIMPLE[name]
            parts.append(sql)
            parameters.append(read(value, name))
        else:
            raise ToolError(f"there is no filter {name}; there are {', '.join(NAMES)}")
    return " AND ".join(parts) or "true", parameters


def spans_of(where: str) -> str:
    """Return the condition on spans for one on `traces t`; none of the window's million rows is joined for nothing."""
    return "true" if where == "true" else f"trace_id IN (SELECT trace_id FROM traces t WHERE {where})"
