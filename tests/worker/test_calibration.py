"""Confidence is the precision that was seen, drawn towards a prior; what is below one half is a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from halo_worker import assembly
from halo_worker.analysis import calibration, detectors
from halo_worker.analysis.calibration import MOST, PRIOR, confidence, shrunk
from halo_worker.analysis.evidence import verify
from halo_worker.report.memory import IssueMemory
from halo_worker.window import Window
from tests.small_spans import START, agent, opened


def test_the_fewer_hits_were_seen_the_nearer_confidence_is_to_the_prior() -> None:
    assert shrunk(1.0, 0) == PRIOR
    assert PRIOR < shrunk(1.0, 5) < shrunk(1.0, 50) < 1
    assert shrunk(0.1, 5) > calibration.NOTE > shrunk(0.1, MOST)
    assert shrunk(0.1, 10**6) == shrunk(0.1, MOST)


def test_every_measured_detector_is_one_that_there_is() -> None:
    assert set(calibration._seen()) <= {unit.name for unit in detectors.DETECTORS}
    assert confidence("no such", 0.9) == round(shrunk(0.9, calibration.STATED), 3)


def test_what_is_below_one_half_is_a_note_and_nothing_else(tmp_path: Path) -> None:
    """It is in no history and has no affected spans, and an issue that it was before is not called resolved."""
    spans = [agent(trace, status="ERROR", message="boom") for trace in range(3)]
    about = assembly.About("run", Window(START, START + 10**15), START + 10**15, None, None)
    with opened(spans, tmp_path) as reader:
        draft = detectors.run_detectors(reader)
        sure = assembly.assemble(reader, about, draft, verify(reader, draft), IssueMemory([]), not_examined=())
        draft.findings = [replace(one, confidence=calibration.NOTE - 0.01) for one in draft.findings]
        known = IssueMemory([sure.report.model_copy(update={"schedule": None, "remembered": True})])
        made = assembly.assemble(reader, about, draft, verify(reader, draft), known, not_examined=())
    assert [one.title for one in sure.report.findings] == ["support fails: boom"]
    assert (made.report.findings, made.affected, made.history) == ([], [], {})
    assert [(one.title, one.traces, one.of) for one in made.report.notes] == [("support fails: boom", 3, 3)]
    assert made.report.notes[0].evidence[0].quote == "boom"
