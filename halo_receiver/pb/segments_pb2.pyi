from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SealRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SealResponse(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("start_received_unix_nano", "end_received_unix_nano")
    START_RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    END_RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    start_received_unix_nano: int
    end_received_unix_nano: int
    def __init__(self, start_received_unix_nano: _Optional[int] = ..., end_received_unix_nano: _Optional[int] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("name", "bytes", "spans", "logs", "first_received_unix_nano", "last_received_unix_nano")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    FIRST_RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    LAST_RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    name: str
    bytes: int
    spans: int
    logs: int
    first_received_unix_nano: int
    last_received_unix_nano: int
    def __init__(self, name: _Optional[str] = ..., bytes: _Optional[int] = ..., spans: _Optional[int] = ..., logs: _Optional[int] = ..., first_received_unix_nano: _Optional[int] = ..., last_received_unix_nano: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("trouble", "metrics")
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    trouble: str
    metrics: str
    def __init__(self, trouble: _Optional[str] = ..., metrics: _Optional[str] = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("recent",)
    RECENT_FIELD_NUMBER: _ClassVar[int]
    recent: int
    def __init__(self, recent: _Optional[int] = ...) -> None: ...

class TailResponse(_message.Message):
    __slots__ = ("spans", "missed", "more_recent")
    SPANS_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    MORE_RECENT_FIELD_NUMBER: _ClassVar[int]
    spans: _containers.RepeatedCompositeFieldContainer[SpanSummary]
    missed: int
    more_recent: bool
    def __init__(self, spans: _Optional[_Iterable[_Union[SpanSummary, _Mapping]]] = ..., missed: _Optional[int] = ..., more_recent: bool = ...) -> None: ...

class SpanSummary(_message.Message):
    __slots__ = ("trace_id", "span_id", "parent_span_id", "service", "agent", "session", "user", "span_type", "kind", "name", "model", "tool", "status", "error", "input", "start_unix_nano", "received_unix_nano", "duration_nano", "input_tokens", "output_tokens", "cost_usd")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SPAN_TYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    DURATION_NANO_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    agent: str
    session: str
    user: str
    span_type: str
    kind: str
    name: str
    model: str
    tool: str
    status: str
    error: str
    input: str
    start_unix_nano: int
    received_unix_nano: int
    duration_nano: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    def __init__(self, trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., parent_span_id: _Optional[str] = ..., service: _Optional[str] = ..., agent: _Optional[str] = ..., session: _Optional[str] = ..., user: _Optional[str] = ..., span_type: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., tool: _Optional[str] = ..., status: _Optional[str] = ..., error: _Optional[str] = ..., input: _Optional[str] = ..., start_unix_nano: _Optional[int] = ..., received_unix_nano: _Optional[int] = ..., duration_nano: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ...) -> None: ...
