"""What the gate's own tables say is so: which days there are, and what they leave out and run."""

from __future__ import annotations

import importlib.util
import shlex
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from benchmarks import extended
from tests import other_days
from tests.conftest import REPOSITORY
from tests.other_days import DAYS

BERLIN = ZoneInfo("Europe/Berlin")
AFTER = [datetime(year, month, day, 12, 30, tzinfo=UTC) for year in (2026, 2027, 2028, 2096) for month, day in (
    (1, 1), (2, 28), (3, 1), (3, 29), (7, 1), (10, 31), (12, 31))]  # fmt: skip


@pytest.mark.parametrize("after", AFTER, ids=str)
def test_each_day_comes_next_and_is_what_it_is_called(after: datetime) -> None:
    begins = {name: day.begins(after) for name, day in DAYS.items()}
    assert all(moment >= after for moment in begins.values())
    assert (begins["leap-day"].month, begins["leap-day"].day) == (2, 29)
    later = {name: moment + 2 * other_days.BEFORE for name, moment in begins.items()}
    assert later["end-of-year"].year == begins["end-of-year"].year + 1
    for name, hours in (("clocks-forward", (1, 2)), ("clocks-back", (2, 1))):
        offsets = [moment.astimezone(BERLIN).utcoffset() for moment in (begins[name], later[name])]
        assert [offset and offset.seconds // 3600 for offset in offsets] == list(hours), name


def test_what_a_day_leaves_out_exists() -> None:
    """A pattern for a file that was renamed would leave out nothing, and cost its minutes five times."""
    for pattern in (*other_days.NO_DATE, *other_days.NO_CALENDAR):
        assert list(REPOSITORY.glob(pattern)), pattern


@pytest.mark.parametrize("name", extended.STEPS)
def test_what_an_extended_step_runs_exists(name: str) -> None:
    words = shlex.split(extended.STEPS[name].command)
    module = words[words.index("-m") + 1]
    assert importlib.util.find_spec(module), module
    assert all((REPOSITORY / word).exists() for word in words if word.startswith("tests/"))


def test_a_step_s_own_words_fit_into_one_cell() -> None:
    step = extended.Step("?", "true", shows=r"figure")
    assert extended.said(step, "noise\n| figure | 1 |\n\n  figure   2\n") == "figure · 1; figure 2"
    assert extended.said(extended.Step("?", "true"), "noise\nthe last\n\n") == "the last"
    assert len(extended.said(step, "figure " * 1000)) < 2 * extended.SHOWN


def test_the_last_table_is_replaced_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{extended.BEGIN}old\n{extended.END}after\n")
    monkeypatch.setattr(extended, "README", page)
    extended.write("| new |")
    assert page.read_text() == f"before\n{extended.BEGIN}| new |\n{extended.END}after\n"
    assert extended.BEGIN in (REPOSITORY / "benchmarks" / "README.md").read_text()
