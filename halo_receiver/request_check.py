"""What is looked at in a request before it is acknowledged: can it be parsed, and which items have no usable ids?

Time and memory are bounded for whatever a stranger sends; checking.py says where which request is looked at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from halo_receiver import decode, wire
from halo_receiver.decode.message_count_limit import MAX_GROUPS, MAX_MESSAGES, TooManyMessages
from halo_receiver.errors import HaloError
from halo_receiver.otlp_messages import LogsRequest, TraceRequest

_zlib: Any
try:
    from isal import isal_zlib as _zlib  # inflates 2.5 times as fast; Collectors send gzip
except ImportError:  # not on every platform
    import zlib as _zlib

MAX_MEMBERS = 1000  # of gzip, in one request
PIECE_BYTES = 64 * 2**10  # that is inflated at a time, of all members but the first
MAX_ITEMS = 2_000_000  # spans, or log records, in one request
HOPELESS_ITEMS = 20_000  # of JSON without a usable one among them, after which no further one is looked at
_MAX_REASONS = 3  # named in a partial success
_GZIP = b"\x1f\x8b"


class TooLarge(HaloError):  # noqa: N818
    """The request is over the limit, as sent or after decompression; it will not pass later."""


@dataclass(slots=True)
class Checked:
    """What a look at a request tells before it is acknowledged."""

    items: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    services: dict[str, int] = field(default_factory=dict)  # items of each, rejected ones included
    rejected_services: dict[str, int] = field(default_factory=dict)


def inflate(body: bytes, limit: int, *, members: int = MAX_MEMBERS) -> bytes:
    """Undo gzip or deflate, stopping at the limit. Raises TooLarge, or Undecodable when it is neither."""
    inflater: Any = _zlib.decompressobj(wbits=47)
    try:
        plain: bytes = inflater.decompress(body, limit + 1)
        if inflater.eof and len(plain) <= limit and inflater.unused_data[:2] == _GZIP:
            at = len(body) - len(inflater.unused_data)
            plain, inflater = _further_members(plain, memoryview(body)[at:], limit, members)
    except _zlib.error as error:
        raise decode.Undecodable(f"the body does not decompress: {error}") from None
    if len(plain) > limit:
        raise TooLarge(
            f"the request is over {limit} bytes after decompression",
            hint="send smaller batches: sending_queue.batch with sizer bytes, or raise receiver.max_request_bytes",
        )
    if not inflater.eof:
        raise decode.Undecodable("the body ends before its compressed stream does")
    return plain


def _further_members(plain: bytes, rest: memoryview, limit: int, members: int) -> tuple[bytes, Any]:
    """Inflate concatenated gzip members, a piece at a time: what is behind each is copied, and they may be many."""
    parts, size, inflater = [plain], len(plain), None
    while rest and size <= limit:
        if inflater is None or inflater.eof:
            members -= 1
            if members <= 0 or bytes(rest[:2]) != _GZIP:
                break
            inflater = _zlib.decompressobj(wbits=47)
        piece = rest[:PIECE_BYTES]
        parts.append(inflater.decompress(piece, limit + 1 - size))
        size += len(parts[-1])
        rest = rest[len(piece) - len(inflater.unused_data) :]
    if members <= 0:
        raise TooLarge(f"the request has over {MAX_MEMBERS} gzip members", hint="compress each request as one")
    return b"".join(parts), inflater


def check(kind: str, encoding: Literal["protobuf", "json"], body: bytes) -> Checked:
    """Look at a decompressed request: can it be parsed, and which spans have no usable ids?

    Raises Undecodable when it is not a request of that kind at all.
    """
    try:
        checked = _look(kind, encoding, body)
    except decode.Undecodable as error:
        other = "logs" if kind == "traces" else "traces"
        if encoding == "protobuf" and not isinstance(error, TooManyMessages) and _is_of(other, body):
            raise decode.Undecodable(str(error), hint=f"it is a request of {other}: these go to /v1/{other}") from None
        raise
    return judged(checked)


def judged(checked: Checked) -> Checked:
    """Refuse a request all of whose spans lack their ids: it is something else. Raises Undecodable."""
    if checked.items and checked.rejected == checked.items and all("missing" in reason for reason in checked.reasons):
        raise decode.Undecodable(
            f"none of the {checked.items} spans has ids: {checked.reasons[0]}",
            hint="a logs export that was sent to the traces path looks like this: logs go to /v1/logs",
        )
    return checked


def _look(kind: str, encoding: Literal["protobuf", "json"], body: bytes) -> Checked:
    if encoding == "json":
        return _counted(kind, body)
    checked = scanned(kind, body)
    if checked is not None:
        return checked
    message = LogsRequest if kind == "logs" else TraceRequest
    # A message takes two bytes at least: what is shorter cannot hold too many, and most requests are.
    if len(body) > 2 * MAX_MESSAGES and decode.message_count_limit.exceeds(body, message.DESCRIPTOR, MAX_MESSAGES):
        raise TooManyMessages(MAX_MESSAGES)
    return _check_logs(body) if kind == "logs" else _check_traces(body)


def _is_of(kind: str, body: bytes) -> bool:
    try:
        return _look(kind, "protobuf", body).items > 0
    except decode.Undecodable:
        return False


def scanned(kind: str, body: bytes, *, max_fields: int = 0) -> Checked | None:
    """Look at protobuf by the wire scanner; None when it is not sure, or would read more than `max_fields`.

    Without that limit it lets other threads run. Raises TooManyMessages.
    """
    try:
        looked = wire.check(body, logs=kind == "logs", max_fields=max_fields)
    except OverflowError:
        raise TooManyMessages(MAX_MESSAGES) from None
    return _summary(looked) if looked else None


def _counted(kind: str, body: bytes) -> Checked:
    items: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    checked = Checked()
    for number, (service, reason) in enumerate(decode.refusals(body, kind), 1):
        items[service] += 1
        if reason is not None:
            rejected[service] += 1
            if len(checked.reasons) < _MAX_REASONS:
                checked.reasons.append(reason)
        if number == HOPELESS_ITEMS and rejected.total() == number:
            raise decode.Undecodable(f"none of the first {number} items can be kept: {checked.reasons[0]}")
        if number > MAX_ITEMS:
            raise TooManyMessages(MAX_ITEMS, "spans or log records")
    checked.items, checked.rejected = items.total(), rejected.total()
    checked.services, checked.rejected_services = dict(items), dict(rejected)
    return checked


def _check_traces(body: bytes) -> Checked:
    checked = Checked()
    request = decode.parse(TraceRequest, body)
    _refuse_swarm(request.resource_spans, "scope_spans", "spans")
    for resource_spans in request.resource_spans:
        count, rejected = 0, checked.rejected
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                count += 1
                trace_id, span_id = span.trace_id, span.span_id
                if len(trace_id) == 16 and len(span_id) == 8 and any(trace_id) and any(span_id):
                    continue
                checked.rejected += 1
                if len(checked.reasons) < _MAX_REASONS:
                    checked.reasons.append(_reason(checked.items + count, trace_id, span_id))
        _add_service(checked, resource_spans.resource, count, checked.rejected - rejected)
    return checked


def _check_logs(body: bytes) -> Checked:
    checked = Checked()
    request = decode.parse(LogsRequest, body)
    _refuse_swarm(request.resource_logs, "scope_logs", "log_records")
    for resource_logs in request.resource_logs:
        count = sum(len(scope_logs.log_records) for scope_logs in resource_logs.scope_logs)
        _add_service(checked, resource_logs.resource, count)
    return checked


def _summary(looked: wire.Looked) -> Checked:
    items, rejected, named, services = looked
    checked = Checked(items, rejected, [_reason(*one) for one in named])
    for raw, number, bad in services:
        name = raw.decode("utf-8", "replace")
        checked.services[name] = checked.services.get(name, 0) + number
        if bad:
            checked.rejected_services[name] = checked.rejected_services.get(name, 0) + bad
    return checked


def _reason(index: int, trace_id: bytes, span_id: bytes) -> str:
    reason = decode.id_problem(trace_id.hex(), 32, "trace_id") or decode.id_problem(span_id.hex(), 16, "span_id")
    return f"span {index}: {reason or ''}"


def _refuse_swarm(groups: Any, scopes: str, items: str) -> None:
    """Raise Undecodable when a request holds absurdly many messages."""
    scopes_, items_ = 0, 0
    if len(groups) <= MAX_GROUPS:
        for group in groups:
            inside = getattr(group, scopes)
            scopes_ += len(inside)
            if scopes_ > MAX_GROUPS:
                break
            items_ += sum(len(getattr(scope, items)) for scope in inside)
    if len(groups) > MAX_GROUPS or scopes_ > MAX_GROUPS or items_ > MAX_ITEMS:
        what = f"{MAX_GROUPS} resources, {MAX_GROUPS} scopes and {MAX_ITEMS} {items}"
        raise decode.Undecodable(f"the request holds more than {what}", hint="send smaller batches")


def _add_service(checked: Checked, resource: Any, count: int, rejected: int = 0) -> None:
    checked.items += count
    name = ""
    for pair in resource.attributes:
        if pair.key == b"service.name":
            name = pair.value.string_value.decode("utf-8", "replace")
            break
    checked.services[name] = checked.services.get(name, 0) + count
    if rejected:
        checked.rejected_services[name] = checked.rejected_services.get(name, 0) + rejected
