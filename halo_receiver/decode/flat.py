"""HALO's flat spans: one JSON object a line, attributes as one dict, times as ISO-8601 text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from halo_receiver.decode import repair as r
from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES, Repair, Undecodable
from halo_receiver.span import SPAN_KINDS, STATUS_CODES, Scope, Span, SpanEvent, SpanLink

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?\s*(Z|z|UTC|[+-]\d\d:?(?:\d\d)?)?\Z", re.ASCII
)


def flat_span(line: dict[str, Any], *, repair: Repair | None = None) -> Span:
    """Turn one flat line into a span.

    Tolerant: null for any optional field, integers for kind, status code and times (unix seconds, milliseconds,
    microseconds or nanoseconds by size), naive times as UTC, status as text, `scope.attributes`,
    `resource.schema_url`, events and links. Ids that are not hex are kept as they are.
    Raises Undecodable when trace_id or span_id is missing.
    """
    repair = repair or Repair(MAX_ATTRIBUTE_BYTES)
    trace_id, span_id = _id(line.get("trace_id")), _id(line.get("span_id"))
    for name, value in (("trace_id", trace_id), ("span_id", span_id)):
        if not value:
            raise Undecodable(f"a flat span has no {name}", hint="every line needs trace_id and span_id")
    status = line.get("status")
    status = status if isinstance(status, dict) else {"code": status}
    start = repair.time(nanoseconds(line.get("start_time"), repair))
    end = repair.time(nanoseconds(line.get("end_time"), repair))
    if end and end < start:
        repair.count(r.END_BEFORE_START)
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=_id(line.get("parent_span_id")),
        name=_text(line.get("name"), repair),
        scope=_scope(_dict(line.get("resource")), _dict(line.get("scope")), repair),
        trace_state=_text(line.get("trace_state"), repair),
        flags=_count(line.get("flags")),
        kind=_enum(line.get("kind"), SPAN_KINDS, "SPAN_KIND_", r.UNKNOWN_KIND, repair),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=_enum(status.get("code"), STATUS_CODES, "STATUS_CODE_", r.UNKNOWN_STATUS, repair),
        status_message=_text(status.get("message"), repair),
        attributes=_plain(_dict(line.get("attributes")), repair, 0),
        events=[_event(event, repair) for event in _list(line.get("events")) if isinstance(event, dict)],
        links=[_link(link, repair) for link in _list(line.get("links")) if isinstance(link, dict)],
    )


def nanoseconds(value: Any, repair: Repair) -> int:
    """Read a time: ISO-8601 text to the nanosecond, or a unix number whose unit its size tells. 0 when absent."""
    if value is None or value == "" or isinstance(value, bool):
        return 0
    if isinstance(value, str):
        match = _TIME.match(value.strip())
        if match:
            return _iso(match, repair)
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            repair.count(r.WRONG_TYPE)
            return 0
    if isinstance(value, (int, float)) and abs(value) < 1e21:
        for limit, factor in ((1e11, 10**9), (1e14, 10**6), (1e17, 1000)):  # seconds, ms, µs reach beyond year 5000
            if abs(value) < limit:
                return int(value * factor) if isinstance(value, int) else round(value * factor)
        return int(value)
    repair.count(r.WRONG_TYPE)
    return 0


def _iso(match: re.Match[str], repair: Repair) -> int:
    day, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{minute}").replace(tzinfo=UTC)
        if zone and zone[0] in "+-":
            digits = zone[1:].replace(":", "").ljust(4, "0")
            offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            moment -= offset if zone[0] == "+" else -offset
        whole = (moment - _EPOCH) // timedelta(seconds=1) + int(second or 0)
    except (ValueError, OverflowError):
        repair.count(r.WRONG_TYPE)
        return 0
    return whole * 10**9 + int((fraction or "0")[:9].ljust(9, "0"))


def _id(value: Any) -> str:
    """An id as text: hex ids in lowercase as OTLP has them, others as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    value = value.strip().encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    lowered: str = value.lower()
    return lowered if len(value) in (16, 32) and not lowered.strip("0123456789abcdef") else value


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, repair: Repair) -> str:
    return "" if value is None else repair.string(value if isinstance(value, str) else str(value))


def _count(value: Any) -> int:
    return min(max(value, 0), 2**32 - 1) if type(value) is int else 0


def _enum(value: Any, names: tuple[str, ...], prefix: str, unknown: str, repair: Repair) -> str:
    if value is None or value == "":
        return names[0]
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    name = str(value).upper().removeprefix(prefix)
    if name in names:
        return name
    repair.count(unknown)
    return names[0]


def _scope(resource: dict[str, Any], scope: dict[str, Any], repair: Repair) -> Scope:
    return Scope(
        resource_attributes=_plain(_dict(resource.get("attributes")), repair, 0),
        resource_schema_url=_text(resource.get("schema_url"), repair),
        name=_text(scope.get("name"), repair),
        version=_text(scope.get("version"), repair),
        attributes=_plain(_dict(scope.get("attributes")), repair, 0),
        schema_url=_text(scope.get("schema_url"), repair),
    )


def _plain(value: Any, repair: Repair, depth: int) -> Any:
    """A JSON value as an attribute value: strings bounded, integers int64 (else floats), depth bounded."""
    if isinstance(value, str):
        return repair.string(value)
    if isinstance(value, (dict, list)):
        if depth >= r.MAX_DEPTH:
            repair.count(r.TOO_DEEP)
            return None
        if isinstance(value, list):
            return [_plain(item, repair, depth + 1) for item in value]
        return {repair.string(key): _plain(item, repair, depth + 1) for key, item in value.items()}
    if type(value) is int and not -r.INT64_MAX <= value <= r.INT64_MAX:
        return float(value) if abs(value) < 10**300 else None
    return value


def _event(item: dict[str, Any], repair: Repair) -> SpanEvent:
    time = next((item[key] for key in ("time", "timestamp", "time_unix_nano") if item.get(key) is not None), None)
    return SpanEvent(
        repair.time(nanoseconds(time, repair)),
        _text(item.get("name"), repair),
        _plain(_dict(item.get("attributes")), repair, 0),
    )


def _link(item: dict[str, Any], repair: Repair) -> SpanLink:
    return SpanLink(
        _id(item.get("trace_id")),
        _id(item.get("span_id")),
        _text(item.get("trace_state"), repair),
        _count(item.get("flags")),
        _plain(_dict(item.get("attributes")), repair, 0),
    )
