"""Spans and log records as Arrow tables in the layout of schema.sql."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import orjson
import pyarrow as pa

from halo_receiver.errors import Unstorable
from halo_receiver.span import Attributes, Canonical, LogRecord, Span, SpanEvent
from halo_receiver.store.text_folding import fold

Table = pa.Table
Part: TypeAlias = tuple[int, int, Any] | None  # a buffer: address, size, owner
Scanned: TypeAlias = tuple[int, int, Part, Part, Part]  # rows, nulls, validity, ends, data
LONG_VALUE = 512  # characters of JSON text from which an attribute goes to long_attributes

_TIME = pa.timestamp("ns")
_LINK = pa.struct(
    [
        ("trace_id", pa.string()), ("span_id", pa.string()), ("trace_state", pa.string()), ("flags", pa.uint32()),
        ("attributes", pa.string()), ("dropped_attributes", pa.uint32()),
    ]
)  # fmt: skip

SPAN_SCHEMA = pa.schema(
    [
        ("trace_id", pa.string()), ("span_id", pa.string()), ("parent_span_id", pa.string()),
        ("trace_state", pa.string()), ("flags", pa.uint32()), ("name", pa.string()), ("kind", pa.string()),
        ("start_time", _TIME), ("end_time", _TIME), ("duration_ns", pa.int64()), ("status_code", pa.string()),
        ("status_message", pa.string()), ("service_name", pa.string()), ("scope_name", pa.string()),
        ("scope_version", pa.string()), ("resource_attributes", pa.string()), ("scope_attributes", pa.string()),
        ("attribute_keys", pa.list_(pa.string())), ("attribute_values", pa.list_(pa.string())),
        ("long_attributes", pa.string()), ("events", pa.string()), ("links", pa.list_(_LINK)),
        ("dropped_attributes", pa.uint32()),
        ("dropped_events", pa.uint32()), ("dropped_links", pa.uint32()), ("resource_schema_url", pa.string()),
        ("scope_schema_url", pa.string()), ("resource_dropped_attributes", pa.uint32()),
        ("scope_dropped_attributes", pa.uint32()), ("received_at", _TIME),
        ("texts", pa.string()),
        ("convention", pa.string()), ("span_type", pa.string()), ("model", pa.string()), ("provider", pa.string()),
        ("agent_name", pa.string()), ("session_id", pa.string()), ("user_id", pa.string()), ("tool_name", pa.string()),
        ("tool_call_id", pa.string()), ("tools_offered", pa.list_(pa.string())), ("tool_definitions", pa.string()),
        ("input_messages", pa.string()), ("output_messages", pa.string()), ("input_text", pa.string()),
        ("output_text", pa.string()), ("finish_reason", pa.string()), ("max_output_tokens", pa.int64()),
        ("input_tokens", pa.int64()), ("output_tokens", pa.int64()), ("cached_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()), ("cost_usd", pa.float64()), ("cost_estimated", pa.bool_()),
        ("error_type", pa.string()), ("error_message", pa.string()), ("error_signature", pa.string()),
    ]
)  # fmt: skip

LOG_SCHEMA = pa.schema(
    [
        ("time", _TIME), ("observed_time", _TIME), ("trace_id", pa.string()), ("span_id", pa.string()),
        ("severity_number", pa.int32()), ("severity_text", pa.string()), ("event_name", pa.string()),
        ("body", pa.string()), ("attribute_keys", pa.list_(pa.string())), ("attribute_values", pa.list_(pa.string())),
        ("long_attributes", pa.string()),
        ("flags", pa.uint32()), ("dropped_attributes", pa.uint32()), ("resource_attributes", pa.string()),
        ("resource_schema_url", pa.string()), ("resource_dropped_attributes", pa.uint32()),
        ("scope_name", pa.string()), ("scope_version", pa.string()), ("scope_attributes", pa.string()),
        ("scope_schema_url", pa.string()), ("scope_dropped_attributes", pa.uint32()), ("service_name", pa.string()),
        ("received_at", _TIME), ("span_facts", pa.string()),
    ]
)  # fmt: skip

MEANINGS = tuple(name for name in SPAN_SCHEMA.names if name in Canonical.__slots__)


def _plain(value: Any) -> Any:
    """Make an attribute value JSON can hold: bytes as base64, NaN and infinities as their names."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def json_text(value: Any) -> str:
    """Write a value as compact JSON text."""
    return orjson.dumps(_plain(value), option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


def _value_text(value: Any) -> str:
    return orjson.dumps(value if type(value) in (str, int, bool) else _plain(value)).decode()


def _attributes(attributes: Attributes) -> tuple[list[str], list[str], str | None]:
    """Split attributes into short keys and values and one JSON object of the long ones."""
    keys, values, long = [], [], []
    for key, value in attributes.items():
        text = _value_text(value)
        if len(text) > LONG_VALUE:
            long.append(f"{_value_text(key)}:{text}")
        else:
            keys.append(key)
            values.append(text)
    return keys, values, f"{{{','.join(long)}}}" if long else None


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise Unstorable(f"{len(rows)} rows do not fit the schema: {error}") from None


def _or_none(value: Any) -> Any:
    return value or None


def _events(events: list[SpanEvent]) -> str | None:
    if not events:
        return None
    return json_text(
        [
            {
                "time": _or_none(event.time_unix_nano),
                "name": event.name,
                "attributes": event.attributes,
                "dropped_attributes": event.dropped_attributes,
            }
            for event in events
        ]
    )


def span_table(spans: Iterable[tuple[Span, Canonical, int]]) -> pa.Table:
    """Turn spans, what they mean and their arrival (unix nanoseconds) into a table with the columns of span_rows."""
    rows = []
    for span, canonical, received in spans:
        scope = span.scope
        keys, values, long = _attributes(span.attributes)
        start, end = span.start_unix_nano, span.end_unix_nano
        row: dict[str, Any] = {
            "trace_id": span.trace_id,
            "span_id": span.span_id,
            "parent_span_id": _or_none(span.parent_span_id),
            "trace_state": _or_none(span.trace_state),
            "flags": span.flags,
            "name": span.name,
            "kind": span.kind,
            "start_time": _or_none(start),
            "end_time": _or_none(end),
            "duration_ns": end - start if start and end else None,
            "status_code": span.status_code,
            "status_message": _or_none(span.status_message),
            "service_name": scope.service_name,
            "scope_name": _or_none(scope.name),
            "scope_version": _or_none(scope.version),
            "resource_attributes": json_text(scope.resource_attributes),
            "scope_attributes": json_text(scope.attributes),
            "attribute_keys": keys,
            "attribute_values": values,
            "long_attributes": long,
            "events": _events(span.events),
            "links": [
                {
                    "trace_id": link.trace_id,
                    "span_id": link.span_id,
                    "trace_state": _or_none(link.trace_state),
                    "flags": link.flags,
                    "attributes": json_text(link.attributes),
                    "dropped_attributes": link.dropped_attributes,
                }
                for link in span.links
            ],
            "dropped_attributes": span.dropped_attributes,
            "dropped_events": span.dropped_events,
            "dropped_links": span.dropped_links,
            "resource_schema_url": _or_none(scope.resource_schema_url),
            "scope_schema_url": _or_none(scope.schema_url),
            "resource_dropped_attributes": scope.resource_dropped_attributes,
            "scope_dropped_attributes": scope.dropped_attributes,
            "received_at": received,
        }
        for name in MEANINGS:
            row[name] = getattr(canonical, name)
        fold(row)
        rows.append(row)
    return _table(rows, SPAN_SCHEMA)


def log_table(records: Iterable[tuple[LogRecord, dict[str, Any] | None, int]]) -> pa.Table:
    """Turn log records, what they say of their span and their arrival into a table with the columns of log_rows."""
    rows = []
    for record, facts, received in records:
        scope = record.scope
        keys, values, long = _attributes(record.attributes)
        rows.append(
            {
                "time": _or_none(record.time_unix_nano),
                "observed_time": _or_none(record.observed_unix_nano),
                "trace_id": _or_none(record.trace_id),
                "span_id": _or_none(record.span_id),
                "severity_number": record.severity_number,
                "severity_text": _or_none(record.severity_text),
                "event_name": _or_none(record.event_name),
                "body": json_text(record.body),
                "attribute_keys": keys,
                "attribute_values": values,
                "long_attributes": long,
                "flags": record.flags,
                "dropped_attributes": record.dropped_attributes,
                "resource_attributes": json_text(scope.resource_attributes),
                "resource_schema_url": _or_none(scope.resource_schema_url),
                "resource_dropped_attributes": scope.resource_dropped_attributes,
                "scope_name": _or_none(scope.name),
                "scope_version": _or_none(scope.version),
                "scope_attributes": json_text(scope.attributes),
                "scope_schema_url": _or_none(scope.schema_url),
                "scope_dropped_attributes": scope.dropped_attributes,
                "service_name": scope.service_name,
                "received_at": received,
                "span_facts": json_text(facts) if facts else None,
            }
        )
    return _table(rows, LOG_SCHEMA)


def meaning_table(meanings: Iterable[tuple[Canonical, str | None]]) -> pa.Table:
    """Turn what spans mean, and their long attributes, into a table with the columns of span_rows that this changes."""
    schema = pa.schema([SPAN_SCHEMA.field(name) for name in ("long_attributes", "texts", *MEANINGS)])
    rows = []
    for meaning, long in meanings:
        row = {"long_attributes": long, **{name: getattr(meaning, name) for name in MEANINGS}}
        fold(row)
        rows.append(row)
    return _table(rows, schema)


def facts_table(facts: Iterable[dict[str, Any] | None]) -> pa.Table:
    """Turn what log records say of their spans into a table with that column of log_rows."""
    schema = pa.schema([LOG_SCHEMA.field("span_facts")])
    return _table([{"span_facts": json_text(item) if item else None} for item in facts], schema)


_NOTHING = pa.py_buffer(b"")
_TYPE_OF = {"s": pa.string(), "u": pa.uint32(), "i": pa.int64(), "t": _TIME, "f": pa.float64(), "b": pa.bool_()}


def fits(layout: Sequence[tuple[str, str]]) -> bool:
    """Say whether a scanner of that layout makes the columns of this schema, in this order."""
    kinds = {**_TYPE_OF, "l": pa.list_(pa.string()), "k": pa.list_(_LINK)}
    return [(name, kinds[kind]) for name, kind in layout] == [(field.name, field.type) for field in SPAN_SCHEMA]


def scanned_table(columns: Sequence[tuple[Scanned, Sequence[Scanned]]]) -> pa.Table:
    """Wrap what `Scanner.finish` gave as a table with the columns of span_rows. Nothing is copied."""
    arrays = []
    for field, (column, children) in zip(SPAN_SCHEMA, columns, strict=True):
        if not pa.types.is_list(field.type):
            arrays.append(_scanned(field.type, column))
            continue
        inner = field.type.value_type
        if pa.types.is_struct(inner):
            parts = [_scanned(part.type, child) for part, child in zip(inner, children, strict=True)]
            child = pa.StructArray.from_arrays(parts, fields=list(inner))
        else:
            child = _scanned(inner, children[0])
        rows, nulls, valid, ends, _ = column
        buffers = [_buffer(valid), _buffer(ends)]
        arrays.append(pa.Array.from_buffers(field.type, rows, buffers, null_count=nulls, children=[child]))
    return pa.Table.from_arrays(arrays, schema=SPAN_SCHEMA)


def _scanned(kind: pa.DataType, column: Scanned) -> pa.Array:
    rows, nulls, valid, ends, data = column
    if not rows:
        return pa.array([], kind)
    buffers = [_buffer(valid), _buffer(ends), _buffer(data) or _NOTHING]
    if ends is None:
        del buffers[1]
    return pa.Array.from_buffers(kind, rows, buffers, null_count=nulls)


def _buffer(part: Part) -> pa.Buffer | None:
    return None if part is None else pa.foreign_buffer(*part)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables of spans one after the other."""
    return pa.concat_tables(tables) if tables else SPAN_SCHEMA.empty_table()


def joined_logs(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables of log records one after the other."""
    return pa.concat_tables(tables) if tables else LOG_SCHEMA.empty_table()
