"""Binary files: OTLP protobuf as one message, or as messages that their length precedes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from google.protobuf.message import DecodeError

from halo_receiver.decode import Item, Undecodable, from_protobuf
from halo_receiver.files.part import MAX_RECORD_BYTES, PART_BYTES, FilePart, Gathering, NotATraceFile
from halo_receiver.files.streams import Stream
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import Rejection

_RESOURCE = 0x0A  # field 1, length-delimited: resource_spans and resource_logs
_INNER = (0x0A, 0x12, 0x1A)  # resource, scope_spans, schema_url


class _TornError(Exception):
    """The file ends within a message, of which `rest` is there."""

    def __init__(self, rest: bytes) -> None:
        super().__init__()
        self.rest = rest


def read(stream: Stream, path: str) -> Iterator[FilePart]:
    """Read a binary file; see `files.read_files`."""
    messages = _form(stream.head())
    if messages is None:
        raise NotATraceFile("is neither text nor OTLP protobuf")
    gathering, known, count = Gathering(path), False, 0
    try:
        for message in messages(stream):
            count += 1
            taken = _take(message, count, gathering)
            if not taken and not known:
                raise NotATraceFile("is protobuf, but neither OTLP traces nor logs")
            known = True
            gathering.bytes += len(message)
            if gathering.full() and (part := gathering.take()):
                yield part
    except _TornError as torn:
        whole = _whole_part(torn.rest, 2)
        kept = bool(whole) and _take(whole, count + 1, gathering)
        if not kept and not known:
            raise NotATraceFile("is neither text nor OTLP protobuf") from None
        gathering.problems.append(f"{path}:{count + 1}: the file ends within this message; its whole items were kept")
    if part := gathering.take():
        yield part


def _take(message: bytes, number: int, gathering: Gathering) -> bool:
    """Decode one request as what it is; false when it is neither traces nor logs."""
    kind = _kind(message)
    if kind is None:
        if message.strip(b"\0"):
            gathering.problems.append(f"{gathering.path}:{number}: neither traces nor logs")
        return False
    rejected = gathering.decoded.rejected
    before = len(rejected)
    try:
        gathering.repair.gather(kind(message, gathering.repair))
    except Undecodable as error:
        gathering.refuse(number, str(error))
        return True
    for place in range(before, len(rejected)):
        reason = f"item {rejected[place].index}: {rejected[place].reason}"
        rejected[place] = Rejection(number, reason)
        gathering.problems.append(f"{gathering.path}:{number}: {reason}")
    return True


def _kind(message: bytes) -> Callable[..., Iterator[Item]] | None:
    """Tell traces from logs: the field numbers are the same, the types within an item are not."""
    try:
        traces = TraceRequest.FromString(message)
        spans = [s for group in traces.resource_spans for scoped in group.scope_spans for s in scoped.spans]
        if any(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans):
            return from_protobuf.traces
    except DecodeError:
        spans = []
    try:
        logs = LogsRequest.FromString(message)
    except DecodeError:
        return from_protobuf.traces if spans else None
    for group in logs.resource_logs:
        for scoped in group.scope_logs:
            if any(record.time_unix_nano or record.observed_time_unix_nano for record in scoped.log_records):
                return from_protobuf.logs
    if any(span.start_time_unix_nano or span.end_time_unix_nano for span in spans):
        return from_protobuf.traces  # spans whose ids are all bad: rejected one by one
    return None if spans else from_protobuf.traces


def _form(head: bytes) -> Callable[[Stream], Iterator[bytes]] | None:
    """Tell how messages lie in a file from its first bytes."""
    try:
        length, at = _varint(head, 0)
        if head[0] == _RESOURCE:
            inner, at = _varint(head, 1)
            if not inner or head[at] in _INNER:
                return _one_message
        if head[0] == 0 and len(head) > 4 and head[4] == _RESOURCE:
            return _big_endian
        if length and head[at] == _RESOURCE:
            return _delimited
    except IndexError:
        return None
    return None


def _one_message(stream: Stream) -> Iterator[bytes]:
    """Cut a message into its resources: each is a message of its own, so that a large file needs little memory."""
    batch: list[bytes] = []
    size = 0
    while True:
        frame = _frame(stream, batch)
        if frame is None:
            break
        batch.append(frame)
        size += len(frame)
        if size >= PART_BYTES:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


def _frame(stream: Stream, batch: list[bytes]) -> bytes | None:
    tag = stream.read(1)
    if not tag:
        return None
    length, prefix = _length(stream)
    body = stream.read(length) if tag[0] == _RESOURCE and 0 <= length <= MAX_RECORD_BYTES else b""
    if tag[0] != _RESOURCE or len(body) < length or length < 0:
        raise _TornError(b"".join([*batch, tag, prefix, body]))
    return tag + prefix + body


def _delimited(stream: Stream) -> Iterator[bytes]:
    while True:
        length, prefix = _length(stream)
        if not prefix:
            return
        yield _body(stream, length)


def _big_endian(stream: Stream) -> Iterator[bytes]:
    """The Collector's file exporter with `format: proto`: four bytes of length, then the message."""
    while prefix := stream.read(4):
        yield _body(stream, int.from_bytes(prefix, "big") if len(prefix) == 4 else -1)


def _body(stream: Stream, length: int) -> bytes:
    body = stream.read(length) if 0 <= length <= MAX_RECORD_BYTES else b""
    if len(body) != length:
        raise _TornError(body)
    return body


def _length(stream: Stream) -> tuple[int, bytes]:
    """Read a varint: its value (-1 when it has no end) and its bytes."""
    raw = b""
    while len(raw) < 10:
        byte = stream.read(1)
        if not byte:
            break
        raw += byte
        if byte[0] < 0x80:
            return _varint(raw, 0)[0], raw
    return -1, raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _whole_part(data: bytes, levels: int) -> bytes:
    """Keep the whole fields of a message that was cut off, and within its last one those of `levels` below."""
    out, at = [], 0
    try:
        while at < len(data):
            start = at
            tag, at = _varint(data, at)
            if tag & 7 == 2:
                length, at = _varint(data, at)
            elif tag & 7 == 0:
                length, at = 0, _varint(data, at)[1]
            else:
                length = {1: 8, 5: 4}.get(tag & 7, len(data))
            if at + length > len(data):
                if levels and tag & 7 == 2:
                    inner = _whole_part(data[at:], levels - 1)
                    out.append(_write_varint(tag) + _write_varint(len(inner)) + inner)
                break
            at += length
            out.append(data[start:at])
    except IndexError:
        pass
    return b"".join(out)
