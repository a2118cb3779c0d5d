"""Every field of the OTLP messages has its column; segments of other schemas are read, or refused with a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.store import manifest, merge, queries, schema
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from tests.fixtures_receiver import trace_request
from tests.receiver.loading import append, append_spans, load, numbers

# A field by its path → the SQL that shows it. A field of a new OTLP release has no entry, and fails the test.
SPAN_COLUMNS = {
    "schema_url": "resource_schema_url",
    "resource.attributes": "resource_attributes",
    "resource.dropped_attributes_count": "resource_dropped_attributes",
    "scope_spans.schema_url": "scope_schema_url",
    "scope_spans.scope.name": "scope_name",
    "scope_spans.scope.version": "scope_version",
    "scope_spans.scope.attributes": "scope_attributes",
    "scope_spans.scope.dropped_attributes_count": "scope_dropped_attributes",
    "scope_spans.spans.trace_id": "trace_id",
    "scope_spans.spans.span_id": "span_id",
    "scope_spans.spans.trace_state": "trace_state",
    "scope_spans.spans.parent_span_id": "parent_span_id",
    "scope_spans.spans.flags": "flags",
    "scope_spans.spans.name": "name",
    "scope_spans.spans.kind": "kind",
    "scope_spans.spans.start_time_unix_nano": "epoch_ns(start_time)",
    "scope_spans.spans.end_time_unix_nano": "epoch_ns(end_time)",
    "scope_spans.spans.attributes": "attributes",
    "scope_spans.spans.dropped_attributes_count": "dropped_attributes",
    "scope_spans.spans.events.time_unix_nano": "epoch_ns(events[1].time)",
    "scope_spans.spans.events.name": "events[1].name",
    "scope_spans.spans.events.attributes": "events[1].attributes",
    "scope_spans.spans.events.dropped_attributes_count": "events[1].dropped_attributes",
    "scope_spans.spans.dropped_events_count": "dropped_events",
    "scope_spans.spans.links.trace_id": "links[1].trace_id",
    "scope_spans.spans.links.span_id": "links[1].span_id",
    "scope_spans.spans.links.trace_state": "links[1].trace_state",
    "scope_spans.spans.links.attributes": "links[1].attributes",
    "scope_spans.spans.links.dropped_attributes_count": "links[1].dropped_attributes",
    "scope_spans.spans.links.flags": "links[1].flags",
    "scope_spans.spans.dropped_links_count": "dropped_links",
    "scope_spans.spans.status.message": "status_message",
    "scope_spans.spans.status.code": "status_code",
}
LOG_COLUMNS = {
    "schema_url": "resource_schema_url",
    "resource.attributes": "resource_attributes",
    "resource.dropped_attributes_count": "resource_dropped_attributes",
    "scope_logs.schema_url": "scope_schema_url",
    "scope_logs.scope.name": "scope_name",
    "scope_logs.scope.version": "scope_version",
    "scope_logs.scope.attributes": "scope_attributes",
    "scope_logs.scope.dropped_attributes_count": "scope_dropped_attributes",
    "scope_logs.log_records.time_unix_nano": 'epoch_ns("time")',
    "scope_logs.log_records.observed_time_unix_nano": "epoch_ns(observed_time)",
    "scope_logs.log_records.severity_number": "severity_number",
    "scope_logs.log_records.severity_text": "severity_text",
    "scope_logs.log_records.body": "body",
    "scope_logs.log_records.attributes": "attribute_values[1]",
    "scope_logs.log_records.dropped_attributes_count": "dropped_attributes",
    "scope_logs.log_records.flags": "flags",
    "scope_logs.log_records.trace_id": "trace_id",
    "scope_logs.log_records.span_id": "span_id",
    "scope_logs.log_records.event_name": "event_name",
}
# Entities: since 1.6 of the protocol, in development; they repeat keys of the resource's attributes.
PASSED_OVER = {"resource.entity_refs"}


def fields(message: Descriptor, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Yield every field of a message and of those inside it; values of attributes are one field."""
    for field in message.fields:
        here = f"{path}{field.name}"
        inside = field.message_type
        if inside is None or inside.name in ("AnyValue", "KeyValue"):
            yield here, field
        elif here not in PASSED_OVER:
            yield from fields(inside, f"{here}.")


def fill(message: Any, counter: Iterator[int], said: dict[str, Any], path: str = "") -> None:
    """Give every field of a message a value of its own, and note which."""
    for field in message.DESCRIPTOR.fields:
        here = f"{path}{field.name}"
        if here in PASSED_OVER:
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        kind = field.message_type.name if field.message_type else None
        number = next(counter)
        if kind == "KeyValue":
            getattr(message, field.name).add(key=f"key{number}".encode(), value={"int_value": number})
            said[here] = {f"key{number}": number}
        elif kind == "AnyValue":
            getattr(message, field.name).int_value = number
            said[here] = number
        elif kind is not None:
            inner = getattr(message, field.name).add() if repeated else getattr(message, field.name)
            fill(inner, counter, said, f"{here}.")
        elif field.name.endswith("_id"):
            value = number.to_bytes(16 if field.name == "trace_id" else 8, "big")
            setattr(message, field.name, value)
            said[here] = value.hex()
        elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            setattr(message, field.name, 2)
            said[here] = {"kind": "SERVER", "code": "ERROR", "severity_number": 2}[field.name]
        elif field.type == FieldDescriptor.TYPE_BYTES:
            setattr(message, field.name, f"text{number}".encode())
            said[here] = f"text{number}"
        else:
            setattr(message, field.name, number)
            said[here] = number


@pytest.mark.parametrize(
    ("request_type", "group", "official", "columns", "table"),
    [
        (TraceRequest, "resource_spans", trace_service_pb2.ExportTraceServiceRequest, SPAN_COLUMNS, "spans"),
        (LogsRequest, "resource_logs", logs_service_pb2.ExportLogsServiceRequest, LOG_COLUMNS, "_log_rows"),
    ],
    ids=["traces", "logs"],
)
def test_every_field_of_the_messages_has_its_column_and_comes_back(
    tmp_path: Path, request_type: Any, group: str, official: Any, columns: dict[str, str], table: str
) -> None:
    walked = {path for path, _ in fields(official.DESCRIPTOR.fields_by_name[group].message_type)}
    assert walked == set(columns)
    request, said = request_type(), {}
    fill(getattr(request, group).add(), iter(range(1, 1000)), said)
    kind = "traces" if table == "spans" else "logs"
    append(tmp_path, request.SerializeToString(), kind=kind)
    load(tmp_path)
    with Reader.open(tmp_path) as reader:
        shown = ", ".join(f'{sql} AS "{path}"' for path, sql in columns.items())
        row = reader.query(f"SELECT {shown} FROM {table}")[0]
    for path, value in said.items():
        found = row[path]
        if isinstance(value, dict) and found != str(*value.values()):
            found = json.loads(found)
        wanted = str(*value.values()) if isinstance(value, dict) and isinstance(found, str) else value
        assert str(found) == str(wanted), path


def test_every_column_of_the_contract_is_shown(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    load(tmp_path)
    with Reader.open(tmp_path) as reader:
        for table, columns in (
            ("spans", schema.SPAN_COLUMNS), ("logs", schema.LOG_COLUMNS), ("traces", schema.TRACE_COLUMNS),
        ):  # fmt: skip
            assert queries.json_rows(reader, f"SELECT * FROM {table}")[0] == list(columns)


def as_schema(path: Path, version: int, *statements: str) -> None:
    """Make a segment one of another schema."""
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(version)])


def test_a_segment_of_a_newer_schema_is_left_out_with_a_remedy_and_the_rest_is_read(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    load(tmp_path)
    append_spans(tmp_path, 2)
    load(tmp_path)
    newer = listed(tmp_path / "segments")[1]
    as_schema(newer, schema.SCHEMA_VERSION + 1)
    assert numbers(tmp_path) == [1]
    with Reader.open(tmp_path) as reader:
        (left_out,) = reader.set_aside
    assert left_out.path == newer
    assert f"was written by schema {schema.SCHEMA_VERSION + 1}" in left_out.reason
    assert "upgrade halo" in left_out.reason


def test_a_segment_of_an_older_schema_is_read_with_what_it_lacks_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a schema before `reasoning_tokens`, beside a current one."""
    append_spans(tmp_path, 1)
    load(tmp_path)
    older = listed(tmp_path / "segments")[0]
    as_schema(older, schema.SCHEMA_VERSION, "DROP VIEW spans", "ALTER TABLE span_rows DROP reasoning_tokens")
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    append(tmp_path, trace_request((1, 2), (2, 1)))
    load(tmp_path)
    with Reader.open(tmp_path) as reader:
        assert reader.set_aside == []
        rows = reader.query("SELECT span_id, name, reasoning_tokens AS r FROM spans ORDER BY trace_id, span_id")
        traces = reader.query("SELECT span_count FROM traces ORDER BY trace_id")
    assert [(int(row["span_id"], 16), row["name"], row["r"]) for row in rows] == [
        (1, "work", None), (2, "work", None), (1, "work", None),
    ]  # fmt: skip
    assert [row["span_count"] for row in traces] == [2, 1]


def test_segments_of_another_schema_are_not_merged_into_ours(tmp_path: Path) -> None:
    for number in range(merge.MIN_SEGMENTS):
        append_spans(tmp_path, number + 1)
        load(tmp_path)
    directory = tmp_path / "segments"
    as_schema(listed(directory)[0], schema.SCHEMA_VERSION + 1)
    (directory / manifest.CACHE_FILE).unlink()  # sealed files do not change: the cache would not look
    entries = manifest.load(directory, listed(directory))
    assert len(entries) == merge.MIN_SEGMENTS
    assert merge.choose(entries, 2**30, entries[0].last_received_ns + 1) == []
