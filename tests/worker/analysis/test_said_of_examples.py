"""What findings say of the traces that are their detectors' examples: who is named, and what it cost users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import rules, run_detectors
from halo_worker.analysis.detectors.examples import stored
from halo_worker.analysis.evidence import verify
from halo_worker.analysis.facts import Facts, facts

NAMES = ("task_handed_again", "user_not_helped")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Facts]]:
    """Return the titles of findings, with their facts."""
    units = [unit for unit in rules.built_in() if unit.name in NAMES]
    segment, _ = stored(units, tmp_path_factory.mktemp("examples"))
    with Reader([Path(segment)]) as reader:
        found = verify(reader, run_detectors(reader)).findings
        yield dict(zip((item.draft.title for item in found), facts(reader, found), strict=True))


def test_who_hands_a_task_out_again_is_named_and_not_who_gets_it(said: dict[str, Facts]) -> None:
    assert "task_handed_again hands out the same task again and again" in said
    assert "specialist hands out the same task again and again" not in said


def test_what_users_do_after_an_answer_is_told_by_its_sign_and_counted(said: dict[str, Facts]) -> None:
    counted = {
        title.rpartition(": ")[2]: about.impact.frustrated
        for title, about in said.items()
        if about.impact and ": users " in title
    }
    assert counted == {"users ask the same again": 2, "users correct it": 1, "users rate it as bad": 1}
