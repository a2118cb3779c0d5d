"""What the tools take, as JSON Schemas."""

from __future__ import annotations

from typing import Any, get_args

from halo_worker.analysis.tools.overview import SORTS
from halo_worker.report.model import SEVERITIES, State

STATES = (*get_args(State), "muted", "wrong")
MAX_LIMIT = 500

ISSUE = {"issue_id": {"type": "string", "description": "such as HALO-1a2b3c4d; a unique beginning is enough"}}
TRACE = {"trace_id": {"type": "string", "description": "a unique beginning is enough"}}
NOTE = {"note": {"type": "string"}}
PAGE = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50},
    "offset": {"type": "integer", "minimum": 0, "default": 0},
}
LIST_ISSUES = {
    "states": {"type": "array", "items": {"enum": list(STATES)}, "description": "only these; default: all"},
    "min_severity": {"enum": list(SEVERITIES)},
    **PAGE,
}
FILTERS = {
    "filters": {
        "type": "object",
        "description": "has_errors, agent_names, tool_names, model_names, service_names, session_id, user_id, "
        "start_time_gte, end_time_lte (ISO-8601), regex_pattern (RE2), min_tokens, min_duration_ms, min_spans",
    },
    "sort": {"enum": list(SORTS)},
    **PAGE,
}
SPANS = {
    "steps": {"type": "string", "description": "a page of a large trace, such as 41..90"},
    "span_ids": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 200,
        "description": "only these spans, at length",
    },
}
SIDES = {
    "release": {"type": "string", "description": "after: traces of this service.version; before: of earlier ones"},
    "since": {"type": "string", "description": "after: what arrived since then (ISO-8601)"},
    "attribute": {"type": "string", "description": "after: KEY=VALUE, such as prompt.version=7"},
    "after": {"type": "string", "description": "after: what arrived from C to D, as C..D"},
    "before": {"type": "string", "description": "before: A..B; default: the 14 days before"},
}
ASK_MODEL = {
    "ask_model": {
        "type": "boolean",
        "description": "where no rule measures the issue, let halo's model judge both sides; this costs tokens",
    }
}
FILES = {
    "input": {
        "type": "array",
        "items": {"type": "string"},
        "description": "after: trace files of this machine, say of a test run",
    }
}


def schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of a tool's arguments; what is not named is refused."""
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip
