"""Detectors find what was planted, name the spans of it, and leave healthy and difficult traces alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import DETECTORS, run_detectors
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.evidence import verify
from tests.generator.fleet import Truth, fleet
from tests.generator.load import reader_of, store
from tests.generator.scenarios import NEGATIVES
from tests.generator.score import Score, score
from tests.generator.strangers import NEGATIVES as OTHER_NEGATIVES
from tests.generator.strangers import strangers

TRACES = 2000
SEED = 11


@dataclass
class Window:
    reader: Reader
    truths: list[Truth]
    draft: Draft


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    truths: list[Truth] = []

    def spans() -> Iterator[Span]:
        for request, truth in fleet(TRACES, seed=SEED):
            truths.append(truth)
            yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans

    segment = store(spans(), tmp_path_factory.mktemp("segments"))
    with reader_of([segment]) as reader:
        yield Window(reader, truths, run_detectors(reader))


@pytest.fixture(scope="module")
def result(window: Window) -> Score:
    return score(window.draft, window.truths)


@pytest.mark.slow
def test_a_window_that_does_not_fit_into_memory_has_the_same_findings(window: Window) -> None:
    """What is written to the disk meanwhile is the machine's affair. DuckDB 1.5 needs more at the least."""
    memory = "40MiB" if int(duckdb.__version__.partition(".")[0]) >= 2 else "56MiB"
    with reader_of(window.reader.segments, memory_limit=memory, threads=1) as reader:
        draft = run_detectors(reader)
        assert reader.query("SELECT count(*) AS n FROM duckdb_temporary_files()")[0]["n"] > 0, "it did fit"
    assert draft.findings == window.draft.findings


def test_a_detector_that_is_driven_by_a_table_finds_what_lies_in_its_traces(window: Window) -> None:
    """It is not run where the table has no rows."""
    driven = [unit for unit in DETECTORS if unit.driven_by]
    assert driven
    for unit in driven:
        if "trace_id" in {row["column_name"] for row in window.reader.query(f"DESCRIBE FROM {unit.driven_by}")}:
            outside = f"SELECT 1 FROM ({unit.sql}) WHERE trace_id NOT IN (SELECT trace_id FROM {unit.driven_by})"
            assert not window.reader.query(outside), unit.name


def test_planted_failures_are_found_with_a_fitting_category(result: Score) -> None:
    missed = {mode: row for mode, row in result.modes.items() if row[2] < row[0]}
    assert result.fitting >= 0.95, missed


def test_the_span_named_is_one_that_was_planted(result: Score) -> None:
    assert result.located >= 0.97


def test_healthy_and_difficult_traces_are_left_alone(result: Score) -> None:
    """A tool that flags more than a few healthy traces in a thousand is switched off."""
    assert result.false_per_thousand <= 5, result.false[:10]


def test_every_quote_of_a_detector_stands(window: Window) -> None:
    verified = verify(window.reader, window.draft)
    assert verified.rejected.citations == 0, verified.rejected.reasons
    assert verified.rejected.findings == 0
    assert len(verified.findings) == len(window.draft.findings)


def test_prevalence_counts_traces(window: Window) -> None:
    for finding in verify(window.reader, window.draft).findings:
        assert finding.prevalence.traces == len({item.trace_id for item in finding.occurrences})
        assert finding.prevalence.of == TRACES
        assert finding.prevalence.low <= finding.prevalence.rate <= finding.prevalence.high


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """Traffic that the detectors were not made against: other agents, conventions, words and shapes."""
    truths: list[Truth] = []

    def spans() -> Iterator[Span]:
        for made, truth in strangers(TRACES, seed=SEED):
            truths.append(truth)
            yield from made

    segment = store(spans(), tmp_path_factory.mktemp("other"))
    with reader_of([segment]) as reader:
        yield Window(reader, truths, run_detectors(reader))


def test_failures_that_other_people_plant_are_found_too(other: Window) -> None:
    result = score(other.draft, other.truths)
    missed = {mode: row for mode, row in result.modes.items() if row[2] < row[0]}
    assert result.fitting >= 0.93, missed
    assert result.located >= 0.97
    assert result.false_per_thousand <= 5, result.false[:10]


@pytest.mark.parametrize("scenario", sorted(NEGATIVES))
def test_what_looks_like_a_failure_and_is_none_has_no_finding(result: Score, window: Window, scenario: str) -> None:
    assert any(truth.mode == scenario for truth in window.truths)
    assert [item for item in result.false if item[0] == scenario] == []


@pytest.mark.parametrize("scenario", sorted(item.__name__ for item in OTHER_NEGATIVES))
def test_what_looks_like_one_to_other_people_has_none_either(other: Window, scenario: str) -> None:
    assert any(truth.mode == scenario for truth in other.truths)
    assert [item for item in score(other.draft, other.truths).false if item[0] == scenario] == []


def test_what_a_detector_says_of_a_planted_trace_mostly_fits_it(window: Window, other: Window) -> None:
    """Precision by detector: a failure may show in more than one way, but not in any way; an outlier is a symptom."""
    for each in (window, other):
        for name, (said, fitting) in score(each.draft, each.truths).detectors.items():
            assert name.endswith("_outlier") or fitting >= 0.5 * said, (name, said, fitting)


def test_every_quote_from_their_spans_stands(other: Window) -> None:
    verified = verify(other.reader, other.draft)
    assert verified.rejected.citations == 0, verified.rejected.reasons
    assert verified.rejected.findings == 0


def test_every_detector_says_what_it_is() -> None:
    assert len({unit.name for unit in DETECTORS}) == len(DETECTORS)
    for unit in DETECTORS:
        assert all((unit.definition, unit.source, unit.limits, unit.category, unit.fix, unit.validation)), unit.name


def test_an_empty_window_has_no_findings(tmp_path: Path) -> None:
    with reader_of([store([], tmp_path)]) as reader:
        assert run_detectors(reader).findings == []
