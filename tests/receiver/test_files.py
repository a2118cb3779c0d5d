"""Trace files of every supported form, told apart by their content."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path

import pytest
import zstandard

from halo_receiver.errors import InputError
from halo_receiver.files import FilePart, read_files
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import Span

FLAT = {
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7", "parent_span_id": "",
    "trace_state": "", "name": "response.gpt-5.4", "kind": "SPAN_KIND_CLIENT",
    "start_time": "2026-04-23T05:32:00.100000000Z", "end_time": "2026-04-23T05:32:01.000000000Z",
    "status": {"code": "STATUS_CODE_OK", "message": ""}, "resource": {"attributes": {"service.name": "agent-a"}},
    "scope": {"name": "x", "version": "1"}, "attributes": {"openinference.span.kind": "LLM"},
}  # fmt: skip


def request(*numbers: int) -> bytes:
    message = TraceRequest()
    for number in numbers:
        span = message.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id = number.to_bytes(16, "big"), number.to_bytes(8, "big")
        span.name, span.start_time_unix_nano, span.end_time_unix_nano = b"work" * 50, 1, 2
    return bytes(message.SerializeToString())


def line(number: int) -> bytes:
    return json.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": f"{number:032x}", "spanId": f"{number:016x}"}]}]}]}
    ).encode()


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def found(parts: list[FilePart]) -> list[int]:
    return [int(span.span_id, 16) for part in parts for span in part.decoded.spans]


def problems(parts: list[FilePart]) -> list[str]:
    return [problem for part in parts for problem in part.problems]


FORMS = {
    "one protobuf message": request(1, 2, 3),
    "requests one after the other": request(1) + request(2, 3),
    "length-delimited": b"".join(varint(len(m)) + m for m in (request(1), request(2, 3))),
    "the Collector's file exporter, proto": b"".join(struct.pack(">I", len(m)) + m for m in (request(1), request(2)))
    + struct.pack(">I", len(request(3)))
    + request(3),
    "one JSON document": json.dumps(
        {"resourceSpans": [json.loads(line(n))["resourceSpans"][0] for n in (1, 2, 3)]}, indent=2
    ).encode(),
    "a list of documents": b"[" + b",".join(line(n) for n in (1, 2, 3)) + b"]",
    "the Collector's file exporter, json": b"\n".join(line(n) for n in (1, 2, 3)) + b"\n",
    "with a byte order mark and blank lines": b"\xef\xbb\xbf\n  \n" + b"\r\n\r\n".join(line(n) for n in (1, 2, 3)),
    "HALO flat lines": b"\n".join(
        json.dumps({**FLAT, "trace_id": f"{n:032x}", "span_id": f"{n:016x}"}).encode() for n in (1, 2, 3)
    ),
}


@pytest.mark.parametrize("packed", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_plain_and_compressed(tmp_path: Path, form: str, packed: str) -> None:
    data = FORMS[form]
    pack = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[packed]
    path = tmp_path / "no extension tells"
    path.write_bytes(pack(data))
    parts = list(read_files([path]))
    assert found(parts) == [1, 2, 3]
    assert problems(parts) == []


def test_members_of_a_gzip_file_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rotated"
    path.write_bytes(gzip.compress(line(1) + b"\n") + gzip.compress(line(2) + b"\n"))
    assert found(list(read_files([path]))) == [1, 2]


def test_logs_are_told_from_traces(tmp_path: Path) -> None:
    message = LogsRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.observed_time_unix_nano, record.event_name = 5, b"gen_ai.choice"
    path = tmp_path / "logs"
    path.write_bytes(message.SerializeToString())
    (part,) = read_files([path])
    assert [log.event_name for log in part.decoded.logs] == ["gen_ai.choice"]
    assert part.decoded.spans == []


def test_a_bad_line_is_skipped_and_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"{bad\n" + line(1) + b"\n{not json}\n\n7\n" + line(2) + b'\n{"span_id": "a"}\n')
    parts = list(read_files([path]))
    assert found(parts) == [1, 2]
    assert [item.index for part in parts for item in part.decoded.rejected] == [1, 3, 5, 7]
    assert [problem.split(": ")[0] for problem in problems(parts)] == [f"{path}:{n}" for n in (1, 3, 5, 7)]


@pytest.mark.parametrize(
    ("content", "read", "holes"),
    [
        (line(1) + b"\n" + bytes(9000) + line(2) + b"\n" + line(3) + b"\n", [1, 2, 3], [2]),
        (line(1) + b"\n" + line(2)[:40] + bytes(9000) + line(3) + b"\n", [1, 3], [2]),
        (line(1) + b"\n" + line(2) + b"\n" + bytes(100_000), [1, 2], [3]),
        (line(1) + bytes(3) + line(2) + b"\n", [1, 2], [1]),
        (bytes(5) + line(1) + b"\n" + line(2), [1, 2], [1]),
    ],
    ids=["between", "over the end of one", "at the end", "instead of a line end", "at the start"],
)
def test_a_hole_of_nul_bytes_costs_itself_alone(
    tmp_path: Path, content: bytes, read: list[int], holes: list[int]
) -> None:
    """As a machine that lost its power leaves them in a file that was being written."""
    path = tmp_path / "holes.jsonl"
    path.write_bytes(content)
    parts = list(read_files([path]))
    assert found(parts) == read
    told = [problem for part in parts for problem in part.problems if "NUL bytes" in problem]
    assert [int(problem.split(":")[1]) for problem in told] == holes


def test_names_of_before_otlp_0_19_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(line(1).replace(b"scopeSpans", b"instrumentationLibrarySpans") + b"\n")
    assert found(list(read_files([path]))) == [1]


def test_a_truncated_last_line_is_counted_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "being written"
    path.write_bytes(line(1) + b"\n" + line(2) + b"\n" + line(3)[:-9])
    parts = list(read_files([path]))
    assert found(parts) == [1, 2]
    (problem,) = problems(parts)
    assert problem.startswith(f"{path}:3: ")
    assert "cut off" in problem


@pytest.mark.parametrize("form", ["the Collector's file exporter, json", "length-delimited", "one protobuf message"])
def test_a_truncated_gzip_keeps_its_good_part(tmp_path: Path, form: str) -> None:
    path = tmp_path / "torn.gz"
    whole = gzip.compress(FORMS[form], mtime=0)
    path.write_bytes(whole[: len(whole) - 12])
    parts = list(read_files([path]))
    assert found(parts)[:1] == [1]
    assert any("ends too early" in problem for problem in problems(parts))


def test_a_truncated_message_keeps_its_whole_spans(tmp_path: Path) -> None:
    message = TraceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in (1, 2, 3):
        span = spans.add()
        span.trace_id, span.span_id, span.name = number.to_bytes(16, "big"), number.to_bytes(8, "big"), b"x" * 300
    path = tmp_path / "torn"
    path.write_bytes(message.SerializeToString()[:-20])
    parts = list(read_files([path]))
    assert found(parts) == [1, 2]
    assert "ends within this message" in problems(parts)[0]


def test_a_directory_gives_its_trace_files_and_names_the_others(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_bytes(line(1))
    (tmp_path / "b.pb").write_bytes(request(2))
    (tmp_path / "README.md").write_text("# About {this}\n")
    (tmp_path / "table.json").write_text('{"rows": [1, 2]}')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (tmp_path / ".hidden").write_bytes(line(9))
    (tmp_path / "empty").write_bytes(b"")
    parts = list(read_files([tmp_path]))
    assert sorted(found(parts)) == [1, 2]
    assert sorted(Path(problem.split(": ")[0]).name for problem in problems(parts)) == [
        "README.md", "picture.png", "table.json",
    ]  # fmt: skip
    assert all("passed over" in problem for problem in problems(parts))


def test_globs_and_standard_input(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.jsonl").write_bytes(line(number))
    assert found(list(read_files([str(tmp_path / "*.jsonl"), tmp_path / "1.jsonl"]))) == [1, 2]
    assert found(list(read_files(["-"], stdin=io.BytesIO(line(3))))) == [3]


def test_a_path_that_names_nothing_says_so_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(line(1))
    with pytest.raises(InputError, match="does not exist"):
        next(iter(read_files([tmp_path / "good", tmp_path / "absent"])))


def test_a_long_file_comes_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"\n".join(line(n) for n in range(1, 5001)))
    parts = list(read_files([path]))
    assert [len(part.decoded.spans) for part in parts] == [2000, 2000, 1000]
    path.write_bytes(b"".join(request(*range(n, n + 100)) for n in range(1, 40_001, 100)))
    parts = list(read_files([path]))
    assert found(parts) == list(range(1, 40_001))
    assert len(parts) > 1


def flat(**changes: object) -> Span:
    from halo_receiver.decode import flat_span

    return flat_span({**FLAT, **changes})


def test_a_flat_line_becomes_the_span_it_describes() -> None:
    span = flat()
    assert (span.trace_id, span.span_id, span.parent_span_id) == (FLAT["trace_id"], FLAT["span_id"], "")
    assert (span.kind, span.status_code, span.scope.service_name) == ("CLIENT", "OK", "agent-a")
    assert (span.start_unix_nano, span.end_unix_nano) == (1776922320100000000, 1776922321000000000)


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"parent_span_id": None}, "parent_span_id", ""),
        ({"kind": 3}, "kind", "CLIENT"),
        ({"kind": None}, "kind", "UNSPECIFIED"),
        ({"kind": "client"}, "kind", "CLIENT"),
        ({"status": {"code": 2, "message": None}}, "status_code", "ERROR"),
        ({"status": {"code": "ERROR"}}, "status_code", "ERROR"),
        ({"status": None}, "status_code", "UNSET"),
        ({"start_time": "2026-04-23T07:32:00.1+02:00"}, "start_unix_nano", 1776922320100000000),
        ({"start_time": "2026-04-23T05:32:00"}, "start_unix_nano", 1776922320000000000),
        ({"start_time": 1776922320}, "start_unix_nano", 1776922320000000000),
        ({"start_time": 1776922320100}, "start_unix_nano", 1776922320100000000),
        ({"start_time": "1776922320100000001"}, "start_unix_nano", 1776922320100000001),
        ({"start_time": "yesterday"}, "start_unix_nano", 0),
        ({"trace_id": "trace_ABC"}, "trace_id", "trace_ABC"),
        ({"trace_id": "4BF92F3577B34DA6A3CE929D0E0E4736"}, "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ({"attributes": None}, "attributes", {}),
        ({"resource": None, "scope": None}, "status_code", "OK"),
    ],
)
def test_flat_lines_that_halo_refused_are_read(changes: dict[str, object], field: str, expected: object) -> None:
    """parity.md 5.2: each of these made HALO's whole index build fail."""
    assert getattr(flat(**changes), field) == expected


def test_a_flat_lines_scope_attributes_schema_url_events_and_links_are_kept() -> None:
    span = flat(
        scope={"name": "x", "attributes": {"k": 1}, "schema_url": "s"},
        resource={"attributes": {}, "schema_url": "r"},
        events=[{"name": "exception", "timestamp": "2026-04-23T05:32:00Z", "attributes": {"exception.type": "E"}}, 3],
        links=[{"trace_id": "t", "span_id": "s"}],
    )
    assert (span.scope.attributes, span.scope.schema_url, span.scope.resource_schema_url) == ({"k": 1}, "s", "r")
    assert span.events[0].time_unix_nano == 1776922320000000000
    assert span.links[0].span_id == "s"


def test_every_capture_is_read_from_its_directory(captures: Path) -> None:
    parts = list(read_files([captures]))
    assert sum(len(part.decoded.spans) for part in parts) == 89 * 2 + 10  # pb, json, and one as an SDK sent it
    assert sum(len(part.decoded.logs) for part in parts) == 12 * 2
    passed = {Path(problem.split(": ")[0].split(":")[0]).name for problem in problems(parts)}
    assert passed == {"README.md", "manifest.json", "requests.jsonl", "metrics-001.pb", "metrics-001.json"}
