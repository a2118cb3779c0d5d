"""A span that is exported more than once is shown once, as its most finished copy, whatever arrived when and where."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from halo_receiver import segment_rewrite
from halo_receiver.conventions import MAPPING_VERSION
from halo_receiver.decode.flat import flat_span
from halo_receiver.span import Canonical, Scope, Span
from halo_receiver.store import merge
from halo_receiver.store.columns import span_table
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName, listed
from halo_receiver.store.settling import Settle
from halo_receiver.store.writer import SegmentWriter
from tests.fixtures_receiver import ReceiverProcess, post
from tests.receiver.loading import append, load, made_version_1

START = 1_790_000_000_000_000_000
SECOND = 1_000_000_000
OPTIONS: dict[str, Any] = {"memory_limit": "256MiB", "threads": 1}
SHOWN = "SELECT span_id, end_time, status_code, attributes->>'said' AS said, received_at FROM spans ORDER BY span_id"


@dataclass(frozen=True)
class Copy:
    """One export of a span; `end` in seconds after its start, 0 for none."""

    end: int = 0
    status: str = "UNSET"
    said: str = ""
    span: int = 1

    def row(self, arrival_ns: int) -> tuple[Span, Canonical, int]:
        attributes = {"said": self.said, "long": self.said * 600}
        span = Span(
            "a" * 32, f"{self.span:016x}", "", "run", Scope({"service.name": "shop"}), start_unix_nano=START,
            end_unix_nano=START + self.end * SECOND if self.end else 0, status_code=self.status, attributes=attributes,
        )  # fmt: skip
        return span, Canonical(span_type="agent"), arrival_ns

    @property
    def finished(self) -> tuple[bool, bool, int]:
        return bool(self.end), self.status != "UNSET", self.end


def seal(data_dir: Path, copies: Sequence[tuple[Copy, int]], number: int) -> None:
    """Write copies, each with the second of its arrival, as one sealed segment."""
    (data_dir / "segments").mkdir(exist_ok=True)
    writer = SegmentWriter(data_dir / "segments", SegmentName.at(START, number), mapping=MAPPING_VERSION)
    writer.append(spans=span_table([copy.row(START + second * SECOND) for copy, second in copies]), logs=None)
    writer.seal()


def merge_all(data_dir: Path, first: int = 0, last: int | None = None) -> None:
    directory = data_dir / "segments"
    names = [path.name for path in listed(directory)][first:last]
    if len(names) > 1:
        assert merge.publish(directory, segment_rewrite.rewrite(directory, names, **OPTIONS)) is not None


def shown(data_dir: Path, **window: Any) -> list[dict[str, Any]]:
    with Reader.open(data_dir, **window) as reader:
        spans = reader.query(SHOWN)
        [traces] = reader.query("SELECT count(*) AS n, sum(span_count) AS spans, max(end_time) AS end FROM traces")
    assert traces["spans"] is None or traces["spans"] == len(spans), "the traces count what the spans show"
    return spans


copies = st.builds(
    Copy,
    end=st.sampled_from([0, 0, 5, 9]),
    status=st.sampled_from(["UNSET", "OK", "ERROR"]),
    said=st.sampled_from("xy"),
    span=st.integers(1, 2),
)


@settings(deadline=None, max_examples=15)
@given(sent=st.lists(copies, min_size=1, max_size=7), parts=st.integers(1, 4), merged=st.integers(0, 3))
@example(sent=[Copy(), Copy(5, "OK")], parts=2, merged=0)
@example(sent=[Copy(5, "OK"), Copy()], parts=2, merged=0)
@example(sent=[Copy(5), Copy(5, "ERROR"), Copy(9)], parts=1, merged=0)
def test_the_most_finished_copy_is_shown_wherever_the_copies_lie_and_whatever_was_merged(
    sent: list[Copy], parts: int, merged: int
) -> None:
    arrived = list(enumerate(sent))
    for place, copy in arrived:  # an update between two identical copies: see the next test
        assume(all(a == copy or a.finished != copy.finished or a.span != copy.span for a in sent[:place]))
    size = -(-len(sent) // parts)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        for start in range(0, len(sent), size):
            seal(data_dir, [(copy, second) for second, copy in arrived[start : start + size]], start + 1)
        before = shown(data_dir)
        for row in before:
            own = [copy for copy in sent if f"{copy.span:016x}" == row["span_id"]]
            best = max(own, key=lambda copy: copy.finished)
            assert (row["end_time"] is not None, row["status_code"], row["said"]) == (
                bool(best.end), best.status, best.said,
            )  # fmt: skip
            first = sent.index(best)
            assert row["received_at"].timestamp() % 100 == pytest.approx((START // SECOND + first) % 100)
        merge_all(data_dir, 0, merged)
        assert shown(data_dir) == before, "after a merge of some"
        merge_all(data_dir)
        assert shown(data_dir) == before, "after a merge of all"
        assert len(before) == len({copy.span for copy in sent})


@pytest.mark.parametrize("parts", [1, 3])
def test_of_equally_finished_copies_the_later_is_shown_and_an_old_one_sent_again_is_not(
    tmp_path: Path, parts: int
) -> None:
    sent = [(Copy(5, "OK", "x"), 1), (Copy(5, "OK", "y"), 2), (Copy(5, "OK", "x"), 3)]
    for number, part in enumerate([sent] if parts == 1 else [[one] for one in sent], 1):
        seal(tmp_path, part, number)
    assert [row["said"] for row in shown(tmp_path)] == ["y"]


@pytest.mark.parametrize("end", [START - SECOND, 2**64 - 1, 2**63 - 1])
def test_a_time_that_can_be_no_end_does_not_finish_a_span(tmp_path: Path, end: int) -> None:
    """Some exporters write the zero time of their language into a span that is still open."""
    common: dict[str, Any] = {"trace_id": "a" * 32, "span_id": "b" * 16, "name": "run", "start_time": START}
    unfinished = flat_span({**common, "end_time": end, "attributes": {"said": "open"}})
    finished = flat_span({**common, "end_time": START + SECOND, "attributes": {"said": "done"}})
    (tmp_path / "segments").mkdir()
    for number, span in enumerate((unfinished, finished), 1):
        writer = SegmentWriter(tmp_path / "segments", SegmentName.at(START, number))
        writer.append(spans=span_table([(span, Canonical(), START + number)]), logs=None)
        writer.seal()
    assert [row["said"] for row in shown(tmp_path)] == ["done"]


def test_a_retry_moves_no_span_to_another_window(tmp_path: Path) -> None:
    seal(tmp_path, [(Copy(5, "OK", "x"), 10), (Copy(5, "OK", "z", span=2), 25)], 1)
    seal(tmp_path, [(Copy(5, "OK", "x"), 30)], 2)
    for _ in range(2):
        assert [row["said"] for row in shown(tmp_path, start_ns=START, end_ns=START + 20 * SECOND)] == ["x"]
        assert [row["said"] for row in shown(tmp_path, start_ns=START + 20 * SECOND)] == ["z"]
        merge_all(tmp_path)


def test_a_window_shows_what_was_known_when_it_ended(tmp_path: Path) -> None:
    seal(tmp_path, [(Copy(0, "UNSET", "open"), 10)], 1)
    seal(tmp_path, [(Copy(9, "OK", "done"), 30)], 2)
    assert [row["said"] for row in shown(tmp_path, end_ns=START + 20 * SECOND)] == ["open"]
    assert [row["said"] for row in shown(tmp_path, start_ns=START + 20 * SECOND)] == ["done"]
    assert [row["said"] for row in shown(tmp_path)] == ["done"]


def test_segments_of_the_first_schema_are_compared_as_well(tmp_path: Path) -> None:
    seal(tmp_path, [(Copy(9, "OK", "done"), 2)], 1)
    made_version_1(listed(tmp_path / "segments")[0])
    seal(tmp_path, [(Copy(0, "UNSET", "open"), 1)], 2)
    assert [row["said"] for row in shown(tmp_path)] == ["done"]


@settings(deadline=None, max_examples=12)
@given(
    seconds=st.lists(st.integers(0, 60), min_size=2, max_size=6),
    cuts=st.sets(st.integers(1, 120), max_size=3),
    merge_at=st.integers(0, 3),
    finished=st.booleans(),
)
@example(seconds=[0, 8], cuts={11}, merge_at=1, finished=False)  # a retry: merged away while the trace still settles
@example(seconds=[0, 30], cuts={20}, merge_at=1, finished=True)  # the end, long after the trace was judged
def test_a_merge_between_two_windows_makes_no_trace_judged_twice_or_never(
    seconds: list[int], cuts: set[int], merge_at: int, finished: bool
) -> None:
    """A trace settles by the arrivals of all its copies, also of those that a merge left out."""
    seconds.sort()
    edges = [0, *sorted(cuts), 300]
    judged = []
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        other = [(Copy(1, "OK", "z", span=7), 0)]  # of the same trace, so that each window has something to show
        for number, second in enumerate(seconds, 1):
            end = 5 if not finished or number == len(seconds) else 0
            seal(data_dir, [*other, (Copy(end, "UNSET", "x"), second)], number)
            other = []
        for number, (start, end) in enumerate(pairwise(edges)):
            if number == merge_at:
                merge_all(data_dir)
            window = {"start_ns": START + start * SECOND, "end_ns": START + end * SECOND}
            with Reader.open(data_dir, settle=Settle(10 * SECOND, 100 * SECOND), **window) as reader:
                judged += reader.query("SELECT trace_id FROM traces")
    assert len(judged) == 1


# From end to end


def otlp(end: int, *, said: str, number: int = 1) -> bytes:
    """Build a JSON request of one span."""
    span = {
        "traceId": "c" * 32, "spanId": f"{number:016x}", "name": "run", "startTimeUnixNano": str(START),
        "attributes": [{"key": "said", "value": {"stringValue": said}}],
    }  # fmt: skip
    if end:
        span |= {"endTimeUnixNano": str(START + end), "status": {"code": 1}}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def orders() -> Iterator[list[tuple[int, str]]]:
    for seed in range(3):
        sent = [(0, "start"), (0, "running"), (5, "end")]
        random.Random(seed).shuffle(sent)
        yield sent


@pytest.mark.parametrize("sent", list(orders()), ids=lambda sent: "-".join(said for _, said in sent))
def test_a_loader_shows_the_end_in_one_segment_and_over_several(tmp_path: Path, sent: list[tuple[int, str]]) -> None:
    for one in (True, False):
        data_dir = tmp_path / str(one)
        for end, said in sent:
            append(data_dir, otlp(end, said=said), encoding="json")
            if not one:
                load(data_dir)
        load(data_dir)
        assert len(listed(data_dir / "segments")) == (1 if one else 3)
        assert [row["said"] for row in shown(data_dir)] == ["end"]


def test_a_receiver_shows_the_end_whatever_was_sealed_before_it(tmp_path: Path) -> None:
    """Sealed by `Segments/Seal` between the two; of the second span the end is first to arrive."""
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        said = "SELECT span_id, attributes->>'said' AS said FROM spans ORDER BY span_id"
        for bodies in (
            [otlp(0, said="start"), otlp(5, said="end", number=2)],
            [otlp(5, said="end"), otlp(0, said="start", number=2)],
        ):
            for body in bodies:
                assert post(f"{receiver.http}/v1/traces", body, Content_Type="application/json")[0] == 200
            rows = receiver.rows(said)
        assert [row["said"] for row in rows] == ["end", "end"]
    finally:
        receiver.kill()
