"""Segments: written, sealed, and read as one view."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from halo_receiver.span import Canonical, LogRecord, Scope, Span, SpanEvent
from halo_receiver.store.columns import LONG_VALUE, log_table, span_table
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.settling import Settle
from halo_receiver.store.text_folding import FOLDED, MAX_FOLDED_BYTES
from halo_receiver.store.writer import SegmentWriter
from tests.receiver.loading import made_version_1

START = 1_700_000_000_000_000_000
SCOPE = Scope({"service.name": "shop"})


def seal_segment(data_dir: Path, number: int, ids: list[tuple[str, str]], *, arrival: int = START) -> Path:
    (data_dir / "segments").mkdir(exist_ok=True)
    writer = SegmentWriter(data_dir / "segments", SegmentName.at(arrival, number))
    spans = [
        Span(
            trace, span, "" if span == "root" else "root", "step", SCOPE,
            start_unix_nano=START, end_unix_nano=START + 5,
            attributes={"n": 1, "mixed": [1, b"x", {"k": None}], "long": "é" * 600},
            events=[SpanEvent(START + 1, "exception", {"exception.type": "E"})],
        )
        for trace, span in ids
    ]  # fmt: skip
    writer.append(
        spans=span_table((span, Canonical(span_type="llm", model="m", input_tokens=3), arrival) for span in spans),
        logs=log_table([(LogRecord(SCOPE, trace_id="a", span_id="root"), {"output_text": "from a log"}, arrival)]),
        position=(1, 2),
    )
    return writer.seal()


def test_a_span_sent_twice_is_shown_once_also_across_segments(tmp_path: Path) -> None:
    seal_segment(tmp_path, 1, [("a", "root"), ("a", "child"), ("a", "root")])
    seal_segment(tmp_path, 2, [("a", "child"), ("b", "root")])
    with Reader.open(tmp_path) as reader:
        assert reader.query("SELECT trace_id, span_id FROM spans ORDER BY ALL") == [
            {"trace_id": "a", "span_id": "child"},
            {"trace_id": "a", "span_id": "root"},
            {"trace_id": "b", "span_id": "root"},
        ]
        assert [row["span_count"] for row in reader.query("SELECT span_count FROM traces ORDER BY trace_id")] == [2, 1]


def test_attributes_keep_their_types_and_long_values(tmp_path: Path) -> None:
    seal_segment(tmp_path, 1, [("a", "root")])
    with Reader.open(tmp_path) as reader:
        row = reader.query("SELECT attributes, attributes->>'n' AS n, events[1].attributes AS e FROM spans")[0]
    assert json.loads(row["attributes"]) == {"n": 1, "mixed": [1, "eA==", {"k": None}], "long": "é" * 600}
    assert row["n"] == "1"
    assert json.loads(row["e"]) == {"exception.type": "E"}


@pytest.mark.parametrize("version", [1, 2])
def test_every_text_is_read_as_it_was_written_wherever_it_is_stored(tmp_path: Path, version: int) -> None:
    """Beside each other, in columns of their own, or some of them here and some there."""
    few, many = "é{}" * 3, "ü" * MAX_FOLDED_BYTES
    meant = [
        Canonical(),
        Canonical(input_text=few, output_text="", input_messages="[]", output_messages="[1]", tool_definitions="[2]"),
        Canonical(input_text="a\x1eb", output_text=few),
        Canonical(input_text=few, output_text=many),
        Canonical(output_messages="[1]"),
    ]
    (tmp_path / "segments").mkdir()
    writer = SegmentWriter(tmp_path / "segments", SegmentName.at(START, 1))
    spans = [
        Span("a", str(number), "", "x", SCOPE, attributes={"short": 1, "long": "y" * LONG_VALUE * (number % 2)})
        for number in range(len(meant))
    ]
    writer.append(spans=span_table((span, said, START) for span, said in zip(spans, meant, strict=True)), logs=None)
    path = writer.seal()
    with duckdb.connect(str(path), read_only=True) as connection:
        stored = connection.execute("SELECT count(texts), count(input_text), count(output_text) FROM span_rows")
        assert stored.fetchall() == [(3, 2, 2)]
        view = connection.execute("SELECT output_text FROM spans ORDER BY span_id").fetchall()
        assert view == [(item.output_text,) for item in meant]
    if version == 1:
        made_version_1(path)
    names = [name for name in FOLDED if name != "long_attributes"]
    with Reader.open(tmp_path) as reader:
        assert reader.set_aside == []
        rows = reader.query(f"SELECT attributes, {', '.join(names)} FROM spans ORDER BY span_id")
    assert [[row[name] for name in names] for row in rows] == [
        [getattr(said, name) for name in names] for said in meant
    ]
    assert [json.loads(row["attributes"]) for row in rows] == [span.attributes for span in spans]


def test_what_a_log_says_is_seen_on_its_span(tmp_path: Path) -> None:
    seal_segment(tmp_path, 1, [("a", "root"), ("b", "root")])
    with Reader.open(tmp_path) as reader:
        rows = reader.query("SELECT trace_id, output_text FROM spans ORDER BY 1")
    assert rows == [{"trace_id": "a", "output_text": "from a log"}, {"trace_id": "b", "output_text": None}]


@pytest.mark.parametrize("few", [0, 100])
def test_a_trace_is_whole_wherever_its_spans_lie_and_whatever_logs_say_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """`a` lies in two segments, a log of `c` names its model, `b` and `d` are as their segments say."""
    monkeypatch.setattr("halo_receiver.store.reader.MAX_PUT_TOGETHER", few)
    seal_segment(tmp_path, 1, [("a", "root"), ("b", "root")])
    seal_segment(tmp_path, 2, [("a", "child"), ("a", "root"), ("d", "root")])
    writer = SegmentWriter(tmp_path / "segments", SegmentName.at(START, 3))
    span = Span("c", "root", "", "step", SCOPE, start_unix_nano=START)
    said = LogRecord(SCOPE, trace_id="c", span_id="root")
    writer.append(
        spans=span_table([(span, Canonical(), START)]), logs=log_table([(said, {"model": "from a log"}, START)])
    )
    writer.seal()
    with Reader.open(tmp_path) as reader:
        rows = reader.query("SELECT trace_id, span_count, models FROM traces ORDER BY trace_id")
    assert [tuple(row.values()) for row in rows] == [
        ("a", 2, ["m"]), ("b", 1, ["m"]), ("c", 1, ["from a log"]), ("d", 1, ["m"]),
    ]  # fmt: skip


def test_an_empty_directory_reads_as_empty_tables(tmp_path: Path) -> None:
    with Reader.open(tmp_path) as reader:
        for table in ("spans", "traces", "logs"):
            assert reader.query(f"SELECT count(*) AS n FROM {table}") == [{"n": 0}]


def test_a_segment_that_cannot_be_read_is_set_aside_and_the_rest_is_read(tmp_path: Path) -> None:
    seal_segment(tmp_path, 1, [("a", "root")])
    (tmp_path / "segments" / "spans-20260101T000000Z-000002.duckdb").write_bytes(b"not a database")
    with Reader.open(tmp_path) as reader:
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": 1}]
        assert [item.path.name for item in reader.set_aside] == ["spans-20260101T000000Z-000002.duckdb"]


@pytest.mark.parametrize(("start", "end", "seen"), [(0, 5, 0), (0, 11, 1), (10, 20, 1), (11, 30, 1), (0, 30, 2)])
def test_a_window_is_cut_on_arrival(tmp_path: Path, start: int, end: int, seen: int) -> None:
    seal_segment(tmp_path, 1, [("a", "root")], arrival=START + 10)
    seal_segment(tmp_path, 2, [("b", "root")], arrival=START + 20)
    with Reader.open(tmp_path, start_ns=START + start, end_ns=START + end) as reader:
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": seen}]


def test_a_trace_that_crosses_the_edge_is_judged_once_and_whole(tmp_path: Path) -> None:
    for number, (trace, arrival) in enumerate([("a", 10), ("b", 18), ("b", 22), ("a", 40)]):
        seal_segment(tmp_path, number, [(trace, f"span{number}")], arrival=START + arrival)
    seen = []
    for start, end in [(0, 20), (20, 30), (30, 60)]:
        with Reader.open(tmp_path, start_ns=START + start, end_ns=START + end, settle=Settle(5, 100)) as reader:
            seen.append([tuple(row.values()) for row in reader.query("SELECT trace_id, span_count FROM traces")])
    # "a" was quiet for 5 at 15: what came of it at 40 does not bring it up again.
    assert seen == [[("a", 1)], [("b", 2)], []]


def test_a_trace_that_never_rests_is_judged_after_the_longest_wait(tmp_path: Path) -> None:
    for number in range(6):
        seal_segment(tmp_path, number, [("a", f"span{number}")], arrival=START + number * 4)
    with Reader.open(tmp_path, start_ns=START, end_ns=START + 15, settle=Settle(5, 12)) as reader:
        assert reader.query("SELECT span_count FROM traces") == [{"span_count": 4}]
