"""Each detector's own examples: it fires on those that it must, and not on the others."""

from __future__ import annotations

from pathlib import Path

from halo_worker.analysis.detectors import DETECTORS, trial


def test_each_detector_fires_on_its_examples_and_not_on_its_counter_examples(tmp_path: Path) -> None:
    """All in one window, each detector as a service of its own."""
    outcome = trial.run_examples(DETECTORS, tmp_path)
    assert outcome.problems == []
    assert outcome.passed == sum(len(unit.examples) for unit in DETECTORS)


def test_every_detector_has_an_example_that_must_fire_and_one_that_must_not() -> None:
    for unit in DETECTORS:
        assert {bool(example["fires"]) for example in unit.examples} == {True, False}, unit.name
