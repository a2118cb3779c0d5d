"""A trace is judged once, whole, in the window in which it settled: whatever arrives when, wherever windows are cut."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halo_receiver.span import Canonical, Scope, Span
from halo_receiver.store.columns import log_table, span_table
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.settling import Settle
from halo_receiver.store.writer import SegmentWriter
from halo_worker import run
from halo_worker.config import load_settings
from halo_worker.window import SECOND, Window

START = 1_795_500_000 * SECOND
TRACES = "abcd"

Arrivals = list[tuple[str, int]]  # trace, seconds after START


def store(data_dir: Path, segments: Sequence[Arrivals]) -> None:
    """Write each list as one sealed segment; the spans of a trace are numbered as they come."""
    (data_dir / "segments").mkdir(parents=True)
    number: Counter[str] = Counter()
    for index, arrivals in enumerate(segments):
        if not arrivals:
            continue
        rows = []
        for trace, second in arrivals:
            number[trace] += 1
            scope = Scope({"service.name": f"service-{trace}"})
            span = Span(
                trace * 32, f"{number[trace]:016x}", "", "step", scope, start_unix_nano=START, end_unix_nano=START + 5
            )
            rows.append((span, Canonical(agent_name=f"agent-{trace}"), START + second * SECOND))
        writer = SegmentWriter(data_dir / "segments", SegmentName.at(rows[0][2], index))
        writer.append(spans=span_table(rows), logs=log_table([]), position=(1, index))
        writer.seal()


def settled_at(times: list[int], quiet: int, longest: int) -> int:
    """When a trace settles, told the slow way: second by second."""
    moment = min(times)
    while moment < min(times) + longest:
        last = max(second for second in times if second <= moment)
        if moment - last >= quiet:
            return moment
        moment += 1
    return moment


@settings(deadline=None, max_examples=10)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from(TRACES), st.integers(0, 120)), min_size=1, max_size=25),
    cuts=st.sets(st.integers(1, 260), max_size=4),
    segments=st.integers(1, 3),
    quiet=st.integers(1, 15),
    longest=st.integers(15, 100),
)
@example(arrivals=[("a", 0), ("a", 16)], cuts={17}, segments=2, quiet=1, longest=15)  # a straggler, long after
def test_every_trace_is_judged_once_and_whole(
    arrivals: Arrivals, cuts: set[int], segments: int, quiet: int, longest: int
) -> None:
    arrivals.sort(key=lambda item: item[1])
    size = -(-len(arrivals) // segments)
    edges = [0, *sorted(cuts), 300]
    judged: dict[str, tuple[int, int]] = {}  # trace: when its window ended, how many spans were there
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), [arrivals[index : index + size] for index in range(0, len(arrivals), size)])
        for start, end in pairwise(edges):
            with Reader.open(
                Path(folder), start_ns=START + start * SECOND, end_ns=START + end * SECOND,
                settle=Settle(quiet * SECOND, longest * SECOND),
            ) as reader:  # fmt: skip
                for row in reader.query("SELECT trace_id, span_count FROM traces"):
                    assert row["trace_id"][0] not in judged, "judged twice"
                    judged[row["trace_id"][0]] = (end, row["span_count"])
    by_trace = {trace: [second for name, second in arrivals if name == trace] for trace, _ in arrivals}
    assert judged.keys() == by_trace.keys(), "a trace was never judged"
    for trace, times in by_trace.items():
        end, spans = judged[trace]
        moment = settled_at(times, quiet, longest)
        assert end == min(edge for edge in edges if edge > moment), "not in the window in which it settled"
        assert spans == len([second for second in times if second < end]), "not with all that had come"
        gaps = [later - earlier for earlier, later in pairwise(sorted(times))]
        if max(gaps, default=0) <= quiet and max(times) - min(times) < longest:
            assert spans == len(times), "it came without a pause, and was cut"


def test_a_schedule_s_filters_are_traces_and_a_gap_after_downtime_is_named(tmp_path: Path) -> None:
    """Of a trace that one span of a service or agent touches, all is read; what no window holds is said."""
    store(tmp_path / "data", [[("a", 10), ("b", 20), ("c", 30)]])
    file = tmp_path / "halo.toml"
    file.write_text(
        "[analysis]\nsettle_seconds = 1\n"
        '[schedules.a]\ninterval = "1h"\nservices = ["service-a"]\nmax_window = "1h"\n'
        '[schedules.bc]\ninterval = "1h"\nagents = ["agent-b", "agent-c"]\n',
        encoding="utf-8",
    )
    current = load_settings(file=file, environment={}, overrides={"store": {"data_dir": tmp_path / "data"}})
    hour = 3600 * SECOND
    first = Window(START, START + hour)
    assert run.run_schedule(current, "a", first, now_ns=first.end_ns).report.totals.traces == 1
    assert run.run_schedule(current, "bc", first, now_ns=first.end_ns).report.totals.traces == 2
    later = Window(START + 4 * hour, START + 5 * hour)
    report = run.run_schedule(current, "a", later, now_ns=later.end_ns).report
    [named] = [item for item in report.coverage.not_examined if "between" in item]
    assert "max_window" in named
    follows = Window(later.end_ns, later.end_ns + hour)
    report = run.run_schedule(current, "a", follows, now_ns=follows.end_ns).report
    assert [item for item in report.coverage.not_examined if "between" in item] == []


def test_a_schedule_s_own_engine_prompt_budget_and_sinks_are_what_its_run_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "halo.toml"
    file.write_text(
        '[model]\nbase_url = "http://127.0.0.1:9"\n[budget]\nmax_turns = 7\nmax_cost = 2.5\n'
        '[schedules.x]\ncron = "0 6 * * *"\nengine = "rlm"\nprompt = "Why?"\nsinks = ["out"]\n'
        "budget = {max_cost = 0.5}\n"
        '[schedules.y]\ninterval = "1h"\n[sinks.out]\ntype = "file"\npath = "-"\n',
        encoding="utf-8",
    )
    current = load_settings(file=file, environment={}, overrides={"store": {"data_dir": tmp_path}})
    asked = []
    monkeypatch.setattr(run, "run", lambda settings, request, *, now_ns: asked.append((settings, request)))
    for name in ("x", "y"):
        run.run_schedule(current, name, Window(0, 1), now_ns=1)
    (own, first), (other, second) = asked
    assert (first.schedule, first.engine, first.prompt, first.sinks) == ("x", "rlm", "Why?", ("out",))
    assert (own.budget.max_turns, own.budget.max_cost) == (7, 0.5)
    assert (second.engine, second.prompt, second.sinks, second.settle) == (None, None, (), True)
    assert other.budget.max_cost == 2.5
