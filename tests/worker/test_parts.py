"""A window that is worked in parts says what the whole says, and what of it could not be read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_receiver.store.reader import Reader
from halo_worker import inputs
from halo_worker.analysis.detectors import DETECTORS, parts, run_detectors
from halo_worker.analysis.draft import Draft
from halo_worker.config_cluster import ClusterConfig
from halo_worker.parts.conductor import Limits, worked
from halo_worker.parts.task import Segments
from tests.generator.fleet import fleet
from tests.generator.load import store
from tests.generator.strangers import strangers

LOCAL = ClusterConfig.model_validate({})


def of_the_fleet(traces: int) -> Iterator[Span]:
    for request, _ in fleet(traces, seed=3):
        yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans


def of_strangers(traces: int) -> Iterator[Span]:
    for spans, _ in strangers(traces, seed=3):
        yield from spans


def said(draft: Draft) -> list[str]:
    """All that a draft says but how long it took, as text."""
    findings = [{**asdict(found), "evidence": [one.model_dump() for one in found.evidence]} for found in draft.findings]
    rest = {name: getattr(draft, name) for name in ("traces_examined", "unsupported", "detectors_off", "not_examined")}
    return [json.dumps(one, default=str, sort_keys=True) for one in (*findings, rest, draft.engine.rules)]


def in_parts(segments: list[Path], of: int) -> Draft:
    with (
        worked(LOCAL, Segments(tuple(segments)), of, Limits()) as found,
        Reader(found.segments) as reader,
    ):
        assert not found.problems
        return run_detectors(reader, prepare=found.prepare)


def whole(segments: list[Path]) -> Draft:
    with Reader(segments) as reader:
        return run_detectors(reader)


def test_a_window_in_four_parts_says_what_the_whole_says(tmp_path: Path) -> None:
    segments = [store([*of_the_fleet(60), *of_strangers(40)], tmp_path)]
    expected = whole(segments)
    ran = {found.detector_name for found in expected.findings}
    apart = {unit.name for unit in DETECTORS if parts.separable(unit)}
    assert ran & apart, "no detector that runs in parts found anything"
    assert ran - apart, "no detector that takes traces together found anything"
    assert said(in_parts(segments, 4)) == said(expected)


@pytest.mark.long
@pytest.mark.parametrize("of", [4, 16, 64])
@pytest.mark.parametrize("spans", [of_the_fleet, of_strangers])
def test_both_fleets_say_the_same_in_any_number_of_parts(
    spans: Callable[[int], Iterator[Span]], of: int, tmp_path: Path
) -> None:
    segments = [store(spans(1000), tmp_path)]
    assert said(in_parts(segments, of)) == said(whole(segments))


@pytest.mark.long
@pytest.mark.parametrize("of", [4, 16, 64])
def test_planted_failures_are_the_same_in_any_number_of_parts(of: int, shared: Path, tmp_path: Path) -> None:
    script = shared / "benchmarks" / "planted-dev" / "planted.py"
    words = ["--seed", "7301", "--traces", "300", "--prevalence", "high", "--out", str(tmp_path)]
    subprocess.run([sys.executable, str(script), *words], check=True, capture_output=True)
    file = str(tmp_path / "traces.otlp.jsonl")
    segments = inputs.write_segments([file], tmp_path / "s", now_ns=10**18, arrival="span-time").segments
    assert said(in_parts(segments, of)) == said(whole(segments))
