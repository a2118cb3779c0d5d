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
