"""The words every room speaks: spans and log records as OTLP defines them, and what we derive from them.

Ids are lowercase hex (32 and 16 digits) when they came over OTLP; ids of imported flat files are kept as they
are. Times are integer nanoseconds since the Unix epoch, 0 when the sender did not say.

Source: opentelemetry/proto/trace/v1/trace.proto, logs/v1/logs.proto, common/v1/common.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

# common.proto AnyValue: None (empty), bool, int, float, str, bytes, list and dict of the same.
AttributeValue: TypeAlias = Any
Attributes: TypeAlias = dict[str, AttributeValue]

SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUS_CODES = ("UNSET", "OK", "ERROR")
SPAN_TYPES = (
    "agent", "workflow", "chain", "llm", "embedding", "retriever", "reranker", "tool", "guardrail",
    "evaluator", "memory", "prompt", "task", "other",
)  # fmt: skip
FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "error", "other")


@dataclass(slots=True)
class Scope:
    """The instrumentation scope and the resource that a group of spans or log records share."""

    resource_attributes: Attributes = field(default_factory=dict)
    resource_dropped_attributes: int = 0
    resource_schema_url: str = ""
    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0
    schema_url: str = ""

    @property
    def service_name(self) -> str:
        """`service.name` of the resource, or an empty string."""
        value = self.resource_attributes.get("service.name")
        return value if isinstance(value, str) else "" if value is None else str(value)


@dataclass(slots=True)
class SpanEvent:
    """A time-stamped annotation of a span."""

    time_unix_nano: int
    name: str
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(slots=True)
class SpanLink:
    """A pointer from a span to another one, in the same or another trace."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    flags: int = 0
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(slots=True)
class Span:
    """One OTLP span with its resource and scope.

    `status_code` UNSET does not mean that the work succeeded, only that nobody said.
    """

    trace_id: str
    span_id: str
    parent_span_id: str  # empty for a root
    name: str
    scope: Scope
    trace_state: str = ""
    flags: int = 0
    kind: str = "UNSPECIFIED"
    start_unix_nano: int = 0
    end_unix_nano: int = 0
    status_code: str = "UNSET"
    status_message: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[SpanLink] = field(default_factory=list)
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0


@dataclass(slots=True)
class LogRecord:
    """One OTLP log record with its resource and scope."""

    scope: Scope
    time_unix_nano: int = 0
    observed_unix_nano: int = 0
    trace_id: str = ""
    span_id: str = ""
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: AttributeValue = None
    attributes: Attributes = field(default_factory=dict)
    flags: int = 0
    dropped_attributes: int = 0


@dataclass(slots=True)
class Canonical:
    """What a span means, whatever convention said it. None: the span does not say.

    Messages are one list in one form, whatever form they came in:
    `{"role", "content" (text or None), "reasoning"?, "tool_calls"?: [{"id", "name", "arguments"}], "tool_call_id"?,
    "name"?, "finish_reason"?, "media"?: [{"type", "mime_type"}]}`; arguments are the decoded JSON where they parse,
    else the text as sent.
    """

    convention: str | None = None
    span_type: str | None = None
    model: str | None = None
    provider: str | None = None
    agent_name: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    tools_offered: list[str] | None = None
    tool_definitions: str | None = None  # JSON text: [{"name", "description"?, "parameters"?}]
    input_messages: str | None = None  # JSON text
    output_messages: str | None = None  # JSON text
    input_text: str | None = None  # tool spans: the arguments
    output_text: str | None = None  # tool spans: the result
    finish_reason: str | None = None
    max_output_tokens: int | None = None  # the limit that was asked for
    input_tokens: int | None = None  # the whole prompt, cached part included
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    cost_estimated: bool | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_signature: str | None = None


@dataclass(slots=True)
class Rejection:
    """An item that was not stored, and why. `index` is its place in the request or its line in the file, from 1."""

    index: int
    reason: str


@dataclass(slots=True)
class Decoded:
    """What one request or file held: len(spans) + len(logs) + len(rejected) is the number sent."""

    spans: list[Span] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    warnings: dict[str, int] = field(default_factory=dict)  # what was repaired -> how often
