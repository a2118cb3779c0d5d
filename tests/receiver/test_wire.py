"""The wire scanner against the reference: the same rows, the same look at a request, or it is not sure and says so."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from benchmarks import payloads
from halo_receiver import decode, request_check, wire
from halo_receiver.batch_tables import Tables
from halo_receiver.decode.repair import DUPLICATE_KEY
from halo_receiver.store import columns
from halo_receiver.store.text_folding import MAX_FOLDED_BYTES
from tests.fixtures_receiver import trace_request
from tests.generator.fleet import fleet

needs_scanner = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
REPOSITORY = Path(__file__).resolve().parents[2]
SDK = REPOSITORY / "tests" / "data" / "sdk"
LIMIT = 2**20
QUICK = settings(
    max_examples=int(os.environ.get("HALO_FUZZ", "150")), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


def scanned(body: bytes, **options: Any) -> columns.Table | None:
    """What the scanner alone makes of a request; None when it is not sure."""
    tables = Tables(max_attribute_bytes=LIMIT, **options)
    return tables.take()[0] if tables._scan(body, 77) else None


def referred(body: bytes, **options: Any) -> columns.Table:
    tables = Tables(max_attribute_bytes=LIMIT, scan=False, **options)
    tables.add("traces", "protobuf", body, 77)
    return tables.take()[0]


def same(body: bytes) -> bool:
    """Compare the two; return whether the scanner was sure."""
    tables = Tables(max_attribute_bytes=LIMIT)
    if not tables._scan(body, 77):
        return False
    counted, table = tables._scanner.duplicates, tables.take()[0]
    decoded = decode.decode_traces(body)
    assert not decoded.rejected, "the scanner took what must be rejected"
    assert decoded.warnings == ({DUPLICATE_KEY: counted} if counted else {}), "the scanner took what must be counted"
    expected = referred(body)
    for name in expected.schema.names:
        assert table[name].equals(expected[name]), f"{name}: {table[name]} | {expected[name]}"
    table.validate(full=True)
    assert table.equals(expected)
    return True


def looked_at(kind: str, body: bytes) -> Any:
    try:
        return request_check.check(kind, "protobuf", body)
    except decode.Undecodable as error:
        return str(error)


def same_look(kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked_at(kind, body)
    with monkeypatch.context() as patch:
        patch.setattr(wire, "_wire", None)
        assert looked_at(kind, body) == found


def requests() -> Iterator[bytes]:
    for workload in ("llm", "plain"):
        yield from (bytes(request.renew(7)) for request in payloads.requests(workload, count=2, spans=60))
    for request, _ in fleet(40, seed=3, failing=0.5):
        yield request.SerializeToString()


@needs_scanner
def test_the_scanner_makes_the_columns_of_the_schema() -> None:
    assert columns.fits(wire.LAYOUT)


def test_both_sides_of_the_scanner_have_one_version() -> None:
    """What an earlier build left in a checkout is not used."""
    source = (REPOSITORY / "halo_receiver" / "wire" / "_wire.c").read_text()
    assert f"#define VERSION {wire.VERSION} " in source


@needs_scanner
def test_what_sdks_really_send_becomes_the_same_rows(captures: Path) -> None:
    paths = sorted(captures.glob("*/traces-*.pb"))
    assert paths
    assert [path for path in paths if not same(path.read_bytes())] == []


@needs_scanner
def test_what_further_sdks_sent_becomes_the_same_rows() -> None:
    paths = sorted(path for path in SDK.glob("*.pb") if not path.name.endswith(".logs.pb"))
    assert len(paths) > 15
    assert [path.name for path in paths if not same(path.read_bytes())] == []


@needs_scanner
def test_generated_traces_become_the_same_rows() -> None:
    assert [body for body in requests() if not same(body)] == []


@needs_scanner
@pytest.mark.parametrize(
    "texts",
    [("", ""), ("a\x1eb", "c"), ("\x1e", "\x1e"), ('""', "a"), ("é" * MAX_FOLDED_BYTES, "a"),
     *(("a", "x" * (MAX_FOLDED_BYTES // 2 - n)) for n in range(5, 15))],
)  # fmt: skip
def test_texts_are_folded_alike(texts: tuple[str, str]) -> None:
    """At every limit, and when both their copies (one of them JSON) are just too much."""
    body = trace_request((1, 1), (1, 2))
    request = ExportTraceServiceRequest.FromString(body)
    for span in request.resource_spans[0].scope_spans[0].spans:
        for key, value in zip(
            ("input.value", "output.value", "openinference.span.kind"), (*texts, "TOOL"), strict=True
        ):
            span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    assert same(request.SerializeToString())


@needs_scanner
def test_requests_of_both_kinds_keep_their_order() -> None:
    """One that only the reference reads, between two that the scanner reads."""
    plain = [
        bytes(request.renew(number)) for number, request in enumerate(payloads.requests("plain", count=3, spans=8))
    ]
    odd = ExportTraceServiceRequest.FromString(plain[1])
    odd.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = 2**64 - 1  # later than a time can be
    bodies = [plain[0], odd.SerializeToString(), plain[2]]
    tables, expected = Tables(max_attribute_bytes=LIMIT), Tables(max_attribute_bytes=LIMIT, scan=False)
    for number, body in enumerate(bodies):
        assert tables.add("traces", "protobuf", body, number) == expected.add("traces", "protobuf", body, number)
    assert tables.rows == expected.rows == 24
    assert tables.take()[0].combine_chunks().equals(expected.take()[0].combine_chunks())


@needs_scanner
@pytest.mark.parametrize("span_time", [False, True])
def test_arrival_may_be_the_time_of_the_span(span_time: bool) -> None:
    body = next(requests())
    table = scanned(body, span_time=span_time)
    assert table is not None
    assert table.equals(referred(body, span_time=span_time))


TEXT = st.text(max_size=40) | st.sampled_from(
    ["", "a\0b", '"\\/\b\f\n\r\t\x1f\x7f', "é" * 300, "☔" * 200, "x" * 509, "x" * 510, "x" * 511, "ab\n" * 900,
     "\U0001f600" * 129]
)  # fmt: skip
FLOATS = st.floats() | st.sampled_from([1e-5, 1.5e-6, 1e15, 1e16, 1e22, 5e-324, -0.0, 0.1, 1e300])
SCALARS = st.one_of(
    TEXT.map(lambda v: AnyValue(string_value=v)), st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    FLOATS.map(lambda v: AnyValue(double_value=v)), st.binary(max_size=20).map(lambda v: AnyValue(bytes_value=v)),
    st.just(AnyValue()),
)  # fmt: skip
KEY = st.sampled_from(
    ["k", "http.route", "gen_ai.operation.name", "gen_ai.system", "error.type", "service.name", "ключ", "a.b",
     "openinference.span.kind"]
) | TEXT  # fmt: skip


def pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    return st.lists(st.builds(lambda k, v: KeyValue(key=k, value=v), KEY, values), max_size=5)


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda v: AnyValue(array_value=ArrayValue(values=v)))
        | pairs(inner).map(lambda v: AnyValue(kvlist_value=KeyValueList(values=v)))
    ),
    max_leaves=8,
)
TIME = st.sampled_from([0, 1, 1_790_000_000_000_000_000, 2**63 - 1, 2**63]) | st.integers(0, 2**64 - 1)
COUNT = st.sampled_from([0, 0, 1, 2**32 - 1])
EVENTS = st.builds(
    Span.Event,
    time_unix_nano=TIME,
    name=TEXT | st.just("exception"),
    attributes=pairs(VALUES),
    dropped_attributes_count=COUNT,
)
LINKS = st.builds(
    Span.Link, trace_id=st.sampled_from([b"t" * 16, b""]), span_id=st.sampled_from([b"s" * 8, b"s" * 8, b"s"]),
    trace_state=TEXT, attributes=pairs(SCALARS), dropped_attributes_count=COUNT, flags=COUNT,
)  # fmt: skip
SPANS = st.builds(
    Span, trace_id=st.sampled_from([b"t" * 16, b"t" * 16, b"t" * 16, b"\0" * 16, b"x"]), span_id=st.just(b"s" * 8),
    parent_span_id=st.sampled_from([b"", b"p" * 8, b"\0" * 8, b"p"]), trace_state=TEXT, name=TEXT,
    kind=st.integers(0, 5), start_time_unix_nano=TIME, end_time_unix_nano=TIME, attributes=pairs(VALUES),
    events=st.lists(EVENTS, max_size=2), links=st.lists(LINKS, max_size=2), dropped_attributes_count=COUNT,
    dropped_events_count=COUNT, dropped_links_count=COUNT, flags=COUNT,
    status=st.builds(lambda code, message: {"code": code, "message": message}, st.integers(0, 2), TEXT),
)  # fmt: skip


def request_of(spans: list[Span], resource: list[KeyValue], scope: list[KeyValue]) -> bytes:
    group = ResourceSpans()
    group.resource.attributes.extend(resource)
    group.resource.dropped_attributes_count = len(resource)
    group.schema_url = "https://opentelemetry.io/schemas/1.30.0" if resource else ""
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = "scope", "1"
    scoped.scope.attributes.extend(scope)
    scoped.spans.extend(spans)
    return ExportTraceServiceRequest(resource_spans=[group, group]).SerializeToString()


@pytest.mark.slow
@needs_scanner
@QUICK
@given(st.lists(SPANS, max_size=3), pairs(VALUES), pairs(SCALARS))
def test_any_spans_become_the_same_rows(spans: list[Span], resource: list[KeyValue], scope: list[KeyValue]) -> None:
    same(request_of(spans, resource, scope))


@needs_scanner
@QUICK
@given(st.data())
def test_damaged_requests_become_the_same_rows_or_are_left_to_the_reference(
    captures: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    body = bytearray(data.draw(st.sampled_from(sorted(captures.glob("*/[tl]*-001.pb")))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    damaged = bytes(body[: data.draw(st.sampled_from([len(body), len(body) // 2]))])
    for kind in ("traces", "logs"):
        same_look(kind, damaged, monkeypatch)
    same(damaged)


@needs_scanner
@QUICK
@given(st.binary(max_size=300))
@example(b"\x0a" * 200)
@example(b"\x0a\x00\x0a\x02\x12\x00")
@example(struct.pack("<BBBB", 0x0A, 2, 0x12, 0))
def test_random_bytes_are_looked_at_alike(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    for kind in ("traces", "logs"):
        same_look(kind, body, monkeypatch)
    same(body)


@needs_scanner
def test_a_request_is_looked_at_alike(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted(captures.glob("*/*.pb")):
        for kind in ("traces", "logs"):
            same_look(kind, path.read_bytes(), monkeypatch)
    without_ids = request_of([Span(name="a"), Span(trace_id=b"t" * 16, span_id=b"s" * 8), Span(trace_id=b"t")], [], [])
    same_look("traces", without_ids, monkeypatch)
    assert request_check.check("traces", "protobuf", without_ids).rejected == 4


@needs_scanner
def test_a_scanner_forgets_keys_before_they_are_too_many() -> None:
    tables = Tables(max_attribute_bytes=LIMIT)
    for number in range(30):
        spans = [
            Span(
                trace_id=b"t" * 16,
                span_id=b"s" * 8,
                attributes=[KeyValue(key=f"id-{number}-{n}-{k}") for k in range(10)],
            )
            for n in range(100)
        ]
        assert tables._scan(request_of(spans, [], []), 1)
    assert tables.rows == 6000


def test_without_a_scanner_the_reference_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_wire", None)
    body = next(requests())
    tables = Tables(max_attribute_bytes=LIMIT)
    tables.add("traces", "protobuf", body, 77)
    assert tables.take()[0].equals(referred(body))
    for stale, words in ((False, "there was no C compiler"), (True, "of an earlier build; install halo again")):
        monkeypatch.setattr(wire, "_stale", stale)
        assert words in wire.description()


def test_halo_builds_without_a_compiler(tmp_path: Path) -> None:
    """`optional`: the build goes on when the extension cannot be made."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    assert project[0]["optional"]
    setup = tmp_path / "setup.py"
    setup.write_text(
        "from setuptools import Extension, setup\n"
        "setup(name='x', py_modules=[], ext_modules=[Extension('x', ['x.c'], optional=True)])\n"
    )
    (tmp_path / "x.c").write_text("#error no\n")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"], cwd=tmp_path, env={**os.environ, "CC": "/nonexistent/cc"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
